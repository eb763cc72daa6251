"""Files to edit: a small filmed-looking scene in every format that people bring, and its mask.

A stand before hills and drifting clouds; the lamp on it sways a little. Everything is drawn, the
same on every call but for the encoder's own words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SECONDS = Fraction(11, 2)  # a little longer than the 81 frames at 16 fps that are made from it
SOUND_HZ, SOUND_RATE = 440, 48000
TIME_BASE = Fraction(1, 90000)  # of the clip of variable rate, as phones write it


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        suffix: of the file's name. size: width and height in pixels.
        fps: frames a second; of the mean where it varies.
        video, audio: codecs as FFmpeg names them.
        varies: whether the time between frames varies, as phones record in changing light.
    """

    suffix: str
    size: tuple[int, int]
    fps: Fraction
    video: str = "libx264"
    audio: str = "aac"
    varies: bool = False


#: What the workflows promise to take, each of another shape and rate.
FORMATS: dict[str, Format] = {
    "mp4": Format("mp4", (960, 540), Fraction(30000, 1001)),
    "avi": Format("avi", (640, 480), Fraction(25), "mpeg4", "pcm_s16le"),
    "mov": Format("mov", (854, 480), Fraction(24)),
    "variable": Format("mp4", (720, 960), Fraction(30), varies=True),
}


def write_video(folder: Path, name: str) -> Path:
    """A clip in one of `FORMATS`, made once for each folder."""
    kind = FORMATS[name]
    path = folder / "inputs" / f"scene-{name}.{kind.suffix}"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}")
        encode(unfinished, kind)
        unfinished.replace(path)
    return path


def write_mask(folder: Path, name: str, *, inverse: bool = False) -> tuple[Path, Mask]:
    """The mask of the lamp in a clip's own size: (file, values of 0 and 1).

    Args:
        inverse: white, which may be painted, is all but the stand and its lamp.
    """
    width, height = FORMATS[name].size
    picture = Image.new("L", (width, height), 0)
    ImageDraw.Draw(picture).ellipse(_around(width, height, 1.6 if inverse else 1.35), fill=255)
    if inverse:
        picture = picture.point([255 - value for value in range(256)])
    path = folder / "inputs" / f"mask-{name}{'-around' if inverse else ''}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.convert("RGB").save(path)
    return path, np.asarray(picture, np.float32) / np.float32(255)


Mask = NDArray[np.float32]


def scene(width: int, height: int) -> Callable[[float], NDArray[np.uint8]]:
    """A function that draws the scene at a time in seconds, as (height, width, 3)."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / height
    grain = np.random.default_rng(7).normal(0, 1, (height // 6 + 1, width // 6 + 1)) * 9
    soft = Image.fromarray(grain.astype(np.float32)).resize((width, height))
    texture = np.asarray(soft, np.float32)[..., None]
    left, top, right, bottom = _around(width, height, 1.0)

    def draw(time: float) -> NDArray[np.uint8]:
        sky = np.stack((150 + 70 * y, 175 + 30 * y, 220 - 30 * y), axis=-1)
        clouds = np.sin(7 * (x + 0.10 * time)) * np.sin(9 * y + 2 * np.sin(3 * x))
        picture = sky + 26 * np.clip(clouds, 0, 1)[..., None]
        for base, swell, speed, colour in (
            (0.62, 0.07, 0.02, (104, 122, 96)), (0.78, 0.05, 0.05, (70, 86, 58)),
        ):  # fmt: skip
            ridge = base + swell * np.sin(5 * (x + speed * time) + 9 * base)
            picture[y > ridge] = colour
        picture += texture
        frame = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
        pen = ImageDraw.Draw(frame)
        sway = 0.04 * (right - left) * math.sin(2.2 * time)
        middle = (left + right) / 2
        pen.rectangle(
            (middle - 0.03 * height, bottom - 4, middle + 0.03 * height, height), "#4a3524"
        )
        pen.ellipse((left + sway, top, right + sway, bottom), "#c8503c", "#702a20", 3)
        glow = 0.25 * (right - left)
        pen.ellipse((left + glow + sway, top + glow, right - glow + sway, bottom - glow), "#f0c060")
        return np.asarray(frame)

    return draw


def _around(width: int, height: int, grown: float) -> tuple[float, float, float, float]:
    """The box of the lamp, grown by a factor."""
    radius = 0.15 * min(width, height) * grown
    return (
        0.5 * width - radius, 0.52 * height - radius, 0.5 * width + radius, 0.52 * height + radius,
    )  # fmt: skip


def _times(kind: Format) -> Iterator[Fraction]:
    """When each frame is shown, in seconds."""
    period, now, number = 1 / kind.fps, Fraction(0), 0
    while now < SECONDS:
        yield now
        # a second in good light, then one at two thirds of the rate
        slow = kind.varies and int(now) % 2 == 1
        now += period * Fraction(3, 2) if slow else period
        number += 1


def encode(path: Path, kind: Format) -> None:
    """Write the scene with its sound as a file of that kind."""
    width, height = kind.size
    draw = scene(width, height)
    with av.open(str(path), "w", format=kind.suffix) as container:
        video = cast(VideoStream, container.add_stream(kind.video, rate=kind.fps))
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        if kind.video == "libx264":
            video.options = {"preset": "veryfast", "crf": "18"}
        else:
            video.bit_rate = 6_000_000
        base = TIME_BASE if kind.varies else 1 / kind.fps
        video.time_base = video.codec_context.time_base = base
        sound = cast(AudioStream, container.add_stream(kind.audio, rate=SOUND_RATE))
        sound.layout = "stereo"
        for time in _times(kind):
            frame = av.VideoFrame.from_ndarray(draw(float(time)), format="rgb24")
            frame.pts, frame.time_base = round(time / base), base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        tone = _tone()
        size = 1024
        for start in range(0, tone.shape[1] - size, size):
            piece = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(tone[:, start : start + size]), format="s16p", layout="stereo"
            )
            piece.sample_rate, piece.pts, piece.time_base = (
                SOUND_RATE,
                start,
                Fraction(1, SOUND_RATE),
            )
            container.mux(sound.encode(piece))
        container.mux(sound.encode(None))


def _tone() -> NDArray[np.int16]:
    """A tone that swells, in two channels."""
    at = np.arange(int(SECONDS * SOUND_RATE)) / SOUND_RATE
    wave = 8000 * np.sin(2 * np.pi * SOUND_HZ * at) * (0.6 + 0.4 * np.sin(2 * np.pi * at))
    return np.tile(wave.astype(np.int16), (2, 1))
