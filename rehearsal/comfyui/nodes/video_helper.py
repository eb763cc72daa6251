"""VideoHelperSuite: loading videos and writing them, with its file names and its `gifs` output."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rehearsal.comfyui import pictures, video_files
from rehearsal.comfyui.errors import NodeError
from rehearsal.comfyui.node_context import Behaviour, NodeContext, NodeResult
from rehearsal.comfyui.nodes.images import png_metadata
from rehearsal.comfyui.nodes.naming import next_helper_counter
from rehearsal.comfyui.output_files import delivered
from rehearsal.comfyui.values import Audio, Images, Pixels

FORMATS = ("video/h264-mp4", "image/gif", "image/webp")
#: ``dim`` (sizes are multiples of it) and ``frames`` (count = a * n + b) of the load formats.
LOAD_FORMATS: dict[str, tuple[int, tuple[int, int] | None]] = {
    "None": (1, None),
    "AnimateDiff": (8, None),
    "Mochi": (16, (6, 1)),
    "LTXV": (32, (8, 1)),
    "Hunyuan": (16, (4, 1)),
    "Cosmos": (16, (8, 1)),
    "Wan": (8, (4, 1)),
}


def _target_size(
    width: int, height: int, custom: tuple[int, int], multiple: int
) -> tuple[int, int]:
    wide, high = float(width), float(height)
    custom_width, custom_height = custom
    if custom_width and custom_height:
        wide, high = custom_width, custom_height
    elif custom_width:
        wide, high = custom_width, high * custom_width / wide
    elif custom_height:
        wide, high = wide * custom_height / high, custom_height
    return int(wide / multiple + 0.5) * multiple, int(high / multiple + 0.5) * multiple


def _picked(
    path: Path, facts: video_files.VideoFacts, *, force_rate: float, skip: int, nth: int, cap: int
) -> Iterator[Pixels]:
    """Frames at the wanted rate: one is repeated or left out as its time requires.

    As VideoHelperSuite does: the frames count as evenly spaced, the first is always given, and then
    at each wanted time the first that begins no earlier. Times are added up as doubles there, and
    their rounding sometimes decides between two frames; so they are here.
    """
    source_time = 1 / float(facts.rate)
    wanted_time = 1 / force_rate if force_rate else source_time
    clock, position, given = 0.0, -1, 0
    for number, pixels in enumerate(video_files.decoded(path)):
        clock = clock + source_time if number else wanted_time
        while clock >= wanted_time:
            clock -= wanted_time
            position += 1
            if position < skip or (position - skip) % nth:
                continue
            yield pixels
            given += 1
            if cap and given >= cap:
                return


def load_video(
    context: NodeContext,
    *,
    video: str,
    force_rate: float,
    custom_width: int,
    custom_height: int,
    frame_load_cap: int,
    skip_first_frames: int,
    select_every_nth: int,
    format: str = "AnimateDiff",
    **_more: Any,
) -> NodeResult:
    """VHS_LoadVideo: frames, their number, the sound and facts about both.

    Raises:
        NodeError: the file is no video, or no frame is left.
    """
    return _load(
        context, context.folders.input_file(video), force_rate=force_rate,
        custom=(custom_width, custom_height), cap=frame_load_cap, skip=skip_first_frames,
        nth=select_every_nth, load_format=format,
    )  # fmt: skip


def load_video_path(context: NodeContext, *, video: str, **inputs: Any) -> NodeResult:
    """VHS_LoadVideoPath: the same from a path on the server."""
    path = context.folders.server_file(video)
    return _load(
        context, path, force_rate=inputs["force_rate"],
        custom=(inputs["custom_width"], inputs["custom_height"]), cap=inputs["frame_load_cap"],
        skip=inputs["skip_first_frames"], nth=inputs["select_every_nth"],
        load_format=inputs.get("format", "AnimateDiff"),
    )  # fmt: skip


def _load(
    context: NodeContext,
    path: Path,
    *,
    force_rate: float,
    custom: tuple[int, int],
    cap: int,
    skip: int,
    nth: int,
    load_format: str,
) -> NodeResult:
    multiple, rule = LOAD_FORMATS.get(load_format, (1, None))
    try:
        facts = video_files.facts(path)
        expected = facts.frames if not force_rate else int(facts.duration * force_rate)
        expected = max(1, expected // nth)
        expected = min(cap, expected) if cap else expected
        frames: list[Pixels] = []
        picked = _picked(path, facts, force_rate=force_rate, skip=skip, nth=nth, cap=cap)
        for pixels in picked:
            frames.append(pixels)
            context.step(min(len(frames), expected), expected)
        sound = video_files.sound(path)
    except video_files.UnreadableVideoError as error:
        raise NodeError(f"{path} could not be loaded with cv.", wire_name="ValueError") from error
    if not frames:
        raise NodeError("No frames generated")
    have_h, have_w = frames[0].shape[:2]
    width, height = _target_size(have_w, have_h, custom, multiple)
    images = Images(pictures.centre_cropped(np.stack(frames), width, height, "lanczos"))
    if rule is not None:
        images = Images(images.pixels[: (images.count - rule[1]) // rule[0] * rule[0] + rule[1]])
    rate = force_rate or float(facts.rate)
    start = skip / rate
    length = images.count * nth / rate
    if sound is not None:
        first = round(start * sound.rate)
        sound = Audio(sound.samples[:, first : first + round(length * sound.rate)], sound.rate)
    info = {
        "source_fps": float(facts.rate),
        "source_frame_count": facts.frames,
        "source_duration": facts.duration,
        "source_width": have_w,
        "source_height": have_h,
        "loaded_fps": rate / nth,
        "loaded_frame_count": images.count,
        "loaded_duration": length,
        "loaded_width": images.width,
        "loaded_height": images.height,
    }
    return NodeResult((images, images.count, sound, info))


def _order(count: int, *, pingpong: bool, loop_count: int) -> list[int]:
    """Which frames are written, in order."""
    order = list(range(count))
    if pingpong:
        order += list(range(count - 2, 0, -1))
    return order * (1 + loop_count)


def _even(pixels: Pixels) -> Pixels:
    """H.264 in 4:2:0 needs even sizes; the edge is repeated, as VideoHelperSuite does."""
    height, width = pixels.shape[1:3]
    down, across = height % 2, width % 2
    if not down and not across:
        return pixels
    return np.pad(pixels, ((0, 0), (0, down), (0, across), (0, 0)), mode="edge")


def combine(
    context: NodeContext,
    *,
    images: Images,
    frame_rate: float,
    loop_count: int,
    filename_prefix: str,
    format: str,
    pingpong: bool,
    save_output: bool,
    audio: Audio | None = None,
    pix_fmt: str = "yuv420p",
    crf: int = 19,
    save_metadata: bool = True,
    **_more: Any,
) -> NodeResult:
    """VHS_VideoCombine: writes the video, its first frame as PNG, and reports both under `gifs`.

    Raises:
        NodeError: a format that the simulation does not write.
    """
    if format not in FORMATS:
        raise NodeError(
            f"format {format!r} is not written by the simulated ComfyUI. Allowed: "
            f"{', '.join(FORMATS)}. Choose one of those, or use a real ComfyUI.",
            wire_name="NotImplementedError",
        )
    kind = "output" if save_output else "temp"
    root = context.folders.output if save_output else context.folders.temp
    folder, stem, subfolder = context.folders.save_place(filename_prefix, root)
    counter = next_helper_counter(folder, stem)
    name = f"{stem}_{counter:05}"
    metadata = png_metadata(context)
    now = datetime.datetime.now().astimezone()
    metadata.add_text("CreationTime", now.strftime("%Y-%m-%d %H:%M:%S"))
    first = Image.fromarray(images.pixels[0])
    first.save(folder / f"{name}.png", pnginfo=metadata, compress_level=4)
    if format == "video/h264-mp4":
        file = folder / f"{name}.mp4"
        order = _order(images.count, pingpong=pingpong, loop_count=loop_count)
        pixels = _even(images.pixels)
        leak = context.fault_name == "metadata_leak"
        tags = _container_tags(context) if save_metadata or leak else {}
        written = video_files.write_h264(
            file,
            (pixels[index] for index in order),
            width=int(pixels.shape[2]),
            height=int(pixels.shape[1]),
            rate=frame_rate,
            pixel_format=pix_fmt,
            crf=int(crf),
            metadata=tags,
            on_frame=lambda done: context.step(done, len(order)),
            fault=context.fault_name,
        )
        if audio is not None:
            silent, file = file, folder / f"{name}-audio.mp4"
            video_files.add_audio(silent, file, audio, seconds=written / frame_rate)
    else:
        file = folder / f"{name}.{format.partition('/')[2]}"
        _write_animation(file, images, frame_rate, _order(images.count, pingpong=pingpong,
            loop_count=0), loop_count)  # fmt: skip
    file = delivered(file, context.fault)
    shown = {
        "filename": file.name,
        "subfolder": subfolder,
        "type": kind,
        "format": format,
        "frame_rate": frame_rate,
        "workflow": f"{name}.png",
        "fullpath": str(file),
    }
    return NodeResult(((save_output, [str(file)]),), {"gifs": [shown]})


def _container_tags(context: NodeContext) -> dict[str, str]:
    tags = {"prompt": json.dumps(context.graph), "creation_time": "now"}
    tags |= {key: json.dumps(value) for key, value in context.extra_pnginfo.items()}
    return tags


def _write_animation(
    file: Path, images: Images, rate: float, order: list[int], loop_count: int
) -> None:
    frames = [Image.fromarray(images.pixels[index]) for index in order]
    frames[0].save(
        file,
        save_all=True,
        append_images=frames[1:],
        duration=round(1000 / rate),
        loop=loop_count,
    )


def video_info(_: NodeContext, *, video_info: dict[str, Any]) -> NodeResult:
    """VHS_VideoInfo: the facts, source first."""
    return NodeResult(tuple(video_info.values()))


def video_info_loaded(_: NodeContext, *, video_info: dict[str, Any]) -> NodeResult:
    """VHS_VideoInfoLoaded."""
    return NodeResult(tuple(video_info[key] for key in video_info if key.startswith("loaded_")))


def count_images(_: NodeContext, *, images: Images) -> NodeResult:
    """VHS_GetImageCount."""
    return NodeResult((images.count,))


BEHAVIOURS: dict[str, Behaviour] = {
    "VHS_LoadVideo": load_video,
    "VHS_LoadVideoPath": load_video_path,
    "VHS_VideoCombine": combine,
    "VHS_VideoInfo": video_info,
    "VHS_VideoInfoLoaded": video_info_loaded,
    "VHS_GetImageCount": count_images,
}
