"""Small clips made for a test: a good one, and how to spoil it."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
SIZE = 128
FRAMES = 17


def scene(index: int, size: int = SIZE) -> Picture:
    """A good frame: a gradient sky and a disc that moves from frame to frame."""
    y, x = np.mgrid[0:size, 0:size]
    picture = np.stack([60 + 120 * y / size, 80 + 90 * x / size, 160 - 60 * y / size], axis=-1)
    disc = (x - size * ((0.2 + 0.03 * index) % 1)) ** 2 + (y - size * 0.5) ** 2 < (size * 0.15) ** 2
    picture[disc] = (235, 200, 60)
    return picture.astype(np.uint8)


def scenes(count: int = FRAMES, size: int = SIZE) -> list[Picture]:
    """Good frames."""
    return [scene(index, size) for index in range(count)]


def write(
    path: Path,
    pictures: Iterable[Picture],
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    fps: int = 16,
    times: list[int] | None = None,
    silence: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode pictures; `times` are presentation times in periods, `silence` adds audio."""
    pictures = list(pictures)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixel_format
        if codec == "libx264":
            stream.options = {"crf": "19"}
        audio = container.add_stream("aac", rate=48000, layout="mono") if silence else None
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = times[index] if times else index
            frame.time_base = Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            sound = av.AudioFrame.from_ndarray(
                np.zeros((1, 48000), np.float32), format="fltp", layout="mono"
            )
            sound.sample_rate = 48000
            container.mux(audio.encode(sound))
            container.mux(audio.encode(None))
    return path
