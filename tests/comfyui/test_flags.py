"""The simulated ComfyUI as a source tree: `main.py` with ComfyUI's own flags."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rehearsal.comfyui import flags, settings
from rehearsal.comfyui.folders import Folders
from rehearsal.comfyui.model_paths import read_model_paths
from tests.comfyui.conftest import StartSim
from tests.comfyui.graphs import generate
from tests.comfyui.test_process import call, wait_for

PACKAGE = Path(__file__).parents[2] / "rehearsal"
PACKS = ("ComfyUI-VideoHelperSuite", "ComfyUI-KJNodes")
MODELS = {
    "diffusion_models": "wan21_vace_1_3_b.safetensors",
    "text_encoders": "umt5_xxl_fp8_e4m3fn.safetensors",
    "vae": "wan21_vace_vae.safetensors",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree with both node packs."""
    root = tmp_path / "comfyui"
    shutil.copytree(
        PACKAGE / "comfyui",
        root / "rehearsal/comfyui",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copy(PACKAGE / "__init__.py", root / "rehearsal")
    shutil.move(root / "rehearsal/comfyui/main.py", root / "main.py")
    for pack in PACKS:
        (root / "custom_nodes" / pack).mkdir(parents=True)
        (root / "custom_nodes" / pack / "__init__.py").touch()
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Folders as the image has them, and models that a file for model paths names."""
    base = tmp_path / "data"
    for kind in ("input", "output", "user"):
        (base / kind).mkdir(parents=True)
    for folder, name in MODELS.items():
        (base / "models" / folder).mkdir(parents=True)
        (base / "models" / folder / name).touch()
    document = {"vace": {"base_path": str(base / "models"), **{name: name for name in MODELS}}}
    (base / "paths.yaml").write_text(json.dumps(document))
    return base


def arguments(data: Path) -> list[str]:
    """What the image's entry point passes."""
    return [
        *("--listen", "127.0.0.1", "--port", "0", "--input-directory", str(data / "input")),
        *("--output-directory", str(data / "output"), "--temp-directory", str(data)),
        *("--user-directory", str(data / "user")),
        *("--database-url", f"sqlite:///{data}/user/comfyui.db"),
        *("--extra-model-paths-config", str(data / "paths.yaml")),
        *("--disable-auto-launch", "--disable-metadata", "--disable-api-nodes"),
        *("--max-upload-size", "512", "--cpu", "--cache-classic"),
    ]


class Tree:
    """A server that was started from a source tree."""

    def __init__(self, tree: Path, data: Path) -> None:
        port_file = data / "port"
        self.process = subprocess.Popen(
            [sys.executable, "-s", "main.py", *arguments(data)], cwd=tree,
            env={
                "PATH": os.environ["PATH"], "SIM_PORT_FILE": str(port_file),
                "SIM_STEP_SECONDS": "0", "COMFYUI_PORT": "99999",
            },
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        wait_for(lambda: port_file.is_file() and port_file.read_text().endswith("\n"), "port file")
        self.url = f"http://127.0.0.1:{port_file.read_text().strip()}"


@pytest.fixture
def server(tree: Path, data: Path) -> Iterator[Tree]:
    started = Tree(tree, data)
    yield started
    started.process.kill()
    started.process.communicate()


def run_prompt(url: str, graph: Any) -> Any:
    prompt_id = call(f"{url}/prompt", {"prompt": graph})["prompt_id"]
    return wait_for(lambda: call(f"{url}/history/{prompt_id}").get(prompt_id), "history")


def test_a_tree_serves_videos_from_the_folders_that_its_flags_name(
    server: Tree, tree: Path, data: Path
) -> None:
    """Prevents: an image that works only with the simulation's own options."""
    entry = run_prompt(server.url, generate())
    assert entry["status"]["status_str"] == "success"
    assert list((data / "output").rglob("*.mp4"))
    assert (data / "temp").is_dir()
    assert not (tree / "output").exists()
    assert call(f"{server.url}/models/vae") == [MODELS["vae"]]
    assert call(f"{server.url}/features")["max_upload_size"] == 512 * 1024 * 1024
    server.process.send_signal(signal.SIGTERM)
    server.process.communicate(timeout=10)
    assert server.process.returncode == 0


def test_a_model_that_is_not_on_disk_makes_the_graph_invalid(server: Tree, data: Path) -> None:
    """Prevents: an image without weights that a rehearsal takes for a good one."""
    (data / "models/vae" / MODELS["vae"]).unlink()
    options = call(f"{server.url}/object_info/VAELoader")["VAELoader"]
    assert options["input"]["required"]["vae_name"][0] == ["pixel_space"]
    with pytest.raises(Exception, match="400"):
        call(f"{server.url}/prompt", {"prompt": generate()})


def test_a_node_pack_that_is_not_in_the_tree_has_no_classes(tree: Path, data: Path) -> None:
    """Prevents: an image without its node packs that a rehearsal takes for a good one."""
    shutil.rmtree(tree / "custom_nodes" / PACKS[0])
    started = Tree(tree, data)
    try:
        assert call(f"{started.url}/object_info/VHS_VideoCombine") == {}
        assert "ImageResizeKJv2" in call(f"{started.url}/object_info/ImageResizeKJv2")
    finally:
        started.process.kill()
        started.process.communicate()


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (["--no-such-flag"], "unrecognized arguments: --no-such-flag"),
        (["--port", "http"], "argument --port: invalid int value: 'http'"),
        (["--reserve-vram", "much"], "argument --reserve-vram: invalid float value"),
        (["--lowvram", "--highvram"], "not allowed with argument"),
        (["--cache-none", "--cache-lru", "3"], "not allowed with argument"),
        (["--user-directory", "/no/such/folder"], "The path '/no/such/folder' does not exist."),
    ],
)
def test_wrong_flags_end_with_status_2_in_argparses_words(
    given: list[str], part: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Prevents: a flag that the real program would refuse, found only in production."""
    with pytest.raises(SystemExit) as ended:
        flags.read_flags(given, tmp_path, {})
    assert ended.value.code == 2
    assert part in capsys.readouterr().err


def test_memory_flags_of_all_kinds_are_accepted_with_their_types(tmp_path: Path) -> None:
    """Prevents: a simulation that refuses what the real program takes."""
    given = ["--novram", "--cache-lru", "10", "--reserve-vram", "1.5", "--disable-pinned-memory",
             "--async-offload", "--fast", "fp16_accumulation", "--max-upload-size", "0.5",
             "--listen"]  # fmt: skip
    chosen = flags.read_flags(given, tmp_path, {})
    assert chosen.max_upload_bytes == 512 * 1024
    assert chosen.listen == "0.0.0.0,::"


def test_only_the_simulations_own_variables_are_read_beside_flags(tmp_path: Path) -> None:
    """Prevents: settings by variables that the real program does not know."""
    variables = {"COMFYUI_PORT": "1", "COMFYUI_BASE": "/nowhere", "SIM_STEP_SECONDS": "0.5"}
    chosen = flags.read_flags([], tmp_path, variables)
    assert (chosen.port, chosen.base, chosen.step_seconds) == (8188, tmp_path, 0.5)
    assert chosen.folders is not None
    assert chosen.folders.temp == tmp_path / "temp"
    with pytest.raises(settings.SettingsError, match="SIM_STEP_SECONDS"):
        flags.read_flags([], tmp_path, {"SIM_STEP_SECONDS": "fast"})


def test_custom_nodes_can_be_switched_off_except_for_some(tree: Path) -> None:
    """Prevents: a switch that is accepted and has no effect."""
    given = ["--disable-all-custom-nodes", "--whitelist-custom-nodes", PACKS[1]]
    chosen = flags.read_flags(given, tree, {})
    folders = Folders(chosen.base, chosen.folders)
    assert not folders.has_nodes(f"custom_nodes.{PACKS[0]}")
    assert folders.has_nodes(f"custom_nodes.{PACKS[1]}")
    assert folders.has_nodes("nodes")


def test_model_folders_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Prevents: folders that are searched in another order than with the real program."""
    file = tmp_path / "paths.yaml"
    file.write_text(
        "a:\n  vae: |\n    one\n    two\n  unet: /models/unet\n"
        "b:\n  base_path: /first\n  is_default: true\n  vae: vae\nempty:\n"
    )
    assert read_model_paths([file]) == {
        "vae": (Path("/first/vae"), tmp_path / "one", tmp_path / "two"),
        "diffusion_models": (Path("/models/unet"),),
    }


@pytest.mark.parametrize("text", ["- a\n", "a: [\n", "a: text\n", "a:\n  vae: [x]\n"])
def test_a_damaged_file_of_model_folders_is_named(tmp_path: Path, text: str) -> None:
    """Prevents: a server that starts without its models and without a word."""
    file = tmp_path / "paths.yaml"
    file.write_text(text)
    with pytest.raises(settings.SettingsError, match=r"paths\.yaml"):
        read_model_paths([file])


@pytest.mark.parametrize("metadata", [True, False])
async def test_disable_metadata_keeps_the_graph_out_of_saved_pictures(
    start_sim: StartSim, metadata: bool
) -> None:
    """Prevents: prompts of one user in a file that another one gets."""
    sim = await start_sim(metadata=metadata)
    size = {"width": 16, "height": 16, "batch_size": 1, "color": 0}
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": size},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    await sim.run(graph)
    [file] = sim.output.glob("*.png")
    with Image.open(file) as picture:
        assert ("prompt" in picture.info) is metadata
