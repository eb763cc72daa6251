"""The base image: its digest, asked of a registry by the OCI distribution API."""

from __future__ import annotations

import re
from typing import Any

import httpx

from images.errors import ResolveError, UnreachableError
from images.pins import BasePin

REGISTRY_HELP = "registry (https://HOST) that has the base image; without it, it is not asked"
_TIMEOUT_S = 15.0
_ACCEPT = (
    "application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json"
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


def resolve(pin: BasePin, registry: str | None) -> dict[str, Any]:
    """Return the lock's ``base`` part with the digest that the registry gives for the tag.

    Raises:
        UnreachableError: the registry does not answer.
        ResolveError: the tag is not there, or names other bytes than pins.toml says.
    """
    digest = tag_digest(pin.image, registry)
    if digest != pin.digest:
        raise ResolveError(
            f"{pin.image} is {digest} in the registry, and pins.toml says {pin.digest}. A dated "
            "tag does not move, so one of the two is wrong. Find out which before changing the pin"
        )
    return {
        "name": pin.image,
        "digest": digest,
        "source": "the registry's answer for the tag (OCI distribution API)",
    }


def from_pins(pin: BasePin) -> dict[str, Any]:
    """Return the ``base`` part with the digest in pins.toml, and how that one is known."""
    return {"name": pin.image, "digest": pin.digest, "source": pin.seen}


def tag_digest(image: str, registry: str | None) -> str:
    """Return the digest of the manifest that a tag names.

    Raises:
        UnreachableError: the registry does not answer, or none was named.
        ResolveError: it answers without a digest.
    """
    if registry is None:
        raise UnreachableError(f"no registry was named that could be asked for {image}: --registry")
    repository, _, tag = image.partition(":")
    if "/" not in repository:
        repository = f"library/{repository}"
    url = f"{registry.rstrip('/')}/v2/{repository}/manifests/{tag}"
    try:
        with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True) as client:
            answer = client.head(url, headers={"Accept": _ACCEPT})
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                token = _token(client, answer)
                headers = {"Accept": _ACCEPT, "Authorization": f"Bearer {token}"}
                answer = client.head(url, headers=headers)
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise UnreachableError(f"registry {registry} cannot be asked: {error!r}") from None
    digest = answer.headers.get("Docker-Content-Digest", "")
    if not answer.is_success or not digest.startswith("sha256:"):
        problem = f"registry {registry} answers {answer.status_code} for {image}"
        if answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.OK):
            raise ResolveError(f"{problem} and names no digest. Correct the tag in pins.toml")
        raise UnreachableError(problem)
    return str(digest)


def _token(client: httpx.Client, challenge: httpx.Response) -> str:
    parameters = dict(_CHALLENGE.findall(challenge.headers["WWW-Authenticate"]))
    realm = parameters.pop("realm")
    answer = client.get(realm, params=parameters).raise_for_status()
    return str(answer.json()["token"])
