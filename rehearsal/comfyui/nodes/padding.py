"""KJNodes' ImagePadKJ, which outpainting builds on, and ComfyUI's ImageRGBToYUV."""

from __future__ import annotations

import numpy as np
from PIL import Image

from rehearsal.comfyui import pictures
from rehearsal.comfyui.errors import NodeError
from rehearsal.comfyui.node_context import Behaviour, NodeContext, NodeResult
from rehearsal.comfyui.values import Images, Masks, Pixels

PAD_MODES = ("edge", "edge_pixel", "color")


def _colour(text: str) -> tuple[int, ...]:
    """``r, g, b`` in 0 to 255 or 0.0 to 1.0, one number for grey, or ``#rrggbb``.

    Raises:
        NodeError: anything else.
    """
    try:
        if text.strip().startswith("#"):
            digits = text.strip()[1:7]
            return tuple(int(digits[place : place + 2], 16) for place in (0, 2, 4))
        parts = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise NodeError(f"could not convert string to float: {text!r}", wire_name="ValueError") \
            from error  # fmt: skip
    if max(parts) <= 1:
        parts = [255 * part for part in parts]
    levels = tuple(round(max(0.0, min(255.0, part))) for part in parts)
    return levels[:3] if len(levels) >= 3 else (levels[0],) * 3


def pad(
    _: NodeContext,
    *,
    image: Images,
    left: int,
    right: int,
    top: int,
    bottom: int,
    extra_padding: int,
    pad_mode: str,
    color: str,
    mask: Masks | None = None,
    target_width: int | None = None,
    target_height: int | None = None,
) -> NodeResult:
    """ImagePadKJ: the picture on a larger canvas, and a mask a frame that is set on the border.

    With both targets the picture is centred in that size and the four sides have no effect.

    Raises:
        NodeError: the target is smaller than the picture, or a pad mode that is not drawn here.
    """
    if pad_mode not in PAD_MODES:
        raise NodeError(
            f"pad_mode {pad_mode!r} is not drawn by the simulated ComfyUI. Allowed: "
            f"{', '.join(PAD_MODES)}. Choose one of those, or use a real ComfyUI.",
            wire_name="NotImplementedError",
        )
    pixels = image.pixels
    if target_width is not None and target_height is not None:
        if extra_padding > 0:
            size = image.width - extra_padding, image.height - extra_padding
            pixels = pictures.resized(pixels, *size, "lanczos")
        height, width = pixels.shape[1:3]
        left, top = (target_width - width) // 2, (target_height - height) // 2
        right, bottom = target_width - width - left, target_height - height - top
    else:
        left, right = left + extra_padding, right + extra_padding
        top, bottom = top + extra_padding, bottom + extra_padding
        height, width = pixels.shape[1:3]
    if min(left, right, top, bottom) < 0:
        raise NodeError(
            f"The expanded size of the tensor ({target_width}) must match the existing size "
            f"({width}) at non-singleton dimension 1.  Target sizes: [{target_height}, "
            f"{target_width}, 3].  Tensor sizes: [{height}, {width}, 3]"
        )
    sides = ((0, 0), (top, bottom), (left, right))
    result = np.pad(pixels, (*sides, (0, 0)), mode="edge")
    if pad_mode != "edge_pixel":
        _fill(result, pixels, (top, left), None if pad_mode == "edge" else _colour(color))
    if mask is not None:
        scaled = pictures.resized(mask.pixels, width, height, "nearest-exact")
        return NodeResult((Images(result), Masks(np.pad(scaled, sides, mode="edge"))))
    masks = np.full(result.shape[:3], 255, dtype=np.uint8)
    masks[:, top : top + height, left : left + width] = 0
    return NodeResult((Images(result), Masks(masks)))


def _fill(
    result: Pixels, pixels: Pixels, corner: tuple[int, int], colour: tuple[int, ...] | None
) -> None:
    """Fill the border with one colour, or each side with the mean of the picture's edge there."""
    height, width = pixels.shape[1:3]
    top, left = corner
    for canvas, picture in zip(result, pixels, strict=True):
        if colour is not None:
            canvas[...] = colour
        else:
            canvas[:top] = picture[0].mean(axis=0)
            canvas[top + height :] = picture[-1].mean(axis=0)
            canvas[:, :left] = picture[:, 0].mean(axis=0)
            canvas[:, left + width :] = picture[:, -1].mean(axis=0)
        canvas[top : top + height, left : left + width] = picture


def rgb_to_yuv(_: NodeContext, *, image: Images) -> NodeResult:
    """ImageRGBToYUV: light and two colour differences (BT.601), each as grey picture."""
    planes = np.stack([np.asarray(Image.fromarray(one).convert("YCbCr")) for one in image.pixels])
    return NodeResult(tuple(Images(np.repeat(planes[..., n : n + 1], 3, axis=3)) for n in range(3)))


BEHAVIOURS: dict[str, Behaviour] = {"ImagePadKJ": pad, "ImageRGBToYUV": rgb_to_yuv}
