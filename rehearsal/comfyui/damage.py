"""Pictures and files as they come out of a broken server: see the table in `faults`."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from rehearsal.comfyui import pictures
from rehearsal.comfyui.values import Masks, Pixels, Sampled

PLAIN_COLOUR = (112, 118, 96)
FLICKER_LEVELS = 70
#: A VAE place is 8 by 8 pixels, a place of the model 2 by 2 of these.
CELL, BLOCK = 8, 16
BLOCKS_HIT = 1 / 6
DAY_SECONDS = 86_400
#: One flipped bit in so many bytes of coded picture.
FLIP_EVERY = 211


def ignoring(sampled: Sampled, fault: str) -> Sampled:
    """What the sampler was given, without what a fault makes it ignore."""
    control = sampled.control
    if control is None:
        return sampled
    if fault == "ignores_control":
        return replace(sampled, control=None)
    if fault == "ignores_mask":
        everywhere = Masks(np.full_like(control.masks.pixels, 255))
        return replace(sampled, control=replace(control, masks=everywhere))
    return sampled


def spoiled(pixels: Pixels, fault: str) -> Pixels:
    """Frames as a fault leaves them; unchanged when it is not about pictures."""
    damage = _PICTURES.get(fault)
    return pixels if damage is None or not len(pixels) else damage(pixels)


def _plain(pixels: Pixels) -> Pixels:
    return np.broadcast_to(np.asarray(PLAIN_COLOUR, np.uint8), pixels.shape).copy()


def _noise(pixels: Pixels) -> Pixels:
    random = np.random.default_rng(3)
    _, height, width, _ = pixels.shape
    cells = (-(-height // CELL), -(-width // CELL), 3)
    frames = [
        Image.fromarray(random.integers(0, 256, size=cells, dtype=np.uint8)).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        for _ in pixels
    ]
    return np.stack([np.asarray(frame) for frame in frames])


def _frozen(pixels: Pixels) -> Pixels:
    return np.repeat(pixels[:1], len(pixels), axis=0)


def _blocks(pixels: Pixels) -> Pixels:
    random = np.random.default_rng(4)
    result = pixels.copy()
    rows, columns = -(-pixels.shape[1] // BLOCK), -(-pixels.shape[2] // BLOCK)
    hit = np.argwhere(random.random((rows, columns)) < BLOCKS_HIT)
    for row, column in hit if len(hit) else [(0, 0)]:
        colour = random.choice([0, 255], size=3)
        result[:, row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK] = colour
    return result


def _flicker(pixels: Pixels) -> Pixels:
    result = pixels.copy()
    result[1::2] = np.maximum(result[1::2], FLICKER_LEVELS) - FLICKER_LEVELS
    return result


def _half_size(pixels: Pixels) -> Pixels:
    height, width = (max(2, side // 4 * 2) for side in pixels.shape[1:3])
    return pictures.resized(pixels, width, height, "bilinear")


_PICTURES: dict[str, Callable[[Pixels], Pixels]] = {
    "black": np.zeros_like,
    "plain": _plain,
    "noise": _noise,
    "frozen": _frozen,
    "nan_blocks": _blocks,
    "flicker": _flicker,
    "wrong_size": _half_size,
    "short": lambda pixels: pixels[: (len(pixels) - 1) // 8 * 4 + 1],
}


def flip_bits(file: Path) -> None:
    """Flip bits of the coded pictures of an MP4 file; its index stays as it is."""
    data = bytearray(file.read_bytes())
    position = 0
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"mdat":
            # The start is left alone: it names the encoder and belongs to no picture.
            for place in range(position + size // 4, position + size, FLIP_EVERY):
                data[place] ^= 0x55
        position += max(8, size)
    file.write_bytes(data)


def earlier_file(file: Path) -> Path:
    """The oldest other file of the same kind in the folder; without one, the file made old."""
    others = sorted(
        (other for other in file.parent.glob(f"*{file.suffix}") if other != file),
        key=lambda other: other.stat().st_mtime,
    )
    if others:
        return others[0]
    age(file)
    return file


def age(file: Path) -> None:
    """Make a file a day old."""
    then = time.time() - DAY_SECONDS
    os.utime(file, (then, then))


def appear_later(file: Path, seconds: float) -> None:
    """Hide a file and let it appear after so many seconds, as a slow network disk does."""
    hidden = file.with_name(f".{file.name}.late")
    file.rename(hidden)
    timer = threading.Timer(seconds, _appear, (hidden, file))
    timer.daemon = True
    timer.start()


def _appear(hidden: Path, file: Path) -> None:
    if hidden.exists():
        hidden.rename(file)
