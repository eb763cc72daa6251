"""ComfyUI's event stream (GET /ws) for asyncio.

Another library than in `events`: its synchronous half reads in a thread of its own, which is what
`events` avoids, and websocket-client has no asynchronous half.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    WebSocketException,
)

from smoke_tests.comfy_client import protocol
from smoke_tests.comfy_client.deadline import Deadline
from smoke_tests.comfy_client.errors import NotComfyUI, Unreachable
from smoke_tests.comfy_client.events import CLOSE_S, decoded
from smoke_tests.comfy_client.target import Target, is_loopback
from smoke_tests.comfy_client.transport import CONNECT_S, connection_problem

# At DEBUG the library writes every header of the handshake, the token among them.
LOGGER = logging.getLogger(f"{__name__}.websocket")
LOGGER.setLevel(logging.INFO)

MAX_MESSAGE = 16 << 20  # a preview picture is far below; more is no message of ComfyUI


class AsyncEventStream:
    """One open event stream; `receive` until it returns None. Made by `open`."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, target: Target, client_id: str, deadline: Deadline) -> AsyncEventStream:
        """Open the stream.

        Raises:
            WrongToken, WrongCertificate, NotReady, NotComfyUI, Unreachable: it could not be opened.
        """
        what = "GET /ws"
        deadline.check(f"opening {what}")
        try:
            connection = await connect(
                f"{target.websocket_url}?clientId={client_id}",
                additional_headers=target.headers(),
                ssl=target.ssl_context(),
                open_timeout=min(CONNECT_S, deadline.remaining()),
                close_timeout=CLOSE_S,
                max_size=MAX_MESSAGE,
                logger=LOGGER,
                # the history decides whether the job lives, see `following`
                ping_interval=None,
                proxy=None if is_loopback(target.url) else True,
            )
        except InvalidStatus as error:
            reply = error.response
            headers = {name.lower(): value for name, value in reply.headers.raw_items()}
            answer = protocol.Answer(what, reply.status_code, headers, bytes(reply.body or b""))
            raise protocol.problem(answer) from error
        except TimeoutError as error:
            raise Unreachable(f"{target.url} did not open {what} in time.") from error
        except (OSError, EOFError) as error:
            raise connection_problem(target, what, error) from error
        except (InvalidMessage, InvalidHandshake, WebSocketException) as error:
            raise NotComfyUI(f"{what} did not become a WebSocket: {error}.") from error
        return cls(connection)

    async def receive(self, timeout_s: float) -> list[dict[str, Any]] | None:
        """Messages that arrived within `timeout_s` seconds; None when the stream has ended."""
        try:
            async with asyncio.timeout(max(0.001, timeout_s)):
                data = await self._connection.recv()
        except TimeoutError:
            return []
        except (WebSocketException, OSError):
            return None
        return decoded(data) if isinstance(data, str) else []  # binary messages are previews

    async def close(self) -> None:
        """Close the stream; never raises for a peer that is gone already."""
        with contextlib.suppress(WebSocketException, OSError):
            await self._connection.close()
