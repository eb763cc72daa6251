"""Programs, files, locks and log lines: everything that touches the host directly."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import subprocess
import sys
import syslog
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from .errors import CommandError, NodeError

_SECRETS = (
    re.compile(r"-----BEGIN [^-]*PRIVATE KEY-----.*?(?:-----END [^-]*PRIVATE KEY-----|\Z)", re.S),
    re.compile(r"\b(?:LTAI|STS\.)[A-Za-z0-9]{8,}"),
    re.compile(r"(?i)\bbearer\s+[A-Za-z0-9._~+/=-]+"),
    re.compile(
        r"(?i)(?<=[\"' &?;,{])(?:access_?key_?secret|security_?token|api_?token|token|password|"
        r"signature)[\"']?\s*[=:]\s*[\"']?[^\s\"'&,}]+"
    ),
)


def redact(text: str, known: Sequence[str] = ()) -> str:
    """`text` without key material: the `known` secrets, and whatever has a secret's form."""
    for secret in known:
        if secret:
            text = text.replace(secret, "[redacted]")
    for pattern in _SECRETS:
        text = pattern.sub("[redacted]", text)
    return text


def log(message: str) -> None:
    """Write a line for the operator. It reaches the journal also when a person runs the agent."""
    message = redact(message)
    print(message, file=sys.stderr, flush=True)
    if not _to_journal():
        syslog.openlog("vace-node")
        for line in message.splitlines():
            syslog.syslog(line)


def _to_journal() -> bool:
    # systemd names the stream; a child that got another stderr inherits the variable, too.
    found = os.fstat(sys.stderr.fileno())
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def run(
    argv: Sequence[str],
    *,
    timeout: float = 120,
    check: bool = True,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program and return its result; stderr is joined to stdout.

    `on_line` gets each line of output as it comes. No secret may be in `argv`: it is visible to
    every process and is part of the error message.
    Raises CommandError when it cannot be started, runs longer than `timeout` seconds or, with
    `check`, exits with a status other than 0.
    """
    lines: list[str] = []
    deadline = time.monotonic() + timeout
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            )
        except OSError as error:
            raise CommandError(
                f"{argv[0]} could not be started: {error}", status=None, output=""
            ) from error
        # A file instead of a pipe: a daemon that inherits the output cannot make us wait for it.
        with Path(f"/proc/self/fd/{output.fileno()}").open(errors="replace") as reader:
            ended = late = False
            while not ended:
                try:
                    process.wait(timeout=min(0.5, max(0.01, deadline - time.monotonic())))
                    ended = True
                except subprocess.TimeoutExpired:
                    if time.monotonic() >= deadline:
                        process.kill()
                        process.wait()
                        ended = late = True
                fresh = reader.readlines()
                lines += fresh
                if on_line:
                    for line in fresh:
                        on_line(line.rstrip())
    text = "".join(lines)
    if late:
        raise CommandError(
            f"{' '.join(argv)} did not end within {timeout:.0f} s. Last output: {_tail(text)}",
            status=None,
            output=text,
        )
    if check and process.returncode:
        raise CommandError(
            f"{' '.join(argv)} failed with status {process.returncode}: {_tail(text)}",
            status=process.returncode,
            output=text,
        )
    return subprocess.CompletedProcess(list(argv), process.returncode, text, "")


def _tail(text: str, count: int = 8) -> str:
    return redact("\n".join(text.strip().splitlines()[-count:])) or "(no output)"


def write_file(
    path: Path, content: str | bytes, *, mode: int = 0o644, uid: int = 0, gid: int = 0
) -> bool:
    """Put `content` at `path` atomically, durable across a crash; True when anything changed."""
    data = content.encode() if isinstance(content, str) else content
    with contextlib.suppress(FileNotFoundError):
        found = path.stat()
        same_owner = (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (uid, gid, mode)
        if same_owner and path.read_bytes() == data:
            return False
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(descriptor, mode)
            os.fchown(descriptor, uid, gid)
            file.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return True


def fingerprint(*parts: str | bytes) -> str:
    """SHA-256 over the parts; tells whether what runs is what is wanted."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def boot_id(path: Path = Path("/run/vace-boot-id")) -> str:
    """An id of this boot, by which state of an earlier boot is recognised.

    It is made at the first call and lies in /run, which is empty after a boot. The kernel's own
    id would do for a virtual machine only: containers share it with their host.
    """
    made = path.with_name(f".{path.name}.{os.getpid()}")
    if not path.exists():
        made.write_text(uuid.uuid4().hex)
        with contextlib.suppress(FileExistsError):  # another process was first
            path.hardlink_to(made)
        made.unlink()
    return path.read_text()


@contextlib.contextmanager
def exclusive(path: Path, *, wait: float) -> Iterator[None]:
    """Hold the lock file `path`; the kernel releases it even when the process is killed.

    Raises NodeError when another process keeps it for `wait` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        deadline = time.monotonic() + wait
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                if time.monotonic() >= deadline:
                    raise NodeError(
                        f"another run of vace-node (process {holder}) has held {path} for more "
                        f"than {wait:.0f} s. Look at it with: vace-node status"
                    ) from None
                if not told:
                    log(f"another run of vace-node (process {holder}) is at work; waiting for it")
                    told = True
                time.sleep(0.5)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
