"""Every workflow runs on the simulated server, with inputs of the kinds that users have."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from rehearsal.comfyui.settings import Settings
from rehearsal.comfyui.simulation import build
from rehearsal.comfyui.validation import validate
from smoke_tests.comfy_client import ComfyClient, Deadline, JobResult, Target
from smoke_tests.media import Clip, read_clip
from smoke_tests.workflows import RECIPES, Recipe
from tests.smoke import clips
from tests.smoke.processes import running

WIDTH, HEIGHT, FRAMES = 96, 64, 5
PATIENCE_S = 60.0
#: Longer than the result and of another shape, as a user's file is.
SOURCE_FRAMES, SOURCE_SIZE = 12, 128
EDITS = [name for name, recipe in RECIPES.items() if "video" in recipe.inputs]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A simulated ComfyUI in its own process."""
    folder = tmp_path_factory.mktemp("simulation")
    port = folder / "port"
    environment = {
        "COMFYUI_PORT": "0",
        "COMFYUI_BASE": str(folder),
        "SIM_STEP_SECONDS": "0",
        "SIM_PORT_FILE": str(port),
    }
    with running(
        "rehearsal.comfyui",
        environment,
        folder / "log",
        lambda: port.is_file() and bool(port.read_text().strip()),
    ):
        yield f"http://127.0.0.1:{port.read_text().strip()}"


@pytest.fixture
def comfy(url: str) -> Iterator[ComfyClient]:
    """A client of the simulated server."""
    with ComfyClient(Target.of(url)) as connected:
        yield connected


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An input file for each role: a square clip with sound, a picture, a mask of its half."""
    folder = tmp_path_factory.mktemp("inputs")
    video = clips.write(folder / "source.mp4", clips.scenes(SOURCE_FRAMES), silence=True)
    picture, mask = folder / "picture.png", folder / "mask.png"
    Image.fromarray(clips.scene(0)).save(picture)
    half = np.zeros((SOURCE_SIZE, SOURCE_SIZE, 3), np.uint8)
    half[:, SOURCE_SIZE // 2 :] = 255
    Image.fromarray(half).save(mask)
    return {"video": video, "image": picture, "mask": mask}


def run(
    comfy: ComfyClient, recipe: Recipe, files: dict[str, Path], folder: Path, **changes: Any
) -> tuple[JobResult, Clip]:
    """Upload, run in a tiny size, download and read."""
    deadline = Deadline(PATIENCE_S)
    names: dict[str, Any] = {}
    for role in recipe.inputs:
        with files[role].open("rb") as content:
            names[role] = comfy.upload(content, files[role].name, deadline).reference
    tiny = {"width": WIDTH, "height": HEIGHT, "frames": FRAMES, "steps": 2}
    graph = recipe.workflow().with_inputs(**names, **{**tiny, **changes})
    result = comfy.run(graph.graph, deadline)
    target = folder / result.videos[0].filename
    comfy.download(result.videos[0], target, deadline)
    return result, read_clip(target)


def test_the_server_accepts_every_graph_as_shipped(recipe: Recipe, tmp_path: Path) -> None:
    """Prevents a graph with an input, a choice or a link that a real server refuses."""
    simulation = build(Settings(base=tmp_path))
    graph = recipe.workflow().graph
    for node in graph.values():
        for key in ("image", "video"):
            name = node["inputs"].get(key)
            if isinstance(name, str):
                (simulation.folders.input / name).write_bytes(b"there")
    verdict = validate(graph, simulation.catalogue, simulation.folders)
    assert not verdict.node_errors, verdict.node_errors


def test_every_workflow_makes_a_video(
    recipe: Recipe, comfy: ComfyClient, files: dict[str, Path], tmp_path: Path
) -> None:
    """Prevents a graph that is accepted and fails, or gives another size, length or rate."""
    result, clip = run(comfy, recipe, files, tmp_path)
    assert len(result.videos) == 1
    assert (clip.video.width, clip.video.height) == (WIDTH, HEIGHT)
    assert len(clip.frames) == FRAMES
    assert clip.video.rate == Fraction(16)


@pytest.mark.parametrize("name", EDITS)
def test_sound_is_kept_or_dropped_as_the_recipe_says(
    name: str, comfy: ComfyClient, files: dict[str, Path], tmp_path: Path
) -> None:
    """Prevents an edit that loses the sound, and an extension with sound for its first part."""
    result, _ = run(comfy, RECIPES[name], files, tmp_path, seed=11)
    with av.open(str(tmp_path / result.videos[0].filename)) as container:
        assert bool(container.streams.audio) == RECIPES[name].audio


@pytest.mark.parametrize("name", ["style", "object", "enhance"])
def test_a_source_without_sound_gives_a_silent_video(
    name: str, comfy: ComfyClient, files: dict[str, Path], tmp_path: Path
) -> None:
    """Prevents that an edit fails because its source has no sound."""
    silent = clips.write(tmp_path / "silent.mp4", clips.scenes(SOURCE_FRAMES))
    _, clip = run(comfy, RECIPES[name], {**files, "video": silent}, tmp_path, seed=12)
    assert len(clip.frames) == FRAMES


@pytest.mark.parametrize("name", [name for name in EDITS if name != "extend"])
def test_a_short_source_gives_a_result_of_its_length(
    name: str, comfy: ComfyClient, files: dict[str, Path], tmp_path: Path
) -> None:
    """Prevents seconds that nobody filmed after the end of a short clip."""
    short = clips.write(tmp_path / "short.mp4", clips.scenes(7))
    changed = {"frames": None}
    _, clip = run(comfy, RECIPES[name], {**files, "video": short}, tmp_path, seed=13, **changed)
    assert len(clip.frames) == 5  # 7 rounded down to 4n+1


def test_an_extension_of_a_short_source_still_has_its_full_length(
    comfy: ComfyClient, files: dict[str, Path], tmp_path: Path
) -> None:
    """Prevents an extension that extends nothing."""
    short = clips.write(tmp_path / "short.mp4", clips.scenes(5))
    _, clip = run(comfy, RECIPES["extend"], {**files, "video": short}, tmp_path, seed=14, frames=13)
    assert len(clip.frames) == 13


@pytest.mark.parametrize("name", EDITS)
def test_portrait_works_as_well(
    name: str, comfy: ComfyClient, files: dict[str, Path], tmp_path: Path
) -> None:
    """Prevents a size that is set in one place and not in another."""
    _, clip = run(comfy, RECIPES[name], files, tmp_path, seed=15, width=HEIGHT, height=WIDTH)
    assert (clip.video.width, clip.video.height) == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("phone.mp4", {"times": [0, 1, 2, 5, 6, 9, 10, 11, 13, 14, 17, 18]}),
        ("clip.avi", {"codec": "mpeg4", "fps": 25}),
        ("clip.mov", {"fps": 30}),
    ],
)
def test_every_promised_container_is_taken(
    name: str,
    options: dict[str, Any],
    comfy: ComfyClient,
    files: dict[str, Path],
    tmp_path: Path,
) -> None:
    """Prevents an edit that works with MP4 at 16 frames a second only."""
    source = clips.write(tmp_path / name, clips.scenes(SOURCE_FRAMES), **options)
    _, clip = run(comfy, RECIPES["colour"], {**files, "video": source}, tmp_path, seed=16)
    assert len(clip.frames) == FRAMES
    assert clip.video.rate == Fraction(16)
