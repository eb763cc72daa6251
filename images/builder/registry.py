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
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import httpx

from images.builder.oci import INDEX_TYPE, MANIFEST_TYPE, Descriptor
from images.builder.references import is_loopback
from images.builder.registry_auth import Challenge, Credentials, parse_challenge
from images.builder.registry_bodies import CHUNK, BlobReader, read_bounded
from images.builder.registry_errors import (
    RegistryAccessError,
    RegistryAnswerError,
    RegistryDigestError,
    RegistryError,
    RegistryMissingError,
    RegistryUnreachableError,
)
from images.builder.registry_upload import CHUNK_BYTES, Blob, Upload

MANIFEST_LIMIT = 4 << 20
"""Largest manifest in bytes; registries refuse larger ones, too."""
_SAID_LIMIT = 64 << 10
_TIMEOUT = httpx.Timeout(60.0, connect=15.0)
_DOCKER_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = (MANIFEST_TYPE, INDEX_TYPE, *_DOCKER_TYPES)
"""What is asked for: images and indexes, by OCI's and by Docker's names."""
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
        answer, _ = self._read("HEAD", repository, f"manifests/{selector}", headers=_ACCEPT)
        digest = answer.headers.get("Docker-Content-Digest", "")
        if not digest:
            # The header is optional; the content always tells.
            return self.get_manifest(repository, selector)[0]
        size = int(answer.headers.get("Content-Length", "0"))
        return Descriptor(_media_type(answer), digest, size)

    def get_manifest(self, repository: str, selector: str) -> tuple[Descriptor, bytes]:
        """A manifest or index by tag or digest, and where it lies. Raises RegistryError."""
        answer, content = self._read("GET", repository, f"manifests/{selector}", headers=_ACCEPT)
        actual = _sha256(content)
        for named in (selector, answer.headers.get("Docker-Content-Digest", "")):
            if named.startswith("sha256:") and named != actual:
                raise self._wrong_digest(repository, named, actual)
        return Descriptor(_media_type(answer), actual, len(content)), content

    def open_blob(self, repository: str, descriptor: Descriptor) -> BinaryIO:
        """A blob as a stream; reading its end raises RegistryDigestError if it is another."""
        response = self._send("GET", repository, f"blobs/{descriptor.digest}")

        def check(actual: str, size: int) -> None:
            if actual != descriptor.digest or size != descriptor.size:
                raise self._wrong_digest(repository, descriptor.digest, actual)

        return io.BufferedReader(BlobReader(response, check), CHUNK)

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether the repository has a blob. Raises RegistryError."""
        try:
            self._read("HEAD", repository, f"blobs/{digest}")
        except RegistryMissingError:
            return False
        return True

    def push_blob(
        self,
        repository: str,
        content: bytes | Path,
        *,
        tell: Callable[[str], None] = lambda _: None,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> Descriptor:
        """Upload a blob unless it is there; returns its descriptor, without media type.

        It goes in chunks, and what fails in passing is tried again, see
        ``images.builder.registry_upload``; ``tell`` gets a sentence each time.

        Raises RegistryError.
        """
        if isinstance(content, Path):
            with content.open("rb") as stream:
                digest = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
            blob = Blob(digest, content.stat().st_size, lambda: content.open("rb"))
        else:
            blob = Blob(_sha256(content), len(content), lambda: io.BytesIO(content))
        channel = _Channel(self, repository)
        Upload(channel, blob, wait=self._wait, tell=tell, chunk_bytes=chunk_bytes).run()
        return Descriptor("", blob.digest, blob.size)

    def push_manifest(
        self, repository: str, selector: str, content: bytes, media_type: str
    ) -> tuple[Descriptor, bool]:
        """Upload a manifest under a tag or its digest.

        Returns its descriptor, and whether the registry says that it keeps the list of what refers
        to the manifest's subject itself.
        """
        headers = {"Content-Type": media_type}
        answer, _ = self._read(
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
            return self._read("GET", repository, path, headers={"Accept": INDEX_TYPE})[1]
        except RegistryMissingError:
            return None

    def uploads_url(self, repository: str) -> str:
        """Address that opens an upload."""
        return f"{self._base}{repository}/blobs/uploads/"

    def exchange(
        self,
        method: str,
        url: str,
        repository: str,
        *,
        headers: Mapping[str, str],
        content: Iterable[bytes] | bytes | None = None,
        timeout: httpx.Timeout = _TIMEOUT,
    ) -> httpx.Response:
        """One request, with what authorizes it; the answer's body is not read yet.

        Content that is no bytes may be iterated more than once, for redirects.
        Raises RegistryUnreachableError.
        """
        sent = dict(headers)
        if repository in self._authorization and httpx.URL(url).netloc.decode() == self.host:
            sent["Authorization"] = self._authorization[repository]
        request = self._client.build_request(
            method, url, headers=sent, content=content, timeout=timeout
        )
        try:
            return self._client.send(request, stream=True)
        except (httpx.HTTPError, ssl.SSLError) as error:
            raise self._unreachable(url, error) from error

    def read(self, answer: httpx.Response, limit: int, what: str) -> bytes:
        """An answer's body. Raises RegistryAnswerError when it is too long."""
        try:
            return read_bounded(answer, limit, f"{self.host}/{what}")
        except httpx.HTTPError as error:
            raise self._unreachable(str(answer.url), error) from error

    def said(self, answer: httpx.Response) -> bytes:
        """The words of a refusal, as far as they are short and can be read."""
        try:
            return read_bounded(answer, _SAID_LIMIT, self.host)
        except (httpx.HTTPError, RegistryAnswerError):
            return b""

    def _read(
        self, method: str, repository: str, path: str, **options: Any
    ) -> tuple[httpx.Response, bytes]:
        answer = self._send(method, repository, path, **options)
        return answer, self.read(answer, MANIFEST_LIMIT, f"{repository}: {path}")

    def _send(
        self,
        method: str,
        repository: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        """Send a request, authorized and repeated as needed. Raises RegistryError."""
        waits = iter(_WAITS_S if method in ("GET", "HEAD") else ())
        authorized = False
        url = f"{self._base}{repository}/{path}"
        while True:
            answer = self.exchange(method, url, repository, headers=headers or {}, content=content)
            if answer.is_success:
                return answer
            said = self.said(answer)
            if answer.status_code == httpx.codes.UNAUTHORIZED and not authorized:
                authorized = True
                if self.authorize(answer, repository):
                    continue
            if answer.status_code in _PASSING and (seconds := next(waits, None)) is not None:
                self._wait(seconds)
                continue
            raise self.refused(answer, said, repository)

    def authorize(self, answer: httpx.Response, repository: str) -> bool:
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
            raise self.refused(answer, answer.content, repository)
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

    def refused(self, answer: httpx.Response, content: bytes, repository: str) -> RegistryError:
        """The error for an answer that is not a success, with the words in it."""
        status = answer.status_code
        said = " ".join(content.decode(errors="replace").split())[:300]
        request = f"{answer.request.method} {answer.url.path}"
        what = f"{self.host}/{repository}: {request} was answered {status} {said}"
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


class _Channel:
    """One repository, for uploads."""

    def __init__(self, registry: Registry, repository: str) -> None:
        self._registry = registry
        self._repository = repository
        self.uploads = registry.uploads_url(repository)

    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: Iterable[bytes] | None,
        timeout: httpx.Timeout,
    ) -> tuple[httpx.Response, bytes]:
        answer = self._registry.exchange(
            method, url, self._repository, headers=headers, content=content, timeout=timeout
        )
        return answer, self._registry.said(answer)

    def authorize(self, answer: httpx.Response) -> bool:
        return self._registry.authorize(answer, self._repository)

    def refused(self, answer: httpx.Response, content: bytes) -> RegistryError:
        return self._registry.refused(answer, content, self._repository)

    def has(self, digest: str) -> bool:
        return self._registry.has_blob(self._repository, digest)


_ACCEPT = {"Accept": ", ".join(MANIFEST_TYPES)}


def _refuse_plain_http(request: httpx.Request) -> None:
    if request.url.scheme != "https" and not is_loopback(request.url.host):
        raise httpx.UnsupportedProtocol(f"plain HTTP to {request.url.host} is not used")


def _media_type(answer: httpx.Response) -> str:
    return str(answer.headers.get("Content-Type", "")).partition(";")[0].strip()


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
