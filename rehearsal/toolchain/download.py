"""Releases as their makers publish them, checked against the published checksums."""

from __future__ import annotations

import hashlib
import platform
import tarfile
import threading
import urllib.request
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path, PurePosixPath

from rehearsal.toolchain.errors import DownloadError

CONNECT_SECONDS = 5.0
"""A closed network often drops packets instead of refusing them; nobody should wait for that."""
READ_SECONDS = 60.0
CHUNK = 1 << 20
ARCHITECTURES = {"x86_64": "x64", "aarch64": "arm64"}


def architecture() -> str:
    """This machine's name in Pulumi's file names; DownloadError where there is no release."""
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in ARCHITECTURES:
        raise DownloadError(
            f"no release is taken for {platform.system()} on {machine}; "
            f"this project knows those for Linux on {' and '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[machine]


def go_architecture() -> str:
    """This machine's name in the file names of everybody else; DownloadError as above."""
    return {"x64": "amd64", "arm64": "arm64"}[architecture()]


def open_url(url: str, *, method: str = "GET", timeout: float = READ_SECONDS) -> HTTPResponse:
    """Starts a request; DownloadError for any address that is not HTTP."""
    if not url.startswith(("https://", "http://")):
        raise DownloadError(f"{url} is no web address; releases are fetched over HTTP only")
    request = urllib.request.Request(url, method=method)  # noqa: S310  # checked above
    response = urllib.request.urlopen(request, timeout=timeout)  # noqa: S310
    assert isinstance(response, HTTPResponse)  # noqa: S101  # no other scheme gets here
    return response


def read(url: str, *, deadline: float = CONNECT_SECONDS) -> bytes:
    """A small file, or DownloadError after `deadline` seconds in all."""

    def attempt() -> bytes:
        with open_url(url, timeout=deadline) as response:
            return response.read()

    return _within(deadline, url, attempt)


def reachable(url: str, *, deadline: float = CONNECT_SECONDS) -> str | None:
    """None if the server has `url` and says so within the deadline, else the reason."""

    def attempt() -> bytes:
        with open_url(url, method="HEAD", timeout=deadline):
            return b""

    try:
        _within(deadline, url, attempt)
    except DownloadError as error:
        return str(error)
    return None


def _within(deadline: float, url: str, attempt: Callable[[], bytes]) -> bytes:
    """Runs `attempt` aside, because looking up a name has no timeout of its own in Python."""
    outcome: list[bytes | Exception] = []

    def run() -> None:
        try:
            outcome.append(attempt())
        except (OSError, DownloadError) as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(deadline)
    result = outcome[0] if outcome else TimeoutError(f"no answer within {deadline:.0f} s")
    if isinstance(result, Exception):
        raise DownloadError(f"{url}: {result}") from result
    return result


def published_sum(listing: str, file_name: str) -> str:
    """The SHA-256 of `file_name` in a listing as `sha256sum` writes it."""
    for line in listing.splitlines():
        digest, _, name = line.strip().partition(" ")
        if name.strip().lstrip("*") == file_name:
            return digest.lower()
    raise DownloadError(
        f"the published checksums do not name {file_name}; without one the file is not used"
    )


def fetch(url: str, target: Path, sha256: str) -> None:
    """Downloads `url` to `target`, which exists afterwards only if its checksum is `sha256`."""
    digest = hashlib.sha256()
    partial = target.with_name(target.name + ".part")
    try:
        with (
            open_url(url) as response,
            partial.open("wb") as out,
        ):
            while chunk := response.read(CHUNK):
                digest.update(chunk)
                out.write(chunk)
        if digest.hexdigest() != sha256:
            raise DownloadError(
                f"{url} has SHA-256 {digest.hexdigest()}, published is {sha256}; "
                "the file was damaged or replaced on its way and is not used"
            )
        partial.rename(target)
    except OSError as error:
        raise DownloadError(f"{url}: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def download_pulumi(releases: str, version: str, target: Path) -> None:
    """Puts the programs of a Pulumi release into `target`/bin."""
    archive_name = f"pulumi-v{version}-linux-{architecture()}.tar.gz"
    listing = read(f"{releases}/pulumi-{version}-checksums.txt").decode(errors="replace")
    archive = target / archive_name
    fetch(f"{releases}/{archive_name}", archive, published_sum(listing, archive_name))
    unpack_programs(archive, target / "bin")
    archive.unlink()


def unpack_programs(archive: Path, target: Path) -> None:
    """Takes the files directly in the archive's `pulumi/` folder, and nothing else from it."""
    target.mkdir()
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if not member.isreg() or len(path.parts) != 2 or path.parts[0] != "pulumi":
                    continue
                source = tar.extractfile(member)
                if source is None or path.name in {"", ".", ".."}:
                    continue
                program = target / path.name
                with source, program.open("wb") as out:
                    while chunk := source.read(CHUNK):
                        out.write(chunk)
                program.chmod(0o755)
    except (tarfile.TarError, EOFError) as error:
        raise DownloadError(f"{archive.name} cannot be unpacked: {error}") from error
    if not (target / "pulumi").is_file():
        raise DownloadError(
            f"{archive.name} holds no pulumi/pulumi; the release has another layout"
        )
