"""From recipe to checked video: natural clips in, a run on the simulated server, all checks on it.

What an honest server makes must pass every check, and what a broken one makes must not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from smoke_tests.comfy_client import ComfyClient, Deadline, Target
from smoke_tests.media import (
    CHECKS,
    EDIT_CHECKS,
    Clip,
    Expectation,
    MediaError,
    Source,
    edit_checks,
    read_clip,
)
from smoke_tests.workflows import RECIPES, Recipe
from tests.smoke import clips, landscape
from tests.smoke.processes import running

WIDTH, HEIGHT = 208, 112
PATIENCE_S = 120.0
FRAMES = 17
#: All checks but one: at this size, what a scene shows may be smaller than the lag of 16 pixels at
#: which it tells shapes from noise.
MEANINGFUL = tuple(name for name in CHECKS if name != "not_noise")


@dataclass(frozen=True)
class Kind:
    """A kind of source: file name, size, frames a second, codec; seconds, or as long as needed."""

    name: str
    width: int = 224
    height: int = 126
    rate: int = 30
    codec: str = "libx264"
    seconds: float = 3.2
    varies: bool = False


KINDS = {
    "mp4": Kind("source.mp4"),
    "avi": Kind("source.avi", rate=25, codec="mpeg4"),
    "mov": Kind("source.mov", 240, 180, 24),
    "variable": Kind("phone.mp4", varies=True),
    "portrait": Kind("upright.mp4", 144, 256),
    "slow": Kind("slow.mp4", rate=8),
    "short": Kind("short.mp4", seconds=0.7),
}


def write(kind: Kind, folder: Path, seconds: float = 0.0) -> Path:
    """The clip of a kind."""
    count = round((seconds or kind.seconds) * kind.rate)
    times = list(range(count))
    if kind.varies:  # a frame is missing now and then, as phones record
        times = [n for n in range(round(count * 1.25)) if n % 10 not in (4, 7)]
    pictures = landscape.pictures([n / kind.rate for n in times], kind.width, kind.height)
    return clips.write(folder / kind.name, pictures, fps=kind.rate, codec=kind.codec, times=times)


def mask_of(kind: Kind, *, around: bool) -> NDArray[np.float32]:
    """A place in the middle of the picture, or for another background the half of it."""
    painted = np.zeros((kind.height, kind.width), np.float32)
    high, wide = kind.height, kind.width
    if around:
        painted[:, : round(0.5 * wide)] = 1
    else:
        painted[round(0.4 * high) : round(0.66 * high), round(0.36 * wide) : round(0.62 * wide)] = 1
    return painted


@dataclass(frozen=True)
class Made:
    """A result and what it was made from."""

    clip: Clip
    source: Source
    expected: Expectation

    def failures(self, checks: tuple[str, ...]) -> list[str]:
        """What the checks find wrong."""
        found = []
        for name in checks:
            try:
                if name in CHECKS:
                    CHECKS[name](self.clip, self.expected)
                else:
                    EDIT_CHECKS[name](self.clip, self.source)
            except MediaError as error:
                found.append(str(error))
        return found


class Server:
    """A simulated server whose faults a test chooses."""

    def __init__(self, url: str, faults: Path) -> None:
        self._url, self._faults = url, faults

    def make(
        self,
        recipe: Recipe,
        kind: Kind,
        folder: Path,
        *,
        fault: str = "",
        seconds: float = 0.0,
        **changes: Any,
    ) -> Made:
        """Upload what the recipe takes, run it, download and read the result."""
        deadline, files = Deadline(PATIENCE_S), self._files(recipe, kind, folder, seconds)
        names: dict[str, Any] = {}
        self._faults.write_text(fault)
        with ComfyClient(Target.of(self._url)) as comfy:
            for role, path in files.items():
                names[role] = comfy.upload(path, path.name, deadline).reference
            graph = recipe.workflow().with_inputs(**names, **changes)
            result = comfy.run(graph.graph, deadline)
            target = folder / f"{recipe.name}{len(list(folder.iterdir()))}.mp4"
            comfy.download(result.videos[0], target, deadline)
        clip = read_clip(target)
        width, height = changes.get("width", recipe.width), changes.get("height", recipe.height)
        before = read_clip(files["video"]) if "video" in files else None
        given = 0 if before is None else _loaded(before, recipe)
        source = Source(
            clip=before,
            mask=mask_of(kind, around=recipe.name == "background") if "mask" in files else None,
            # a source that is shorter is kept whole, up to the last full latent frame
            first_frames=min(recipe.first_frames, (given - 1) // 4 * 4 + 1),
            inner=_inner(recipe, width, height),
            fit=recipe.fit,
        )
        frames = changes.get("frames", recipe.frames)
        if before is not None and not recipe.first_frames:
            frames = min(frames, (given - 1) // 4 * 4 + 1)
        expected = Expectation(
            width, height, frames, recipe.fps, metadata_allowed=recipe.name == "reference"
        )
        return Made(clip, source, expected)

    def _files(self, recipe: Recipe, kind: Kind, folder: Path, seconds: float) -> dict[str, Path]:
        files: dict[str, Path] = {}
        for role in recipe.inputs:
            if role == "video":
                files[role] = write(kind, folder, seconds)
            else:
                files[role] = folder / f"{role}-{recipe.name}.png"
                pixels = landscape.picture(1.0, kind.width, kind.height)
                if role == "mask":
                    level = 255 * mask_of(kind, around=recipe.name == "background")
                    pixels = np.repeat(level[..., None], 3, axis=2).astype(np.uint8)
                Image.fromarray(pixels).save(files[role])
        return files


def _loaded(before: Clip, recipe: Recipe) -> int:
    """How many frames the source has at the result's rate."""
    assert before.video.rate
    return int(len(before.frames) / before.video.rate * recipe.fps)


def _inner(recipe: Recipe, width: int, height: int) -> tuple[int, int, int, int] | None:
    """Where the source lies in an outpainted result of another size than the recipe's."""
    if recipe.inner is None:
        return None
    left, top, right, bottom = recipe.inner
    across, down = width / recipe.width, height / recipe.height
    return round(left * across), round(top * down), round(right * across), round(bottom * down)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A simulated ComfyUI in its own process."""
    folder = tmp_path_factory.mktemp("simulation")
    port, faults = folder / "port", folder / "fault"
    faults.write_text("")
    environment = {
        "COMFYUI_PORT": "0",
        "COMFYUI_BASE": str(folder),
        "SIM_STEP_SECONDS": "0",
        "SIM_PORT_FILE": str(port),
        "SIM_FAULT_FILE": str(faults),
    }
    with running(
        "rehearsal.comfyui",
        environment,
        folder / "log",
        lambda: port.is_file() and bool(port.read_text().strip()),
    ):
        yield Server(f"http://127.0.0.1:{port.read_text().strip()}", faults)


def small(recipe: Recipe) -> dict[str, Any]:
    """A size in which a run takes a moment; an extension still adds frames to its first ones."""
    frames = recipe.first_frames + 16 if recipe.first_frames else FRAMES
    # detected lines are a pixel thin: on a smaller picture they cover all of the texture
    larger = 2 if recipe.name == "style" else 1
    return {"width": larger * WIDTH, "height": larger * HEIGHT, "frames": frames}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_what_an_honest_server_makes_passes_every_check(
    recipe: Recipe, server: Server, tmp_path: Path
) -> None:
    """Prevents a workflow, or a check, that refuses what it itself asked for."""
    made = server.make(recipe, KINDS["mp4"], tmp_path, **small(recipe))
    assert not made.failures((*MEANINGFUL, *edit_checks(recipe.kept)))


@pytest.mark.parametrize("kind", [name for name in KINDS if name != "mp4"])
@pytest.mark.parametrize("name", ["colour", "style", "object", "background", "extend", "outpaint"])
def test_sources_of_every_format_shape_and_length_are_compared_rightly(
    name: str, kind: str, server: Server, tmp_path: Path
) -> None:
    """Prevents comparing with other frames, or another part of them, than those that were used."""
    made = server.make(RECIPES[name], KINDS[kind], tmp_path, **small(RECIPES[name]))
    assert not made.failures(edit_checks(RECIPES[name].kept))


@pytest.mark.parametrize(
    ("fault", "name", "check"),
    [
        ("ignores_mask", "object", "unchanged_outside_mask"),
        ("ignores_mask", "background", "unchanged_outside_mask"),
        ("ignores_mask", "extend", "starts_with"),
        ("ignores_mask", "outpaint", "keeps_inner_area"),
        ("ignores_control", "style", "follows_control"),
        ("ignores_control", "colour", "follows_control"),
        ("ignores_control", "object", "unchanged_outside_mask"),
        ("ignores_control", "extend", "starts_with"),
        ("ignores_control", "outpaint", "keeps_inner_area"),
        ("frozen", "colour", "follows_control"),
        ("frozen", "extend", "starts_with"),
        ("frozen", "reference", "not_frozen"),
        ("noise", "colour", "follows_control"),
        ("noise", "text_to_video", "not_noise"),
        ("black", "style", "follows_control"),
        ("black", "outpaint", "keeps_inner_area"),
        ("plain", "object", "unchanged_outside_mask"),
        ("flicker", "text_to_video", "no_flicker"),
        ("nan_blocks", "colour", "no_broken_blocks"),
    ],
)
def test_what_a_broken_server_makes_is_rejected(
    fault: str, name: str, check: str, server: Server, tmp_path: Path
) -> None:
    """Prevents limits so wide that a control, a mask or a source that was lost goes unnoticed."""
    made = server.make(RECIPES[name], KINDS["mp4"], tmp_path, fault=fault, **small(RECIPES[name]))
    (said,) = made.failures((check,))
    assert said.startswith(f"{check}: measured")


@pytest.mark.parametrize("name", ["colour", "object", "extend", "outpaint"])
def test_the_result_of_another_source_is_rejected(
    name: str, server: Server, tmp_path: Path
) -> None:
    """Prevents that an old file, or the file of another job, passes for this one."""
    made = server.make(RECIPES[name], KINDS["mp4"], tmp_path, **small(RECIPES[name]))
    pictures = clips.views(60, width=KINDS["mp4"].width, height=KINDS["mp4"].height)
    other = read_clip(clips.write(tmp_path / "other.mp4", pictures, fps=KINDS["mp4"].rate))
    swapped = replace(made, source=replace(made.source, clip=other))
    checks = [check for check in edit_checks(RECIPES[name].kept) if not check.startswith("changed")]
    assert len(swapped.failures(tuple(checks))) == len(checks)
