"""How fast `vace-weights fetch` is: against `curl` then `sha256sum`, and against the machine.

    python benchmarks/images/fetch.py [--mebibytes 1024] [--rounds 5] [--folder DIR]

Everything runs in turn within each round, so that a busy moment hits all of them; medians are
compared. Result lines are `name value`, lines for people begin with `#`:

    fetch_ratio          curl + sha256sum, divided by the whole command (with interpreter start)
    fetch_engine_ratio   the same against the fetch itself, in a running interpreter
    fetch_limit_ratio    the fetch itself, divided by the slower of loopback and one SHA-256 stream;
                         1.2 means 20 % slower than the limit
    fetch_stored_limit_ratio  the same, where loopback also stores what it receives, as any fetch
                         must: one connection, plain writes, no hash, no sync
    fetch_bound_ratio    the least that fetch_limit_ratio can be here: server, receiver and hash
                         share the cores, so their processor time (of "loopback stored" and of one
                         SHA-256 stream), spread evenly over all cores, is a limit too. With the
                         server on another machine it would be smaller

The default folder is in memory where that holds three times the file, because the figure is about
the program; give a folder on a disk to see the disk in it. The fetch syncs its file to the disk
before the rename, curl does not; in memory a sync costs nothing, so there they are compared alike.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from vace_weights.fetch import Target, fetch
from vace_weights.manifest import SourceFile
from vace_weights.sources import Place

MEBIBYTE = 1024 * 1024
NAME = "weights.safetensors"


@contextlib.contextmanager
def file_server(folder: Path) -> Iterator[tuple[str, int]]:
    """The benchmark's server as a process; yields its URL and its number, and ends it."""
    program = Path(__file__).with_name("file_server.py")
    server = subprocess.Popen(
        [sys.executable, str(program), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if server.stdout is None:
            raise RuntimeError("the server has no output")
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/", server.pid
    finally:
        if server.stdin is not None:
            server.stdin.close()
        server.wait(timeout=10)


def timed(work: Callable[[], object]) -> float:
    """Seconds that the work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def processor_seconds(server: int) -> float:
    """What this process, its ended children and the server have used, user and system."""
    own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    # Behind the name in parentheses, which may hold spaces: see proc_pid_stat(5).
    fields = Path(f"/proc/{server}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    served = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return served + sum(usage.ru_utime + usage.ru_stime for usage in own)


def make_file(path: Path, mebibytes: int) -> str:
    """Write random bytes; returns their SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as stream:
        for _ in range(mebibytes):
            block = os.urandom(MEBIBYTE)
            digest.update(block)
            stream.write(block)
        stream.flush()
        os.fsync(stream.fileno())
    return digest.hexdigest()


def receive_all(url: str, size: int, target: Path | None = None) -> None:
    """Loopback alone: one connection, one large reused buffer; kept only with a target."""
    host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    view = memoryview(bytearray(MEBIBYTE))
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(target.open("wb", buffering=0)) if target else None
        connection = stack.enter_context(socket.create_connection((host, int(port))))
        connection.sendall(f"GET /{NAME} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        received = 0
        while received < size:
            count = connection.recv_into(view)
            if not count:
                raise RuntimeError("the server closed early")
            if stream is not None:
                stream.write(view[:count])
            received += count


def hash_all(path: Path) -> None:
    """One SHA-256 stream alone, over a file in the page cache."""
    view = memoryview(bytearray(MEBIBYTE))
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(view):
            digest.update(view[:count])


def run_quietly(command: list[str], environment: dict[str, str]) -> None:
    """Run a program that must succeed."""
    subprocess.run(command, check=True, capture_output=True, env=environment)


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


Seconds = dict[str, list[float]]
"""Of each contender, one value a round."""


def measure(folder: Path, mebibytes: int, rounds: int) -> tuple[Seconds, Seconds]:
    """Seconds on the clock and of the processors, of each contender."""
    served, size = folder / "served", mebibytes * MEBIBYTE
    served.mkdir()
    sha256 = make_file(served / NAME, mebibytes)
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    seconds: Seconds = {}
    processors: Seconds = {}
    with file_server(served) as (url, server):
        manifest = folder / "manifest.json"
        row = {
            "name": NAME,
            "folder": "vae",
            "size": size,
            "sha256": sha256,
            "licence": "none",
            "sources": [{"kind": "http", "url": url + NAME}],
            "derived": None,
        }
        manifest.write_text(json.dumps({"schema": 1, "files": [row]}))
        by_curl, by_command, by_engine, by_receiving = (
            folder / name for name in ("curl", "command", "engine", "received")
        )
        command = [sys.executable, "-m", "vace_weights", "fetch", "--to", str(by_command)]
        target = Target(
            SourceFile(NAME, size, sha256, ()), by_engine / NAME, (Place("http", url=url + NAME),)
        )

        def engine() -> None:
            fetch([target], by_engine)

        def curl() -> None:
            run_quietly(["curl", "-sSf", "-o", str(by_curl), url + NAME], environment)

        def checksum() -> None:
            run_quietly(["sha256sum", str(by_curl)], environment)

        def whole_command() -> None:
            run_quietly([*command, "--manifest", str(manifest)], environment)

        contenders: dict[str, Callable[[], None]] = {
            "curl": curl,
            "sha256sum": checksum,
            "fetch command": whole_command,
            "fetch engine": engine,
            "loopback": lambda: receive_all(url, size),
            "loopback stored": lambda: receive_all(url, size, by_receiving),
            "sha256 stream": lambda: hash_all(served / NAME),
        }
        # Removed at once, so that each contender finds the same free memory.
        results = {
            "sha256sum": [by_curl],
            "fetch command": [by_command],
            "fetch engine": [by_engine],
            "loopback stored": [by_receiving],
        }
        for number in range(1, rounds + 1):
            sys.stderr.write(f"fetch: round {number} of {rounds}\n")
            for name, work in contenders.items():
                before = processor_seconds(server)
                seconds.setdefault(name, []).append(timed(work))
                processors.setdefault(name, []).append(processor_seconds(server) - before)
                for result in results.get(name, ()):
                    remove(result)
    return seconds, processors


def choose_folder(given: Path | None, needed: int) -> Path:
    """The folder to work in: the one given, memory where it is large enough, or the system's."""
    if given is not None:
        return given
    memory = Path("/dev/shm")  # noqa: S108 - a private folder is made in it
    if memory.is_dir() and shutil.disk_usage(memory).free > needed:
        return memory
    return Path(tempfile.gettempdir())


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    base = choose_folder(options.folder, 3 * options.mebibytes * MEBIBYTE)
    with tempfile.TemporaryDirectory(prefix="fetch-benchmark-", dir=base) as name:
        seconds, processors = measure(Path(name), options.mebibytes, options.rounds)
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    used = {key: statistics.median(values) for key, values in processors.items()}
    gibibytes = options.mebibytes / 1024
    print(f"# {gibibytes:g} GiB in {base}, {os.cpu_count()} cores, {options.rounds} rounds")
    for key, values in seconds.items():
        print(
            f"# {key:<15} median {medians[key]:.3f} s ({gibibytes / medians[key]:.2f} GiB/s), "
            f"from {min(values):.3f} to {max(values):.3f}, processors {used[key]:.3f} s"
        )
    by_tools = medians["curl"] + medians["sha256sum"]
    limit = max(medians["loopback"], medians["sha256 stream"])
    print(f"fetch_ratio {by_tools / medians['fetch command']:.2f}")
    print(f"fetch_engine_ratio {by_tools / medians['fetch engine']:.2f}")
    print(f"fetch_limit_ratio {medians['fetch engine'] / limit:.2f}")
    stored_limit = max(medians["loopback stored"], medians["sha256 stream"])
    print(f"fetch_stored_limit_ratio {medians['fetch engine'] / stored_limit:.2f}")
    shared = (used["loopback stored"] + used["sha256 stream"]) / len(os.sched_getaffinity(0))
    print(f"fetch_bound_ratio {max(limit, shared) / limit:.2f}")


if __name__ == "__main__":
    main()
