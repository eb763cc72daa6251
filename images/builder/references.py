"""Names of images in registries: ``registry.example.com/namespace/name:tag@sha256:…``."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from images.builder.errors import InputError

_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?")
FORM = "REGISTRY/REPOSITORY[:TAG][@sha256:DIGEST]"


@dataclass(frozen=True)
class Reference:
    """A parsed name.

    Attributes:
        host: registry with its port, if it has one.
        repository: path below it, without a slash at its ends.
        tag: or empty.
        digest: ``sha256:…``, or empty.
    """

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def selector(self) -> str:
        """What picks the manifest: the digest when there is one, else the tag."""
        return self.digest or self.tag

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.host}/{self.repository}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}{f'@{self.digest}' if self.digest else ''}"


def parse_reference(text: str, *, need: str = "selector") -> Reference:
    """Parse a name.

    Args:
        text: the name; the registry must be in it, there is no default one.
        need: ``selector`` (a tag or digest must be there), ``digest``, or ``nothing``.

    Raises:
        InputError: it does not have the form, or lacks what is needed.
    """
    rest, _, digest = text.partition("@")
    host, _, path = rest.partition("/")
    # A colon after the last slash starts the tag; one in the registry's name starts its port.
    repository, _, tag = path.partition(":")
    looks_like_host = "." in host or ":" in host or host == "localhost"
    if not path or not looks_like_host or not _HOST.fullmatch(host):
        raise _wrong(text, "names no registry")
    if not _REPOSITORY.fullmatch(repository):
        raise _wrong(text, f"has the repository {repository!r}")
    if ("@" in text and not _DIGEST.fullmatch(digest)) or (":" in path and not _TAG.fullmatch(tag)):
        raise _wrong(text, "has a damaged tag or digest")
    if (need == "selector" and not (tag or digest)) or (need == "digest" and not digest):
        missing = "digest" if need == "digest" else "tag or digest"
        raise _wrong(text, f"has no {missing}, so it could mean any image")
    return Reference(host, repository, tag, digest)


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") and host.count(":") <= 1 else host
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _wrong(text: str, what: str) -> InputError:
    return InputError(
        f"{text!r} {what}; expected is {FORM}, for example "
        "registry.example.com/vace/comfyui:2026-11@sha256:… (64 hexadecimal digits). "
        "Give the whole name."
    )
