"""ComfyUI's event stream (GET /ws) as a synchronous WebSocket.

The library reads and writes in the caller's thread. One that reads in a thread of its own shares
the TLS connection between two threads, which Python before 3.13 does not guard: about one
handshake in 600 was seen to hang.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any
from urllib.parse import urlsplit

import websocket
from websocket import (
    ABNF,
    WebSocketAddressException,
    WebSocketBadStatusException,
    WebSocketException,
    WebSocketTimeoutException,
)

from smoke_tests.comfy_client import protocol
from smoke_tests.comfy_client.deadline import Deadline
from smoke_tests.comfy_client.errors import NotComfyUI, Unreachable
from smoke_tests.comfy_client.target import Target, is_loopback
from smoke_tests.comfy_client.transport import CONNECT_S, connection_problem

CLOSE_S = 2.0  # how long to wait for the peer's goodbye; nothing depends on it


class EventStream:
    """One open event stream; `receive` until it returns None.

    Raises (constructor):
        WrongToken, WrongCertificate, NotReady, NotComfyUI, Unreachable: it could not be opened.
    """

    def __init__(self, target: Target, client_id: str, deadline: Deadline) -> None:
        what = "GET /ws"
        deadline.check(f"opening {what}")
        context = target.ssl_context()
        host = urlsplit(target.url).hostname or ""
        try:
            self._socket = websocket.create_connection(
                f"{target.websocket_url}?clientId={client_id}",
                timeout=min(CONNECT_S, deadline.remaining()),
                header=target.headers(),
                sslopt={"context": context} if context else {},
                # no Origin: that header is a browser's
                suppress_origin=True,
                http_no_proxy=[host] if is_loopback(target.url) else None,
            )
        except WebSocketBadStatusException as error:
            headers = {name.lower(): value for name, value in (error.resp_headers or {}).items()}
            answer = protocol.Answer(what, error.status_code, headers, error.resp_body or b"")
            raise protocol.problem(answer) from error
        except (WebSocketTimeoutException, TimeoutError) as error:
            raise Unreachable(f"{target.url} did not open {what} in time.") from error
        except (OSError, EOFError, WebSocketAddressException) as error:
            raise connection_problem(target, what, error) from error
        except WebSocketException as error:
            raise NotComfyUI(f"{what} did not become a WebSocket: {error}.") from error

    def receive(self, timeout_s: float) -> list[dict[str, Any]] | None:
        """Messages that arrived within `timeout_s` seconds; None when the stream has ended.

        Binary messages are previews, they and anything that is no JSON object are skipped.
        """
        # 0 would mean "do not block", which on TLS looks like the peer's end
        self._socket.settimeout(max(0.001, timeout_s))
        try:
            kind, data = self._socket.recv_data()
        except (WebSocketTimeoutException, TimeoutError):
            return []
        except (WebSocketException, OSError):
            return None
        if kind == ABNF.OPCODE_CLOSE:
            return None
        if kind != ABNF.OPCODE_TEXT:
            return []
        return decoded(data)

    def close(self) -> None:
        """Close the stream; never raises for a peer that is gone already."""
        with contextlib.suppress(WebSocketException, OSError):
            self._socket.close(timeout=CLOSE_S)


def decoded(data: str | bytes) -> list[dict[str, Any]]:
    """One text message; empty when it is no JSON object."""
    try:
        message = json.loads(data)
    except ValueError:
        return []
    return [message] if isinstance(message, dict) else []
