"""ComfyUI's event stream (GET /ws) as a synchronous WebSocket."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import connect

from smoke_tests.comfy_client import protocol
from smoke_tests.comfy_client.deadline import Deadline
from smoke_tests.comfy_client.errors import NotComfyUI, Unreachable
from smoke_tests.comfy_client.target import Target, is_loopback
from smoke_tests.comfy_client.transport import CONNECT_S, connection_problem

MAX_MESSAGE = 16 << 20  # previews are binary messages of full frames; 1 MiB, the default, is short
CLOSE_S = 2.0  # how long to wait for the peer's goodbye; nothing depends on it


class EventStream:
    """One open event stream; `receive` until it returns None.

    Raises (constructor):
        WrongToken, WrongCertificate, NotReady, NotComfyUI, Unreachable: it could not be opened.
    """

    def __init__(self, target: Target, client_id: str, deadline: Deadline) -> None:
        what = "GET /ws"
        deadline.check(f"opening {what}")
        self._stack = contextlib.ExitStack()
        try:
            self._socket = self._stack.enter_context(
                connect(
                    f"{target.websocket_url}?clientId={client_id}",
                    ssl=target.ssl_context(),
                    additional_headers=target.headers(),
                    proxy=None if is_loopback(target.url) else True,
                    open_timeout=min(CONNECT_S, deadline.remaining()),
                    close_timeout=CLOSE_S,
                    max_size=MAX_MESSAGE,
                )
            )
        except InvalidStatus as error:
            response = error.response
            answer = protocol.Answer(
                what,
                response.status_code,
                {name.lower(): value for name, value in response.headers.raw_items()},
                bytes(response.body or b""),
            )
            raise protocol.problem(answer) from error
        except InvalidHandshake as error:
            raise NotComfyUI(f"{what} did not become a WebSocket: {error}.") from error
        except TimeoutError as error:
            raise Unreachable(f"{target.url} did not open {what} in time.") from error
        except (OSError, EOFError) as error:
            raise connection_problem(target, what, error) from error

    def receive(self, timeout_s: float) -> list[dict[str, Any]] | None:
        """Messages that arrived within `timeout_s` seconds; None when the stream has ended.

        Binary messages are previews, they and anything that is no JSON object are skipped.
        """
        try:
            text = self._socket.recv(timeout=max(0.0, timeout_s))
        except TimeoutError:
            return []
        except (ConnectionClosed, OSError):
            return None
        if not isinstance(text, str):
            return []
        try:
            message = json.loads(text)
        except ValueError:
            return []
        return [message] if isinstance(message, dict) else []

    def close(self) -> None:
        """Close the stream; never raises for a peer that is gone already."""
        with contextlib.suppress(ConnectionClosed, OSError):
            self._stack.close()
