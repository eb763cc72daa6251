"""A video is taken for this run's only when name, content and embedded graph agree."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from smoke_tests.comfy_client import OutputFile
from smoke_tests.media import Clip, Finding, MediaError, read_clip
from smoke_tests.provenance import made_by_this_run
from smoke_tests.reference import workflow
from tests.smoke import clips


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip with nothing wrong."""
    return clips.write(tmp_path_factory.mktemp("clips") / "good.mp4", clips.scenes())


def _with_graph(clip: Clip, seed: int | None) -> Clip:
    graph = workflow().with_inputs(seed=seed).graph
    return replace(clip, metadata={"prompt": json.dumps(graph)} if seed is not None else {})


def _made(clip: Clip, *, name: str = "mine_00001.mp4", seen: tuple[str, ...] = ()) -> Finding:
    submitted = workflow().with_inputs(seed=77, filename_prefix="mine")
    file = OutputFile("32", "gifs", name, "", "output")
    return made_by_this_run(clip, file, submitted, seen_sha256=seen)


def test_a_video_of_this_run_is_recognised(good: Path) -> None:
    """Prevents doubting a good result, and being sure without the embedded graph."""
    clip = read_clip(good)
    assert _made(_with_graph(clip, 77)).level == "ok"
    assert _made(_with_graph(clip, None)).level == "warning"


def test_a_video_of_another_run_is_rejected(good: Path) -> None:
    """Prevents an old file from proving that the service works now."""
    clip = read_clip(good)
    with pytest.raises(MediaError, match="embedded seed 78"):
        _made(_with_graph(clip, 78))
    with pytest.raises(MediaError, match="no earlier run made"):
        _made(_with_graph(clip, 77), seen=("other", clip.sha256))
    with pytest.raises(MediaError, match="begins with mine"):
        _made(_with_graph(clip, 77), name="VACE_video_00001.mp4")
