"""The few calls of ComfyUI's HTTP API that this program makes, with the standard library.

Every answer is brought into the form that the callers need here, so that one of another form (a
proxy's page, another program on the port) is no answer, and never an accident elsewhere.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from vace_comfyui.settings import Settings

LIMIT_BYTES = 64 * 1024 * 1024
"""Largest answer that is taken: a queue of hundreds of prompts is far below."""


class NoAnswerError(Exception):
    """ComfyUI gave no usable answer.

    It is not listening, too slow, answers with a status that is no success, or in another form.
    """


_Json = TypeVar("_Json", dict[str, Any], list[Any], str)
_NAMES = {dict: "an object", list: "a list", str: "a text"}


@contextmanager
def expected(path: str) -> Iterator[None]:
    """Turns an answer of another form, met while it is read, into NoAnswerError."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise NoAnswerError(
            f"{path}: an answer of another form than ComfyUI's ({type(error).__name__}: {error})"
        ) from error


def _of(kind: type[_Json], value: Any) -> _Json:
    """The value, if JSON gave it that type. Raises TypeError."""
    if not isinstance(value, kind):
        raise TypeError(f"{_NAMES[kind]} was expected, and {_short(value)} came")
    return value


def _short(value: Any) -> str:
    """The beginning of what came, on one line, for a message."""
    text = value if isinstance(value, str) else json.dumps(value)
    return repr(text if len(text) <= 120 else text[:120] + " …")


@dataclass(frozen=True)
class Queue:
    """Ids of the prompts that run and of those that wait."""

    running: tuple[str, ...]
    pending: tuple[str, ...]

    @property
    def busy(self) -> tuple[str, ...]:
        """What runs and what waits."""
        return self.running + self.pending


@dataclass(frozen=True)
class Failure:
    """A prompt's recorded error: the exception's type, its message, and when (Unix time, s)."""

    kind: str
    message: str
    at: float


class _Socket(socket.socket):
    """A socket whose reads end at a deadline, however many small pieces the answer comes in."""

    deadline: float

    def recv_into(self, *arguments: Any) -> int:
        """As a plain socket's. Raises TimeoutError at the deadline."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.settimeout(left)
        return super().recv_into(*arguments)


class _Connection(http.client.HTTPConnection):
    """A connection with one deadline (monotonic, s) for everything that is read from it."""

    def __init__(self, host: str, port: int, deadline: float) -> None:
        super().__init__(host, port)
        self._deadline = deadline

    def connect(self) -> None:
        """Connect in the time that is left. Raises OSError."""
        plain = socket.create_connection((self.host, self.port), self.timeout)
        self.sock = _Socket(fileno=plain.detach())
        self.sock.deadline = self._deadline


class Api:
    """A client with one connection and one deadline for all its calls."""

    def __init__(self, settings: Settings, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._seconds = seconds
        self._connection = _Connection(settings.host, settings.port, self._deadline)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def get(self, path: str) -> Any:
        """Decoded JSON of a GET, of whatever form. Raises NoAnswerError."""
        return self._call("GET", path, None)

    def post(self, path: str, document: dict[str, Any]) -> Any:
        """Decoded JSON of a POST; None for an empty answer. Raises NoAnswerError."""
        return self._call("POST", path, json.dumps(document).encode())

    def alive(self) -> None:
        """Ask for `/system_stats`. Raises NoAnswerError where no ComfyUI answers."""
        answer = self.get("/system_stats")
        with expected("/system_stats"):
            _of(dict, answer)["system"]

    def queue(self) -> Queue:
        """What runs and what waits. Raises NoAnswerError."""
        answer = self.get("/queue")
        with expected("/queue"):
            running, pending = (
                tuple(_of(str, _of(list, item)[1]) for item in _of(list, _of(dict, answer)[part]))
                for part in ("queue_running", "queue_pending")
            )
        return Queue(running, pending)

    def entry(self, prompt_id: str) -> dict[str, Any] | None:
        """A prompt's row in the history; None while there is none. Raises NoAnswerError."""
        path = f"/history/{prompt_id}"
        answer = self.get(path)
        with expected(path):
            found = _of(dict, answer).get(prompt_id)
            return None if found is None else _of(dict, found)

    def failures(self, entries: int) -> list[Failure]:
        """Errors of the last prompts in the history. Raises NoAnswerError."""
        path = f"/history?max_items={entries}"
        answer = self.get(path)
        with expected(path):
            return [
                Failure(
                    str(data["exception_type"]),
                    str(data["exception_message"]),
                    float(data["timestamp"]) / 1000,
                )
                for row in answer.values()
                # ComfyUI records a null status where it knows none.
                for name, data in (row.get("status") or {}).get("messages", ())
                if name == "execution_error"
            ]

    def node(self, name: str) -> dict[str, Any] | None:
        """Description of a node class; None when ComfyUI has none. Raises NoAnswerError."""
        path = f"/object_info/{name}"
        answer = self.get(path)
        with expected(path):
            found = _of(dict, answer).get(name)
            return None if found is None else _of(dict, found)

    def _call(self, method: str, path: str, body: bytes | None) -> Any:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise NoAnswerError(f"{path}: not within {self._seconds:g} s")
        connection = self._connection
        connection.timeout = left
        if connection.sock is not None:
            connection.sock.settimeout(left)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            data = answer.read(LIMIT_BYTES + 1)
            if len(data) > LIMIT_BYTES:
                raise NoAnswerError(f"{path}: an answer of more than {LIMIT_BYTES} bytes")
            if answer.length:
                raise http.client.IncompleteRead(data, answer.length)
        except TimeoutError as error:
            connection.close()
            raise NoAnswerError(f"{path}: not within {self._seconds:g} s") from error
        except OSError as error:
            connection.close()
            raise NoAnswerError(f"{path}: {error}") from error
        except http.client.HTTPException as error:
            connection.close()
            raise NoAnswerError(
                f"{path}: no whole answer in HTTP ({type(error).__name__}: {_short(str(error))})"
            ) from error
        if answer.status != 200:
            text = " ".join(data[:600].decode(errors="replace").split())
            raise NoAnswerError(f"{path}: status {answer.status} {text}")
        try:
            return json.loads(data) if data else None
        # The parser's own depth is exceeded by brackets within brackets.
        except (ValueError, RecursionError) as error:
            came = _short(data[:200].decode(errors="replace"))
            raise NoAnswerError(f"{path}: status 200, but no JSON ({error}): {came}") from error
