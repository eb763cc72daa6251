"""Canny's edge detector, as ComfyUI's node of that name calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

if TYPE_CHECKING:
    from rehearsal.comfyui.values import Pixels

#: The detector's own blur before it looks for edges, in pixels.
BLUR = 1.0
#: A weak edge belongs to a strong one within so many squares of `SQUARE` pixels; Canny itself
#: follows weak edges without a limit.
REACH, SQUARE = 2, 8


def edges(picture: Pixels, low: float, high: float) -> npt.NDArray[np.uint8]:
    """Edges as 255 on 0, shape (height, width).

    Thresholds apply to Sobel's sums of light from 0 to 1, not divided by their weight, as in the
    node: a hard step of light by s measures 4 s before the blur.

    Args:
        picture: shape (height, width, 3).
        low: weaker edges count where they continue strong ones.
        high: strong edges.
    """
    soft = Image.fromarray(picture).convert("L").filter(ImageFilter.GaussianBlur(BLUR))
    light = np.pad(np.asarray(soft, np.int16), 1, mode="edge")
    rows = light[:-2] + 2 * light[1:-1] + light[2:]
    across = rows[:, 2:] - rows[:, :-2]
    columns = light[:, :-2] + 2 * light[:, 1:-1] + light[:, 2:]
    down = columns[2:] - columns[:-2]
    steep = np.square(across, dtype=np.int32) + np.square(down, dtype=np.int32)
    # only the crest of a slope is an edge: compare with both neighbours along the steeper axis
    padded = np.pad(steep, 1)
    beside = np.maximum(padded[1:-1, :-2], padded[1:-1, 2:])
    above = np.maximum(padded[:-2, 1:-1], padded[2:, 1:-1])
    crest = steep >= np.where(np.abs(across) >= np.abs(down), beside, above)
    found = crest & (steep > (255 * low) ** 2)
    strong = np.where(found & (steep > (255 * high) ** 2), 255, 0).astype(np.uint8)
    return np.where(found, _around(strong), 0).astype(np.uint8)


def _around(strong: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """255 in all squares near one that holds something, 0 elsewhere."""
    height, width = strong.shape
    rows, columns = -(-height // SQUARE), -(-width // SQUARE)
    whole = np.pad(strong, ((0, rows * SQUARE - height), (0, columns * SQUARE - width)))
    held = whole.reshape(rows, SQUARE, columns, SQUARE).max(axis=(1, 3))
    near = np.asarray(Image.fromarray(held).filter(ImageFilter.MaxFilter(2 * REACH + 1)))
    return near.repeat(SQUARE, axis=0).repeat(SQUARE, axis=1)[:height, :width]
