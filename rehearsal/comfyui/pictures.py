"""Draws the frames that a model would generate.

Not art, but a useful stand-in: the same prompt and seed give the same frames, other prompts or
seeds give visibly different ones, neighbouring frames differ a little (so a test of motion or of
flicker means something), there is texture to compress, and control video, mask and reference
picture show through where the real model would respect them.
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
#: How much of the control video stays visible where the mask lets the model paint.
CONTROL_WEIGHT = 0.6
REFERENCE_WEIGHT = 0.85


@dataclass(frozen=True, eq=False)
class _Disc:
    """A moving disc: radius in pixels, soft edge, start (0 to 1), step a frame, colour."""

    radius: int
    alpha: Floats
    place: Floats
    speed: Floats
    colour: Floats


class _Scene:
    """Texture, colours and moving discs of one prompt and seed."""

    def __init__(self, sampled: Sampled, width: int, height: int) -> None:
        key = f"{sampled.positive}\0{sampled.negative}\0{sampled.seed}".encode()
        digest = hashlib.sha256(key).digest()
        # Reproducible pictures are the point; nothing here is a secret.
        self._random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        self._width, self._height = width, height
        self._reach = max(8, min(width, height) // 6)
        self._palette = self._random.integers(30, 226, size=(3, 3)).astype(np.float32)
        self._texture = self._make_texture()
        self._angle = float(self._random.uniform(0, 2 * math.pi))
        self._discs = [self._disc() for _ in range(DISCS)]

    def _smooth(self, cells: int) -> Floats:
        width, height = self._width + 2 * self._reach, self._height + 2 * self._reach
        grain = self._random.integers(0, 256, size=(cells, cells), dtype=np.uint8)
        grown = Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC)
        scaled: Floats = np.asarray(grown, dtype=np.float32) / np.float32(255)
        return scaled

    def _make_texture(self) -> Pixels:
        blend = 0.55 * self._smooth(5) + 0.3 * self._smooth(17) + 0.15 * self._smooth(71)
        blend = (blend - blend.min()) / max(1e-6, float(np.ptp(blend)))
        low, high, third = self._palette
        other = self._smooth(4)[..., None]
        colours = (
            low * (1 - blend[..., None]) + (high * (1 - other) + third * other) * (blend[..., None])
        )
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
        return _Disc(radius, alpha, place, speed, colour)

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
        seen = disc.alpha[y0 - y + radius : y1 - y + radius, x0 - x + radius : x1 - x + radius]
        part = seen[..., None]
        area = picture[y0:y1, x0:x1]
        area[...] = (area * (1 - part) + disc.colour * part).astype(np.uint8)


def _bounced(place: Floats) -> tuple[float, float]:
    """Coordinates kept between 0 and 1 by reflection at the borders."""
    folded = np.abs((place % 2.0) - 1.0)
    return float(folded[0]), float(folded[1])


def _mixed(under: Pixels, over: Pixels, weight: float) -> Pixels:
    """``over`` laid on ``under``; whole-picture blending done by Pillow, which is the quick way."""
    return np.asarray(Image.blend(Image.fromarray(under), Image.fromarray(over), weight))


def _inset(picture: Pixels, reference: Pixels, index: int) -> Pixels:
    """The reference as a subject that sways in the middle of the picture."""
    height, width = picture.shape[:2]
    w, h = max(2, width * 3 // 5), max(2, height * 3 // 5)
    small = np.asarray(Image.fromarray(reference).resize((w, h), Image.Resampling.BILINEAR))
    x = int((width - w) * (0.5 + 0.15 * math.sin(index * 0.13)))
    y = (height - h) // 2
    result = picture.copy()
    result[y : y + h, x : x + w] = _mixed(result[y : y + h, x : x + w], small, REFERENCE_WEIGHT)
    return result


def draw(sampled: Sampled, *, frames: int, width: int, height: int) -> Pixels:
    """The video that a sampler's result decodes to.

    Args:
        sampled: prompt, seed and control.
        frames: number of frames.
        width: in pixels.
        height: in pixels.

    Returns:
        RGB frames, shape (frames, height, width, 3).
    """
    scene = _Scene(sampled, width, height)
    control = sampled.control
    result = np.empty((frames, height, width, 3), dtype=np.uint8)
    for index in range(frames):
        picture = scene.frame(index)
        if control is not None and control.reference is not None:
            picture = _inset(picture, _fitted(control.reference.pixels[0], width, height), index)
        if control is not None and control.video is not None and index < control.video.count:
            source = _fitted(control.video.pixels[index], width, height)
            weight = max(0.0, min(1.0, CONTROL_WEIGHT * control.strength))
            painted = _mixed(picture, source, weight)
            mask = _fitted(control.masks.pixels[index], width, height)
            picture = np.asarray(
                Image.composite(
                    Image.fromarray(painted), Image.fromarray(source), Image.fromarray(mask)
                )
            )
        result[index] = picture
    return result


def _fitted(picture: Pixels, width: int, height: int) -> Pixels:
    """Cut to a size that the VAE rounded down."""
    return np.ascontiguousarray(picture[:height, :width])


def resized(pixels: Pixels, width: int, height: int, method: str) -> Pixels:
    """Pictures or masks scaled to exactly ``width`` by ``height``.

    Args:
        pixels: shape (frames, height, width) or (frames, height, width, 3).
        width: in pixels.
        height: in pixels.
        method: ComfyUI's name of the filter, for example ``lanczos``.
    """
    if pixels.shape[1:3] == (height, width):
        return pixels
    filters = {
        "nearest-exact": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
        "area": Image.Resampling.BOX,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
    }
    chosen = filters.get(method, Image.Resampling.LANCZOS)
    return np.stack(
        [np.asarray(Image.fromarray(one).resize((width, height), chosen)) for one in pixels]
    )


def centre_cropped(pixels: Pixels, width: int, height: int, method: str) -> Pixels:
    """Pictures cut to the proportion of ``width`` by ``height`` around the centre, then scaled."""
    have_height, have_width = pixels.shape[1:3]
    keep_width = min(have_width, max(1, round(have_height * width / height)))
    keep_height = min(have_height, max(1, round(have_width * height / width)))
    left, top = (have_width - keep_width) // 2, (have_height - keep_height) // 2
    cut = pixels[:, top : top + keep_height, left : left + keep_width]
    return resized(np.ascontiguousarray(cut), width, height, method)
