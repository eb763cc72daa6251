"""The Wan VACE nodes, sampling and decoding.

Shapes follow the recorded behaviour and ComfyUI's published node: latents have one frame for four
and one place for 8 by 8 pixels; the model then takes 2 by 2 places at once, which is why sizes must
be multiples of 16.
"""

from __future__ import annotations

import logging
import os

import numpy as np

from rehearsal.comfyui import damage, drawing, pictures
from rehearsal.comfyui.errors import Abandoned, NodeError, OutOfMemory
from rehearsal.comfyui.faults import CRASH_EXIT_STATUS
from rehearsal.comfyui.node_context import Behaviour, NodeContext, NodeResult
from rehearsal.comfyui.nodes.previews import Preview
from rehearsal.comfyui.values import Conditioning, Control, Images, Latent, Masks, Model, Sampled

VAE_STRIDE = 8

log = logging.getLogger(__name__)


def vace_to_video(
    _: NodeContext,
    *,
    positive: Conditioning,
    negative: Conditioning,
    vae: Model,
    width: int,
    height: int,
    length: int,
    batch_size: int,
    strength: float,
    control_video: Images | None = None,
    control_masks: Masks | None = None,
    reference_image: Images | None = None,
) -> NodeResult:
    """WanVaceToVideo: puts control video, mask and reference beside the texts.

    Raises:
        NodeError: width or height is no multiple of 8, as reshaping the mask then fails.
    """
    if width % VAE_STRIDE or height % VAE_STRIDE:
        rows, columns = height // VAE_STRIDE, width // VAE_STRIDE
        raise NodeError(
            f"shape '[{length}, {rows}, {VAE_STRIDE}, {columns}, {VAE_STRIDE}]' is invalid for "
            f"input of size {length * height * width}"
        )
    video = None
    if control_video is not None:
        cut = control_video.pixels[:length]
        video = Images(pictures.centre_cropped(cut, width, height, "bilinear"))
    # Where no mask is given, and on frames beyond the last mask, the model may paint everywhere.
    masks = np.full((length, height, width), 255, dtype=np.uint8)
    if control_masks is not None:
        cut = control_masks.pixels[:length]
        scaled = pictures.centre_cropped(cut, width, height, "bilinear")
        masks[: len(scaled)] = scaled
    reference = None
    if reference_image is not None:
        first = reference_image.pixels[:1]
        reference = Images(pictures.centre_cropped(first, width, height, "bilinear"))
    control = Control(video, Masks(masks), reference, strength)
    extra = 1 if reference is not None else 0
    latent = Latent(
        length=(length - 1) // 4 + 1 + extra,
        height=height // VAE_STRIDE,
        width=width // VAE_STRIDE,
        reference_frames=extra,
    )
    return NodeResult(
        (Conditioning(positive.text, control), Conditioning(negative.text, control), latent, extra)
    )


def _check_patches(latent: Latent, control: Control) -> None:
    """Control and latent are added place by place, so both must make the same number of places.

    The model takes 2 by 2 latent places at once; it pads an odd latent up and rounds the control
    down. A latent of another length than the control's (VAEEncode of other frames) fails alike.
    """
    frames, height, width = control.masks.pixels.shape
    length = (frames - 1) // 4 + 1 + (0 if control.reference is None else 1)
    controlled = length * (height // VAE_STRIDE // 2) * (width // VAE_STRIDE // 2)
    sampled = latent.length * -(-latent.height // 2) * -(-latent.width // 2)
    if controlled != sampled:
        raise NodeError(
            f"The size of tensor a ({controlled}) must match the size of tensor b "
            f"({sampled}) at non-singleton dimension 1"
        )


def _meet_fault(context: NodeContext, step: int) -> None:
    fault = context.fault
    if fault is None or step < fault.step:
        return
    if fault.name == "ws_drop":
        context.hub.cut()
    if step != fault.step:
        return
    match fault.name:
        case "out_of_memory":
            raise OutOfMemory
        case "crash":
            log.error("SIMULATED CRASH: the process ends now")
            os._exit(CRASH_EXIT_STATUS)
        case "stall":
            context.interrupt.wait(fault.seconds)
        case "lost_history":
            raise Abandoned


def sample(
    context: NodeContext,
    *,
    model: Model,
    seed: int,
    steps: int,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    cfg: float = 8.0,
    sampler_name: str = "",
    scheduler: str = "",
    denoise: float = 1.0,
) -> NodeResult:
    """KSampler: takes its time and decides what the pictures will show.

    Raises:
        NodeError: the size is no multiple of 16, or latent and control differ in size.
        OutOfMemory: on request.
        Interrupted: between two steps.
    """
    if positive.control is not None:
        _check_patches(latent_image, positive.control)
    latent = latent_image
    sampled = Sampled(
        positive.text, negative.text, seed, steps, positive.control, cfg=cfg,
        sampler=f"{sampler_name}/{scheduler}", model=f"{model.name} {model.settings}",
        denoise=denoise, encoded=latent.encoded,
    )  # fmt: skip
    preview = Preview(damage.ignoring(sampled, context.fault_name), latent, context.preview_size)
    for step in range(1, steps + 1):
        context.interrupt.wait(context.step_seconds)
        context.step(step, steps, lambda done=step / steps: preview.jpeg(done))  # type: ignore[misc]
        _meet_fault(context, step)
    return NodeResult(
        (Latent(latent.length, latent.height, latent.width, latent.reference_frames, sampled),)
    )


def trim(_: NodeContext, *, samples: Latent, trim_amount: int) -> NodeResult:
    """TrimVideoLatent: takes the reference frames off the front."""
    return NodeResult(
        (
            Latent(
                max(0, samples.length - trim_amount),
                samples.height,
                samples.width,
                max(0, samples.reference_frames - trim_amount),
                samples.sampled,
                samples.encoded,
            ),
        )
    )


def decode(context: NodeContext, *, samples: Latent, vae: Model) -> NodeResult:
    """VAEDecode: draws the frames. A reference that was not trimmed shows as four frames."""
    width, height = samples.width * VAE_STRIDE, samples.height * VAE_STRIDE
    if samples.sampled is None:
        if samples.encoded is not None:
            again = drawing.RoundTrip(samples.encoded.width, samples.encoded.height)
            return NodeResult((Images(np.stack([again(one) for one in samples.encoded.pixels])),))
        grey = np.full((samples.frames, height, width, 3), 128, dtype=np.uint8)
        return NodeResult((Images(grey),))
    sampled = damage.ignoring(samples.sampled, context.fault_name)
    leading = min(samples.frames, 4 * samples.reference_frames)
    pixels = drawing.draw(sampled, frames=samples.frames - leading, width=width, height=height)
    control = sampled.control
    if leading and control is not None and control.reference is not None:
        still = np.repeat(control.reference.pixels[:, :height, :width], leading, axis=0)
        pixels = np.concatenate([still, pixels])
    return NodeResult((Images(damage.spoiled(pixels, context.fault_name)),))


def encode(_: NodeContext, *, pixels: Images, vae: Model) -> NodeResult:
    """VAEEncode: frames rounded down to 4n+1, sizes to multiples of 8."""
    length = (pixels.count - 1) // 4 + 1
    rows, columns = pixels.height // VAE_STRIDE, pixels.width // VAE_STRIDE
    kept = pixels.pixels[: (length - 1) * 4 + 1, : rows * VAE_STRIDE, : columns * VAE_STRIDE]
    return NodeResult((Latent(length, rows, columns, encoded=Images(kept)),))


BEHAVIOURS: dict[str, Behaviour] = {
    "WanVaceToVideo": vace_to_video,
    "KSampler": sample,
    "TrimVideoLatent": trim,
    "VAEDecode": decode,
    "VAEDecodeTiled": lambda context, *, samples, vae, **_: decode(
        context, samples=samples, vae=vae
    ),
    "VAEEncode": encode,
}
