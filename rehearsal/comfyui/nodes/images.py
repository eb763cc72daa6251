"""Pictures: loading, resizing, batches, saving and previewing."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from PIL import Image, ImageFilter, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from rehearsal.comfyui import pictures
from rehearsal.comfyui.errors import NodeError, UnreadableImage
from rehearsal.comfyui.node_context import Behaviour, NodeContext, NodeResult
from rehearsal.comfyui.nodes.edges import edges
from rehearsal.comfyui.nodes.naming import next_counter
from rehearsal.comfyui.values import Images, Masks, Pixels

#: What ComfyUI hands on where a picture has no transparency.
NO_MASK = np.zeros((1, 64, 64), dtype=np.uint8)


def open_picture(context: NodeContext, name: str) -> Image.Image:
    """An input file as a picture, turned as its EXIF data say.

    Raises:
        UnreadableImage: the file is no picture.
    """
    path = context.folders.input_file(name)
    try:
        with Image.open(path) as picture:
            return ImageOps.exif_transpose(picture.copy())
    except (UnidentifiedImageError, OSError) as error:
        raise UnreadableImage(path) from error


def load_image(context: NodeContext, *, image: str) -> NodeResult:
    """LoadImage: the picture and a mask that is set where it is transparent."""
    picture = open_picture(context, image)
    mask = NO_MASK
    if "A" in picture.getbands():
        mask = 255 - np.asarray(picture.getchannel("A"))[None]
    pixels = np.asarray(picture.convert("RGB"))[None]
    return NodeResult((Images(pixels), Masks(mask)))


def load_mask(context: NodeContext, *, image: str, channel: str) -> NodeResult:
    """LoadImageMask: one channel; alpha is inverted, as ComfyUI does."""
    picture = open_picture(context, image)
    if channel == "alpha":
        if "A" not in picture.getbands():
            return NodeResult((Masks(NO_MASK),))
        return NodeResult((Masks(255 - np.asarray(picture.getchannel("A"))[None]),))
    plane = picture.convert("RGB").getchannel(channel[0].upper())
    return NodeResult((Masks(np.asarray(plane)[None]),))


def _target(
    images: Images, width: int, height: int, keep: str, divisible_by: int
) -> tuple[int, int]:
    """Size that ImageResizeKJv2 scales to; 0 means the picture's own."""
    have_w, have_h = images.width, images.height
    if keep in ("resize", "pad", "pad_edge", "pad_edge_pixel", "pillarbox_blur"):
        if width == 0 or height == 0:
            ratio = (width / have_w) if width else (height / have_h) if height else 1.0
        else:
            ratio = min(width / have_w, height / have_h)
        if keep == "resize" or width == 0 or height == 0:
            width, height = round(have_w * ratio), round(have_h * ratio)
    elif keep == "total_pixels":
        ratio = have_w / have_h
        total = (width or have_w) * (height or have_h)
        height = int((total / ratio) ** 0.5)
        width = int(ratio * height)
    width, height = width or have_w, height or have_h
    if divisible_by > 1:
        width, height = width - width % divisible_by, height - height % divisible_by
    if width < 1 or height < 1:
        raise NodeError(
            f"cannot resize to {width} x {height} (divisible_by {divisible_by})",
            wire_name="ValueError",
        )
    return width, height


def resize_kj(
    context: NodeContext,
    *,
    image: Images,
    width: int,
    height: int,
    upscale_method: str,
    keep_proportion: str,
    pad_color: str,
    crop_position: str,
    divisible_by: int,
    mask: Masks | None = None,
    **_more: Any,
) -> NodeResult:
    """ImageResizeKJv2: the picture, its width and height, and the mask resized alike."""
    to_w, to_h = _target(image, width, height, keep_proportion, divisible_by)

    def fit(pixels: Pixels, fill: tuple[int, ...]) -> Pixels:
        if keep_proportion == "crop":
            return _cropped(pixels, to_w, to_h, upscale_method, crop_position)
        if keep_proportion.startswith(("pad", "pillarbox")):
            return _padded(pixels, to_w, to_h, upscale_method, fill)
        return pictures.resized(pixels, to_w, to_h, upscale_method)

    colour = tuple(int(part) for part in pad_color.split(",")[:3])
    result = fit(image.pixels, colour if len(colour) == 3 else (colour[0],) * 3)
    out_mask = Masks(fit(mask.pixels, (255,))) if mask is not None else Masks(NO_MASK)
    # Four bytes to a number, as in the tensors that the real node measures.
    megabytes = result.size * 4 / 1024 / 1024
    context.text(
        f"<tr><td>Output: </td><td><b>{len(result)}</b> x <b>{to_w}</b> x <b>{to_h} | "
        f"{megabytes:.2f}MB</b></td></tr>"
    )
    return NodeResult((Images(result), to_w, to_h, out_mask))


def _cropped(pixels: Pixels, width: int, height: int, method: str, position: str) -> Pixels:
    have_h, have_w = pixels.shape[1:3]
    keep_w = min(have_w, max(1, round(have_h * width / height)))
    keep_h = min(have_h, max(1, round(have_w * height / width)))
    left = {"left": 0, "right": have_w - keep_w}.get(position, (have_w - keep_w) // 2)
    top = {"top": 0, "bottom": have_h - keep_h}.get(position, (have_h - keep_h) // 2)
    cut = np.ascontiguousarray(pixels[:, top : top + keep_h, left : left + keep_w])
    return pictures.resized(cut, width, height, method)


def _padded(pixels: Pixels, width: int, height: int, method: str, fill: tuple[int, ...]) -> Pixels:
    have_h, have_w = pixels.shape[1:3]
    ratio = min(width / have_w, height / have_h)
    inner_w, inner_h = max(1, round(have_w * ratio)), max(1, round(have_h * ratio))
    inner = pictures.resized(pixels, inner_w, inner_h, method)
    shape = (len(pixels), height, width, *pixels.shape[3:])
    result = np.empty(shape, dtype=np.uint8)
    result[...] = fill if pixels.ndim == 4 else fill[0]
    left, top = (width - inner_w) // 2, (height - inner_h) // 2
    result[:, top : top + inner_h, left : left + inner_w] = inner
    return result


def scale(
    _: NodeContext, *, image: Images, upscale_method: str, width: int, height: int, crop: str
) -> NodeResult:
    """ImageScale; a zero side follows the proportion."""
    if width == 0 and height == 0:
        return NodeResult((image,))
    width = width or max(1, round(image.width * height / image.height))
    height = height or max(1, round(image.height * width / image.width))
    change = pictures.centre_cropped if crop == "center" else pictures.resized
    return NodeResult((Images(change(image.pixels, width, height, upscale_method)),))


def scale_by(_: NodeContext, *, image: Images, upscale_method: str, scale_by: float) -> NodeResult:
    """ImageScaleBy."""
    width, height = round(image.width * scale_by), round(image.height * scale_by)
    return NodeResult((Images(pictures.resized(image.pixels, width, height, upscale_method)),))


def from_batch(_: NodeContext, *, image: Images, batch_index: int, length: int) -> NodeResult:
    """ImageFromBatch."""
    start = min(image.count - 1, batch_index)
    return NodeResult((Images(image.pixels[start : start + min(image.count - start, length)]),))


def repeat(_: NodeContext, *, image: Images, amount: int) -> NodeResult:
    """RepeatImageBatch."""
    return NodeResult((Images(np.tile(image.pixels, (amount, 1, 1, 1))),))


def batch(_: NodeContext, *, image1: Images, image2: Images) -> NodeResult:
    """ImageBatch: the second is scaled to the first."""
    second = pictures.centre_cropped(image2.pixels, image1.width, image1.height, "bilinear")
    return NodeResult((Images(np.concatenate([image1.pixels, second])),))


def invert(_: NodeContext, *, image: Images) -> NodeResult:
    """ImageInvert."""
    return NodeResult((Images(255 - image.pixels),))


def empty(_: NodeContext, *, width: int, height: int, batch_size: int, color: int) -> NodeResult:
    """EmptyImage; the colour is 0xRRGGBB."""
    pixels = np.empty((batch_size, height, width, 3), dtype=np.uint8)
    pixels[...] = ((color >> 16) & 255, (color >> 8) & 255, color & 255)
    return NodeResult((Images(pixels),))


def size(context: NodeContext, *, image: Images) -> NodeResult:
    """GetImageSize: width, height, batch size; shown under the node."""
    context.text(f"width: {image.width}, height: {image.height}\n batch size: {image.count}")
    return NodeResult((image.width, image.height, image.count))


def size_and_count(_: NodeContext, *, image: Images) -> NodeResult:
    """GetImageSizeAndCount."""
    return NodeResult((image, image.width, image.height, image.count))


def canny(
    _: NodeContext, *, image: Images, low_threshold: float, high_threshold: float
) -> NodeResult:
    """Canny: thin white lines on black where the light changes steeply."""
    found = np.stack([edges(one, low_threshold, high_threshold) for one in image.pixels])
    return NodeResult((Images(np.repeat(found[..., None], 3, axis=3)),))


def blur(_: NodeContext, *, image: Images, blur_radius: int, sigma: float) -> NodeResult:
    """ImageBlur; the strength is the node's sigma, limited by its radius."""
    soft = ImageFilter.GaussianBlur(min(float(blur_radius), sigma))
    return NodeResult(
        (Images(np.stack([np.asarray(Image.fromarray(p).filter(soft)) for p in image.pixels])),)
    )


def png_metadata(context: NodeContext) -> PngInfo:
    """Text chunks with the prompt and the browser's workflow."""
    metadata = PngInfo()
    metadata.add_text("prompt", json.dumps(context.graph))
    for key, value in context.extra_pnginfo.items():
        metadata.add_text(key, json.dumps(value))
    return metadata


def _write(context: NodeContext, images: Images, prefix: str, *, kind: str) -> NodeResult:
    root = context.folders.output if kind == "output" else context.folders.temp
    folder, stem, subfolder = context.folders.save_place(
        prefix, root, width=images.width, height=images.height
    )
    counter = next_counter(folder, stem)
    metadata = png_metadata(context) if context.metadata else None
    shown = []
    for number, pixels in enumerate(images.pixels, start=counter):
        name = f"{stem.replace('%batch_num%', str(number - counter))}_{number:05}_.png"
        Image.fromarray(pixels).save(folder / name, pnginfo=metadata, compress_level=1)
        shown.append({"filename": name, "subfolder": subfolder, "type": kind})
    return NodeResult((images,), {"images": shown})


def save(context: NodeContext, *, images: Images, filename_prefix: str = "ComfyUI") -> NodeResult:
    """SaveImage: one PNG a picture in the output folder."""
    return _write(context, images, filename_prefix, kind="output")


def preview(context: NodeContext, *, images: Images) -> NodeResult:
    """PreviewImage: one PNG a picture in the temp folder."""
    return _write(context, images, f"ComfyUI_temp_{context.temp_suffix}", kind="temp")


BEHAVIOURS: dict[str, Behaviour] = {
    "LoadImage": load_image,
    "LoadImageMask": load_mask,
    "ImageResizeKJv2": resize_kj,
    "ImageScale": scale,
    "ImageScaleBy": scale_by,
    "ImageFromBatch": from_batch,
    "RepeatImageBatch": repeat,
    "ImageBatch": batch,
    "ImageInvert": invert,
    "EmptyImage": empty,
    "GetImageSize": size,
    "GetImageSizeAndCount": size_and_count,
    "Canny": canny,
    "ImageBlur": blur,
    "SaveImage": save,
    "PreviewImage": preview,
}
