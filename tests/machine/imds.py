"""A metadata service just large enough to boot one machine: user data, identity, tokens."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer

from rehearsal.cloud.hypervisor import MachineSpec

_TOKEN_TTL = "X-aliyun-ecs-metadata-token-ttl-seconds"
_TOKEN = "X-aliyun-ecs-metadata-token"


class TinyMetadataService:
    """Serves on a socket that is listening already; refuses requests without a token."""

    def __init__(self, listener: socket.socket) -> None:
        self.user_data: dict[str, bytes] = {}
        """By private address."""
        self.specs: dict[str, MachineSpec] = {}
        self.refused = 0
        self._tokens: set[str] = set()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                if self.path.rstrip("/") == "/latest/api/token" and _TOKEN_TTL in self.headers:
                    token = secrets.token_urlsafe(32)
                    service._tokens.add(token)
                    self._answer(200, token.encode())
                else:
                    self._answer(404, b"")

            def do_GET(self) -> None:
                if self.headers.get(_TOKEN) not in service._tokens:
                    service.refused += 1
                    self._answer(403, b"token required")
                    return
                found = service._find(self.client_address[0], self.path)
                self._answer(404 if found is None else 200, found or b"")

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("", 0), Handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listener
        # HTTPServer.server_bind would have set these.
        self._server.server_name, self._server.server_port = "imds", 80
        threading.Thread(
            target=HTTPServer.serve_forever, args=(self._server, 0.05), daemon=True
        ).start()

    def add(self, spec: MachineSpec, user_data: str) -> None:
        """Know a machine."""
        self.specs[spec.private_ip] = spec
        self.user_data[spec.private_ip] = user_data.encode()

    def close(self) -> None:
        """Stop serving; the listener belongs to whoever made it."""
        self._server.shutdown()

    def _find(self, client: str, path: str) -> bytes | None:
        spec = self.specs.get(client)
        parts = [part for part in path.partition("?")[0].split("/") if part]
        if spec is None or parts[:1] not in (["2016-01-01"], ["latest"]):
            return None
        if parts[1:] == ["user-data"]:
            return self.user_data[client]
        if parts[1:2] != ["meta-data"]:
            return None
        node: object = {
            "instance-id": spec.instance_id,
            "hostname": spec.hostname,
            "region-id": "cn-hangzhou",
            "zone-id": spec.zone_id,
            "mac": spec.mac,
            "private-ipv4": spec.private_ip,
        }
        for part in parts[2:]:
            if not isinstance(node, Mapping) or part not in node:
                return None
            node = node[part]
        return "\n".join(node).encode() if isinstance(node, Mapping) else str(node).encode()
