"""Reads and writes video files with FFmpeg's libraries.

Written files follow the recorded ones: H.264 High by libx264 with its default preset, BT.709
limited range, metadata under its own keys, and the index at the end of the file (no faststart).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from rehearsal.comfyui.values import Audio, Pixels, Samples

BT709 = 1
BT470BG = 5
LIMITED_RANGE, FULL_RANGE = 1, 2
#: Picture metadata goes under free keys, as VideoHelperSuite asks FFmpeg to do.
MOV_OPTIONS = {"movflags": "use_metadata_tags"}


class UnreadableVideoError(ValueError):
    """The file holds no video that can be decoded."""


@dataclass(frozen=True)
class VideoFacts:
    """What a file says about itself: frames per second, size in pixels, frames, seconds."""

    rate: Fraction
    width: int
    height: int
    frames: int
    duration: float


def write_h264(
    path: Path,
    frames: Iterable[Pixels],
    *,
    width: int,
    height: int,
    rate: float | Fraction,
    pixel_format: str = "yuv420p",
    crf: int = 19,
    metadata: dict[str, str] | None = None,
    on_frame: Callable[[int], None] | None = None,
    fault: str = "",
) -> int:
    """Write an MP4 file.

    Args:
        path: the file; it is replaced if it exists.
        frames: RGB pictures, shape (height, width, 3).
        width: even number of pixels.
        height: even number of pixels.
        rate: frames per second.
        pixel_format: ``yuv420p`` or ``yuv420p10le``.
        crf: libx264's constant rate factor.
        metadata: container metadata.
        on_frame: called with the number of frames written so far; may raise to stop.
        fault: name of a fault of files (see `faults`), which the file then has.

    Returns:
        the number of frames written.
    """
    count = 0
    codec_name, options = "libx264", {"crf": str(crf)}
    if fault == "not_h264":
        codec_name, options = "mpeg4", {}
    if fault == "wrong_pixel_format":
        pixel_format = "yuv444p"
    if fault == "wrong_rate":
        rate = rate / 2
    light_range = FULL_RANGE if fault == "full_range" else LIMITED_RANGE
    colours = BT470BG if fault == "wrong_colour" else BT709
    with av.open(str(path), "w", format="mp4", options=MOV_OPTIONS) as container:
        container.metadata.update(metadata or {})
        stream: Any = container.add_stream(
            codec_name, rate=Fraction(rate).limit_denominator(1001), options=options
        )
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        codec = stream.codec_context
        codec.color_range = light_range
        codec.colorspace = codec.color_primaries = codec.color_trc = colours
        # One thread: simulated machines share few cores, and the bytes then do not depend on them.
        codec.thread_count = 1
        for pixels in frames:
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format=pixel_format,
                dst_colorspace="ITU709",
                src_color_range="JPEG",
                dst_color_range="JPEG" if light_range == FULL_RANGE else "MPEG",
            )
            picture.pts = count
            container.mux(stream.encode(picture))
            count += 1
            if on_frame is not None:
                on_frame(count)
        container.mux(stream.encode(None))
    return count


def add_audio(silent: Path, target: Path, audio: Audio, *, seconds: float) -> None:
    """Copy a video and add AAC sound of exactly its length; too short sound ends in silence.

    Args:
        silent: video file to copy the picture from.
        target: file to write.
        audio: the sound.
        seconds: length of the video.
    """
    wanted = round(seconds * audio.rate)
    samples = audio.samples[:, :wanted]
    if samples.shape[1] < wanted:
        samples = np.pad(samples, ((0, 0), (0, wanted - samples.shape[1])))
    with (
        av.open(str(silent)) as source,
        av.open(str(target), "w", format="mp4", options=MOV_OPTIONS) as container,
    ):
        kept = {"prompt", "workflow", "comment"}
        container.metadata.update({k: v for k, v in source.metadata.items() if k in kept})
        picture_in = source.streams.video[0]
        picture_out = container.add_stream_from_template(picture_in)
        sound = _sound_stream(container, audio)
        for packet in source.demux(picture_in):
            if packet.dts is not None:
                packet.stream = picture_out
                container.mux(packet)
        _encode_sound(container, sound, samples, audio.rate)


def _sound_stream(container: Any, audio: Audio) -> Any:
    layout = "mono" if audio.samples.shape[0] == 1 else "stereo"
    return container.add_stream("aac", rate=audio.rate, layout=layout)


def _encode_sound(container: Any, stream: Any, samples: Samples, rate: int) -> None:
    layout = "mono" if samples.shape[0] == 1 else "stereo"
    size = 1024
    for start in range(0, samples.shape[1], size):
        part = np.ascontiguousarray(samples[:, start : start + size], dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
        frame.sample_rate = rate
        frame.pts = start
        frame.time_base = Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def facts(path: Path) -> VideoFacts:
    """Facts about a video file.

    Raises:
        UnreadableVideoError: no container that FFmpeg knows, or no video in it.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UnreadableVideoError(str(path))
            stream: Any = container.streams.video[0]
            rate = stream.average_rate or stream.guessed_rate or Fraction(25)
            seconds = float(container.duration or 0) / 1_000_000
            if stream.duration and stream.time_base:
                seconds = float(stream.duration * stream.time_base)
            frames = stream.frames or round(seconds * rate)
            return VideoFacts(rate, stream.width, stream.height, frames, float(frames / rate))
    except (FFmpegError, OSError) as error:
        raise UnreadableVideoError(str(path)) from error


def decoded(path: Path) -> Iterator[Pixels]:
    """RGB frames of a video file, in order, turned as its rotation says.

    Raises:
        UnreadableVideoError: the data cannot be decoded.
    """
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                pixels = frame.to_ndarray(format="rgb24")
                quarter_turns = round(frame.rotation / 90) % 4
                yield np.ascontiguousarray(np.rot90(pixels, quarter_turns))
    except (FFmpegError, OSError, IndexError) as error:
        raise UnreadableVideoError(str(path)) from error


def sound(path: Path) -> Audio | None:
    """The first audio track of a file, or None when it has none.

    Raises:
        UnreadableVideoError: the data cannot be decoded.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                return None
            stream: Any = container.streams.audio[0]
            layout = "mono" if stream.channels == 1 else "stereo"
            convert = av.AudioResampler(format="fltp", layout=layout, rate=stream.rate)
            parts = [
                part.to_ndarray()
                for frame in container.decode(stream)
                for part in convert.resample(frame)
            ]
            parts += [part.to_ndarray() for part in convert.resample(None)]
            if not parts:
                return None
            return Audio(np.concatenate(parts, axis=1).astype(np.float32), int(stream.rate))
    except (FFmpegError, OSError) as error:
        raise UnreadableVideoError(str(path)) from error
