"""Small clips made for a test: a good one, and how to spoil it."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

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
    profile: str = "",
    pixel_format: str = "yuv420p",
    fps: int = 16,
    times: list[int] | None = None,
    silence: bool = False,
    sound: NDArray[np.float32] | None = None,
    tags: tuple[int, int] | None = (1, 1),
    metadata: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode pictures.

    `times` are presentation times in periods; `silence` adds a second of it, `sound` mono samples
    at 48 kHz; `tags` are colour range and matrix (BT.709 in limited range, as VHS writes), or None
    for a stream that says nothing; `metadata` are tags of the container.
    """
    pictures = list(pictures)
    if silence:
        sound = np.zeros(48000, np.float32)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixel_format
        container.metadata.update(metadata or {})
        if tags is not None:
            codec_context = stream.codec_context
            codec_context.color_range, codec_context.colorspace = tags
            codec_context.color_primaries = codec_context.color_trc = tags[1]
        if codec == "libx264":
            stream.options = {"crf": "19"} | ({"profile": profile} if profile else {})
        audio = (
            container.add_stream("aac", rate=48000, layout="mono") if sound is not None else None
        )
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format=pixel_format, dst_colorspace="ITU709", dst_color_range="MPEG"
            )
            frame.pts = times[index] if times else index
            frame.time_base = Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None and sound is not None:
            samples = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            samples.sample_rate = 48000
            container.mux(audio.encode(samples))
            container.mux(audio.encode(None))
    return path


@functools.lru_cache(maxsize=8)
def _texture(seed: int, width: int, height: int) -> NDArray[np.float32]:
    rng = np.random.default_rng([seed, 1])
    wide = np.zeros((height, width, 3), np.float32)
    for cells, weight in ((4, 0.5), (11, 0.3), (29, 0.2)):
        grain = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        grown = Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC)
        wide += weight * np.asarray(grown, np.float32)
    return wide


def view(index: int, *, seed: int = 1, width: int = 208, height: int = 120) -> Picture:
    """A frame full of outlines: a texture that the camera pans over, and boxes that move."""
    wide, rng = _texture(seed, width + 40, height + 40), np.random.default_rng(seed)
    turn = 0.15 * index
    left, top = int(20 + 18 * np.cos(turn)), int(20 + 18 * np.sin(turn))
    picture = wide[top : top + height, left : left + width].copy()
    for _ in range(5):
        x, y = rng.uniform(0.05, 0.75, 2)
        dx, dy = rng.uniform(-0.012, 0.012, 2)
        colour = rng.integers(0, 256, 3)
        x0, y0 = int(abs(x + dx * index) * width), int(abs(y + dy * index) * height)
        picture[y0 : y0 + height // 5, x0 : x0 + width // 6] = colour
    return np.clip(picture, 0, 255).astype(np.uint8)


def views(count: int = 33, *, seed: int = 1, width: int = 208, height: int = 120) -> list[Picture]:
    """Frames of one such scene; another seed is another scene."""
    return [view(index, seed=seed, width=width, height=height) for index in range(count)]


def round_trip(pictures: Iterable[Picture]) -> list[Picture]:
    """Pictures as a VAE gives them back: without the finest detail, a little noisy and lighter.

    The noise follows from the picture, as with a VAE: what stands still stays still.
    """
    results = []
    for picture in pictures:
        rng = np.random.default_rng(zlib.crc32(picture.tobytes()))
        soft = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1)), np.float32)
        noisy = soft + rng.normal(1.5, 3, soft.shape).astype(np.float32)
        results.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return results
