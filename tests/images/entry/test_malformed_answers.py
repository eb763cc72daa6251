"""ComfyUI that answers wrongly, half or not at all: a clear no, in a bounded time."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from vace_comfyui import cli, ready, state
from vace_comfyui.problems import Exit
from vace_comfyui.settings import Settings

from tests.images.entry import malformed
from tests.images.entry.conftest import Service, eventually
from tests.images.entry.malformed import DRIPPING, EVERYWHERE, HUNG, NODES, QUEUES, whole

SECONDS = 0.4
SLACK_SECONDS = 5.0
"""For a busy machine; what is prevented is a wait without end."""


@contextmanager
def _comfyui(
    answer: bytes | str, folder: Path, *, well: tuple[str, ...] = ("/system_stats",)
) -> Iterator[Settings]:
    """A server with this answer, and the record of a service that is up (this process)."""
    with malformed.Server(0, answer, well) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        port = server.server_address[1]
        settings = Settings(port=port, state=folder / f"vace-comfyui-{port}")
        settings.state.mkdir()
        state.Board(settings.state).update(
            pid=os.getpid(),
            started=state.start_time(os.getpid()),
            phase="serving",
            warm_up="done",
            encoder=True,
            models={"diffusion_models": "model.safetensors"},
        )
        yield settings
        server.closed.set()
        server.shutdown()


def _run(
    command: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> tuple[int, str]:
    """Exit code and text of a command, as a container engine sees them."""
    monkeypatch.setenv("COMFYUI_PORT", str(settings.port))
    monkeypatch.setenv("TMPDIR", str(settings.state.parent))
    code = cli.main([command])
    return code, capsys.readouterr().out


@pytest.mark.parametrize("name", EVERYWHERE)
def test_ready_says_no_to_a_malformed_description_of_nodes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents: a traceback, or a yes, where another program has ComfyUI's port."""
    with _comfyui(EVERYWHERE[name], tmp_path) as settings:
        code, text = _run("ready", settings, monkeypatch, capsys)
    assert code == Exit.NO
    assert text.startswith("ready: no: ComfyUI gives no usable answer: /object_info/")
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize("name", NODES)
def test_ready_says_no_to_nodes_described_in_another_form(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents: a node class that counts as known although nothing is said of it."""
    with _comfyui(whole(NODES[name]), tmp_path) as settings:
        code, text = _run("ready", settings, monkeypatch, capsys)
    assert code == Exit.NO
    assert text.startswith("ready: no: ComfyUI gives no usable answer: /object_info/")
    assert "another form" in text


def test_ready_names_the_nodes_that_an_empty_description_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents: a node pack that failed to import, told as if ComfyUI were down."""
    with _comfyui(whole(b"{}"), tmp_path) as settings:
        code, text = _run("ready", settings, monkeypatch, capsys)
    assert code == Exit.NO
    assert "node classes are missing: WanVaceToVideo, " in text


@pytest.mark.parametrize("name", EVERYWHERE)
def test_health_says_no_to_a_malformed_queue(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents: a health check that crashes, or takes a login page for ComfyUI."""
    with _comfyui(EVERYWHERE[name], tmp_path) as settings:
        code, text = _run("health", settings, monkeypatch, capsys)
    assert code == Exit.NO
    assert text.startswith("health: no: ComfyUI gives no usable answer: /queue: ")
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize("name", QUEUES)
def test_health_says_no_to_a_queue_of_another_form(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents: `""` or `{}` taken for a queue in which nothing runs."""
    with _comfyui(whole(QUEUES[name]), tmp_path) as settings:
        code, text = _run("health", settings, monkeypatch, capsys)
    assert code == Exit.NO
    assert "/queue: an answer of another form" in text


@pytest.mark.parametrize("name", EVERYWHERE)
def test_health_says_no_to_malformed_statistics(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents: any program that answers in JSON taken for ComfyUI."""
    with _comfyui(EVERYWHERE[name], tmp_path, well=()) as settings:
        code, text = _run("health", settings, monkeypatch, capsys)
    assert code == Exit.NO
    assert text.startswith("health: no: ComfyUI gives no usable answer: /system_stats: ")


@pytest.mark.parametrize("answer", [HUNG, DRIPPING])
@pytest.mark.parametrize("question", [ready.ready, ready.health])
def test_an_answer_that_does_not_end_is_waited_for_in_bounded_time(
    answer: str, question: object, tmp_path: Path
) -> None:
    """Prevents: a probe that hangs as long as a byte comes now and then."""
    assert callable(question)
    began = time.monotonic()
    with _comfyui(answer, tmp_path) as settings:
        told = question(settings, SECONDS)
        took = time.monotonic() - began
    assert not told.yes
    assert f"not within {SECONDS:g} s" in str(told)
    assert SECONDS <= took < SECONDS + SLACK_SECONDS


def test_the_reason_shows_what_came(tmp_path: Path) -> None:
    """Prevents: `Expecting value: line 1 column 1` as all that is said of a login page."""
    with _comfyui(EVERYWHERE["HTML with 200"], tmp_path) as settings:
        told = str(ready.health(settings, SECONDS))
    assert "status 200, but no JSON" in told
    assert "Please log in" in told


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("HTML with 200", "no JSON"),
        ("brackets within brackets", "no JSON"),
        ("objects", "another form"),
        ("missing keys", "another form"),
        ("truncated body", "no whole answer"),
        ("status 500", "status 500"),
        (HUNG, "not within"),
        (DRIPPING, "not within"),
    ],
)
def test_a_drain_against_a_malformed_queue_ends_with_its_time_and_says_why(
    service: Service, name: str, words: str
) -> None:
    """Prevents: a stop that never comes, and one at once that cuts off what may be running."""
    shutil.copy(malformed.__file__, service.home / "main.py")
    service.environment |= {"MALFORMED": name, "VACE_DRAIN_SECONDS": "0.6", "VACE_WARMUP": "0"}
    service.start()
    eventually(lambda: service.state().get("phase") == "serving", "serving")
    began = time.monotonic()
    service.kill(signal.SIGTERM)
    assert service.wait() == Exit.CUT_OFF
    assert 0.6 <= time.monotonic() - began < 0.6 + SLACK_SECONDS
    log = service.log.read_text()
    last = next(line for line in log.splitlines() if "after 0.6 s" in line)
    assert "drain: it is not known whether prompts are left (/queue: " in last
    assert words in last
    assert "nothing runs or waits" not in log


def test_a_second_sigterm_against_a_malformed_queue_says_why_it_cut_off(service: Service) -> None:
    """Prevents: status 73 without a word on what was cut off."""
    shutil.copy(malformed.__file__, service.home / "main.py")
    service.environment |= {"MALFORMED": HUNG, "VACE_WARMUP": "0"}
    service.start()
    eventually(lambda: service.state().get("phase") == "serving", "serving")
    service.kill(signal.SIGTERM)
    eventually(lambda: service.state()["phase"] == "draining", "draining")
    service.kill(signal.SIGTERM)
    assert service.wait() == Exit.CUT_OFF
    assert "not known whether prompts are left (/queue: not within" in service.log.read_text()
