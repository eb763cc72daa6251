"""The status listener and `drain`, with real processes and sockets."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from vace_comfyui import listener, status
from vace_comfyui.problems import SettingsError
from vace_comfyui.settings import read
from vace_gateway import upstream_status

from tests.images.entry.conftest import PATIENCE_SECONDS, Service, _free_port, eventually


@pytest.fixture
def port(service: Service) -> int:
    """The status listener's port; the setting is made."""
    found = _free_port()
    service.environment["VACE_STATUS_LISTEN"] = f"127.0.0.1:{found}"
    return found


def ask(port: int, path: str, method: str = "GET") -> tuple[int, Any]:
    """Status and document; (0, None) while nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
    except ConnectionError:
        return 0, None
    finally:
        connection.close()
    return answer.status, json.loads(body) if body else None


@contextmanager
def drain(service: Service, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`vace-comfyui drain` in the background."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vace_comfyui", "drain", *arguments],
        env=service.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_probes_see_progress_from_the_checks_to_the_first_video(
    service: Service, port: int
) -> None:
    """Prevents: a startup probe that meets a closed port for minutes and tells nobody why."""
    started, gate, program = (service.temp / name for name in ("started", "gate", "ffmpeg"))
    os.mkfifo(gate)
    program.write_text(f"#!/bin/sh\ntouch {started}\nexec cat {gate}\n")
    program.chmod(0o755)
    service.environment["VHS_FORCE_FFMPEG_PATH"] = str(program)
    service.start()
    try:
        eventually(started.exists, "the encoder test")
        code, document = ask(port, "/readyz")
        assert (code, document["ready"], document["draining"]) == (503, False, False)
        assert document["reasons"] == ["ComfyUI is not started yet: the encoders are tried"]
        assert ask(port, "/healthz")[0] == 200
        code, document = ask(port, "/status")
        assert (code, document["ready"], document["queue_running"]) == (200, False, None)
        assert "the encoders are tried" in document["reasons"][0]
    finally:
        gate.open("w").close()
        service.close()


def test_probes_and_gateway_read_what_the_commands_tell(service: Service, port: int) -> None:
    """Prevents: probes that say otherwise than `ready`, also where ComfyUI listens everywhere."""
    service.environment |= {"COMFYUI_LISTEN": "0.0.0.0"}
    service.start_until_ready()
    eventually(lambda: ask(port, "/readyz") == (200, {"ready": True, "draining": False}), "ready")
    assert ask(port, "/readyz", "HEAD") == (200, None)
    assert ask(port, "/healthz")[0] == 200
    service.submit(steps=9000)
    eventually(lambda: ask(port, "/status")[1]["queue_running"] == 1, "the prompt is counted")
    assert ask(port, "/status")[1] == {
        "ready": True,
        "draining": False,
        "reasons": ["it can make a video"],
        "queue_running": 1,
        "queue_pending": 0,
    }
    understood = upstream_status._status(ask(port, "/status")[1])
    assert understood == upstream_status.Status(True, False, ("it can make a video",))
    service.kill(signal.SIGTERM)
    eventually(lambda: ask(port, "/readyz")[0] == 503, "not ready")
    refused = ask(port, "/readyz")[1]
    assert refused["draining"]
    assert "takes no new work" in refused["reasons"][0]
    service.kill(signal.SIGTERM)
    assert service.wait() == 73
    assert ask(port, "/readyz") == (0, None)


def test_without_the_setting_nothing_listens(service: Service) -> None:
    """Prevents: an open port on nodes that do not want one."""
    assert read({}).status_listen is None
    service.environment["VACE_WARMUP"] = "0"
    service.start_until_ready()
    pid = service.process.pid if service.process else 0
    table = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    listening = {row.split()[9] for row in table if row.split()[3] == "0A"}
    mine = {path.stat().st_ino for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_socket()}
    assert not mine & {int(inode) for inode in listening}


@pytest.mark.parametrize("value", ["8189", "localhost:8189", "0.0.0.0:0", "0.0.0.0:x", "::1:99999"])
def test_an_address_that_is_none_is_refused(value: str) -> None:
    """Prevents: a listener somewhere else than the probes ask."""
    with pytest.raises(SettingsError, match="VACE_STATUS_LISTEN"):
        read({"VACE_STATUS_LISTEN": value})


def test_a_port_that_is_taken_stops_the_start_with_a_reason(service: Service, port: int) -> None:
    """Prevents: a pod without probes' answers, killed again and again without a word."""
    with socket.create_server(("127.0.0.1", port)):
        service.start()
        assert service.wait() == 64
    assert "VACE_STATUS_LISTEN: got 127.0.0.1 port" in service.log.read_text()
    with pytest.raises(SettingsError, match="a port other than COMFYUI_PORT"):
        read({"VACE_STATUS_LISTEN": "[::]:8188"})


def test_a_drain_waits_for_the_video_while_it_stays_reachable(service: Service, port: int) -> None:
    """Prevents: a rolled pod that loses a video, or its result before anybody fetched it."""
    service.start_until_ready()
    prompt_id = service.submit(steps=200)
    with drain(service, "--linger", "3") as hook:
        eventually(lambda: ask(port, "/status")[1]["draining"], "draining")
        assert hook.poll() is None
        assert ask(port, "/readyz") == (200, {"ready": True, "draining": True})
        told = json.loads(service.run("ready", "--json").stdout)
        assert (told["ready"], told["draining"]) == (True, True)
        ended = eventually(lambda: service.call(f"/history/{prompt_id}"), "the video's end")
        assert ended[prompt_id]["outputs"]
        seen = time.monotonic()
        output, _ = hook.communicate(timeout=PATIENCE_SECONDS)
        assert time.monotonic() - seen > 1, "it lingers, so that the result can be fetched"
        assert hook.returncode == 0
        assert "nothing runs or waits" in output
    begun = time.monotonic()
    service.kill(signal.SIGTERM)
    assert service.wait() == 0
    assert time.monotonic() - begun < 10


def test_a_drain_that_is_not_enough_is_not_begun_anew_by_sigterm(
    service: Service, port: int
) -> None:
    """Prevents: a pod that is killed in the middle of a second drain, with no code and no word."""
    service.environment["VACE_WARMUP"] = "0"
    service.start_until_ready()
    service.submit(steps=9000)
    hook = service.run("drain", "--seconds", "0.3", "--linger", "60")
    assert hook.returncode == 0
    assert "1 prompts are left" in hook.stdout
    service.kill(signal.SIGTERM)
    assert service.wait() == 73


def test_an_idle_service_is_let_go_soon_and_a_cancelled_drain_serves_on(
    service: Service, port: int
) -> None:
    """Prevents: rollouts that wait for nothing, and a drain by hand that ends only by restart."""
    service.environment["VACE_WARMUP"] = "0"
    service.start_until_ready()
    activity = service.temp / f"vace-comfyui-{service.port}" / "activity"
    os.utime(activity, (1, 1))
    begun = time.monotonic()
    hook = service.run("drain", "--linger", "20")
    assert hook.returncode == 0
    assert time.monotonic() - begun < 15
    assert ask(port, "/status")[1]["draining"]
    assert "cancelled" in service.run("drain", "--cancel").stdout
    assert ask(port, "/status")[1]["draining"] is False
    service.kill(signal.SIGTERM)
    assert service.wait() == 0
    assert "not running" in service.run("drain").stdout


def test_a_drain_does_not_wait_for_the_warm_up(service: Service, port: int) -> None:
    """Prevents: a rollout that waits minutes for a video that nobody asked for."""
    service.environment |= {"SIM_FAULT": "stall:step=1"}
    service.start()
    eventually(lambda: service.state().get("warm_up") == "running", "the warm-up")
    eventually(lambda: service.call("/queue")["queue_running"], "its prompt")
    hook = service.run("drain", "--seconds", "600", "--linger", "0")
    assert "nothing runs or waits" in hook.stdout
    service.kill(signal.SIGTERM)
    assert service.wait() == 0


def test_a_mark_of_an_earlier_comfyui_says_nothing(service: Service, port: int) -> None:
    """Prevents: a restarted service that refuses prompts because its predecessor was drained."""
    service.environment["VACE_WARMUP"] = "0"
    service.start_until_ready()
    assert service.run("drain", "--seconds", "0", "--linger", "0").returncode == 0
    service.kill(signal.SIGTERM)
    assert service.wait() == 0
    service.start_until_ready()
    assert ask(port, "/status")[1]["draining"] is False


@pytest.fixture
def small() -> Iterator[int]:
    """A listener with one page."""
    port = _free_port()
    made = listener.Listener(
        ("127.0.0.1", port), lambda path: status.Page(200, {}) if path == "/readyz" else None
    )
    assert made.open() is None
    yield port
    made.close()


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (b"GET /readyz?verbose HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"POST /readyz HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405),
        (b"GET /readyz HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 413),
        (b"GET /readyz HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"GET /readyz HTTP/1.1\r\n\r\nrest", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET /readyz HTTP/1.1\r\nX: " + b"x" * 20000, 431),
    ],
)
def test_a_request_is_answered_or_refused_within_bounds(
    small: int, request_bytes: bytes, code: int
) -> None:
    """Prevents: a supervisor that can be filled or confused through its status port."""
    with socket.create_connection(("127.0.0.1", small), PATIENCE_SECONDS) as connection:
        connection.sendall(request_bytes)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == code
        assert answer.getheader("Connection") == "close"


def test_a_slow_or_hoarding_client_does_not_close_the_door(
    small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents: probes that fail, and a pod that is killed, because somebody holds connections."""
    monkeypatch.setattr(listener, "HEAD_SECONDS", 0.3)
    held = [socket.create_connection(("127.0.0.1", small)) for _ in range(40)]
    try:
        eventually(lambda: ask(small, "/readyz")[0] == 200, "an answer")
    finally:
        for each in held:
            each.close()


def test_connections_over_the_limit_are_closed_at_once(
    small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents: a thread for each of a thousand connections in the process that ends ComfyUI."""
    monkeypatch.setattr(listener, "HEAD_SECONDS", 4 * PATIENCE_SECONDS)
    kept = [socket.create_connection(("127.0.0.1", small)) for _ in range(listener.CONNECTIONS)]
    try:
        with socket.create_connection(("127.0.0.1", small), PATIENCE_SECONDS) as further:
            assert further.recv(1) == b""
    finally:
        for each in kept:
            each.close()
    eventually(lambda: ask(small, "/readyz")[0] == 200, "an answer")


def test_many_probes_ask_comfyui_once() -> None:
    """Prevents: probes and prompts that together overload ComfyUI's one thread."""
    asked: list[int] = []
    release = threading.Event()

    def slow() -> int:
        asked.append(1)
        release.wait(PATIENCE_SECONDS)
        return len(asked)

    cached = status.Cached(slow)
    assert cached.get(0.01) is None, "nobody waits longer than he wants"
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(cached.get(PATIENCE_SECONDS)))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    release.set()
    for thread in threads:
        thread.join()
    assert asked == [1]
    assert [value for _, value in found] == [1] * 10
