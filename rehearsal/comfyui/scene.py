"""What the simulated model imagines: texture, colours and moving balls of one prompt and seed.

The prompt and the seed decide on the scene. Everything else that a sampler is given (negative
prompt, cfg, steps, sampler, model settings) changes it a little, as it does with a real model: two
runs that differ only in one of these look alike, but no pixel is quite the same.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

if TYPE_CHECKING:
    from rehearsal.comfyui.values import Pixels, Sampled

Floats = npt.NDArray[np.float32]

DISCS = 4
#: How much lighter and darker a ball's sides are than its middle.
LIT = 0.5
#: Light levels (of 255) by which negative prompt, sampler, steps and model settings move a pixel.
VARIANT_LEVELS = 7.0
#: cfg at which colours are as drawn; each unit more adds this share of contrast.
NEUTRAL_CFG, CONTRAST_PER_CFG = 4.0, 0.03
#: Steps after which two thirds of the fine texture are there.
STEPS_FOR_DETAIL = 5.0
#: How strongly the reference picture's colours replace the prompt's own.
PALETTE_FROM_REFERENCE = 0.7


@dataclass(frozen=True, eq=False)
class _Disc:
    """A moving ball: radius in pixels, soft edge, start (0 to 1), step a frame, colours."""

    radius: int
    alpha: Floats
    place: Floats
    speed: Floats
    colours: Floats


def _generator(*parts: object) -> np.random.Generator:
    """Numbers that depend on the parts only. Pictures must repeat; nothing here is a secret."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


class Scene:
    """Frames of one prompt and seed in one size.

    Args:
        sampled: what the sampler was given.
        width: in pixels.
        height: in pixels.
        reference: picture whose colours the scene takes on, shape (height, width, 3), or None.
        quiet: large soft shapes only, for scenes whose structure a control video gives.
    """

    def __init__(
        self,
        sampled: Sampled,
        width: int,
        height: int,
        *,
        reference: Pixels | None = None,
        quiet: bool = False,
    ) -> None:
        self._random = _generator(sampled.positive, sampled.seed)
        # A cfg of 1 leaves the negative prompt out, as in ComfyUI's samplers.
        negative = sampled.negative if sampled.cfg != 1 else ""
        self._variant = _generator(
            sampled.positive, sampled.seed, negative, sampled.cfg, sampled.steps, sampled.sampler,
            sampled.model,
        )  # fmt: skip
        self._width, self._height = width, height
        self._reach = max(8, min(width, height) // 6)
        self._palette = self._random.integers(30, 226, size=(3, 3)).astype(np.float32)
        if reference is not None:
            taken = dominant_colours(reference)
            self._palette += PALETTE_FROM_REFERENCE * (taken - self._palette)
        detail = 1 - math.exp(-sampled.steps / STEPS_FOR_DETAIL)
        contrast = 1 + CONTRAST_PER_CFG * (sampled.cfg - NEUTRAL_CFG)
        self._texture = self._make_texture(
            0.0 if quiet else detail, min(1.6, max(0.6, contrast)), smooth_only=quiet
        )
        self._angle = float(self._random.uniform(0, 2 * math.pi))
        self._discs = [] if quiet else [self._disc() for _ in range(DISCS)]

    def _smooth(self, cells: int, random: np.random.Generator | None = None) -> Floats:
        width, height = self._width + 2 * self._reach, self._height + 2 * self._reach
        source = self._random if random is None else random
        grain = source.integers(0, 256, size=(cells, cells), dtype=np.uint8)
        grown = Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC)
        scaled: Floats = np.asarray(grown, dtype=np.float32) / np.float32(255)
        return scaled

    def _make_texture(self, detail: float, contrast: float, *, smooth_only: bool) -> Pixels:
        coarse, middle, fine = self._smooth(5), self._smooth(17), self._smooth(71)
        blend = 0.55 * coarse + (0.0 if smooth_only else 0.3) * middle + 0.15 * detail * fine
        blend = (blend - blend.min()) / max(1e-6, float(np.ptp(blend)))
        low, high, third = self._palette
        other = self._smooth(4)[..., None]
        shade = blend[..., None]
        colours = low * (1 - shade) + (high * (1 - other) + third * other) * shade
        middle_light = np.float32(self._palette.mean())
        colours = middle_light + np.float32(contrast) * (colours - middle_light)
        cells = 9 if smooth_only else 31
        colours += VARIANT_LEVELS * (2 * self._smooth(cells, self._variant)[..., None] - 1)
        colours += self._variant.uniform(-3, 3, size=3).astype(np.float32)
        result: Pixels = np.clip(colours, 0, 255).astype(np.uint8)
        return result

    def _disc(self) -> _Disc:
        short = min(self._width, self._height)
        radius = max(4, int(short * float(self._random.uniform(0.08, 0.2))))
        spread = np.arange(-radius, radius + 1, dtype=np.float32)
        distance = np.sqrt(spread[:, None] ** 2 + spread[None, :] ** 2) / radius
        alpha = np.clip((1.05 - distance) * 6, 0, 1).astype(np.float32)
        place = self._random.uniform(0.2, 0.8, size=2).astype(np.float32)
        speed = self._random.uniform(-0.012, 0.012, size=2).astype(np.float32)
        colour = self._random.integers(0, 256, size=3).astype(np.float32)
        # lit from the upper left: nothing that is filmed has one light all over
        lit = 1 - LIT * np.clip((spread[:, None] + spread[None, :]) / radius, -1.4, 1.4)
        colours = np.clip(colour * lit[..., None], 0, 255).astype(np.float32)
        return _Disc(radius, alpha, place, speed, colours)

    def frame(self, index: int) -> Pixels:
        """Frame ``index``, shape (height, width, 3)."""
        turn = self._angle + index * 0.11
        left = int(self._reach * (1 + 0.9 * math.cos(turn)))
        top = int(self._reach * (1 + 0.9 * math.sin(turn * 0.8)))
        picture = self._texture[top : top + self._height, left : left + self._width].copy()
        for disc in self._discs:
            self._paint(picture, disc, index)
        return picture

    def _paint(self, picture: Pixels, disc: _Disc, index: int) -> None:
        across, down = _bounced(disc.place + disc.speed * index)
        x, y, radius = int(across * self._width), int(down * self._height), disc.radius
        x0, x1 = max(0, x - radius), min(self._width, x + radius + 1)
        y0, y1 = max(0, y - radius), min(self._height, y + radius + 1)
        if x0 >= x1 or y0 >= y1:
            return
        seen = np.s_[y0 - y + radius : y1 - y + radius, x0 - x + radius : x1 - x + radius]
        part = disc.alpha[seen][..., None]
        area = picture[y0:y1, x0:x1]
        area[...] = (area * (1 - part) + disc.colours[seen] * part).astype(np.uint8)


def _bounced(place: Floats) -> tuple[float, float]:
    """Coordinates kept between 0 and 1 by reflection at the borders."""
    folded = np.abs((place % 2.0) - 1.0)
    return float(folded[0]), float(folded[1])


def dominant_colours(picture: Pixels, count: int = 3) -> Floats:
    """The most frequent colours of a picture, shape (count, 3); repeated when it has fewer."""
    small = Image.fromarray(picture).resize((64, 64), Image.Resampling.BOX)
    reduced = small.quantize(count, Image.Quantize.MEDIANCUT)
    indices = np.asarray(reduced)
    frequent = np.argsort(np.bincount(indices.ravel(), minlength=count))[::-1]
    palette = np.asarray(reduced.getpalette() or [0, 0, 0], dtype=np.float32).reshape(-1, 3)
    found = [palette[index] for index in frequent if (indices == index).any()]
    return np.stack([found[number % len(found)] for number in range(count)])
