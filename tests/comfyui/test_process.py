"""The server as a process: start, stop, faults, settings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rehearsal.comfyui import faults, settings
from tests.comfyui.conftest import StartSim
from tests.comfyui.graphs import generate

ROOT = Path(__file__).parents[2]
Start = Callable[..., tuple[subprocess.Popen[str], str]]


def wait_for(probe: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """Poll until the probe gives something true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = probe()
        if found:
            return found
        time.sleep(0.02)
    pytest.fail(f"{what}: not within {seconds:g} s")


def call(url: str, body: Any = None) -> Any:
    """GET or POST JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the module as users do; returns the process and its address once it listens."""
    running: list[subprocess.Popen[str]] = []

    def begin(**variables: str) -> tuple[subprocess.Popen[str], str]:
        port_file = tmp_path / f"port{len(running)}"
        environment = {
            **os.environ,
            "COMFYUI_PORT": "0",
            "COMFYUI_BASE": str(tmp_path / "base"),
            "SIM_PORT_FILE": str(port_file),
            "SIM_STEP_SECONDS": "0",
            **variables,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "rehearsal.comfyui"],
            cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        running.append(process)
        wait_for(lambda: port_file.is_file() and port_file.read_text().endswith("\n"), "port file")
        return process, f"http://127.0.0.1:{port_file.read_text().strip()}"

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def test_the_process_runs_a_prompt_and_stops_cleanly_on_sigterm(start: Start) -> None:
    """Prevents: a container that needs SIGKILL, or that does not say what it is."""
    process, url = start()
    prompt_id = call(f"{url}/prompt", {"prompt": generate()})["prompt_id"]
    entry = wait_for(lambda: call(f"{url}/history/{prompt_id}").get(prompt_id), "history")
    assert entry["status"]["status_str"] == "success"
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "SIMULATED ComfyUI" in log


def test_sigterm_does_not_wait_for_a_running_prompt(start: Start) -> None:
    """Prevents: a stop that takes as long as the sampler."""
    process, url = start(SIM_STEP_SECONDS="600")
    call(f"{url}/prompt", {"prompt": generate()})
    wait_for(lambda: call(f"{url}/queue")["queue_running"], "running prompt")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 0


def test_a_crash_ends_the_process_in_the_middle_of_a_prompt(start: Start) -> None:
    """Prevents: recovery from a crash that was never seen to work."""
    process, url = start(SIM_FAULT="crash:step=2")
    call(f"{url}/prompt", {"prompt": generate(steps=5)})
    process.communicate(timeout=20)
    assert process.returncode == faults.CRASH_EXIT_STATUS


def test_a_slow_start_keeps_the_port_closed(start: Start) -> None:
    """Prevents: readiness checks that were only tried with a server that is there at once."""
    begin = time.monotonic()
    start(SIM_FAULT="slow_start:seconds=1.2")
    assert time.monotonic() - begin >= 1.2


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("COMFYUI_PORT", "99999", "from 0 to 65535"),
        ("SIM_STEP_SECONDS", "fast", "a number from 0"),
        ("SIM_FAULT", "explode", "Unknown fault 'explode'"),
        ("SIM_FAULT", "stall:length=2", "Unknown option 'length'"),
    ],
)
def test_a_wrong_setting_ends_with_status_2_and_one_sentence(
    tmp_path: Path, variable: str, value: str, part: str
) -> None:
    """Prevents: a typo that is silently taken for the default."""
    environment = {**os.environ, "COMFYUI_PORT": "0", "COMFYUI_BASE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "rehearsal.comfyui"], cwd=ROOT, text=True, timeout=20,
        env={**environment, variable: value}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_options_win_over_the_environment() -> None:
    """Prevents: an option that has no effect."""
    chosen = settings.read(["--port", "1"], {"COMFYUI_PORT": "2", "COMFYUI_LISTEN": "0.0.0.0"})
    assert (chosen.port, chosen.listen) == (1, "0.0.0.0")


async def test_out_of_memory_is_reported_in_pytorchs_words_and_the_next_prompt_works(
    start_sim: StartSim,
) -> None:
    """Prevents: a client that cannot tell "too big for this GPU" from other failures."""
    sim = await start_sim(fault="out_of_memory:times=1")
    entry = await sim.run(generate())
    error = dict(entry["status"]["messages"])["execution_error"]
    assert error["exception_type"] == "torch.OutOfMemoryError"
    assert error["exception_message"].startswith("CUDA out of memory.")
    assert (await sim.run(generate()))["status"]["status_str"] == "success"


async def test_success_without_output_can_be_asked_for(start_sim: StartSim) -> None:
    """Prevents: callers that index into outputs because the status was success."""
    sim = await start_sim(fault="no_output")
    entry = await sim.run(generate())
    assert (entry["status"]["status_str"], entry["outputs"]) == ("success", {})


async def test_a_fault_file_is_read_before_every_prompt(
    start_sim: StartSim, tmp_path: Path
) -> None:
    """Prevents: tests that must restart the server to switch a fault on or off."""
    file = tmp_path / "fault"
    sim = await start_sim(fault_file=file)
    results = []
    for line in ("", "out_of_memory", "no such fault", ""):
        file.write_text(line)
        entry = await sim.run(generate(seed=len(results)))
        results.append(entry["status"]["status_str"])
    assert results == ["success", "error", "success", "success"]


async def test_a_stalled_sampler_can_be_interrupted(start_sim: StartSim) -> None:
    """Prevents: a stall that only a restart would end."""
    sim = await start_sim(fault="stall:seconds=600")
    listener = await sim.listen()
    prompt_id = await sim.submit(generate(), client_id=listener.client_id)
    await listener.until("progress", prompt_id)
    await sim.post("/interrupt", {"prompt_id": prompt_id})
    assert (await sim.ended(prompt_id))["status"]["messages"][-1][0] == "execution_interrupted"
