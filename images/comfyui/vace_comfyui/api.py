"""The few calls of ComfyUI's HTTP API that this program makes, with the standard library."""

from __future__ import annotations

import http.client
import json
import time
from types import TracebackType
from typing import Any, Self

from vace_comfyui.settings import Settings


class NoAnswerError(Exception):
    """ComfyUI gave no usable answer: not listening, too slow, or a status that is no success."""


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
        """Decoded JSON of a GET. Raises NoAnswerError."""
        return self._call("GET", path, None)

    def post(self, path: str, document: dict[str, Any]) -> Any:
        """Decoded JSON of a POST; None for an empty answer. Raises NoAnswerError."""
        return self._call("POST", path, json.dumps(document).encode())

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


def busy(queue: dict[str, Any]) -> list[str]:
    """Ids of what runs and what waits, from the answer of /queue."""
    return [str(item[1]) for part in ("queue_running", "queue_pending") for item in queue[part]]
