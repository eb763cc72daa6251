"""What the simulation keeps of the recorded ComfyUI 0.33.0 besides its conversations.

The conversations themselves are replayed by the conformance suite (`tests/smoke/conformance`).
The recordings lie outside this repository; without them one of these tests skips.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smoke_tests.conformance import files
from smoke_tests.conformance.recordings import load
from tests.comfyui.conftest import StartSim
from tests.comfyui.graphs import generate

FOLDER = Path(__file__).parents[3] / "shared" / "contract" / "comfyui-0.33.0"


async def test_a_clip_with_sound_leaves_its_silent_twin_in_the_output_folder(
    start_sim: StartSim,
) -> None:
    """Prevents: a clean-up that was never tried with the file that a real server leaves behind."""
    sim = await start_sim()
    await sim.upload("clip.mp4", files.content("clip.mp4"))
    recorded = load()["audio_kept"].exchanges
    graph = next(x.send["json"]["prompt"] for x in recorded if x.send["path"] == "/prompt")
    entry = await sim.run(json.loads(json.dumps(graph)))
    (result,) = next(out["gifs"] for out in entry["outputs"].values() if "gifs" in out)
    assert result["filename"].endswith("-audio.mp4")
    assert (sim.output / result["filename"].replace("-audio", "")).is_file()


async def test_every_recorded_node_class_is_listed_with_the_recorded_inputs(
    start_sim: StartSim,
) -> None:
    """Prevents: a catalogue that lost inputs on its way from the recording to the data file."""
    if not FOLDER.is_dir():
        pytest.skip(f"RECORDINGS MISSING: {FOLDER}; the catalogue is NOT compared with a real one")
    sim = await start_sim()
    recorded = json.loads((FOLDER / "object_info.json").read_text(encoding="utf-8"))
    everything = await sim.get("/object_info")
    assert len(everything) == 924
    for name, definition in recorded.items():
        given = everything[name]
        for section in ("required", "optional"):
            wanted = definition["input"].get(section) or {}
            assert list(given["input"].get(section) or {}) == list(wanted), name
        for key in ("output", "output_name", "output_node", "name"):
            assert given[key] == definition[key], name


def test_the_graph_of_these_tests_is_the_services_reference_graph() -> None:
    """Prevents: tests of a graph that no caller sends."""
    exchanges = load()["reference_run"].exchanges
    graph = next(x.send["json"]["prompt"] for x in exchanges if x.send["path"] == "/prompt")
    mine = generate(width=128, height=128)
    for key, value in mine.items():
        theirs = graph[key]
        assert isinstance(theirs, dict)
        assert theirs["class_type"] == value["class_type"]
        assert set(value["inputs"]) <= set(theirs["inputs"])
