"""Masks. A set place (255, ComfyUI's 1.0) is where VACE may paint."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from rehearsal.comfyui import pictures
from rehearsal.comfyui.node_context import Behaviour, NodeContext, NodeResult
from rehearsal.comfyui.values import Images, Masks


def solid(_: NodeContext, *, value: float, width: int, height: int) -> NodeResult:
    """SolidMask."""
    level = round(255 * max(0.0, min(1.0, value)))
    return NodeResult((Masks(np.full((1, height, width), level, dtype=np.uint8)),))


def invert(_: NodeContext, *, mask: Masks) -> NodeResult:
    """InvertMask."""
    return NodeResult((Masks(255 - mask.pixels),))


def to_image(_: NodeContext, *, mask: Masks) -> NodeResult:
    """MaskToImage."""
    return NodeResult((Images(np.repeat(mask.pixels[..., None], 3, axis=3)),))


def from_image(_: NodeContext, *, image: Images, channel: str) -> NodeResult:
    """ImageToMask; pictures here have no alpha, which ComfyUI reads as set everywhere."""
    plane = {"red": 0, "green": 1, "blue": 2}.get(channel)
    if plane is None:
        return NodeResult((Masks(np.full(image.pixels.shape[:3], 255, dtype=np.uint8)),))
    return NodeResult((Masks(np.ascontiguousarray(image.pixels[..., plane])),))


def grow(_: NodeContext, *, mask: Masks, expand: int, tapered_corners: bool) -> NodeResult:
    """GrowMask: by ``expand`` pixels, or shrinks when that is negative."""
    if expand == 0:
        return NodeResult((mask,))
    size = 2 * abs(expand) + 1
    chosen = ImageFilter.MaxFilter(size) if expand > 0 else ImageFilter.MinFilter(size)
    grown = [np.asarray(Image.fromarray(one).filter(chosen)) for one in mask.pixels]
    return NodeResult((Masks(np.stack(grown)),))


def composite(
    _: NodeContext,
    *,
    destination: Images,
    source: Images,
    x: int,
    y: int,
    resize_source: bool,
    mask: Masks | None = None,
) -> NodeResult:
    """ImageCompositeMasked: the source laid on the destination at (x, y)."""
    result = destination.pixels.copy()
    overlay = source.pixels
    if resize_source:
        overlay = pictures.resized(overlay, destination.width, destination.height, "bilinear")
    height = max(0, min(overlay.shape[1], destination.height - y))
    width = max(0, min(overlay.shape[2], destination.width - x))
    for index, picture in enumerate(result):
        area = picture[y : y + height, x : x + width]
        top = overlay[index % len(overlay), :height, :width]
        weight = np.ones((height, width, 1), dtype=np.float32)
        if mask is not None:
            scaled = pictures.resized(
                mask.pixels[index % len(mask.pixels)][None],
                overlay.shape[2],
                overlay.shape[1],
                "bilinear",
            )
            weight = scaled[0, :height, :width, None].astype(np.float32) / 255
        area[...] = (area * (1 - weight) + top * weight).astype(np.uint8)
    return NodeResult((Images(result),))


BEHAVIOURS: dict[str, Behaviour] = {
    "SolidMask": solid,
    "InvertMask": invert,
    "MaskToImage": to_image,
    "ImageToMask": from_image,
    "GrowMask": grow,
    "ImageCompositeMasked": composite,
}
