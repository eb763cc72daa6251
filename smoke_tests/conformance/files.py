"""Small pictures and clips that the recorded conversations upload, under the recorded names."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

SOUND_HZ = 44_100


def picture(width: int, height: int) -> bytes:
    """A PNG with a brighter square in the upper left corner."""
    image = Image.new("RGB", (width, height), (200, 40, 40))
    image.paste((250, 250, 250), (0, 0, width // 4, height // 4))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def clip(
    container: str, codec: str, *, frames: int, rate: int, size: tuple[int, int], sound: bool
) -> bytes:
    """A video of a white bar that moves over blue, with a tone if asked for."""
    buffer = io.BytesIO()
    width, height = size
    with av.open(buffer, "w", format=container) as out:
        video: Any = out.add_stream(codec, rate=rate)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio: Any = out.add_stream("aac", rate=SOUND_HZ, layout="mono") if sound else None
        for index in range(frames):
            pixels = np.full((height, width, 3), (20, 30, 160), dtype=np.uint8)
            start = index * width // frames
            pixels[:, start : start + width // 4] = 240
            out.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(video.encode(None))
        if audio is not None:
            times = np.arange(SOUND_HZ * frames // rate) / SOUND_HZ
            wave = (0.4 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
            for start in range(0, len(wave), 1024):
                part = av.AudioFrame.from_ndarray(
                    wave[None, start : start + 1024], format="fltp", layout="mono"
                )
                part.sample_rate, part.pts = SOUND_HZ, start
                part.time_base = Fraction(1, SOUND_HZ)
                out.mux(audio.encode(part))
            out.mux(audio.encode(None))
    return buffer.getvalue()


@cache
def content(name: str) -> bytes:
    """What the recordings upload under a name.

    Raises:
        KeyError: no recording uploads it.
    """
    square = (64, 64)
    makers: dict[str, Callable[[], bytes]] = {
        "example.png": lambda: picture(640, 480),
        "ref.png": lambda: picture(64, 48),
        "mask.png": lambda: picture(128, 128),
        "empty.png": lambda: b"",
        "broken.png": lambda: b"no picture",
        "bad.mp4": lambda: b"no video",
        "clip.mp4": lambda: clip("mp4", "libx264", frames=32, rate=16, size=square, sound=True),
        "clip.avi": lambda: clip("avi", "mpeg4", frames=50, rate=25, size=square, sound=False),
        "clip.mov": lambda: clip("mov", "libx264", frames=60, rate=30, size=(64, 96), sound=False),
    }
    return makers[Path(name).name]()
