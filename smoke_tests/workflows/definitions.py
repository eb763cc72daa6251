"""The graphs, one function each.

What VACE was trained on decides how each is wired (Wan-AI's VACE user guide and annotators):
a control video of grey levels or of dark lines on white, repainted everywhere; a source with grey
where it shall be painted and a mask that is white there; first frames followed by grey ones; and a
reference picture on white. Prompts describe the result, they do not give orders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from smoke_tests.workflows.graph import Graph
from smoke_tests.workflows.parts import (
    GREY,
    GREY_TEXT,
    INPUTS,
    MODELS,
    PREPARE,
    RESULT,
    SIZE,
    TEXTS,
    VACE,
    Frame,
    frame,
)
from smoke_tests.workflows.recipe import Recipe


def reference(recipe: Recipe) -> Graph:
    """The service's first workflow as callers have it, node ids included.

    Its picture reaches only a preview. It stays so: existing callers count on this graph.
    """
    graph, texts = Graph(), recipe.prompts["zh"]
    unet = graph.add(
        "UNETLoader", group=MODELS, node_id=11,
        unet_name="wan21_vace_1_3_b.safetensors", weight_dtype="fp8_e4m3fn_fast",
    )  # fmt: skip
    clip = graph.add(
        "CLIPLoader", group=MODELS, node_id=13,
        clip_name="umt5_xxl_fp8_e4m3fn.safetensors", type="wan", device="default",
    )  # fmt: skip
    vae = graph.add("VAELoader", group=MODELS, node_id=14, vae_name="wan21_vace_vae.safetensors")
    model = graph.add("ModelSamplingSD3", group=MODELS, node_id=27, shift=8.0, model=unet[0])
    positive = graph.add(
        "CLIPTextEncode", "Prompt · 提示词", group=TEXTS, node_id=15,
        text=texts.positive, clip=clip[0],
    )  # fmt: skip
    negative = graph.add(
        "CLIPTextEncode", "Negative prompt · 反向提示词", group=TEXTS, node_id=16,
        text=texts.negative, clip=clip[0],
    )  # fmt: skip
    length = graph.add("INTConstant", "Frames · 帧数", group=SIZE, node_id=21, value=recipe.frames)
    picture = graph.add("LoadImage", group=INPUTS, node_id=18, image="example.png")
    resized = graph.add(
        "ImageResizeKJv2", group=PREPARE, node_id=22, image=picture[0],
        width=480, height=480, upscale_method="nearest-exact", keep_proportion="crop",
        pad_color="0, 0, 0", crop_position="center", divisible_by=2, device="gpu",
    )  # fmt: skip
    graph.add("PreviewImage", group=PREPARE, node_id=23, images=resized[0])
    vace = graph.add(
        "WanVaceToVideo", group=VACE, node_id=17, width=480, height=480, length=length[0],
        batch_size=1, strength=1.0, positive=positive[0], negative=negative[0], vae=vae[0],
    )  # fmt: skip
    sampled = graph.add(
        "KSampler", group=RESULT, node_id=24, seed=1, steps=20, cfg=4, sampler_name="uni_pc",
        scheduler="simple", denoise=1, model=model[0], positive=vace[0], negative=vace[1],
        latent_image=vace[2],
    )  # fmt: skip
    trimmed = graph.add(
        "TrimVideoLatent", group=RESULT, node_id=30, trim_amount=vace[3], samples=sampled[0]
    )
    decoded = graph.add("VAEDecode", group=RESULT, node_id=31, samples=trimmed[0], vae=vae[0])
    graph.add(
        "VHS_VideoCombine", group=RESULT, node_id=32, frame_rate=16, loop_count=0,
        filename_prefix="VACE_video", format="video/h264-mp4", pix_fmt="yuv420p", crf=19,
        save_metadata=True, trim_to_audio=False, pingpong=False, save_output=True,
        images=decoded[0],
    )  # fmt: skip
    return graph


def text_to_video(recipe: Recipe) -> Graph:
    """Without any control VACE paints all of it, like the plain text model."""
    it = frame(recipe)
    length = it.graph.add("INTConstant", "Frames · 帧数", group=SIZE, value=recipe.frames)
    it.finish(length=length[0])
    return it.graph


def picture_to_video(recipe: Recipe) -> Graph:
    """The picture as VACE's reference: whole, on white, as its own preparation does it."""
    it = frame(recipe)
    length = it.graph.add("INTConstant", "Frames · 帧数", group=SIZE, value=recipe.frames)
    picture = it.picture("example.png", "Reference picture · 参考图")
    reference_image = it.resized(
        picture[0], "Whole, on white · 完整置于白底", keep_proportion="pad",
        pad_color="255, 255, 255",
        # the node rounds the picture before it pads: 16 would squeeze it by up to 15 pixels
        divisible_by=1,
    )  # fmt: skip
    it.finish(length=length[0], reference_image=reference_image)
    return it.graph


def style(recipe: Recipe) -> Graph:
    """Lines of the source as control: shapes and movement stay, colours and textures are free.

    VACE's own line drawings are dark on white (its annotator does not invert them), Canny's edges
    are white on black; hence the inversion. Thresholds lower than the node's, since 480P frames of
    compressed video are soft.
    """
    it = frame(recipe)
    source = it.source()
    fitted = it.resized(source["IMAGE"], "Crop to size · 裁剪缩放")
    edges = it.graph.add(
        "Canny", "Edges · 边缘", group=PREPARE, image=fitted, low_threshold=0.15,
        high_threshold=0.4,
    )  # fmt: skip
    lines = it.graph.add("ImageInvert", "Dark on white · 白底黑线", group=PREPARE, image=edges[0])
    it.finish(length=source["frame_count"], audio=source["audio"], control_video=lines[0])
    return it.graph


def colour(recipe: Recipe) -> Graph:
    """Grey levels as control: every shade stays, the prompt gives the colours."""
    it = frame(recipe)
    source = it.source()
    fitted = it.resized(source["IMAGE"], "Crop to size · 裁剪缩放")
    it.finish(
        length=source["frame_count"],
        audio=source["audio"],
        control_video=it.grey_levels(fitted),
    )
    return it.graph


def _repaint(it: Frame) -> Graph:
    """Grey where the mask is white, the source elsewhere; the mask says which is which."""
    source = it.source()
    fitted = it.resized(source["IMAGE"], "Crop to size · 裁剪缩放")
    drawn = it.picture("mask.png", "Mask: white is painted · 遮罩：白色处重绘")
    masks = it.repeated_mask(drawn[0], source["frame_count"])
    add = it.graph.add
    grey = add(
        "EmptyImage", "Grey · 灰色", group=PREPARE, width=it.width, height=it.height,
        batch_size=1, color=GREY,
    )  # fmt: skip
    # what shows the old object under the mask would come back in the result
    emptied = add(
        "ImageCompositeMasked", "Grey under the mask · 遮罩内置灰", group=PREPARE,
        destination=fitted, source=grey[0], x=0, y=0, resize_source=False, mask=masks,
    )  # fmt: skip
    it.finish(
        length=source["frame_count"],
        audio=source["audio"],
        control_video=emptied[0],
        control_masks=masks,
    )
    return it.graph


def background(recipe: Recipe) -> Graph:
    """Inpainting with everything but the subject masked."""
    return _repaint(frame(recipe))


def replace_object(recipe: Recipe) -> Graph:
    """Inpainting with one object masked."""
    return _repaint(frame(recipe))


def _redrawn(recipe: Recipe, *, strength: float) -> Graph:
    """Starts from the source's own latents, so that its colours stay; grey levels hold its shapes.

    How much is drawn anew is the recipe's denoise.
    """
    it = frame(recipe)
    source = it.source()
    fitted = it.resized(source["IMAGE"], "Crop to size · 裁剪缩放")
    latent = it.graph.add(
        "VAEEncode",
        "Start from the source · 从源视频开始",
        group=PREPARE,
        pixels=fitted,
        vae=it.vae,
    )
    it.finish(
        length=source["frame_count"],
        audio=source["audio"],
        latent=latent[0],
        strength=strength,
        control_video=it.grey_levels(fitted),
    )
    return it.graph


def effect(recipe: Recipe) -> Graph:
    """Half the control's weight: snow or fire must be allowed to cover the source's shades."""
    return _redrawn(recipe, strength=0.5)


def enhance(recipe: Recipe) -> Graph:
    """Full control and little noise: detail is drawn anew, everything else stays."""
    return _redrawn(recipe, strength=1.0)


def extend(recipe: Recipe) -> Graph:
    """The first frames are given with a black mask; what follows is grey with a white one.

    WanVaceToVideo itself adds the grey frames and the white masks up to its length.
    """
    it = frame(recipe)
    length = it.graph.add("INTConstant", "Frames · 帧数", group=SIZE, value=recipe.frames)
    # 4n+1, so that no latent frame is half given and half painted
    source = it.source(frames=recipe.first_frames)
    fitted = it.resized(source["IMAGE"], "Crop to size · 裁剪缩放")
    black = it.graph.add(
        "EmptyImage", "Keep all · 全部保留", group=PREPARE, width=it.width, height=it.height,
        batch_size=1, color=0,
    )  # fmt: skip
    masks = it.one_mask_for_all(black[0], source["frame_count"])
    it.finish(length=length[0], control_video=fitted, control_masks=masks)
    return it.graph


#: Share of the frame's width and height that the source keeps when it is outpainted.
INNER_SHARE = 0.75


def outpaint(recipe: Recipe) -> Graph:
    """The source made smaller in the middle of a grey frame; the frame around it is painted."""
    it = frame(recipe)
    source = it.source()
    fitted = it.resized(source["IMAGE"], "Crop to shape · 裁剪至画幅比例")
    smaller = it.graph.add(
        "ImageScaleBy", "Smaller · 缩小", group=PREPARE, image=fitted, upscale_method="lanczos",
        scale_by=INNER_SHARE,
    )  # fmt: skip
    padded = it.graph.add(
        "ImagePadKJ", "Grey around it · 四周补灰", group=PREPARE, image=smaller[0], left=0, right=0,
        top=0, bottom=0, extra_padding=0, pad_mode="color", color=GREY_TEXT,
        target_width=it.width, target_height=it.height,
    )  # fmt: skip
    it.finish(
        length=source["frame_count"],
        audio=source["audio"],
        control_video=padded["images"],
        control_masks=padded["masks"],
    )
    return it.graph


DEFINITIONS: Mapping[str, Callable[[Recipe], Graph]] = {
    "reference": reference,
    "text_to_video": text_to_video,
    "picture_to_video": picture_to_video,
    "style": style,
    "colour": colour,
    "background": background,
    "object": replace_object,
    "effect": effect,
    "enhance": enhance,
    "extend": extend,
    "outpaint": outpaint,
}
