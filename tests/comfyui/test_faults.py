"""Every fault of the table is really there when it is asked for, and gone when it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import av
import numpy as np
import pytest
from av.error import FFmpegError

from rehearsal.comfyui import faults
from tests.comfyui.clips import Frames, decode, half_mask, write_clip
from tests.comfyui.conftest import Sim, StartSim, eventually
from tests.comfyui.graphs import Graph, generate, load_video, node

README = Path(faults.__file__).with_name("README.md")
#: Faults that other modules test: of the process, of the sampler.
ELSEWHERE = {"crash", "slow_start", "out_of_memory", "stall", "no_output"}


def shown(entry: dict[str, Any]) -> dict[str, Any]:
    """The video of a history entry."""
    assert entry["status"]["status_str"] == "success", entry["status"]
    return dict(entry["outputs"]["32"]["gifs"][0])


def file_of(sim: Sim, entry: dict[str, Any]) -> Path:
    return sim.output / str(shown(entry)["filename"])


async def edit(sim: Sim, tmp_path: Path) -> Graph:
    """A clip whose right half may be painted."""
    write_clip(tmp_path / "clip.mp4", frames=9)
    await sim.upload("clip.mp4", (tmp_path / "clip.mp4").read_bytes())
    await sim.upload("mask.png", half_mask())
    graph = generate(control_video=["40", 0], control_masks=["46", 0])
    graph["40"] = load_video("clip.mp4")
    graph["44"] = node("LoadImage", image="mask.png")
    graph["45"] = node("RepeatImageBatch", image=["44", 0], amount=9)
    graph["46"] = node("ImageToMask", image=["45", 0], channel="red")
    return graph


def light(frames: Frames) -> Any:
    return frames.astype(int).mean(axis=(1, 2, 3))


def changes(frames: Frames) -> Any:
    return np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2, 3))


def correlation(frames: Frames) -> float:
    """Of the light with itself, 16 pixels to the right."""
    plane = frames.astype(float).mean(axis=3)
    plane -= plane.mean()
    return float((plane[:, :, :-16] * plane[:, :, 16:]).mean() / plane.var())


def blocky(frames: Frames) -> float:
    """Share of 16 by 16 blocks that are one extreme colour."""
    cells = frames.reshape(len(frames), 4, 16, 4, 16, 3).astype(int)
    flat = np.ptp(cells, axis=(2, 4)).max(axis=-1) < 60
    extreme = (np.abs(cells.mean(axis=(2, 4)) - 127.5) > 90).all(axis=-1)
    return float((flat & extreme).mean())


PICTURES: dict[str, Callable[[Frames], bool]] = {
    "black": lambda frames: float(frames.max()) < 8,
    "plain": lambda frames: float(frames.std(axis=(0, 1, 2)).max()) < 2,
    "frozen": lambda frames: float(changes(frames).max()) < 0.6,
    "noise": lambda frames: abs(correlation(frames)) < 0.2 and float(changes(frames).min()) > 20,
    "nan_blocks": lambda frames: blocky(frames) > 0.02,
    "flicker": lambda frames: bool((np.abs(np.diff(light(frames))) > 15).all()),
    "wrong_size": lambda frames: frames.shape[1:3] == (32, 32),
    "short": lambda frames: len(frames) == 5,
}


@pytest.mark.parametrize("name", PICTURES)
async def test_a_fault_of_the_pictures_is_seen_in_the_file_and_gone_after_it(
    start_sim: StartSim, name: str
) -> None:
    """Prevents: content checks that were tried against a fault that was not there."""
    sim = await start_sim(fault=f"{name}:times=1")
    broken = decode(file_of(sim, await sim.run(generate())))
    sound = decode(file_of(sim, await sim.run(generate())))
    assert PICTURES[name](broken), name
    assert not PICTURES[name](sound), f"{name} is also seen without the fault"


def codec_facts(path: Path) -> dict[str, Any]:
    """What a file says about its coded pictures."""
    with av.open(str(path)) as container:
        stream: Any = container.streams.video[0]
        codec = stream.codec_context
        return {
            "not_h264": codec.name,
            "wrong_pixel_format": codec.pix_fmt,
            "wrong_rate": float(stream.average_rate),
            "full_range": int(codec.color_range),
            "wrong_colour": int(codec.colorspace),
            "metadata_leak": "prompt" in container.metadata,
        }


FILES = {
    "not_h264": ("h264", "mpeg4"),
    "wrong_pixel_format": ("yuv420p", "yuv444p"),
    "wrong_rate": (16.0, 8.0),
    "full_range": (1, 2),
    "wrong_colour": (1, 5),
    "metadata_leak": (False, True),
}


@pytest.mark.parametrize("name", FILES)
async def test_a_fault_of_the_file_is_in_the_file_and_gone_after_it(
    start_sim: StartSim, name: str
) -> None:
    """Prevents: format checks that were tried against a file that was fine."""
    sim = await start_sim(fault=f"{name}:times=1")
    graph = generate()
    graph["32"]["inputs"]["save_metadata"] = False
    broken = codec_facts(file_of(sim, await sim.run(graph)))
    sound = codec_facts(file_of(sim, await sim.run(graph)))
    assert (sound[name], broken[name]) == FILES[name]


async def test_a_corrupt_file_keeps_its_index_and_cannot_be_decoded(start_sim: StartSim) -> None:
    """Prevents: a check for damage that only ever saw cut files."""
    sim = await start_sim(fault="corrupt_file")
    path = file_of(sim, await sim.run(generate(width=128, height=128)))
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 9
        container.streams.video[0].codec_context.options = {"err_detect": "explode"}
        with pytest.raises(FFmpegError):
            list(container.decode(video=0))


async def test_an_old_file_is_named_instead_of_the_new_one(start_sim: StartSim) -> None:
    """Prevents: callers that take yesterday's video for today's."""
    sim = await start_sim(fault="old_file")
    first = file_of(sim, await sim.run(generate(seed=1)))
    assert first.stat().st_mtime < (sim.base / "input").stat().st_mtime - 3600
    second = file_of(sim, await sim.run(generate(seed=2)))
    assert second == first


async def test_cached_only_runs_nothing_and_names_an_earlier_file(start_sim: StartSim) -> None:
    """Prevents: success that is taken for a new video although nothing was made."""
    sim = await start_sim(fault="cached_only")
    for seed in (1, 2):
        listener = await sim.listen()
        prompt_id = await sim.submit(generate(seed=seed), client_id=listener.client_id)
        await listener.until("execution_success", prompt_id)
        entry = await sim.ended(prompt_id)
        cached = dict(entry["status"]["messages"])["execution_cached"]["nodes"]
        assert set(cached) == set(generate())
        assert "progress" not in listener.kinds(prompt_id)
        assert shown(entry)["filename"] == "VACE_video_00001.mp4"


async def test_ignored_controls_and_masks_change_what_should_have_stayed(
    start_sim: StartSim, tmp_path: Path
) -> None:
    """Prevents: checks of edits that pass whether or not the inputs were used."""
    file = tmp_path / "fault"
    sim = await start_sim(fault_file=file)
    graph = await edit(sim, tmp_path)
    source = decode(tmp_path / "clip.mp4").astype(int)
    kept = {}
    for name in ("", "ignores_mask", "ignores_control"):
        file.write_text(name)
        result = decode(file_of(sim, await sim.run(graph))).astype(int)
        kept[name] = np.abs(result - source)[:, :, :28].mean()
    assert kept[""] < 8 < kept["ignores_mask"] < kept["ignores_control"]


async def test_a_slow_disk_shows_the_file_after_the_success(start_sim: StartSim) -> None:
    """Prevents: one 404 after a success that ends a run, or that is never asked again."""
    sim = await start_sim(fault="slow_disk:seconds=0.4")
    name = shown(await sim.run(generate()))["filename"]

    async def status() -> int:
        async with sim.session.get(f"/view?filename={name}") as answer:
            return answer.status

    assert await status() == 404

    async def there() -> bool:
        return await status() == 200

    await eventually(there, "the late file")


async def test_a_lost_job_leaves_neither_queue_nor_history(start_sim: StartSim) -> None:
    """Prevents: clients that wait for ever for a job that a restart has forgotten."""
    sim = await start_sim(fault="lost_history:times=1")
    listener = await sim.listen()
    lost = await sim.submit(generate(seed=1), client_id=listener.client_id)
    await sim.run(generate(seed=2))
    assert await sim.get(f"/history/{lost}") == {}
    queue = await sim.get("/queue")
    assert (queue["queue_running"], queue["queue_pending"]) == ([], [])
    assert "execution_success" not in listener.kinds(lost)


async def test_cut_websockets_end_without_a_close_and_the_job_goes_on(start_sim: StartSim) -> None:
    """Prevents: clients that give up, or hang, when only the messages are lost."""
    sim = await start_sim(fault="ws_drop")
    listener = await sim.listen()
    prompt_id = await sim.submit(generate(steps=3), client_id=listener.client_id)
    assert (await sim.ended(prompt_id))["status"]["status_str"] == "success"

    async def ended() -> bool:
        return listener.socket.closed

    await eventually(ended, "the end of the WebSocket")
    assert listener.socket.close_code in (None, 1006)
    assert "execution_success" not in listener.kinds(prompt_id)


async def test_a_full_queue_is_answered_in_the_gateways_words(start_sim: StartSim) -> None:
    """Prevents: clients that never saw a 429 with its Retry-After."""
    sim = await start_sim(fault="queue_full:times=1")
    async with sim.session.post("/prompt", json={"prompt": generate()}) as answer:
        body = await answer.json()
        assert (answer.status, answer.headers["Retry-After"]) == (429, "5")
        assert body["error"]["type"] == "queue_full"
    await sim.run(generate())


async def test_a_partial_refusal_runs_the_rest_without_the_video(start_sim: StartSim) -> None:
    """Prevents: callers that take status 200 for a video that will come."""
    sim = await start_sim(fault="partial")
    graph = generate()
    graph["33"] = node("PreviewImage", images=["31", 0])
    answer = await sim.post("/api/prompt", {"prompt": graph})
    assert set(answer["node_errors"]) == {"32"}
    assert set((await sim.ended(answer["prompt_id"]))["outputs"]) == {"33"}


async def test_a_download_can_end_too_early_or_take_its_time(
    start_sim: StartSim, tmp_path: Path
) -> None:
    """Prevents: half a file that is taken for the whole, and read time limits nobody met."""
    file = tmp_path / "fault"
    sim = await start_sim(fault_file=file)
    path = file_of(sim, await sim.run(generate()))
    file.write_text("truncated_view")
    async with sim.session.get(f"/view?filename={path.name}") as answer:
        assert answer.content_length == path.stat().st_size
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    file.write_text("slow_view:seconds=0.6")
    begin = asyncio.get_running_loop().time()
    async with sim.session.get(f"/view?filename={path.name}") as answer:
        assert await answer.read() == path.read_bytes()
    assert asyncio.get_running_loop().time() - begin >= 0.5


async def test_wrong_answers_can_be_limited_to_a_path(start_sim: StartSim, tmp_path: Path) -> None:
    """Prevents: a proxy's page or error that is taken for ComfyUI's answer."""
    file = tmp_path / "fault"
    sim = await start_sim(fault_file=file)
    file.write_text("html:path=/history")
    async with sim.session.get("/api/history/x") as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
    assert await sim.get("/queue")
    file.write_text("http_500:times=1")
    async with sim.session.get("/queue") as answer:
        assert answer.status == 500
    assert await sim.get("/queue")
    file.write_text("hang:seconds=0.3")
    with pytest.raises(aiohttp.ClientError):
        await sim.get("/queue")


def test_the_readme_lists_every_fault_and_its_sentence() -> None:
    """Prevents: a fault that nobody finds, or a sentence that is no longer true."""
    text = README.read_text(encoding="utf-8")
    missing = [
        name for name, kind in faults.KINDS.items() if f"| `{name}` | {kind.what} |" not in text
    ]
    assert not missing, f"add these rows of faults.KINDS to {README.name}: {missing}"


def test_every_fault_has_a_test() -> None:
    """Prevents: a fault that does nothing, so that what it should break seems sound."""
    source = Path(__file__).read_text(encoding="utf-8")
    untested = [n for n in faults.NAMES if n not in ELSEWHERE and f'"{n}' not in source]
    assert untested == []


@pytest.mark.parametrize("line", ["stall:step=-1", "stall:seconds=nan", "stall:seconds=x"])
def test_an_option_that_is_no_amount_is_refused(line: str) -> None:
    """Prevents: a fault that never comes because its number means nothing."""
    with pytest.raises(faults.FaultError, match="no number from 0"):
        faults.parse(line)


def test_a_fault_written_out_reads_back() -> None:
    """Prevents: a status that cannot be sent again."""
    fault = faults.parse("html:path=/history,times=2")
    assert fault is not None
    assert faults.parse(fault.line()) == fault
