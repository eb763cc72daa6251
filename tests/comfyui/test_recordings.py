"""The simulation answers like the recorded ComfyUI 0.33.0.

The recordings lie outside this repository; without them these tests skip and the others remain.
"""

from __future__ import annotations

import copy
from pathlib import Path

from tests.comfyui.clips import picture, write_clip
from tests.comfyui.conftest import StartSim, eventually
from tests.comfyui.graphs import generate, node
from tests.comfyui.recordings import Replay, load, normal, unlike


def first_graph(name: str) -> dict[str, object]:
    """The first graph that a recording submits."""
    for exchange in load(name):
        body = (exchange.get("request") or {}).get("json")
        if isinstance(body, dict) and body.get("prompt"):
            return dict(copy.deepcopy(body["prompt"]))
    raise AssertionError(name)


async def test_a_first_session_is_answered_as_recorded(start_sim: StartSim) -> None:
    """Prevents: callers that work here and fail at the real server, from upload to /api/jobs."""
    sim = await start_sim(step_seconds=0.1)
    replay = Replay(sim, {"example.png": picture(640, 480), "broken.png": b"no picture"})
    graph = first_graph("reference_run")
    # The recorded server had run the picture branch and the VAE loader before.
    warm = {key: graph[key] for key in ("14", "18", "22", "23")}
    warm["90"] = node("VAEEncode", pixels=["22", 0], vae=["14", 0])
    warm["91"] = node("MaskToImage", mask=["22", 3])
    warm["92"] = node("PreviewImage", images=["93", 0])
    warm["93"] = node("VAEDecode", samples=["90", 0], vae=["14", 0])
    await sim.upload("example.png", replay.files["example.png"])
    await sim.run(warm)
    replay.loose = ("/api/jobs?",)
    for name in ("reference_run", "identical_resubmit", "rejected_prompts", "execution_error"):
        await replay.play(name)
    assert [line for line in replay.differences if "/api/jobs?limit=2" not in line] == []


async def test_a_second_session_with_videos_is_answered_as_recorded(
    start_sim: StartSim, tmp_path: Path
) -> None:
    """Prevents: shapes, file names and errors of real edits that differ from the real server."""
    sim = await start_sim()
    replay = Replay(sim, {"example.png": picture(), "ref.png": picture(), "bad.mp4": b"no video"})
    replay.files["mask.png"] = picture(128, 128)
    clips = {
        "clip.mp4": {"frames": 32, "sound": True},
        "clip.avi": {"frames": 50, "rate": 25, "codec": "mpeg4"},
        "clip.mov": {"frames": 60, "rate": 30, "width": 64, "height": 96},
    }
    for name, shape in clips.items():
        write_clip(tmp_path / name, **shape)  # type: ignore[arg-type]
        replay.files[name] = (tmp_path / name).read_bytes()
    for name in ("edit_video_run", "input_formats", "shapes", "core_video_nodes", "audio_kept"):
        await replay.play(name)
    assert replay.differences == []
    assert (sim.output / "VACE_video_00008.mp4").is_file(), "the silent twin stays"


async def test_queue_listing_front_delete_and_interrupt_are_as_recorded(
    start_sim: StartSim,
) -> None:
    """Prevents: callers that look for their prompt in the wrong list or at the wrong place."""
    sim = await start_sim(step_seconds=60)
    await sim.upload("example.png", picture(640, 480))
    recorded = load("queue_and_interrupt")
    bodies = [
        x["request"]["json"] for x in recorded if (x.get("request") or {}).get("path") == "/prompt"
    ]
    answers = [x["response"]["json"] for x in recorded if x.get("request")]
    listener = await sim.listen()
    sim.simulation.next_number = 16
    ids = []
    for body, answer in zip(bodies, answers, strict=False):
        given = await sim.post("/prompt", {**body, "client_id": listener.client_id})
        assert given["number"] == answer["number"]
        ids.append(given["prompt_id"])
        if len(ids) == 1:
            await listener.until("executing", ids[0])
    listings = [x["response"]["json"] for x in recorded if (x.get("request") or {}).get("path")
                == "/queue" and x["request"]["method"] == "GET"]  # fmt: skip
    base = str(sim.base)
    assert unlike(normal(await sim.get("/queue"), base), normal(listings[0], base)) == []
    await sim.post("/queue", {"delete": [ids[1]]})
    await sim.post("/queue", {"delete": ["no-such-id"]})
    assert unlike(normal(await sim.get("/queue"), base), normal(listings[1], base)) == []
    await sim.post("/interrupt", {"prompt_id": ids[0]})
    entry = await sim.ended(ids[0])
    assert [message[0] for message in entry["status"]["messages"]] == [
        "execution_start", "execution_cached", "execution_interrupted",
    ]  # fmt: skip
    assert entry["status"]["status_str"] == "error"
    assert set(entry["status"]["messages"][-1][1]) == {
        "prompt_id", "node_id", "node_type", "executed", "timestamp",
    }  # fmt: skip
    assert await sim.get(f"/history/{ids[1]}") == {}

    async def third_runs() -> bool:
        running = (await sim.get("/queue"))["queue_running"]
        return [item[1] for item in running] == [ids[2]]

    await eventually(third_runs, "the prompt sent with front: true runs next")
    await sim.post("/interrupt", {})


async def test_downloads_and_discovery_are_as_recorded(start_sim: StartSim) -> None:
    """Prevents: wrong statuses for missing files and climbing paths, and missing facts."""
    sim = await start_sim()
    replay = Replay(sim, {"example.png": picture(640, 480)}, loose=("/system_stats",))
    await replay.play("view_and_misc")
    expected = {
        ".system.simulated is not in the recording",
        ".system.comfy_package_versions has 0 items [], recorded 1",
    }
    left = [line for line in replay.differences if not any(part in line for part in expected)]
    assert left == []


async def test_every_recorded_node_class_is_listed_with_the_recorded_inputs(
    start_sim: StartSim,
) -> None:
    """Prevents: a catalogue that lost inputs on its way from the recording to the data file."""
    import json  # noqa: PLC0415 - only this test reads the file itself

    from tests.comfyui.recordings import FOLDER  # noqa: PLC0415

    load("reference_run")
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
    graph = first_graph("reference_run")
    mine = generate(width=128, height=128)
    for key, value in mine.items():
        theirs = graph[key]
        assert isinstance(theirs, dict)
        assert theirs["class_type"] == value["class_type"]
        assert set(value["inputs"]) <= set(theirs["inputs"])
