"""ComfyUI's own video nodes, which report their files under `images` with `animated`."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import numpy as np

from rehearsal.comfyui import video_files
from rehearsal.comfyui.errors import NodeError
from rehearsal.comfyui.node_context import Behaviour, NodeContext, NodeResult
from rehearsal.comfyui.nodes.naming import next_counter
from rehearsal.comfyui.output_files import delivered
from rehearsal.comfyui.values import Audio, Images, Video

#: libx264's default, which ComfyUI leaves alone.
SAVE_CRF = 23


def load(context: NodeContext, *, file: str) -> NodeResult:
    """LoadVideo.

    Raises:
        NodeError: the file is no video.
    """
    path = context.folders.input_file(file)
    try:
        facts = video_files.facts(path)
        images = Images(np.stack(list(video_files.decoded(path))))
        sound = video_files.sound(path)
    except (video_files.UnreadableVideoError, ValueError) as error:
        raise NodeError(
            f"No video stream found in file '{path}'", wire_name="ValueError"
        ) from error
    return NodeResult((Video(images, facts.rate, sound),))


def components(_: NodeContext, *, video: Video) -> NodeResult:
    """GetVideoComponents: pictures, sound, frames per second, bit depth and colour space."""
    return NodeResult((video.images, video.audio, float(video.rate), 8, "sRGB"))


def create(
    _: NodeContext, *, images: Images, fps: float, audio: Audio | None = None, **_more: Any
) -> NodeResult:
    """CreateVideo."""
    return NodeResult((Video(images, Fraction(fps).limit_denominator(1001), audio),))


def save(
    context: NodeContext,
    *,
    video: Video,
    filename_prefix: str,
    format: str,
    **_more: Any,
) -> NodeResult:
    """SaveVideo: an MP4 file in the output folder.

    Raises:
        NodeError: another container was asked for.
    """
    if format not in ("auto", "mp4"):
        raise NodeError(
            f"format {format!r} is not written by the simulated ComfyUI. Allowed: auto, mp4. "
            "Choose one of those, or use a real ComfyUI.",
            wire_name="NotImplementedError",
        )
    images = video.images
    folder, stem, subfolder = context.folders.save_place(
        filename_prefix, context.folders.output, width=images.width, height=images.height
    )
    name = f"{stem}_{next_counter(folder, stem):05}_.mp4"
    tags = {"prompt": json.dumps(context.graph)}
    tags |= {key: json.dumps(value) for key, value in context.extra_pnginfo.items()}
    target = folder / name
    silent = target if video.audio is None else folder / f".{name}.silent"
    video_files.write_h264(
        silent,
        images.pixels,
        width=images.width,
        height=images.height,
        rate=video.rate,
        crf=SAVE_CRF,
        metadata=tags if context.metadata or context.fault_name == "metadata_leak" else {},
        on_frame=lambda _: context.interrupt.check(),
        fault=context.fault_name,
    )
    if video.audio is not None:
        seconds = float(images.count / video.rate)
        video_files.add_audio(silent, target, video.audio, seconds=seconds)
        silent.unlink()
    name = delivered(target, context.fault).name
    shown = {"filename": name, "subfolder": subfolder, "type": "output"}
    return NodeResult((), {"images": [shown], "animated": [True]})


BEHAVIOURS: dict[str, Behaviour] = {
    "LoadVideo": load,
    "GetVideoComponents": components,
    "CreateVideo": create,
    "SaveVideo": save,
}
