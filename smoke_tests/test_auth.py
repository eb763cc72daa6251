"""Nobody without the token gets in, and some doors stay shut even with it."""

import secrets
import socket
from dataclasses import replace

import pytest

from smoke_tests.comfy_client import ComfyClient, Deadline, is_loopback
from smoke_tests.session import Run

# Reading, writing and the pages of the browser interface: every kind of route that ComfyUI has.
GUARDED = (
    ("GET", "/"),
    ("GET", "/system_stats"),
    ("GET", "/object_info"),
    ("GET", "/queue"),
    ("GET", "/history/0"),
    ("GET", "/view?filename=x.mp4"),
    ("GET", "/ws"),
    ("GET", "/api/queue"),
    ("POST", "/prompt"),
    ("POST", "/upload/image"),
)
# What would let a token holder read the host, change the server, or run code on it.
SHUT = (
    ("GET", "/internal/logs"),
    ("GET", "/internal/folder_paths"),
    ("GET", "/internal/files/output"),
    ("GET", "/manager/queue/status"),
    ("GET", "/manager/version"),
    ("GET", "/customnode/getlist"),
    ("GET", "/view?filename=..%2F..%2F..%2F..%2Fetc%2Fpasswd&type=output"),
    ("GET", "/view?filename=passwd&subfolder=..%2F..%2F..%2F..%2Fetc&type=output"),
    ("GET", "/userdata/..%2F..%2F..%2F..%2Fetc%2Fpasswd"),
    ("GET", "/userdata?dir=..%2F..%2F..%2F..%2Fetc"),
    ("GET", "/api/userdata/..%2F..%2F..%2F..%2Fetc%2Fpasswd"),
)
UNAUTHORIZED = {401, 429}  # 429: too many wrong tokens from this address, also a refusal
REFUSED = {400, 403, 404, 405}
BARE_PORT = 8188  # ComfyUI's own; it has no authentication, so it must not be reachable
PROBE_S = 3.0  # a firewall that drops packets is noticed by this silence


def test_no_token_is_refused(stranger: ComfyClient) -> None:
    """Every kind of call without a token is answered 401."""
    answers = [(method, path, stranger.call(method, path).status) for method, path in GUARDED]
    open_doors = [
        f"{method} {path}: {status}"
        for method, path, status in answers
        if status not in UNAUTHORIZED
    ]
    assert not open_doors, f"answered without a token, 401 expected: {', '.join(open_doors)}"


def test_a_wrong_token_is_refused(guarded: Run) -> None:
    """A call with a wrong token of the right length is answered 401."""
    length = len(guarded.settings.target.token)
    wrong = secrets.token_urlsafe(length)[:length]
    with ComfyClient(replace(guarded.settings.target, token=wrong)) as client:
        answer = client.call("GET", "/system_stats")
    assert answer.status in UNAUTHORIZED, f"a wrong token was answered {answer.status}"


def test_shut_routes_stay_shut(guarded: Run, client: ComfyClient) -> None:
    """Routes that expose the host are refused even with the token."""
    answers = [(method, path, client.call(method, path).status) for method, path in SHUT]
    open_doors = [
        f"{method} {path}: {status}" for method, path, status in answers if status not in REFUSED
    ]
    assert not open_doors, f"must be refused even with the token: {', '.join(open_doors)}"


def test_comfyui_itself_cannot_be_reached(guarded: Run) -> None:
    """ComfyUI's own port does not answer the network, or asks for the token too."""
    host = guarded.settings.target.host
    if is_loopback(guarded.settings.target.url):
        pytest.skip("the service is on this machine, where ComfyUI's port may be open")
    try:
        socket.create_connection((host, BARE_PORT), timeout=PROBE_S).close()
    except OSError:
        return
    bare = replace(
        guarded.settings.target, url=f"http://{host}:{BARE_PORT}", token="", ca_source=""
    )
    with ComfyClient(bare) as client:
        answer = client.call("GET", "/system_stats", deadline=Deadline(10))
    assert answer.status == 401, (
        f"http://{host}:{BARE_PORT} answered {answer.status} without a token: "
        "ComfyUI is open to the network"
    )
