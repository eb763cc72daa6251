"""Network namespaces: create, remove, and run Python code inside one."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rehearsal.machine.errors import MachineError
from rehearsal.machine.tools import run

T = TypeVar("T")
FOLDER = Path("/run/netns")
_CLONE_NEWNET = 0x40000000  # linux/sched.h


def exists(name: str) -> bool:
    """Whether a network namespace of this name exists."""
    return (FOLDER / name).exists()


def names(prefix: str) -> list[str]:
    """Names of the network namespaces that start with ``prefix``."""
    return sorted(path.name for path in FOLDER.glob(f"{prefix}*")) if FOLDER.is_dir() else []


def create(name: str) -> None:
    """Make a namespace with only a loopback interface, which is up."""
    run("ip", "netns", "add", name)
    run("ip", "-n", name, "link", "set", "lo", "up")


def remove(name: str) -> None:
    """End every process in the namespace, then remove it with its interfaces and routes."""
    if not exists(name):
        return
    kill_processes(name)
    run("ip", "netns", "delete", name)


def processes(name: str) -> list[int]:
    """Ids of the processes whose network is this namespace."""
    return [int(pid) for pid in run("ip", "netns", "pids", name).split()]


def kill_processes(name: str, deadline_s: float = 5) -> None:
    """End the processes in the namespace and wait until they are gone."""
    deadline = time.monotonic() + deadline_s
    while remaining := processes(name):
        for pid in remaining:
            if pid != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise MachineError(f"processes {remaining} in namespace {name} survive SIGKILL")
        time.sleep(0.05)


def call(name: str, function: Callable[[], T]) -> T:
    """Result of ``function``, called in a thread whose network is the namespace ``name``.

    Sockets made there stay in that namespace, whichever thread uses them afterwards.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def enter_and_call() -> None:
        try:
            _enter(name)
            results.append(function())
        except BaseException as error:  # handed to the caller's thread
            errors.append(error)

    # Only this thread changes its namespace; it ends right after the call.
    thread = threading.Thread(target=enter_and_call, name=f"in {name}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _enter(name: str) -> None:
    # os.setns exists only since Python 3.12.
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(FOLDER / name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, f"cannot enter network namespace {name}: {os.strerror(number)}")
    finally:
        os.close(descriptor)
