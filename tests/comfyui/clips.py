"""Small pictures and videos that tests upload."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

Frames = npt.NDArray[np.uint8]


def picture(
    width: int = 64, height: int = 48, colour: tuple[int, int, int] = (200, 40, 40)
) -> bytes:
    """A PNG of one colour with a brighter square in the upper left corner."""
    image = Image.new("RGB", (width, height), colour)
    image.paste((250, 250, 250), (0, 0, width // 4, height // 4))
    return encoded(image)


def half_mask(width: int = 64, height: int = 64) -> bytes:
    """A PNG mask whose right half is set."""
    image = Image.new("RGB", (width, height), (0, 0, 0))
    image.paste((255, 255, 255), (width // 2, 0, width, height))
    return encoded(image)


def encoded(image: Image.Image) -> bytes:
    """An image as PNG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def write_clip(
    path: Path,
    *,
    frames: int,
    rate: int = 16,
    width: int = 64,
    height: int = 64,
    codec: str = "libx264",
    sound: bool = False,
) -> None:
    """A video of a white bar that moves over blue; the container follows the file's suffix."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream(codec, rate=rate)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio: Any = container.add_stream("aac", rate=44100, layout="mono") if sound else None
        for index in range(frames):
            pixels = np.zeros((height, width, 3), dtype=np.uint8)
            pixels[...] = (20, 30, 160)
            start = index * width // max(1, frames)
            pixels[:, start : start + width // 4] = 240
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            times = np.arange(int(44100 * frames / rate)) / 44100
            wave = (0.4 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
            for start in range(0, len(wave), 1024):
                part = av.AudioFrame.from_ndarray(
                    wave[None, start : start + 1024], format="fltp", layout="mono"
                )
                part.sample_rate, part.pts, part.time_base = 44100, start, Fraction(1, 44100)
                container.mux(audio.encode(part))
            container.mux(audio.encode(None))


def decode(path: Path) -> Frames:
    """All frames of a video, shape (frames, height, width, 3)."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
