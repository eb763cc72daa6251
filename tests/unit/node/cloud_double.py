"""A metadata service and an OOS on loopback; signatures are checked with Alibaba's own SDK."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from alibabacloud_tea_openapi.utils import Utils
from darabonba.request import DaraRequest

KEY_ID = "STS.NUTestKeyId"
KEY_SECRET = "test-secret"
SECURITY_TOKEN = "CAIStoken+with/signs="
ROLE = "vace-dev-node"
METADATA_TOKEN = "metadata-token"


@dataclass
class Cloud:
    """State of the double; tests change it while it serves."""

    role_attached: bool = True
    values: dict[str, str] = field(default_factory=dict)
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    calls: list[dict[str, str]] = field(default_factory=list)
    objects: dict[str, tuple[dict[str, str], bytes]] = field(default_factory=dict)
    object_refusal: tuple[int, str] | None = None
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cloud: Cloud

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _json(self, status: int, document: dict[str, Any]) -> None:
        self._answer(status, json.dumps(document).encode())

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/latest/api/token":
            seconds = self.headers.get("X-aliyun-ecs-metadata-token-ttl-seconds", "")
            good = seconds.isdigit() and 1 <= int(seconds) <= 21600
            self._answer(200 if good else 400, METADATA_TOKEN.encode())
        elif self.cloud.object_refusal:
            status, text = self.cloud.object_refusal
            self._answer(status, text.encode())
        else:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.cloud.objects[self.path] = (headers, body)
            self._answer(200)

    def do_GET(self) -> None:
        folder = "/latest/meta-data/ram/security-credentials/"
        if self.headers.get("X-aliyun-ecs-metadata-token") != METADATA_TOKEN:
            self._answer(403)
        elif not self.cloud.role_attached:
            self._answer(404)
        elif self.path == folder:
            self._answer(200, ROLE.encode())
        elif self.path == folder + ROLE:
            self._json(
                200,
                {
                    "Code": "Success",
                    "AccessKeyId": KEY_ID,
                    "AccessKeySecret": KEY_SECRET,
                    "SecurityToken": SECURITY_TOKEN,
                    "Expiration": "2099-01-01T00:00:00Z",
                },
            )
        else:
            self._answer(404)

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        self.cloud.calls.append({"Action": headers["x-acs-action"], **query})
        signed = headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
        request = DaraRequest()
        request.method, request.pathname, request.query = "POST", "/", query
        request.headers = {name: headers[name] for name in signed}
        expected = Utils.get_authorization(
            request, "ACS3-HMAC-SHA256", headers["x-acs-content-sha256"], KEY_ID, KEY_SECRET
        )
        if (
            expected != headers["authorization"]
            or headers["x-acs-security-token"] != SECURITY_TOKEN
            or headers["x-acs-version"] != "2019-06-01"
            or "host" not in signed
        ):
            self._json(400, {"Code": "SignatureDoesNotMatch", "Message": "wrong"})
        elif self.cloud.refusals:
            self._json(*self.cloud.refusals.pop(0))
        elif query["Name"] not in self.cloud.values:
            self._json(404, {"Code": "EntityNotExists.Parameter", "Message": "no such parameter"})
        elif "Secret" in headers["x-acs-action"] and query.get("WithDecryption") != "true":
            self._json(200, {"Parameter": {"Name": query["Name"]}})
        else:
            value = self.cloud.values[query["Name"]]
            self._json(200, {"Parameter": {"Name": query["Name"], "Value": value}})


@contextmanager
def serving() -> Iterator[Cloud]:
    """Serve a fresh double on a free port of this machine."""
    cloud = Cloud()
    handler: Callable[..., BaseHTTPRequestHandler] = type("Handler", (_Handler,), {"cloud": cloud})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    cloud.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield cloud
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
