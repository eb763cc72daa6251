"""Graphs that tests submit: the reference workflow and an edit, in a size that runs at once."""

from __future__ import annotations

from typing import Any

Graph = dict[str, dict[str, Any]]


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    """One node of a graph."""
    return {"class_type": class_type, "inputs": inputs}


def generate(
    *,
    prompt: str = "a girl bites an apple",
    seed: int = 1,
    width: int = 64,
    height: int = 64,
    length: int = 9,
    steps: int = 2,
    **vace: Any,
) -> Graph:
    """The service's reference graph without its preview branch; ``vace`` adds control inputs."""
    return {
        "11": node(
            "UNETLoader", unet_name="wan21_vace_1_3_b.safetensors", weight_dtype="fp8_e4m3fn_fast"
        ),
        "13": node("CLIPLoader", clip_name="umt5_xxl_fp8_e4m3fn.safetensors", type="wan"),
        "14": node("VAELoader", vae_name="wan21_vace_vae.safetensors"),
        "15": node("CLIPTextEncode", text=prompt, clip=["13", 0]),
        "16": node("CLIPTextEncode", text="bad", clip=["13", 0]),
        "17": node(
            "WanVaceToVideo", width=width, height=height, length=["21", 0], batch_size=1,
            strength=1.0, positive=["15", 0], negative=["16", 0], vae=["14", 0], **vace,
        ),
        "21": node("INTConstant", value=length),
        "24": node(
            "KSampler", seed=seed, steps=steps, cfg=4, sampler_name="uni_pc", scheduler="simple",
            denoise=1, model=["27", 0], positive=["17", 0], negative=["17", 1],
            latent_image=["17", 2],
        ),
        "27": node("ModelSamplingSD3", shift=8.0, model=["11", 0]),
        "30": node("TrimVideoLatent", trim_amount=["17", 3], samples=["24", 0]),
        "31": node("VAEDecode", samples=["30", 0], vae=["14", 0]),
        "32": node(
            "VHS_VideoCombine", frame_rate=16, loop_count=0, filename_prefix="VACE_video",
            format="video/h264-mp4", pix_fmt="yuv420p", crf=19, save_metadata=True,
            trim_to_audio=False, pingpong=False, save_output=True, images=["31", 0],
        ),
    }  # fmt: skip


def load_video(name: str, **changes: Any) -> dict[str, Any]:
    """A VHS_LoadVideo node."""
    inputs = {
        "video": name, "force_rate": 0, "custom_width": 0, "custom_height": 0,
        "frame_load_cap": 0, "skip_first_frames": 0, "select_every_nth": 1, "format": "None",
    }  # fmt: skip
    return node("VHS_LoadVideo", **{**inputs, **changes})
