"""Scales and cuts pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from rehearsal.comfyui.values import Pixels


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
