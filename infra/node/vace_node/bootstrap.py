"""First program on a node: fetches the agent from the deployment's bucket and installs it.

User data is small, so it carries only this module and what it imports. The agent is taken with
the node's role, and used only if it is the one that the user data names by its hash.

One call tries for a while and then fails with its reason; vace-bootstrap.service calls again.
"""

from __future__ import annotations

import base64
import bz2
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .cloud import Credentials, Metadata, request, wait_for_role
from .errors import CloudError
from .signing import sign_oss4

SOURCE_FILE = Path("/etc/vace/agent.json")
FOLDER = Path("/usr/local/lib/vace")
PATIENCE = 60.0
"""Seconds of one try; role, permissions and object may come later than the machine."""


@dataclass(frozen=True)
class Source:
    """Where the agent is. `endpoint` is a URL without the bucket, `sha256` hexadecimal."""

    region: str
    endpoint: str
    bucket: str
    key: str
    sha256: str


def fetch(source: Source, credentials: Credentials) -> bytes:
    """The object's bytes, unchecked. Raises CloudError."""
    headers = {
        "x-oss-date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
        "x-oss-content-sha256": "UNSIGNED-PAYLOAD",
        "x-oss-security-token": credentials.security_token,
    }
    headers["Authorization"] = sign_oss4(
        "GET",
        source.bucket,
        source.key,
        headers,
        region=source.region,
        access_key_id=credentials.access_key_id,
        access_key_secret=credentials.access_key_secret,
    )
    scheme, _, host = source.endpoint.partition("://")
    url = f"{scheme}://{source.bucket}.{host}/{source.key}"
    answer = request("GET", url, headers)
    if answer.status != 200:
        # Without the ids, which differ in every answer.
        told = re.search(rb"<Code>([^<]*)</Code>\s*<Message>([^<]*)", answer.body)
        said = b": ".join(told.groups()) if told else answer.body[:300]
        raise CloudError(
            f"OSS answered {answer.status} for {source.key} in {source.bucket}: "
            f"{said.decode(errors='replace')}",
            code=f"HTTP {answer.status}",
        )
    return answer.body


def unpack(body: bytes, sha256: str) -> dict[str, str]:
    """The agent's files, name -> text. Raises CloudError when `body` is not the named object."""
    found = hashlib.sha256(body).hexdigest()
    if found != sha256:
        raise CloudError(
            f"the agent has sha256 {found}, and the user data names {sha256}. It was changed after "
            "the deployment; nothing of it was run. Deploy again.",
            permanent=True,
        )
    sources: dict[str, str] = json.loads(bz2.decompress(base64.b85decode(body)))
    return sources


def obtain(
    source: Source,
    credentials: Callable[[], Credentials],
    *,
    download: Callable[[Source, Credentials], bytes] = fetch,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, str]:
    """The agent's files, checked; tries for PATIENCE seconds. Raises CloudError.

    Reasons for another try are said once as long as they do not change.
    """
    deadline = clock() + PATIENCE
    said = ""
    while True:
        try:
            return unpack(download(source, credentials()), source.sha256)
        except CloudError as error:
            if error.permanent or clock() >= deadline:
                raise
            if str(error) != said:
                said = str(error)
                print(f"vace-node bootstrap: trying again: {said}", file=sys.stderr, flush=True)
            sleep(3)


def write_archive(path: Path, sources: dict[str, str]) -> None:
    """One file that Python runs: a zip archive of the agent's modules. Never there in part."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(b"#!/usr/bin/python3\n")
        with zipfile.ZipFile(file, "w") as archive:
            for name, text in sources.items():
                archive.writestr(name, text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def main() -> int:
    """Fetch, check, install; the exit status."""
    source = Source(**json.loads(SOURCE_FILE.read_text()))
    metadata = Metadata()
    archive = FOLDER / "vace-node.pyz"
    try:
        sources = obtain(source, lambda: wait_for_role(metadata, patience=PATIENCE))
    except CloudError as error:
        print(f"vace-node bootstrap: {error}", file=sys.stderr)
        return 1
    write_archive(archive, sources)
    return subprocess.run([sys.executable, str(archive), "install"], check=False).returncode
