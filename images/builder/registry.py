"""A client for registries that speak the OCI distribution specification 1.1.

It reads and writes manifests and blobs, checks every digest, and never sends anything over plain
HTTP except to this machine. Certificates are verified always; a private authority is given as a
file, or in ``SSL_CERT_FILE``.
The errors are in ``images.builder.registry_errors``.
"""

from __future__ import annotations

import hashlib
import io
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO
from urllib.parse import urljoin

import httpx

from images.builder.oci import INDEX_TYPE, MANIFEST_TYPE, Descriptor
from images.builder.references import Reference, is_loopback
from images.builder.registry_auth import Challenge, Credentials, parse_challenge
from images.builder.registry_errors import (
    RegistryAccessError,
    RegistryAnswerError,
    RegistryDigestError,
    RegistryError,
    RegistryMissingError,
    RegistryUnreachableError,
)

MANIFEST_LIMIT = 4 << 20
"""Largest manifest in bytes; registries refuse larger ones, too."""
_CHUNK = 1 << 20
_TIMEOUT = httpx.Timeout(60.0, connect=15.0)
_DOCKER_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFEST_TYPES = (MANIFEST_TYPE, INDEX_TYPE, *_DOCKER_TYPES)
_PASSING = {429, 502, 503, 504}
_WAITS_S = (0.5, 2.0, 5.0)


class Registry:
    """One registry; use it in a ``with`` block.

    Args:
        host: name with port, as in references.
        credentials: sent to this host only, and only when it asks.
        authority: PEM file with certificates to trust besides the system's.
        wait: called with seconds between two attempts.
    """

    def __init__(
        self,
        host: str,
        *,
        credentials: Credentials | None = None,
        authority: Path | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.host = host
        self._credentials = credentials
        self._wait = wait
        self._authorization: dict[str, str] = {}
        scheme = "http" if is_loopback(host) and authority is None else "https"
        self._base = f"{scheme}://{host}/v2/"
        context = ssl.create_default_context()
        if authority is not None:
            context.load_verify_locations(cafile=authority)
        self._client = httpx.Client(
            verify=context,
            timeout=_TIMEOUT,
            follow_redirects=True,
            # This machine is never behind a proxy.
            trust_env=not is_loopback(host),
            event_hooks={"request": [_refuse_plain_http]},
        )

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def head_manifest(self, repository: str, selector: str) -> Descriptor:
        """Type, digest and size of a manifest. Raises RegistryError."""
        answer = self._call("HEAD", repository, f"manifests/{selector}", headers=_ACCEPT)
        digest = answer.headers.get("Docker-Content-Digest", "")
        if not digest:
            # The header is optional; the content always tells.
            return self.get_manifest(repository, selector)[0]
        size = int(answer.headers.get("Content-Length", "0"))
        return Descriptor(_media_type(answer), digest, size)

    def get_manifest(self, repository: str, selector: str) -> tuple[Descriptor, bytes]:
        """A manifest or index by tag or digest, and where it lies. Raises RegistryError."""
        answer = self._call("GET", repository, f"manifests/{selector}", headers=_ACCEPT)
        content = answer.content
        if len(content) > MANIFEST_LIMIT:
            raise RegistryAnswerError(
                f"{self.host}/{repository}: manifest {selector} has {len(content)} bytes; at most "
                f"{MANIFEST_LIMIT} are allowed, as nothing that is an image needs more. Push the "
                "image again."
            )
        actual = _sha256(content)
        for named in (selector, answer.headers.get("Docker-Content-Digest", "")):
            if named.startswith("sha256:") and named != actual:
                raise self._wrong_digest(repository, named, actual)
        return Descriptor(_media_type(answer), actual, len(content)), content

    def open_blob(self, repository: str, descriptor: Descriptor) -> BinaryIO:
        """A blob as a stream; reading its end raises RegistryDigestError if it is another."""
        response = self._call("GET", repository, f"blobs/{descriptor.digest}", stream=True)

        def check(actual: str, size: int) -> None:
            if actual != descriptor.digest or size != descriptor.size:
                raise self._wrong_digest(repository, descriptor.digest, actual)

        return io.BufferedReader(_Body(response, check), _CHUNK)

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether the repository has a blob. Raises RegistryError."""
        try:
            self._call("HEAD", repository, f"blobs/{digest}")
        except RegistryMissingError:
            return False
        return True

    def push_blob(self, repository: str, content: bytes | Path) -> Descriptor:
        """Upload a blob unless it is there; returns its descriptor, without media type."""
        if isinstance(content, Path):
            with content.open("rb") as stream:
                digest = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
            size = content.stat().st_size
        else:
            digest, size = _sha256(content), len(content)
        if not self.has_blob(repository, digest):
            begun = self._call("POST", repository, "blobs/uploads/")
            place = urljoin(str(begun.url), begun.headers.get("Location", ""))
            target = httpx.URL(place).copy_merge_params({"digest": digest})
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
            body: Any = content if isinstance(content, bytes) else _chunks(content)
            self._send("PUT", str(target), repository, headers=headers, content=body)
        return Descriptor("", digest, size)

    def push_manifest(
        self, repository: str, selector: str, content: bytes, media_type: str
    ) -> tuple[Descriptor, bool]:
        """Upload a manifest under a tag or its digest.

        Returns its descriptor, and whether the registry says that it keeps the list of what refers
        to the manifest's subject itself.
        """
        headers = {"Content-Type": media_type}
        answer = self._call(
            "PUT", repository, f"manifests/{selector}", headers=headers, content=content
        )
        descriptor = Descriptor(media_type, _sha256(content), len(content))
        told = answer.headers.get("Docker-Content-Digest", descriptor.digest)
        if told != descriptor.digest:
            raise self._wrong_digest(repository, descriptor.digest, told)
        return descriptor, "OCI-Subject" in answer.headers

    def get_index(self, repository: str, path: str) -> bytes | None:
        """JSON at a path below the repository, or None when there is nothing (404)."""
        try:
            return self._call("GET", repository, path, headers={"Accept": INDEX_TYPE}).content
        except RegistryMissingError:
            return None

    def _call(self, method: str, repository: str, path: str, **options: Any) -> httpx.Response:
        return self._send(method, f"{self._base}{repository}/{path}", repository, **options)

    def _send(
        self,
        method: str,
        url: str,
        repository: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: Any = None,
        stream: bool = False,
    ) -> httpx.Response:
        """Send a request, authorized and repeated as needed. Raises RegistryError."""
        waits = iter(_WAITS_S if method in ("GET", "HEAD") else ())
        authorized = False
        while True:
            sent = dict(headers or {})
            if repository in self._authorization and httpx.URL(url).netloc.decode() == self.host:
                sent["Authorization"] = self._authorization[repository]
            request = self._client.build_request(method, url, headers=sent, content=content)
            try:
                answer = self._client.send(request, stream=stream)
            except (httpx.HTTPError, ssl.SSLError) as error:
                raise self._unreachable(url, error) from error
            if answer.is_success:
                return answer
            if stream:
                answer.read()
            if answer.status_code == httpx.codes.UNAUTHORIZED and not authorized:
                authorized = True
                if self._authorize(answer, repository):
                    continue
            if answer.status_code in _PASSING and (seconds := next(waits, None)) is not None:
                self._wait(seconds)
                continue
            raise self._refused(answer, method, repository)

    def _authorize(self, answer: httpx.Response, repository: str) -> bool:
        """Prepare what a 401 asks for; False when there is nothing to give."""
        challenge = parse_challenge(answer.headers.get("WWW-Authenticate", ""))
        if challenge is None:
            return False
        if challenge.scheme == "basic":
            if self._credentials is None:
                return False
            self._authorization[repository] = self._credentials.basic
            return True
        self._authorization[repository] = f"Bearer {self._token(challenge, repository)}"
        return True

    def _token(self, challenge: Challenge, repository: str) -> str:
        realm = challenge.parameters.get("realm", "")
        asked = {
            "service": challenge.parameters.get("service", ""),
            "scope": challenge.parameters.get("scope") or f"repository:{repository}:pull,push",
        }
        own = self._credentials
        try:
            if own is not None and own.identity_token:
                form = {
                    **asked,
                    "grant_type": "refresh_token",
                    "refresh_token": own.identity_token,
                    "client_id": "wan-vace",
                }
                answer = self._client.post(realm, data=form)
            else:
                headers = {"Authorization": own.basic} if own is not None else {}
                answer = self._client.get(realm, params=asked, headers=headers)
        except (httpx.HTTPError, ssl.SSLError, httpx.InvalidURL) as error:
            raise self._unreachable(realm, error) from error
        if not answer.is_success:
            raise self._refused(answer, "GET", repository)
        try:
            found = answer.json()
            token = found.get("token") or found.get("access_token")
        except (ValueError, AttributeError):
            token = None
        if not isinstance(token, str):
            raise RegistryAnswerError(
                f"{realm} gave no token for {self.host}/{repository}, which wants one. Expected is "
                "JSON with `token`. Check that this is the registry's address."
            )
        return token

    def _refused(self, answer: httpx.Response, method: str, repository: str) -> RegistryError:
        status = answer.status_code
        said = " ".join(answer.text.split())[:300] if method != "HEAD" else ""
        what = f"{self.host}/{repository}: {method} {answer.url.path} was answered {status} {said}"
        if status in (401, 403):
            having = (
                "no credentials were found" if self._credentials is None else "credentials sent"
            )
            return RegistryAccessError(
                f"{what} ({having}). The registry gives this only to users who may have it. Log in "
                f"with `podman login {self.host}`, or ask for access to the repository."
            )
        if status == 404:
            return RegistryMissingError(
                f"{what}. Expected was that the repository has it. Check the name and the digest, "
                "or push the image first."
            )
        return RegistryAnswerError(
            f"{what}. Expected was success. Try again later; if it stays, look into the "
            "registry's log."
        )

    def _unreachable(self, url: str, error: Exception) -> RegistryUnreachableError:
        place = httpx.URL(url)
        return RegistryUnreachableError(
            f"{place.scheme}://{place.netloc.decode()} did not answer as a registry: {error}. "
            "A registry is reached by HTTPS with a certificate that verifies; plain HTTP is used "
            "on this machine only. Check name, port and network, and name a private authority "
            "in SSL_CERT_FILE."
        )

    def _wrong_digest(self, repository: str, expected: str, actual: str) -> RegistryDigestError:
        return RegistryDigestError(
            f"{self.host}/{repository}: content with digest {expected} was expected, but {actual} "
            "came. It was damaged or changed on the way or in the registry, and was not used. "
            "Try again; if it stays, push the image again."
        )


class RegistrySource:
    """One image of a registry, for ``images.builder.oci.load_image``."""

    def __init__(self, registry: Registry, reference: Reference) -> None:
        self._registry = registry
        self._reference = reference

    @property
    def name(self) -> str:
        """The reference."""
        return str(self._reference)

    def images(self) -> list[Descriptor]:
        """The one manifest that the reference names. Raises RegistryError."""
        selector = self._reference.selector
        return [self._registry.get_manifest(self._reference.repository, selector)[0]]

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """A manifest or blob of the image. Raises RegistryError."""
        repository = self._reference.repository
        if descriptor.media_type in _MANIFEST_TYPES:
            return io.BytesIO(self._registry.get_manifest(repository, descriptor.digest)[1])
        return self._registry.open_blob(repository, descriptor)


class _Body(io.RawIOBase):
    """An answer's body; its end is checked."""

    def __init__(self, response: httpx.Response, check: Callable[[str, int], None]) -> None:
        super().__init__()
        self._response = response
        self._chunks = response.iter_raw(_CHUNK)
        self._rest = memoryview(b"")
        self._hash = hashlib.sha256()
        self._size = 0
        self._check = check

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            try:
                self._rest = memoryview(next(self._chunks, b""))
            except httpx.HTTPError as error:
                raise RegistryUnreachableError(
                    f"{self._response.url.host} ended the transfer after {self._size} bytes: "
                    f"{error}. The whole blob was expected. Check the network and try again."
                ) from error
            if not self._rest:
                self._check(f"sha256:{self._hash.hexdigest()}", self._size)
                return 0
            self._hash.update(self._rest)
            self._size += len(self._rest)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        self._response.close()
        super().close()


_ACCEPT = {"Accept": ", ".join(_MANIFEST_TYPES)}


def _refuse_plain_http(request: httpx.Request) -> None:
    if request.url.scheme != "https" and not is_loopback(request.url.host):
        raise httpx.UnsupportedProtocol(f"plain HTTP to {request.url.host} is not used")


def _media_type(answer: httpx.Response) -> str:
    return str(answer.headers.get("Content-Type", "")).partition(";")[0].strip()


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk
