"""What ends the service for a fault, and what only looks like one."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from vace_comfyui import gpu
from vace_comfyui.api import Api, NoAnswerError
from vace_comfyui.faults import Fault, Judge, classify
from vace_comfyui.problems import Exit
from vace_comfyui.settings import Settings

from tests.images.entry.conftest import PATIENCE_SECONDS, Service, eventually

OOM = "Got an OOM, unloading all loaded models."
DEAD = "!!! Exception during processing !!! CUDA error: an illegal memory access was encountered"
SICK, WELL = gpu.Found(error="cuInit failed with 999"), gpu.Found(driver="550.1")


class Answers:
    """An HTTP server with the two answers that a judge asks for."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.history: dict[str, Any] = {}
        self.asked = 0
        answers = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answers.asked += 1
                rows = [[0, name, {}, {}, []] for name in answers.running]
                document: Any = {"queue_running": rows, "queue_pending": []}
                if self.path.startswith("/history"):
                    document = answers.history
                data = json.dumps(document).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: the log would only disturb."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.settings = Settings(port=self.server.server_address[1], grace_seconds=0.0)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def fail(self, kind: str, message: str) -> None:
        data = {
            "exception_type": kind,
            "exception_message": message,
            "timestamp": time.time() * 1000,
        }
        name = f"prompt {len(self.history)}"
        self.history[name] = {"status": {"messages": [["execution_error", data]]}}
        self.running = []

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Court:
    """A judge and what it reports."""

    def __init__(
        self, settings: Settings, *, found: gpu.Found | None, serving: bool = True
    ) -> None:
        self.reports: queue.SimpleQueue[Fault] = queue.SimpleQueue()
        self.stop = threading.Event()
        self.judge = Judge(
            settings,
            self.reports.put,
            self.stop,
            serving=lambda: serving,
            probe=None if found is None else lambda: found,
            confirm_seconds=0.5,
        )

    def suspect(self, line: str) -> None:
        fault = classify(line)
        assert fault is not None
        self.judge.suspect(fault)

    def code(self) -> Exit:
        return self.reports.get(timeout=PATIENCE_SECONDS).code


@pytest.fixture
def answers() -> Iterator[Answers]:
    made = Answers()
    yield made
    made.close()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the judge says. pytest's own capture loses what a thread writes while it is read."""
    lines: list[str] = []
    monkeypatch.setattr("vace_comfyui.faults.say", lines.append)
    return lines


def _refuted(said: list[str]) -> int:
    return sum("going on" in line for line in said)


def test_a_forged_line_of_comfyuis_own_words_restarts_nothing(service: Service) -> None:
    """Prevents: a caller who ends everybody's work by a value with a line break in it."""
    service.environment["STANDIN_LINE"] = f"sampler_name: 'x\n{OOM}\n{DEAD}\n' not in list"
    service.environment["VACE_WARMUP"] = "0"
    service.start_until_ready()
    for line in (OOM, "!!! Exception during processing"):
        eventually(lambda line=line: f"log: '{line}" in service.log.read_text(), "the verdict")
    assert service.process is not None
    assert service.process.poll() is None


def test_a_forged_line_beside_a_running_prompt_is_refuted(
    answers: Answers, said: list[str]
) -> None:
    """Prevents: the same while a video is made, and with a GPU that works."""
    answers.running = ["a"]
    court = Court(answers.settings, found=WELL)
    court.suspect(OOM)
    court.suspect(DEAD)
    eventually(lambda: _refuted(said) == 2, "both refuted")
    assert court.reports.empty()
    answers.fail("ValueError", f"x: {OOM} CUDA error: unknown error")
    court.suspect(OOM)
    eventually(lambda: _refuted(said) == 3, "a caller's words in a message")
    assert court.reports.empty()


@pytest.mark.parametrize(
    ("line", "kind", "message", "code"),
    [
        (OOM, "torch.OutOfMemoryError", "Allocation on device 0", Exit.OUT_OF_MEMORY),
        (OOM, "torch.AcceleratorError", "CUDA error: out of memory", Exit.OUT_OF_MEMORY),
        (DEAD, "torch.AcceleratorError", "CUDA error: unknown error", Exit.GPU_DEAD),
        (DEAD, "RuntimeError", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", Exit.GPU_DEAD),
        ("MemoryError", "MemoryError", "", Exit.KILLED),
    ],
)
def test_a_recorded_failure_confirms_the_line(
    answers: Answers, line: str, kind: str, message: str, code: Exit
) -> None:
    """Prevents: a real fault that the stricter look at the history does not know."""
    answers.running = ["a"]
    court = Court(answers.settings, found=None)
    court.suspect(line)
    eventually(lambda: answers.asked > 2, "the judge asks")
    answers.fail(kind, message)
    assert court.code() == code


@pytest.mark.parametrize("first", [DEAD, "prompt text: CUDA out of memory"])
def test_a_real_line_is_not_lost_while_another_is_looked_into(answers: Answers, first: str) -> None:
    """Prevents: an OOM that is overlooked because a line before it, of any kind, was harmless."""
    answers.running = ["a"]
    court = Court(answers.settings, found=WELL)
    court.suspect(first)
    eventually(lambda: answers.asked > 2, "the judge is busy")
    answers.running = ["b"]
    court.suspect(OOM)
    asked = answers.asked
    eventually(lambda: answers.asked > asked + 4, "the first line is refuted")
    answers.fail("torch.OutOfMemoryError", "CUDA out of memory. Tried to allocate 1 GiB.")
    assert court.code() == Exit.OUT_OF_MEMORY


def test_of_several_confirmed_faults_the_strongest_is_reported(answers: Answers) -> None:
    """Prevents: a dead GPU that is told as want of memory."""
    answers.running = ["a"]
    court = Court(answers.settings, found=SICK)
    court.suspect(OOM)
    court.suspect(DEAD)
    answers.fail("torch.AcceleratorError", "CUDA error: out of memory")
    assert court.code() == Exit.OUT_OF_MEMORY
    both = Court(answers.settings, found=SICK)
    answers.fail("torch.AcceleratorError", "CUDA error: unknown error")
    both.suspect(OOM)
    both.suspect(DEAD)
    assert both.code() == Exit.GPU_DEAD


@pytest.mark.parametrize(
    ("line", "found", "serving", "code"),
    [
        (DEAD, SICK, True, Exit.GPU_DEAD),
        (DEAD, SICK, False, Exit.GPU_DEAD),
        (DEAD, WELL, True, None),
        (DEAD, None, True, None),
        (OOM, WELL, True, Exit.OUT_OF_MEMORY),
        (OOM, WELL, False, None),
    ],
)
def test_without_any_answer_the_driver_or_the_silence_decides(  # noqa: PLR0917 - a table's columns
    answers: Answers,
    said: list[str],
    line: str,
    found: gpu.Found | None,
    serving: bool,
    code: Exit | None,
) -> None:
    """Prevents: a hung process that is kept, or a slow start that is taken for one."""
    answers.server.server_close()
    court = Court(answers.settings, found=found, serving=serving)
    court.suspect(line)
    if code is None:
        eventually(lambda: _refuted(said), "refuted")
        assert court.reports.empty()
    else:
        assert court.code() == code


@pytest.mark.parametrize("history", [[], {"a": 1}, {"a": {"status": {"messages": [["x"]]}}}])
def test_an_answer_of_another_form_is_no_answer(answers: Answers, history: Any) -> None:
    """Prevents: a thread that dies of a KeyError, so that a drain never ends by itself."""
    answers.history = history
    with Api(answers.settings, 5.0) as api:
        assert api.queue().busy == ()
        with pytest.raises(NoAnswerError, match="another form"):
            api.failures(4)
