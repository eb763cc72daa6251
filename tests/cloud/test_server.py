"""Sockets: TLS and plain HTTP on one port, keep-alive, chunks, the private CA."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alibabacloud_oos20190601 import models as oos

from rehearsal.cloud.certificates import Authority, server_names
from rehearsal.cloud.http import HttpRequest, HttpResponse
from rehearsal.cloud.server import HttpServer

from .conftest import RunningCloud


def echo(request: HttpRequest) -> HttpResponse:
    """Answer with what was understood."""
    if request.path == "/drop":
        return HttpResponse(0, drop=True)
    text = json.dumps(
        {
            "method": request.method,
            "target": request.target,
            "body": request.body.decode(),
            "secure": request.secure,
            "many": request.headers.get("x-many", ""),
        }
    )
    return HttpResponse(200, {"Content-Type": "application/json"}, text.encode())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A fresh CA."""
    return Authority(tmp_path)


@pytest.fixture
def server(authority: Authority) -> Iterator[tuple[str, int]]:
    """The address of an echoing server that speaks TLS and plain HTTP."""
    running = HttpServer(
        echo, name="echo", tls=authority.server_context("echo", server_names(["cn-hangzhou"]))
    )
    yield running.listen("127.0.0.1", 0)
    running.close()


def trusting(authority: Authority) -> ssl.SSLContext:
    """A client's TLS context that trusts only the CA."""
    return ssl.create_default_context(cafile=str(authority.ca_file))


def test_one_port_speaks_tls_and_plain_http(server: tuple[str, int], authority: Authority) -> None:
    """The provider uses TLS for some calls whatever it is told; both must reach the same API."""
    for secure in (False, True):
        connection: http.client.HTTPConnection
        if secure:
            context = trusting(authority)
            connection = http.client.HTTPSConnection(*server, timeout=5, context=context)
        else:
            connection = http.client.HTTPConnection(*server, timeout=5)
        connection.request("POST", "/a?b=%20", body="text")
        answer = json.load(connection.getresponse())
        connection.close()
        assert answer["secure"] is secure
        assert (answer["target"], answer["body"]) == ("/a?b=%20", "text")


def test_a_connection_serves_many_requests(server: tuple[str, int]) -> None:
    """Prevents a handshake for each of the provider's hundreds of calls."""
    connection = http.client.HTTPConnection(*server, timeout=5)
    connection.request("GET", "/1")
    connection.getresponse().read()
    first = connection.sock
    connection.request("HEAD", "/2")
    assert connection.getresponse().read() == b""
    connection.request("DELETE", "/3")
    assert json.load(connection.getresponse())["method"] == "DELETE"
    assert connection.sock is first
    connection.close()


def test_a_chunked_body_is_put_together(server: tuple[str, int]) -> None:
    """Object uploads of unknown length come in chunks."""
    connection = http.client.HTTPConnection(*server, timeout=5)
    connection.request("PUT", "/object", body=iter([b"one ", b"two ", b"three"]))
    assert json.load(connection.getresponse())["body"] == "one two three"
    connection.request("GET", "/again")
    assert connection.getresponse().status == 200
    connection.close()


def test_a_dropped_connection_gets_no_answer(server: tuple[str, int]) -> None:
    """Prevents a drop fault from looking like an empty success."""
    connection = http.client.HTTPConnection(*server, timeout=5)
    connection.request("GET", "/drop")
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        connection.getresponse()
    connection.close()


def test_silence_on_one_connection_does_not_hold_up_others(server: tuple[str, int]) -> None:
    """Prevents one idle client from stopping the emulator."""
    with socket.create_connection(server, timeout=5):
        connection = http.client.HTTPConnection(*server, timeout=5)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()


@pytest.mark.parametrize(
    "name",
    [
        "127.0.0.1",
        "localhost",
        "ecs.aliyuncs.com",
        "oos.cn-hangzhou.aliyuncs.com",
        "bucket.oss-cn-hangzhou-internal.aliyuncs.com",
        "100.100.100.200",
    ],
)
def test_the_certificate_covers_the_names_of_the_cloud(
    server: tuple[str, int], authority: Authority, name: str
) -> None:
    """Prevents nodes, which use real host names, from refusing the emulator's certificate."""
    context = trusting(authority)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with (
        socket.create_connection(server, timeout=5) as raw,
        context.wrap_socket(raw, server_hostname=name) as stream,
    ):
        assert stream.version() in ("TLSv1.2", "TLSv1.3")


def test_a_client_that_does_not_trust_the_ca_is_refused(server: tuple[str, int]) -> None:
    """Prevents a rehearsal that works only because nobody checks certificates."""
    connection = http.client.HTTPSConnection(
        *server, timeout=5, context=ssl.create_default_context()
    )
    with pytest.raises(ssl.SSLCertVerificationError):
        connection.request("GET", "/")


def test_the_ca_is_made_once(tmp_path: Path) -> None:
    """Prevents machines from losing their trust in the emulator when it restarts."""
    first = Authority(tmp_path).ca_file.read_bytes()
    again = Authority(tmp_path)
    assert again.ca_file.read_bytes() == first
    assert again.bundle_file.read_bytes().endswith(first)


def test_a_stop_lets_a_request_in_progress_end(cloud: RunningCloud) -> None:
    """Prevents a stop from cutting off an answer whose change was already made."""
    cloud.control("POST", "/faults", {"kind": "slow", "seconds": 0.5})
    client = cloud.client("oos")
    with ThreadPoolExecutor() as pool:
        request = oos.CreateParameterRequest(name="stack-node", type="String", value="1")
        answer = pool.submit(client.create_parameter, request)
        deadline = time.monotonic() + 5
        while cloud.control("GET", "/faults") and time.monotonic() < deadline:
            pass  # the fault is listed until the request has met it
        cloud.restart()
        assert answer.result(timeout=5).body.parameter.name == "stack-node"
    read = cloud.client("oos").get_parameter(oos.GetParameterRequest(name="stack-node"))
    assert read.body.parameter.value == "1"
