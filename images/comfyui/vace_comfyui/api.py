"""The few calls of ComfyUI's HTTP API that this program makes, with the standard library.

Every answer is brought into the form that the callers need here, so that one of another form (a
proxy's page, another program on the port) is no answer, and never an accident elsewhere.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from vace_comfyui.settings import Settings


class NoAnswerError(Exception):
    """ComfyUI gave no usable answer.

    It is not listening, too slow, answers with a status that is no success, or in another form.
    """


@contextmanager
def expected(path: str) -> Iterator[None]:
    """Turns an answer of another form, met while it is read, into NoAnswerError."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise NoAnswerError(
            f"{path}: an answer of another form than ComfyUI's ({type(error).__name__}: {error})"
        ) from error


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


class Api:
    """A client with one connection and one deadline for all its calls."""

    def __init__(self, settings: Settings, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._seconds = seconds
        self._connection = http.client.HTTPConnection(settings.host, settings.port)

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

    def queue(self) -> Queue:
        """What runs and what waits. Raises NoAnswerError."""
        answer = self.get("/queue")
        with expected("/queue"):
            running, pending = (
                tuple(str(item[1]) for item in answer[part])
                for part in ("queue_running", "queue_pending")
            )
        return Queue(running, pending)

    def entry(self, prompt_id: str) -> dict[str, Any] | None:
        """A prompt's row in the history; None while there is none. Raises NoAnswerError."""
        path = f"/history/{prompt_id}"
        answer = self.get(path)
        with expected(path):
            found = answer.get(prompt_id)
            return None if found is None else dict(found)

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
            found = answer.get(name)
            return None if found is None else dict(found)

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
            data = answer.read()
            if answer.status != 200:
                text = data[:600].decode(errors="replace")
                raise NoAnswerError(f"{path}: status {answer.status} {text}")
            return json.loads(data) if data else None
        except TimeoutError as error:
            connection.close()
            raise NoAnswerError(f"{path}: not within {self._seconds:g} s") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            raise NoAnswerError(f"{path}: {error}") from error
