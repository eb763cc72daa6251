"""The control interface: a Unix socket (``SIM_CONTROL``), one JSON object a line in and out.

| line in                         | effect                                                    |
| ------------------------------- | --------------------------------------------------------- |
| ``{"fault": "stall:step=2"}``   | this fault from now on, whatever file or environment say  |
| ``{"fault": null}``             | no fault from now on                                      |
| ``{"status": true}``            | changes nothing                                           |
| ``{"restart": true}``           | as a restart of the process: queue, history, cache and    |
|                                 | temporary files are gone, WebSockets are cut              |
| ``{"restart": {"seconds": 2}}`` | the same, and every connection is cut for so long         |

Every answer is the state: ``{"ok": true, "fault": ..., "hits": 0, "running": [ids], "pending":
[ids], "history": 0}``, or ``{"ok": false, "error": "..."}``. The file of the socket is for its
owner only (mode 0600). It is no part of the HTTP server: whoever reaches the port cannot use it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from rehearsal.comfyui.faults import FaultError
from rehearsal.comfyui.simulation import SIMULATION, Simulation

COMMANDS = ("fault", "status", "restart")
LONGEST_OUTAGE_SECONDS = 3600.0


class ControlError(ValueError):
    """A line that cannot be obeyed."""


class Outage:
    """Until when the server cuts every connection."""

    def __init__(self) -> None:
        self._until = 0.0

    def begin(self, seconds: float) -> None:
        """The server is away from now on."""
        self._until = time.monotonic() + seconds

    def __bool__(self) -> bool:
        return time.monotonic() < self._until


def restart(simulation: Simulation) -> None:
    """Forget everything that a new process would not know, and cut the WebSockets."""
    simulation.queue.forget()
    simulation.executor.abandon()
    simulation.next_number = 0
    simulation.hub.cut()
    for entry in simulation.folders.temp.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


class Control:
    """Obeys lines; one for each server."""

    def __init__(self, simulation: Simulation, outage: Outage) -> None:
        self._simulation = simulation
        self._outage = outage

    def obey(self, line: bytes) -> dict[str, Any]:
        """The answer to one line."""
        try:
            self._do(line)
        except (ControlError, FaultError) as error:
            return {"ok": False, "error": str(error)}
        return {"ok": True, **self._state()}

    def _do(self, line: bytes) -> None:
        try:
            order = json.loads(line)
        except ValueError:
            order = None
        if not isinstance(order, dict) or len(order) != 1 or next(iter(order)) not in COMMANDS:
            raise ControlError(
                f"{line[:80]!r} is no order. Allowed is one JSON object a line with one of the "
                f"keys {', '.join(COMMANDS)}, as one order is one change. Send for example "
                '{"status": true}.'
            )
        ((command, value),) = order.items()
        if command == "fault":
            if value is not None and not isinstance(value, str):
                raise ControlError(
                    f"fault {value!r} cannot be used: allowed is a line as in SIM_FAULT, or null. "
                    'Send for example {"fault": "stall:step=2"}.'
                )
            self._simulation.executor.faults.order(value)
        elif command == "restart":
            self._restart(value)

    def _restart(self, value: Any) -> None:
        seconds = value.get("seconds") if isinstance(value, dict) else 0 if value is True else None
        if (
            not isinstance(seconds, int | float)
            or isinstance(seconds, bool)
            or not 0 <= seconds <= LONGEST_OUTAGE_SECONDS
        ):
            raise ControlError(
                f"restart {value!r} cannot be used: allowed is true or "
                f'{{"seconds": 0 to {LONGEST_OUTAGE_SECONDS:g}}}, how long the server is away. '
                "Send one of these."
            )
        self._outage.begin(float(seconds))
        restart(self._simulation)

    def _state(self) -> dict[str, Any]:
        fault, hits = self._simulation.executor.faults.state()
        running, pending = self._simulation.queue.listing()
        return {
            "fault": fault.line() if fault is not None else None,
            "hits": hits,
            "running": [item[1] for item in running],
            "pending": [item[1] for item in pending],
            "history": len(self._simulation.queue.history()),
        }

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        # ValueError: a line that is longer than the reader's limit; the connection then ends.
        with contextlib.suppress(ConnectionError, ValueError):
            while line := await reader.readline():
                writer.write(json.dumps(self.obey(line)).encode() + b"\n")
                await writer.drain()
        writer.close()


def _bound(path: Path) -> socket.socket:
    """A listening socket; one that a dead process left behind is replaced.

    Raises:
        OSError: another process listens there, or another kind of file is there.
    """
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise OSError(f"SIM_CONTROL {path} is in use by another process")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # On Linux a socket's file takes over these bits, so it is never open to others.
        os.fchmod(listener.fileno(), stat.S_IRUSR | stat.S_IWUSR)
        listener.bind(str(path))
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    except OSError:
        listener.close()
        raise
    return listener


async def serve(app: web.Application, outage: Outage) -> AsyncIterator[None]:
    """Listen while the application runs, if the settings name a socket."""
    simulation = app[SIMULATION]
    path = simulation.settings.control
    if path is None:
        yield
        return
    control = Control(simulation, outage)
    server = await asyncio.start_unix_server(control.talk, sock=_bound(path))
    yield
    server.close()
    path.unlink(missing_ok=True)
