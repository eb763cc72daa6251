"""The question to the gateway, over real TLS on loopback, and the summary lines."""

import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.dynamic import readiness as infra_readiness
from infra.node.vace_node import readiness
from infra.node.vace_node.status import Report, Step
from tests.unit.node.test_credentials import identity


@dataclass
class Gateway:
    """A gateway whose answer the test chooses."""

    url: str = ""
    status: int = 200
    body: bytes = b""


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """The file with the certificate that the gateway was given."""
    path = tmp_path / "tls.crt"
    path.write_text(identity("gateway")[0])
    return path


@pytest.fixture
def gateway(tmp_path: Path, certificate: Path) -> Iterator[Gateway]:
    """A running gateway with that certificate."""
    state = Gateway()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(state.body)))
            self.end_headers()
            self.wfile.write(state.body)

    key = tmp_path / "tls.key"
    key.write_text(identity("gateway")[1])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that refuses the certificate hangs up; that is what a test wants."""

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    state.url = f"https://127.0.0.1:{server.server_address[1]}/readyz"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_ready_service_is_recognised(gateway: Gateway, certificate: Path) -> None:
    """The certificate names the public address; asking by loopback must work all the same."""
    gateway.body = b'{"ready": true}'
    assert readiness.ask(gateway.url, certificate) == ""


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (503, {"ready": False, "reason": "node VHS_VideoCombine is missing"}, "VHS_VideoCombine"),
        (200, {"ready": False}, "no reason given"),
        (200, {"ready": "yes"}, "no reason given"),
        (502, None, "502"),
    ],
)
def test_reason_for_not_being_ready_is_passed_on(
    gateway: Gateway, certificate: Path, status: int, body: object, reason: str
) -> None:
    """Whatever the gateway says is the best clue; only a clear yes counts as one."""
    gateway.status, gateway.body = status, json.dumps(body).encode()
    assert reason in readiness.ask(gateway.url, certificate)


def test_somebody_elses_certificate_is_not_trusted(gateway: Gateway, tmp_path: Path) -> None:
    """A gateway that did not reload keeps its old certificate; that is not ready."""
    gateway.body = b'{"ready": true}'
    other = tmp_path / "other.crt"
    other.write_text(identity("other")[0])
    assert "CERTIFICATE_VERIFY_FAILED" in readiness.ask(gateway.url, other)


def test_missing_certificate_names_the_command_that_fetches_it(tmp_path: Path) -> None:
    """After a reboot /run is empty."""
    assert "vace-node credentials" in readiness.ask("https://127.0.0.1:1/", tmp_path / "none")


def test_summary_shows_the_step_that_matters() -> None:
    """One line per change is what the operator sees during a deployment."""
    steps = [Step("role", "done"), Step("disk", "failed", message="holds xfs"), Step("images")]
    assert (
        readiness.summary(Report(phase="failed", steps=steps)) == "[failed] disk failed: holds xfs"
    )
    assert readiness.summary(Report(phase="ready", steps=[Step("role", "done")])) == "[ready]"


def test_waiting_ends_at_once_when_the_machine_restarts_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The restart would kill `wait`, and `pulumi up` would report a lost command."""
    message = "the machine is restarted once"
    steps = [Step("gpu", "failed", message=message)]
    error = {"step": "gpu", "message": message, "permanent": False, "restart": True}
    report = Report(phase="failed", started=1, finished=2, error=error, steps=steps)
    monkeypatch.setattr(readiness, "load", lambda: report)
    said: list[str] = []
    assert readiness.wait(30, said.append) == readiness.RESTARTING == infra_readiness.RESTARTING
    assert said == [f"[failed] gpu failed: {message}"]
