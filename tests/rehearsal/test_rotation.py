"""``python -m infra.rotate``: new secrets on a running node, without a moment of its absence."""

import socket
import subprocess
import threading
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from websockets.sync.client import connect

from smoke_tests.comfy_client import Target
from tests.rehearsal.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.machine, pytest.mark.timeout(180)]

BETWEEN_CALLS_S = 0.2


def watch(node: Stack, process: "subprocess.Popen[str]", token: str) -> list[int | None]:
    """Return the statuses that a caller with ``token`` sees until the process has ended.

    Stops asking after the first refusal: the gateway takes more of them for an attack.
    """
    statuses: list[int | None] = []
    ended = threading.Event()
    output: list[str] = []

    def read() -> None:
        output.append(process.communicate()[0])
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    while not ended.is_set():
        if 401 not in statuses:
            statuses.append(node.status("/queue", token=token))
        ended.wait(BETWEEN_CALLS_S)
    reader.join()
    assert process.returncode == 0, output[0]
    return statuses


def certificate(node: Stack) -> x509.Certificate:
    """Return the certificate that the service shows, verified against the stack's authority."""
    host = str(urlsplit(node.outputs["url"]).hostname)
    context = Target.of(node.outputs["url"], ca_pem=node.ca).ssl_context()
    assert context is not None
    with (
        socket.create_connection((host, 443), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown)


def test_a_rotated_token_replaces_the_old_one(node: Stack) -> None:
    """A leaked token must die with the rotation, and callers must not see a gap before."""
    before = dict(node.outputs)
    statuses = watch(node, node.command("infra.rotate", "token"), before["apiToken"])
    assert set(statuses) <= {200, 401}, f"the service was away: {statuses}"
    node.outputs = node.workspace.outputs()
    assert node.outputs["apiToken"] != before["apiToken"]
    assert node.outputs["instanceId"] == before["instanceId"]
    assert node.status(token=before["apiToken"]) == 401
    assert node.status() == 200


def test_a_rotated_certificate_is_shown_and_verified_by_the_same_authority(node: Stack) -> None:
    """Prevents a rotation that locks clients out, or cuts the progress of a running job."""
    before, shown = dict(node.outputs), certificate(node)
    target = Target.of(before["url"], token=before["apiToken"], ca_pem=node.ca)
    with connect(
        f"{target.websocket_url}?clientId=rotation",
        ssl=target.ssl_context(),
        additional_headers=target.headers(),
        proxy=None,
    ) as events:
        events.recv(timeout=10)
        statuses = watch(node, node.command("infra.rotate", "tls"), before["apiToken"])
        assert events.ping().wait(10), "the open WebSocket was cut off"
    assert set(statuses) == {200}, f"the service was away: {statuses}"
    node.outputs = node.workspace.outputs()
    for key in ("caCertificate", "apiToken", "instanceId"):
        assert node.outputs[key] == before[key]
    renewed = certificate(node)
    assert renewed.serial_number != shown.serial_number
    assert renewed.public_key() != shown.public_key()
