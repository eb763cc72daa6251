"""A generated scene as a camera sees it: sky, hills, trees and a person who walks by.

Everything is a function of the time in seconds, so that the same moment looks the same in clips of
any rate, even or not; and of the picture's size, so that all sizes and shapes show the same scene.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Picture = NDArray[np.uint8]
#: The world is wider than the picture by this share of its width; the camera pans over it.
WIDER = 0.5
#: Pictures are drawn so much larger and made smaller, for edges as soft as a lens's.
FINER = 2


def picture(seconds: float, width: int = 208, height: int = 112) -> Picture:
    """What the camera sees at a time."""
    world = _world(width, height)
    tall, wide = world.shape[:2]
    view_width, view_height = width * FINER, height * FINER
    pan = 0.5 - 0.5 * np.cos(0.35 * seconds)
    sway = 0.5 + 0.5 * np.sin(0.9 * seconds)
    left = round((wide - view_width) * pan)
    top = round((tall - view_height) * sway)
    seen = Image.fromarray(world[top : top + view_height, left : left + view_width])
    _walker(seen, seconds)
    return np.asarray(seen.resize((width, height), Image.Resampling.BOX))


def pictures(times: list[float], width: int = 208, height: int = 112) -> list[Picture]:
    """What the camera sees at several times."""
    return [picture(seconds, width, height) for seconds in times]


def even(count: int, rate: float) -> list[float]:
    """Times of so many frames at a rate."""
    return [index / rate for index in range(count)]


def _noise(width: int, height: int, cell: int, seed: int) -> NDArray[np.float32]:
    """Smooth random values, 0 to 1, that vary over `cell` pixels."""
    rng = np.random.default_rng(seed)
    size = (max(2, -(-height // cell)), max(2, -(-width // cell)))
    grain = Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8))
    grown = grain.resize((width, height), Image.Resampling.BICUBIC)
    scaled: NDArray[np.float32] = np.asarray(grown, np.float32) / np.float32(255)
    return scaled


@functools.lru_cache(maxsize=4)
def _world(width: int, height: int) -> Picture:
    """All that the camera can pan over."""
    wide, tall = round(width * (1 + WIDER)) * FINER, round(height * 1.06) * FINER
    unit = max(1, min(width, height) * FINER // 56)
    y = np.linspace(0, 1, tall, dtype=np.float32)[:, None, None]
    colours = (
        np.array([86, 140, 214], np.float32) * (1 - y) + np.array([236, 214, 190], np.float32) * y
    )
    world = np.broadcast_to(colours, (tall, wide, 3)).copy()
    clouds = np.clip(_noise(wide, tall, 16 * unit, 1) - 0.55, 0, 1)[..., None] * 3
    world += (np.array([250, 248, 246], np.float32) - world) * np.clip(clouds, 0, 0.8)
    x = np.arange(wide, dtype=np.float32) / (FINER * width)
    down = np.linspace(0, 1, tall, dtype=np.float32)[:, None]
    for number, (horizon, high, colour) in enumerate(
        [(0.5, 0.10, (116, 132, 150)), (0.62, 0.08, (92, 124, 84)), (0.78, 0.05, (146, 128, 84))]
    ):
        ridge = horizon + high * np.sin(3.1 * (number + 1) * x + number)
        ridge = ridge + 0.25 * high * np.sin(17 * x + 2 * number)
        texture = 0.62 + 0.5 * _noise(wide, tall, 3 * unit, 10 + number)
        texture *= 0.75 + 0.5 * _noise(wide, tall, unit, 20 + number)
        hill = np.array(colour, np.float32) * texture[..., None]
        world = np.where((down > ridge[None])[..., None], hill, world)
    image = Image.fromarray(np.clip(world, 0, 255).astype(np.uint8))
    _trees(ImageDraw.Draw(image), wide, tall)
    return np.asarray(image)


def _trees(draw: ImageDraw.ImageDraw, wide: int, tall: int) -> None:
    rng = np.random.default_rng(7)
    for place in np.linspace(0.04, 0.96, 11):
        x = (place + rng.uniform(-0.03, 0.03)) * wide
        foot, size = (0.7 + rng.uniform(0, 0.12)) * tall, rng.uniform(0.16, 0.3) * tall
        draw.rectangle(
            (x - 0.03 * size, foot - 0.4 * size, x + 0.03 * size, foot), fill=(72, 50, 36)
        )
        green = tuple(int(v) for v in np.array([40, 84, 44]) + rng.integers(-14, 30, 3))
        draw.polygon(
            [(x - 0.25 * size, foot - 0.25 * size), (x, foot - size), (x + 0.25 * size, foot
             - 0.25 * size)], fill=green,
        )  # fmt: skip


def _walker(image: Image.Image, seconds: float) -> None:
    """A person in a red coat, walking to and fro."""
    draw, (width, height) = ImageDraw.Draw(image), image.size
    x = width * (0.5 + 0.22 * np.sin(0.7 * seconds))
    foot, size = 0.93 * height, 0.46 * min(width, height)
    stride = 0.16 * size * np.sin(6 * seconds)
    hip, neck = foot - 0.45 * size, foot - 0.82 * size
    thick = max(2, round(0.09 * size))
    for leg in (stride, -stride):
        draw.line([(x, hip), (x + leg, foot)], fill=(38, 40, 58), width=thick)
    draw.rounded_rectangle(
        (x - 0.14 * size, neck, x + 0.14 * size, hip), radius=0.05 * size, fill=(186, 44, 40)
    )
    for arm in (stride, -stride):
        draw.line([(x, neck + 0.06 * size), (x - 0.9 * arm, hip)], fill=(150, 34, 34), width=thick)
    head = 0.1 * size
    draw.ellipse((x - head, neck - 2 * head, x + head, neck), fill=(228, 186, 160))
