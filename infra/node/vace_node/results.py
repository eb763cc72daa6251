"""Finished files of /data/comfyui/output go to OSS, so that they outlive the machine.

A file is finished when neither size nor time changed for a while. What was uploaded is noted on
the data disk itself (name, size, time), so another machine with this disk does not repeat it.
Files stay on the disk; only when it is nearly full, the oldest uploaded ones are removed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import mimetypes
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlsplit

from .cloud import Answer, Credentials, request
from .disk import COMFYUI, MOUNT_POINT
from .errors import CloudError, NodeError
from .settings import ResultsSettings
from .signing import sign_oss4
from .system import log, write_file

OUTPUT = COMFYUI / "output"
RECORD = MOUNT_POINT / "uploaded-results.json"
QUIET_SECONDS = 10
MAX_BYTES = 5 * 1024**3  # of one PutObject
FULL, ENOUGH = 0.85, 0.80


@dataclass(frozen=True)
class Result:
    """A file below the output folder. `name` is relative; `modified` in whole nanoseconds."""

    name: str
    size: int
    modified: int

    @property
    def stamp(self) -> list[int]:
        return [self.size, self.modified]


def object_key(prefix: str, result: Result) -> str:
    """<prefix><date>/<folders>/<time>-<file name>, in UTC.

    The time keeps two files apart that had the same name one after the other.
    """
    moment = time.gmtime(result.modified // 10**9)
    folder, _, name = result.name.rpartition("/")
    day = time.strftime("%Y-%m-%d", moment)
    return f"{prefix}{day}/{folder + '/' if folder else ''}{time.strftime('%H%M%S', moment)}-{name}"


def to_upload(
    files: Sequence[Result], uploaded: Mapping[str, list[int]], now: float
) -> list[Result]:
    """The files to upload, oldest first: not empty, quiet for a while, and new or changed."""
    return sorted(
        (
            file
            for file in files
            if file.size
            and now - file.modified / 1e9 >= QUIET_SECONDS
            and uploaded.get(file.name) != file.stamp
        ),
        key=lambda file: file.modified,
    )


def to_remove(
    files: Sequence[Result], uploaded: Mapping[str, list[int]], *, used: int, capacity: int
) -> list[Result]:
    """The files to delete from a nearly full disk: uploaded unchanged, oldest first."""
    if used <= capacity * FULL:
        return []
    chosen = []
    for file in sorted(files, key=lambda file: file.modified):
        if used <= capacity * ENOUGH:
            break
        if uploaded.get(file.name) == file.stamp:
            chosen.append(file)
            used -= file.size
    return chosen


class Bucket:
    """Writes objects. `endpoint` is https://<host> of the region, without the bucket's name."""

    def __init__(
        self,
        settings: ResultsSettings,
        region: str,
        credentials: Callable[[], Credentials],
        *,
        virtual_host: bool = True,
    ) -> None:
        parts = urlsplit(settings.endpoint)
        host = f"{settings.bucket}.{parts.netloc}" if virtual_host else parts.netloc
        self._base = f"{parts.scheme}://{host}" + ("" if virtual_host else f"/{settings.bucket}")
        self._bucket = settings.bucket
        self._region = region
        self._credentials = credentials

    def put(self, key: str, file: BinaryIO, size: int) -> None:
        """Upload `size` bytes of an open file, encrypted at rest. Raises CloudError.

        OSS compares the body with Content-MD5, so a file that is still being written, or
        damaged on its way, is not stored.
        """
        if size > MAX_BYTES:
            raise CloudError(f"it has {size} bytes; one upload takes {MAX_BYTES} at most")
        digest = hashlib.md5(usedforsecurity=False)
        while block := file.read(1 << 20):
            digest.update(block)
        if file.tell() != size:
            raise CloudError("the file changed while it was read; it is tried again later")
        file.seek(0)
        keys = self._credentials()
        headers = {
            "content-type": mimetypes.guess_type(key)[0] or "application/octet-stream",
            "content-md5": base64.b64encode(digest.digest()).decode(),
            "x-oss-date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
            "x-oss-content-sha256": "UNSIGNED-PAYLOAD",
            "x-oss-security-token": keys.security_token,
            "x-oss-server-side-encryption": "AES256",
        }
        headers["Authorization"] = sign_oss4(
            "PUT",
            self._bucket,
            key,
            headers,
            region=self._region,
            access_key_id=keys.access_key_id,
            access_key_secret=keys.access_key_secret,
        )
        headers["content-length"] = str(size)
        answer = request("PUT", f"{self._base}/{quote(key)}", headers, body=file, timeout=60)
        if answer.status != 200:
            raise CloudError(self._refusal(key, keys.role, answer), code=f"HTTP {answer.status}")

    def _refusal(self, key: str, role: str, answer: Answer) -> str:
        text = answer.body.decode(errors="replace")
        code, message = (_element(text, name) for name in ("Code", "Message"))
        advice = ""
        if code == "AccessDenied":
            advice = f" Let a policy of role {role} allow oss:PutObject on {self._bucket}/{key}."
        elif code == "NoSuchBucket":
            advice = " The deployment tool makes it; was it deleted?"
        return f"PutObject {self._bucket}/{key} got {answer.status} {code}: {message}{advice}"


def _element(xml: str, name: str) -> str:
    return xml.partition(f"<{name}>")[2].partition(f"</{name}>")[0][:300]


def scan(folder: Path = OUTPUT) -> list[Result]:
    """Every plain file below `folder` whose name does not begin with a dot."""
    return [result for result, _ in _walk(folder)]


def _walk(folder: Path) -> Iterator[tuple[Result, Callable[[int], int]]]:
    # By directory descriptors and without following links: ComfyUI owns these folders, and a
    # link in them must not make root read or delete a file elsewhere.
    for path, folders, names, descriptor in os.fwalk(folder, follow_symlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith("."):
                continue
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                continue
            relative = str(Path(path, name).relative_to(folder))
            yield Result(relative, found.st_size, found.st_mtime_ns), _opener(name, descriptor)


def _opener(name: str, descriptor: int) -> Callable[[int], int]:
    return lambda flags: os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)


def load_record(path: Path = RECORD) -> dict[str, list[int]]:
    """name -> [size, time] of what was uploaded; empty when there is no readable record."""
    try:
        document = json.loads(path.read_text())
        return {name: [int(part) for part in stamp] for name, stamp in document.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        log(f"{path} is damaged ({error}); everything is uploaded again")
        return {}


def disk_usage(folder: Path) -> tuple[int, int]:
    """Bytes that are not available on a folder's disk, and its capacity."""
    space = os.statvfs(folder)
    capacity = space.f_blocks * space.f_frsize
    return capacity - space.f_bavail * space.f_frsize, capacity


def upload_new(
    bucket: Bucket,
    prefix: str,
    *,
    folder: Path = OUTPUT,
    record: Path = RECORD,
    now: Callable[[], float] = time.time,
    usage: Callable[[Path], tuple[int, int]] = disk_usage,
) -> str:
    """Upload what is new, then make room when the disk is nearly full; returns a summary.

    Raises NodeError when an upload failed; the others are done all the same.
    """
    if not folder.is_dir():
        return f"{folder} does not exist yet"
    uploaded = load_record(record)
    files = scan(folder)
    wanted = {file.name: file for file in to_upload(files, uploaded, now())}
    done, failures = 0, []
    for file, opener in _walk(folder):
        if wanted.get(file.name) != file:
            continue
        try:
            with os.fdopen(opener(os.O_RDONLY), "rb") as stream:
                bucket.put(object_key(prefix, file), stream, file.size)
        except (OSError, CloudError) as error:
            failures.append(f"{file.name}: {error}")
            continue
        uploaded[file.name] = file.stamp
        # After each: a run that is killed repeats one file, not all.
        write_file(record, json.dumps(uploaded), mode=0o600)
        done += 1
        log(f"uploaded {file.name} ({file.size} bytes)")
    used, capacity = usage(folder)
    doomed = to_remove(files, uploaded, used=used, capacity=capacity)
    removed = _remove(folder, {file.name for file in doomed})
    kept = {file.name for file in files} - removed
    left = {name: stamp for name, stamp in uploaded.items() if name in kept}
    if left != uploaded:
        write_file(record, json.dumps(left), mode=0o600)
    if failures:
        raise NodeError(
            f"{len(failures)} of {len(wanted)} results were not uploaded; the timer tries again. "
            f"The first: {failures[0]}"
        )
    return f"{done} uploaded, {len(removed)} removed, {len(kept)} on the disk"


def _remove(folder: Path, chosen: set[str]) -> set[str]:
    for path, _, names, descriptor in os.fwalk(folder, follow_symlinks=False):
        for name in names:
            if str(Path(path, name).relative_to(folder)) in chosen:
                os.unlink(name, dir_fd=descriptor)
                log(f"removed {name}: it is in the bucket and the disk is nearly full")
    return chosen
