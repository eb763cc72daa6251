"""Pictures that are sent while sampling (``--preview-method``)."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

from rehearsal.comfyui import drawing
from rehearsal.comfyui.values import Latent, Sampled

PIXELS_A_PLACE = 8
#: ComfyUI's own quality.
JPEG_QUALITY = 95


class Preview:
    """The first frame in the coarse form of a latent, less noisy with every step.

    Args:
        sampled: what is being sampled.
        latent: its size.
        longest_side: of the picture that is sent, in pixels.
    """

    def __init__(self, sampled: Sampled, latent: Latent, longest_side: int) -> None:
        self._sampled = sampled
        self._size = latent.width, latent.height
        self._longest_side = longest_side
        self._drawn: Image.Image | None = None

    def jpeg(self, done: float) -> bytes:
        """The picture when the share ``done`` (0 to 1) of the steps is taken."""
        if self._drawn is None:
            width, height = (PIXELS_A_PLACE * side for side in self._size)
            frame = drawing.draw(self._sampled, frames=1, width=width, height=height)[0]
            self._drawn = Image.fromarray(frame).resize(self._size, Image.Resampling.BOX)
        width, height = self._size
        random = np.random.default_rng(self._sampled.seed)
        noise = Image.fromarray(random.integers(0, 256, size=(height, width, 3), dtype=np.uint8))
        mixed = Image.blend(noise, self._drawn, done)
        side = self._longest_side
        shown = ImageOps.contain(mixed, (side, side), Image.Resampling.BILINEAR)
        buffer = io.BytesIO()
        shown.save(buffer, "JPEG", quality=JPEG_QUALITY)
        return buffer.getvalue()
