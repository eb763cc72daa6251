"""The life of the service, with the simulated ComfyUI as a real process."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from rehearsal.images.source_tree import NODE_PACKS, comfyui_tree, node_tree
from tests.images.entry.conftest import Service, eventually


def test_it_gets_ready_by_a_warm_up_that_leaves_nothing(service: Service) -> None:
    """Prevents: warm-up videos among the customer's results, and history that grows by itself."""
    service.start_until_ready()
    assert service.results() == []
    assert service.call("/history") == {}
    assert not list((service.base / "temp").glob("*warm-up*"))
    answer = json.loads(service.run("ready", "--json").stdout)
    assert answer == {"ready": True, "reasons": ["it can make a video"], "draining": False}
    assert service.run("health").returncode == 0
    log = service.log.read_text()
    assert "warm-up: done" in log
    assert "flag --disable-metadata: " in log
    paths = json.loads(
        (service.temp / f"vace-comfyui-{service.port}" / "model-paths.yaml").read_text()
    )
    assert paths["vace"]["base_path"] == str(service.models)

    service.kill(signal.SIGTERM)
    assert service.wait() == 0
    assert "not running" in service.run("ready").stdout


def test_sigterm_waits_for_the_running_prompt(service: Service) -> None:
    """Prevents: a video that is lost, minutes before its end, because an update came."""
    service.start_until_ready()
    service.submit(steps=100)
    service.kill(signal.SIGTERM)
    eventually(lambda: service.state()["phase"] == "draining", "draining")
    refused = service.run("ready")
    assert refused.returncode == 1
    assert "takes no new work" in refused.stdout or "not running" in refused.stdout
    assert service.wait() == 0
    assert any(name.endswith(".mp4") for name in service.results())


def test_a_second_sigterm_ends_at_once(service: Service) -> None:
    """Prevents: an operator who cannot stop a service that drains for ten minutes."""
    service.start_until_ready()
    service.submit(steps=9000)
    service.kill(signal.SIGTERM)
    eventually(lambda: service.state()["phase"] == "draining", "draining")
    service.kill(signal.SIGTERM)
    assert service.wait() == 73
    assert service.results() == []


def test_a_drain_ends_with_its_time(service: Service) -> None:
    """Prevents: a stop that never comes because a prompt never ends."""
    service.environment |= {"VACE_DRAIN_SECONDS": "0.5", "VACE_WARMUP": "0"}
    service.start_until_ready()
    service.submit(steps=9000)
    service.kill(signal.SIGTERM)
    assert service.wait() == 73
    assert "1 prompts are left" in service.log.read_text()


def test_out_of_memory_ends_it_after_the_client_could_see_the_error(service: Service) -> None:
    """Prevents: a fragmented process that fails every later video but looks healthy."""
    fault = service.temp / "fault"
    service.environment |= {"SIM_FAULT_FILE": str(fault), "VACE_GRACE_SECONDS": "1"}
    service.start_until_ready()
    fault.write_text("out_of_memory")
    prompt_id = service.submit(steps=50)
    entry = eventually(lambda: service.call(f"/history/{prompt_id}").get(prompt_id), "an error")
    assert entry["status"]["status_str"] == "error"
    assert service.wait() == 70


def test_a_killed_comfyui_is_told_from_one_that_ends(service: Service) -> None:
    """Prevents: status 0 after a crash, with which a supervisor would not start it again."""
    service.environment["VACE_WARMUP"] = "0"
    service.start_until_ready()
    os.kill(service.state()["pid"], signal.SIGKILL)
    assert service.wait() == 72
    assert "killed by SIGKILL" in service.log.read_text()
    service.start_until_ready()
    os.kill(service.state()["pid"], signal.SIGINT)
    assert service.wait() == 74


def test_a_warm_up_that_fails_ends_it(service: Service) -> None:
    """Prevents: a service that runs for days and makes no video."""
    service.environment["SIM_FAULT"] = "no_output"
    service.start()
    assert service.wait() == 75
    assert "without a video" in service.log.read_text()


def test_a_stop_during_the_warm_up_is_no_failure(service: Service) -> None:
    """Prevents: a rollout that takes a stop in the first minute for a broken image."""
    service.environment |= {"SIM_FAULT": "stall:step=1"}
    service.start()
    eventually(lambda: service.state().get("warm_up") == "running", "the warm-up")
    eventually(lambda: service.call("/queue")["queue_running"], "its prompt")
    service.kill(signal.SIGTERM)
    assert service.wait() == 0


def test_a_line_that_only_looks_like_a_fault_changes_nothing(service: Service) -> None:
    """Prevents: a caller who restarts the service by a prompt that quotes CUDA's message."""
    service.environment["STANDIN_LINE"] = "prompt text: torch.OutOfMemoryError, CUDA out of memory"
    service.start()
    eventually(lambda: "no prompt failed with it" in service.log.read_text(), "the verdict")
    eventually(lambda: service.run("ready").returncode == 0, "ready")


def test_a_model_that_comfyui_does_not_list_makes_it_not_ready(service: Service) -> None:
    """Prevents: ready while every prompt is refused because a name does not match."""
    rows = json.loads((service.models / "manifest.json").read_text())["files"]
    rows[2]["name"] = "other.safetensors"
    (service.models / "vae" / "other.safetensors").write_bytes(service.weight("vae").read_bytes())
    service.write_manifest(rows)
    service.environment["VACE_WARMUP"] = "0"
    service.start()
    eventually(lambda: service.state().get("phase") == "serving", "serving")
    answer = service.run("ready")
    assert answer.returncode == 1
    assert "VAELoader does not list other.safetensors" in answer.stdout


def test_health_fails_when_a_prompt_runs_and_nothing_moves(service: Service) -> None:
    """Prevents: a hung GPU that keeps its queue waiting for ever (the API answers all the time)."""
    service.environment |= {"VACE_WARMUP": "0", "SIM_FAULT": "stall:step=1"}
    service.start_until_ready()
    prompt_id = service.submit(steps=5)
    assert service.run("health").returncode == 0
    activity = service.temp / f"vace-comfyui-{service.port}" / "activity"

    def stalled() -> bool:
        os.utime(activity, (1, 1))
        return service.run("health").returncode == 1

    eventually(stalled, "health says no")
    os.utime(activity, (1, 1))
    assert prompt_id in service.run("health").stdout
    service.environment["VACE_STALL_SECONDS"] = "0"
    assert service.run("health").returncode == 0


def test_state_of_an_earlier_process_says_nothing(service: Service, tmp_path: Path) -> None:
    """Prevents: ready from a file that a killed predecessor left behind."""
    folder = service.temp / f"vace-comfyui-{service.port}"
    folder.mkdir()
    (folder / "state.json").write_text(
        json.dumps(
            {
                "pid": os.getpid(),
                "started": 1,
                "phase": "serving",
                "warm_up": "done",
                "detail": "",
                "encoder": True,
                "models": {},
            }
        )
    )
    assert "not running" in service.run("ready").stdout


def test_it_serves_the_source_tree_of_the_rehearsals_images(service: Service) -> None:
    """Prevents: an image that builds and then does not start, seen only in a whole rehearsal."""
    trees = [("", comfyui_tree())]
    trees += [(f"custom_nodes/{pack}", node_tree(key)) for key, pack in NODE_PACKS.items()]
    for folder, tree in trees:
        for name, data in tree.items():
            path = service.home / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    service.environment["PYTHONPATH"] = ""
    assert service.run("check", "--build").returncode == 0
    service.start_until_ready()
    assert service.results() == []
    service.kill(signal.SIGTERM)
    assert service.wait() == 0


def test_a_stop_during_the_checks_is_obeyed_at_once(service: Service) -> None:
    """Prevents: process 1 that ignores SIGTERM while it hashes, until it is killed."""
    started, gate, program = (service.temp / name for name in ("started", "gate", "ffmpeg"))
    os.mkfifo(gate)
    program.write_text(f"#!/bin/sh\ntouch {started}\nexec cat {gate}\n")
    program.chmod(0o755)
    service.environment["VHS_FORCE_FFMPEG_PATH"] = str(program)
    service.start()
    eventually(started.exists, "the encoder test")
    service.kill(signal.SIGTERM)
    try:
        assert service.wait() == 0
        assert "nothing was started yet" in service.log.read_text()
    finally:
        gate.open("w").close()
