"""What a run does: messages, files, cache, errors; independent of recordings."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests.comfyui.clips import decode, half_mask, picture, write_clip
from tests.comfyui.conftest import Sim, StartSim
from tests.comfyui.graphs import generate, load_video, node


def video_of(entry: dict[str, object]) -> dict[str, object]:
    """The `gifs` entry of a history entry."""
    outputs = entry["outputs"]
    assert isinstance(outputs, dict)
    found: dict[str, object] = outputs["32"]["gifs"][0]
    return found


async def test_messages_come_in_the_order_that_clients_rely_on(sim: Sim) -> None:
    """Prevents: progress displays that never end because an event is missing or too early."""
    listener = await sim.listen()
    prompt_id = await sim.submit(generate(), client_id=listener.client_id)
    await listener.until("execution_success", prompt_id)
    kinds = [kind for kind in listener.kinds(prompt_id) if not kind.startswith("progress")]
    assert kinds[:2] == ["execution_start", "execution_cached"]
    nodes = [m["data"]["node"] for m in listener.of(prompt_id) if m["type"] == "executing"]
    expected = ["14", "13", "16", "15", "21", "17", "11", "27", "24", "30", "31", "32"]
    assert nodes[:12] == expected
    steps = [m["data"] for m in listener.of(prompt_id) if m["type"] == "progress"]
    assert [s["value"] for s in steps if s["node"] == "24"] == [1, 2]
    assert kinds[-1] == "execution_success" or kinds[-2:] == ["execution_success", "executing"]


async def test_the_video_is_h264_of_the_asked_size_rate_and_length(sim: Sim) -> None:
    """Prevents: smoke tests that pass on a file no browser plays."""
    entry = await sim.run(generate(width=96, height=64, length=13))
    shown = video_of(entry)
    path = sim.output / str(shown["filename"])
    assert shown["fullpath"] == str(path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        facts = (stream.codec_context.name, stream.codec_context.profile, stream.pix_fmt)
        assert facts == ("h264", "High", "yuv420p")
        assert (stream.width, stream.height, stream.frames) == (96, 64, 13)
        assert stream.average_rate == 16
        assert json.loads(container.metadata["prompt"])["21"]["inputs"]["value"] == 13
    with Image.open(sim.output / str(shown["workflow"])) as first:
        assert first.size == (96, 64)
        assert "prompt" in first.info


async def test_metadata_stays_out_of_the_video_when_it_is_switched_off(sim: Sim) -> None:
    """Prevents: prompts that leak through a file although save_metadata is false."""
    graph = generate()
    graph["32"]["inputs"]["save_metadata"] = False
    shown = video_of(await sim.run(graph))
    with av.open(str(sim.output / str(shown["filename"]))) as container:
        assert "prompt" not in container.metadata


async def test_the_same_seed_repeats_the_pictures_and_another_changes_them(
    start_sim: StartSim,
) -> None:
    """Prevents: a reproducibility test that passes because all videos look alike."""
    sim = await start_sim()
    frames = []
    for seed, prompt in ((1, "a cat"), (2, "a cat"), (1, "a dog"), (1, "a cat")):
        shown = video_of(await sim.run(generate(seed=seed, prompt=prompt)))
        frames.append(decode(sim.output / str(shown["filename"])).astype(int))
    assert (frames[0] == frames[3]).all()
    for other in frames[1:3]:
        assert np.abs(frames[0] - other).mean() > 8


async def test_pictures_move_and_have_texture_without_being_noise(sim: Sim) -> None:
    """Prevents: checks for motion, flicker or blank pictures that mean nothing here."""
    shown = video_of(await sim.run(generate(width=128, height=128, length=17)))
    frames = decode(sim.output / str(shown["filename"])).astype(int)
    steps = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    assert 0.3 < steps.min() <= steps.max() < 25
    assert frames.std() > 15
    assert np.abs(np.diff(frames, axis=2)).mean() < 20


async def test_an_identical_prompt_writes_no_new_file_and_reports_the_old_one(sim: Sim) -> None:
    """Prevents: callers that wait for a new file when ComfyUI answers from its cache."""
    first = await sim.run(generate())
    second = await sim.run(generate())
    assert video_of(first) == video_of(second)
    assert len(list(sim.output.glob("*.mp4"))) == 1
    cached = dict(second["status"]["messages"])["execution_cached"]["nodes"]
    assert set(cached) == set(generate())


async def test_only_what_depends_on_a_change_runs_again(sim: Sim) -> None:
    """Prevents: a cache that forgets too much, or keeps what must be made anew."""
    await sim.run(generate(seed=1))
    entry = await sim.run(generate(seed=2))
    cached = dict(entry["status"]["messages"])["execution_cached"]["nodes"]
    assert set(generate()) - set(cached) == {"24", "30", "31", "32"}
    assert video_of(entry)["filename"] == "VACE_video_00002.mp4"


async def test_free_empties_the_cache(sim: Sim) -> None:
    """Prevents: memory that stays taken although the caller asked to free it."""
    await sim.run(generate())
    await sim.post("/free", {"unload_models": True, "free_memory": True})
    entry = await sim.run(generate())
    assert dict(entry["status"]["messages"])["execution_cached"]["nodes"] == []


@pytest.mark.parametrize(("length", "frames"), [(1, 1), (8, 5), (9, 9), (10, 9), (12, 9)])
async def test_the_length_is_rounded_down_to_4n_plus_1(sim: Sim, length: int, frames: int) -> None:
    """Prevents: surprises about missing frames that only the real model would show."""
    shown = video_of(await sim.run(generate(length=length)))
    assert len(decode(sim.output / str(shown["filename"]))) == frames


async def test_a_size_that_is_no_multiple_of_16_fails_in_the_sampler(sim: Sim) -> None:
    """Prevents: workflows with sizes that the real model cannot take."""
    entry = await sim.run(generate(width=136, height=120))
    error = dict(entry["status"]["messages"])["execution_error"]
    assert (error["node_type"], error["exception_type"]) == ("KSampler", "RuntimeError")
    assert error["exception_message"] == (
        "The size of tensor a (168) must match the size of tensor b (216) at non-singleton "
        "dimension 1\n"
    )
    assert entry["status"]["status_str"] == "error"
    assert entry["outputs"] == {}


async def test_control_video_shows_through_and_stays_where_the_mask_is_clear(
    sim: Sim, tmp_path: Path
) -> None:
    """Prevents: edit workflows whose input is not wired, which would look like a success."""
    write_clip(tmp_path / "clip.mp4", frames=9)
    await sim.upload("clip.mp4", (tmp_path / "clip.mp4").read_bytes())
    await sim.upload("mask.png", half_mask())
    graph = generate(control_video=["40", 0], control_masks=["46", 0])
    graph["40"] = load_video("clip.mp4")
    graph["44"] = node("LoadImageMask", image="mask.png", channel="red")
    graph["45"] = node("RepeatImageBatch", image=["47", 0], amount=9)
    graph["47"] = node("MaskToImage", mask=["44", 0])
    graph["46"] = node("ImageToMask", image=["45", 0], channel="red")
    shown = video_of(await sim.run(graph))
    result = decode(sim.output / str(shown["filename"])).astype(int)
    source = decode(tmp_path / "clip.mp4").astype(int)
    kept = np.abs(result - source)[:, :, :28].mean()
    changed = np.abs(result - source)[:, :, 36:].mean()
    assert kept < 12 < changed


async def test_a_mask_of_one_picture_covers_only_the_first_frame(sim: Sim, tmp_path: Path) -> None:
    """Prevents: workflows that give VACE one mask for a whole video and lose it after a frame."""
    write_clip(tmp_path / "clip.mp4", frames=9)
    await sim.upload("clip.mp4", (tmp_path / "clip.mp4").read_bytes())
    graph = generate(control_video=["40", 0], control_masks=["44", 0])
    graph["40"] = load_video("clip.mp4")
    graph["44"] = node("SolidMask", value=0.0, width=64, height=64)
    shown = video_of(await sim.run(graph))
    result = decode(sim.output / str(shown["filename"])).astype(int)
    difference = np.abs(result - decode(tmp_path / "clip.mp4").astype(int)).mean(axis=(1, 2, 3))
    assert difference[0] < 12 < difference[1:].min()


async def test_a_reference_picture_is_visible_and_its_frames_are_trimmed(sim: Sim) -> None:
    """Prevents: reference pictures that reach only a preview, as in the published workflow."""
    await sim.upload("ref.png", picture(64, 64, (250, 10, 10)))
    graph = generate(reference_image=["42", 0])
    plain = video_of(await sim.run(generate()))
    graph["42"] = node("LoadImage", image="ref.png")
    shown = video_of(await sim.run(graph))
    frames = decode(sim.output / str(shown["filename"]))
    assert len(frames) == 9
    centre = frames[:, 28:36, 28:36].mean(axis=(0, 1, 2))
    assert centre[0] > 180
    assert centre[1] < 90
    untouched = decode(sim.output / str(plain["filename"]))[:, 28:36, 28:36].mean(axis=(0, 1, 2))
    assert abs(untouched - centre).sum() > 30


@pytest.mark.parametrize(
    ("name", "rate", "codec"), [("a.avi", 25, "mpeg4"), ("b.mov", 30, "libx264")]
)
async def test_other_containers_and_rates_are_brought_to_the_forced_rate(
    sim: Sim, tmp_path: Path, name: str, rate: int, codec: str
) -> None:
    """Prevents: edits of AVI or MOV files that fail or run at the wrong speed."""
    write_clip(tmp_path / name, frames=rate, rate=rate, codec=codec)
    await sim.upload(name, (tmp_path / name).read_bytes())
    graph = {
        "1": load_video(name, force_rate=16),
        "2": node("PreviewImage", images=["1", 0]),
    }
    entry = await sim.run(graph)
    assert len(entry["outputs"]["2"]["images"]) == 16


@pytest.mark.parametrize(
    ("rate", "picked"),
    [
        (25, [0, 2, 4, 5, 7, 8]),
        (30, [0, 2, 4, 6, 8, 10]),
        # added up as doubles, three times 1/24 is a little less than twice 1/16
        (24, [0, 2, 4, 5, 7, 8]),
        (8, [0, 1, 1, 2, 2, 3]),
    ],
)
async def test_a_forced_rate_picks_the_frames_that_the_real_loader_picks(
    sim: Sim, tmp_path: Path, rate: int, picked: list[int]
) -> None:
    """Prevents: edits that are compared with, or made from, the neighbours of the right frames."""
    with av.open(str(tmp_path / "steps.mp4"), "w") as container:
        video: Any = container.add_stream("libx264", rate=rate, options={"crf": "1"})
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        for level in range(12):
            pixels = np.full((64, 64, 3), 20 * level, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode(None))
    await sim.upload("steps.mp4", (tmp_path / "steps.mp4").read_bytes())
    graph = {
        "1": load_video("steps.mp4", force_rate=16, frame_load_cap=6),
        "2": node("PreviewImage", images=["1", 0]),
    }
    shown = (await sim.run(graph))["outputs"]["2"]["images"]
    found = []
    for one in shown:
        with Image.open(sim.simulation.folders.temp / one["filename"]) as image:
            found.append(round(float(np.asarray(image).mean()) / 20))
    assert found == picked


async def test_sound_is_kept_beside_a_silent_twin(sim: Sim, tmp_path: Path) -> None:
    """Prevents: callers that fetch the silent file, and sound that is lost or too long."""
    write_clip(tmp_path / "clip.mp4", frames=9, sound=True)
    await sim.upload("clip.mp4", (tmp_path / "clip.mp4").read_bytes())
    graph = generate(control_video=["40", 0])
    graph["40"] = load_video("clip.mp4")
    graph["32"]["inputs"]["audio"] = ["40", 2]
    shown = video_of(await sim.run(graph))
    assert shown["filename"] == "VACE_video_00001-audio.mp4"
    assert (sim.output / "VACE_video_00001.mp4").is_file()
    with av.open(str(sim.output / str(shown["filename"]))) as container:
        sound, seen = container.streams.audio[0], container.streams.video[0]
        assert sound.codec_context.name == "aac"
        assert seen.frames == 9
        assert sound.duration is not None
        assert sound.time_base is not None
        assert abs(float(sound.duration * sound.time_base) - 9 / 16) < 0.1
        level = max(float(np.abs(f.to_ndarray()).max()) for f in container.decode(sound))
        assert level > 0.1


@pytest.mark.parametrize(("pingpong", "loops", "frames"), [(True, 0, 16), (False, 2, 27)])
async def test_pingpong_and_loops_add_frames(
    sim: Sim, *, pingpong: bool, loops: int, frames: int
) -> None:
    """Prevents: lengths of looped videos that differ from VideoHelperSuite's."""
    graph = generate()
    graph["32"]["inputs"] |= {"pingpong": pingpong, "loop_count": loops}
    shown = video_of(await sim.run(graph))
    assert len(decode(sim.output / str(shown["filename"]))) == frames


async def test_an_output_subfolder_and_a_temporary_video_are_reported_where_they_are(
    sim: Sim,
) -> None:
    """Prevents: /view calls that miss the subfolder or the type."""
    graph = generate()
    graph["32"]["inputs"] |= {"filename_prefix": "film/%year%/x", "save_output": False}
    shown = video_of(await sim.run(graph))
    assert str(shown["subfolder"]).startswith("film/20")
    assert shown["type"] == "temp"
    query = {key: str(shown[key]) for key in ("filename", "subfolder", "type")}
    async with sim.session.get("/view", params=query) as answer:
        assert answer.status == 200
        assert (await answer.read())[4:8] == b"ftyp"


async def test_the_resize_node_sends_its_text_as_a_binary_message(sim: Sim) -> None:
    """Prevents: clients that take every WebSocket message for JSON."""
    await sim.upload("example.png", picture(640, 480))
    listener = await sim.listen()
    graph = {
        "18": node("LoadImage", image="example.png"),
        "22": node(
            "ImageResizeKJv2", width=128, height=128, upscale_method="lanczos",
            keep_proportion="crop", pad_color="0, 0, 0", crop_position="center", divisible_by=2,
            image=["18", 0],
        ),
        "23": node("PreviewImage", images=["22", 0]),
    }  # fmt: skip
    prompt_id = await sim.submit(graph, client_id=listener.client_id)
    await listener.until("execution_success", prompt_id)
    message = listener.binary[0]
    assert (len(message), struct.unpack(">II", message[:8]), message[8:10]) == (88, (3, 2), b"22")


async def test_a_class_without_behaviour_fails_and_says_so(sim: Sim) -> None:
    """Prevents: a workflow that seems to work because unknown nodes are passed over."""
    await sim.upload("example.png", picture())
    graph = {
        "1": node("LoadImage", image="example.png"),
        "2": node("ImageSharpen", image=["1", 0], sharpen_radius=1, sigma=1.0, alpha=1.0),
        "3": node("PreviewImage", images=["2", 0]),
    }
    entry = await sim.run(graph)
    error = dict(entry["status"]["messages"])["execution_error"]
    assert error["exception_type"] == "NotImplementedError"
    assert "simulated" in error["exception_message"]
    assert "ImageSharpen" in error["exception_message"]
