"""Decode frames once, and keep what the checks need of each: a few numbers and a small picture.

Numbers are taken from every second pixel both ways: a quarter of the work, the same means and
deviations to the first digit. Only the search for broken cells looks at all pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from smoke_tests.media.cells import broken_cells

#: Longest side in pixels of the small pictures: a quarter of 832, two pixels a cell of the VAE.
SMALL = 208
# Distance at which neighbouring pixels are compared to tell a picture from noise: two cells of
# Wan's VAE, which makes 8x8 pixels of one latent cell. Decoded noise is smooth inside a cell (the
# recorded clip of a model with random weights: 0.78 at 1 pixel) and unrelated two cells apart.
NOISE_LAG = 16
SAMPLED_FRAMES = 8  # frames, spread over the clip, for what need not be measured on every frame
FULL_RANGE = 2  # AVCOL_RANGE_JPEG

Plane = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """Numbers of one frame. Light is 0 (black) to 255 (white), whatever the video's range.

    Attributes:
        time: presentation time in seconds.
        mean, spread: mean and standard deviation of the light.
        highlight: light of the 99th percentile; a black frame has none.
        levels: share of the levels between the 1st and the 99th percentile that hold next to no
            pixel (see `empty_levels`); None where these lie too close to say.
        tint: mean of the two colour differences (Cb, Cr), 0 being grey, -128 to 127.
        chroma_spread: larger standard deviation of the two colour planes.
        broken: number of VAE cells that are cut off from their surroundings.
        change: mean absolute difference of light to the frame before; None for the first.
    """

    index: int
    time: float
    mean: float
    spread: float
    highlight: float
    levels: float | None
    tint: tuple[float, float]
    chroma_spread: float
    broken: int
    change: float | None


@dataclass(frozen=True, eq=False)
class Decoded:
    """What `decode` found: see `smoke_tests.media.clip.Clip`."""

    frames: tuple[Frame, ...]
    pictures: Bytes
    correlation: float | None
    damage: str


def decode(container: Any) -> Decoded:
    """Decode the first video stream to its end, or to the first frame that is damaged."""
    stream = container.streams.video[0]
    # without this, damage is painted over and the decoder reports success
    stream.codec_context.options = {"err_detect": "explode"}
    stream.thread_type = "AUTO"
    every = max(1, stream.frames // SAMPLED_FRAMES)
    frames: list[Frame] = []
    pictures: list[Bytes] = []
    correlations: list[float] = []
    before: Bytes | None = None
    damage = ""
    try:
        for index, picture in enumerate(_undamaged(container.decode(stream))):
            luma, full = _plane(picture, 0), _full_range(picture)
            sparse = np.ascontiguousarray(luma[::2, ::2])
            frames.append(_frame(index, picture, luma, sparse, before, full=full))
            pictures.append(_small(picture, pictures[0].shape if pictures else None))
            if index % every == 0 and min(luma.shape) > 2 * NOISE_LAG:
                correlations.append(autocorrelation(_light(luma, full=full), NOISE_LAG))
            before = sparse
    except _DamagedFrameError:
        damage = f"frame {len(frames)} is marked as corrupt"
    except av.FFmpegError as error:
        damage = f"after {len(frames)} frames: {error}"
    return Decoded(
        tuple(frames),
        np.stack(pictures) if pictures else np.empty((0, 1, 1, 3), np.uint8),
        float(np.mean(correlations)) if correlations else None,
        damage,
    )


class _DamagedFrameError(Exception):
    """The decoder gave a frame, and says that it is damaged."""


def _undamaged(pictures: Iterator[Any]) -> Iterator[Any]:
    for picture in pictures:
        if picture.is_corrupt:
            raise _DamagedFrameError
        yield picture


def _frame(
    index: int, picture: Any, luma: Bytes, sparse: Bytes, before: Bytes | None, *, full: bool
) -> Frame:
    # black and white of the light, in the plane's own numbers
    scale = 1.0 if full else 255.0 / 219.0
    counts = np.bincount(sparse.ravel(), minlength=256)
    light = np.arange(256.0) if full else np.clip((np.arange(256.0) - 16) * scale, 0, 255)
    mean = float(counts @ light) / sparse.size
    spread = float(np.sqrt(max(0.0, float(counts @ light**2) / sparse.size - mean**2)))
    low, high = np.searchsorted(np.cumsum(counts), [0.01 * sparse.size, 0.99 * sparse.size])
    change = None
    if before is not None and before.shape == sparse.shape:
        # of bytes: the larger minus the smaller cannot wrap around
        differences = np.maximum(sparse, before) - np.minimum(sparse, before)
        change = float(differences.mean()) * scale
    chroma = [_plane(picture, number)[::2, ::2] for number in (1, 2)]
    return Frame(
        index=index,
        time=float(picture.time or 0.0),
        mean=mean,
        spread=spread,
        highlight=float(light[high]),
        levels=empty_levels(counts[low : high + 1]),
        tint=(float(chroma[0].mean()) - 128.0, float(chroma[1].mean()) - 128.0),
        chroma_spread=max(float(plane.std()) for plane in chroma),
        broken=broken_cells(luma),
        change=change,
    )


def empty_levels(counts: NDArray[np.intp]) -> float | None:
    """Share of grey levels that hold less than a twentieth of an even distribution's pixels.

    None below 40 levels: what differs so little has too few levels to count gaps in.
    """
    if len(counts) < 40:
        return None
    return float((counts < counts.mean() / 20).mean())


def _full_range(picture: Any) -> bool:
    return int(picture.color_range) == FULL_RANGE or picture.format.name.startswith("yuvj")


def _light(luma: Bytes, *, full: bool) -> Plane:
    """The brightness plane as 0..255, from the limited range (16..235) that video uses."""
    light = luma.astype(np.float32)
    if full:
        return light
    stretched: Plane = np.clip((light - 16.0) * (255.0 / 219.0), 0.0, 255.0, dtype=np.float32)
    return stretched


def _plane(picture: Any, number: int) -> Bytes:
    # other layouts are refused by `pixel_format`; they only need to be decodable here
    if picture.format.name not in {"yuv420p", "yuvj420p"}:
        picture = picture.reformat(format="yuv420p")
    plane = picture.planes[number]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]


def _small(picture: Any, shape: tuple[int, ...] | None) -> Bytes:
    """The picture as RGB with its longest side at most `SMALL`, or of a given shape."""
    if shape is None:
        scale = min(1.0, SMALL / max(picture.width, picture.height))
        width, height = (max(2, round(side * scale)) for side in (picture.width, picture.height))
    else:
        height, width = shape[:2]
    # AREA averages all pixels that fall together; BILINEAR would leave most of them out
    small = picture.reformat(width=width, height=height, format="rgb24", interpolation="AREA")
    return np.asarray(small.to_ndarray(), np.uint8)


def autocorrelation(light: Plane, lag: int) -> float:
    """Correlation of a picture with itself moved by `lag` pixels, both ways averaged; -1..1.

    A picture of one colour has none to speak of and counts as 1.
    """
    centred = light - light.mean()
    variance = float((centred * centred).mean())
    if variance < 1e-6:
        return 1.0
    across = float((centred[:, :-lag] * centred[:, lag:]).mean())
    down = float((centred[:-lag] * centred[lag:]).mean())
    return (across + down) / 2 / variance
