"""A place with weights, an image description and a stand-in for ComfyUI, and real processes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from vace_comfyui.warmup import graph

REPOSITORY = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 30.0
NAMES = {
    "diffusion_models": "wan21_vace_1_3_b.safetensors",
    "text_encoders": "umt5_xxl_fp8_e4m3fn.safetensors",
    "vae": "wan21_vace_vae.safetensors",
}


def eventually(probe: Callable[[], Any], what: str) -> Any:
    """Poll until the probe gives something; fails with what was waited for."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {PATIENCE_SECONDS:g} s")
        time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Service:
    """One `vace-comfyui` with its folders; `environment` may be changed before it starts."""

    def __init__(self, folder: Path) -> None:
        self.base, self.models, self.home = folder / "base", folder / "models", folder / "comfyui"
        self.temp = folder / "tmp"
        self.log = folder / "log"
        self.image = folder / "image.json"
        for path in (self.base, self.home, self.temp):
            path.mkdir()
        shutil.copy(Path(__file__).parent / "stand_in.py", self.home / "main.py")
        self.describe()
        self.write_weights()
        self.port = _free_port()
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("SIM_")},
            "PYTHONPATH": str(REPOSITORY),
            "COMFYUI_PORT": str(self.port),
            "COMFYUI_BASE": str(self.base),
            "VACE_MODELS": str(self.models),
            "VACE_COMFYUI_HOME": str(self.home),
            "VACE_IMAGE_JSON": str(self.image),
            "VACE_MIN_FREE_MIB": "1",
            "VACE_GRACE_SECONDS": "0.1",
            "TMPDIR": str(self.temp),
            "SIM_STEP_SECONDS": "0.01",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def describe(self, **changes: Any) -> None:
        """Write image.json; the variant is cpu unless told otherwise."""
        document = {
            "schema": 1,
            "variant": "cpu",
            "cuda": None,
            "compute_capabilities": [],
            "least_driver": {},
            "lock_sha256": "ab" * 32,
            "overrides": ["comfyui"],
        }
        self.image.write_text(json.dumps(document | changes))

    def write_weights(self) -> None:
        """Three small files and their manifest."""
        rows = []
        for folder, name in NAMES.items():
            path = self.models / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            data = folder.encode() * 1000
            path.write_bytes(data)
            rows.append(
                {
                    "name": name,
                    "folder": folder,
                    "size": len(data),
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "licence": "Apache-2.0",
                    "sources": [],
                    "derived": None,
                }
            )
        self.write_manifest(rows)

    def write_manifest(self, rows: list[dict[str, Any]]) -> None:
        (self.models / "manifest.json").write_text(json.dumps({"schema": 1, "files": rows}))

    def weight(self, folder: str) -> Path:
        return self.models / folder / NAMES[folder]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "vace_comfyui", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def start(self) -> None:
        """`serve` in the background; its log goes to a file."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vace_comfyui"], env=self.environment, stderr=log
            )

    def start_until_ready(self) -> None:
        self.start()
        # The file first: each run of the command costs a start of the interpreter.
        eventually(
            lambda: (
                self.state().get("phase") == "serving"
                and self.state()["warm_up"] in ("done", "off")
            ),
            "the warm-up",
        )
        eventually(lambda: self.run("ready").returncode == 0, "ready")

    def wait(self) -> int:
        """Exit code of `serve`."""
        assert self.process is not None
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def state(self) -> dict[str, Any]:
        path = self.temp / f"vace-comfyui-{self.port}" / "state.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def call(self, path: str, document: dict[str, Any] | None = None) -> Any:
        data = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data)
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def submit(self, steps: int) -> str:
        """A prompt of many steps, under way when this returns."""
        prompt = graph(NAMES, "result", seed=steps)
        prompt["24"]["inputs"]["steps"] = steps
        prompt["32"]["inputs"]["save_output"] = True
        prompt_id = str(self.call("/prompt", {"prompt": prompt})["prompt_id"])
        eventually(
            lambda: any(row[1] == prompt_id for row in self.call("/queue")["queue_running"]),
            "the prompt runs",
        )
        return prompt_id

    def results(self) -> list[str]:
        return sorted(path.name for path in (self.base / "output").rglob("*") if path.is_file())

    def close(self) -> None:
        process = self.process
        if process is None:
            return

        def ended() -> bool:
            # Again and again: two signals of a kind that come together are one.
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            return process.poll() is not None

        eventually(ended, "the service ends")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.close()
