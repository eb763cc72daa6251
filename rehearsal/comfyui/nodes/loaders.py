"""Models, texts and constants."""

from __future__ import annotations

from typing import Any

from rehearsal.comfyui.node_context import Behaviour, NodeContext, NodeResult
from rehearsal.comfyui.values import Conditioning, Model


def load_unet(_: NodeContext, *, unet_name: str, weight_dtype: str) -> NodeResult:
    """UNETLoader."""
    return NodeResult((Model("MODEL", unet_name, (weight_dtype,)),))


def load_clip(_: NodeContext, *, clip_name: str, type: str, **_more: Any) -> NodeResult:
    """CLIPLoader."""
    return NodeResult((Model("CLIP", clip_name, (type,)),))


def load_vae(_: NodeContext, *, vae_name: str) -> NodeResult:
    """VAELoader."""
    return NodeResult((Model("VAE", vae_name),))


def encode_text(_: NodeContext, *, text: str, clip: Model) -> NodeResult:
    """CLIPTextEncode."""
    return NodeResult((Conditioning(text),))


def zero_out(_: NodeContext, *, conditioning: Conditioning) -> NodeResult:
    """ConditioningZeroOut."""
    return NodeResult((Conditioning("", conditioning.control),))


def patch_model(context: NodeContext, *, model: Model, **settings: Any) -> NodeResult:
    """Nodes that change how a model samples; the drawing does not depend on it."""
    class_type = context.graph[context.node_id]["class_type"]
    return NodeResult((model.with_setting(f"{class_type}{sorted(settings.items())}"),))


def constant(_: NodeContext, **inputs: Any) -> NodeResult:
    """INTConstant and its relatives: the one input is the output."""
    return NodeResult((next(iter(inputs.values())),))


BEHAVIOURS: dict[str, Behaviour] = {
    "UNETLoader": load_unet,
    "CLIPLoader": load_clip,
    "VAELoader": load_vae,
    "CLIPTextEncode": encode_text,
    "ConditioningZeroOut": zero_out,
    "ModelSamplingSD3": patch_model,
    "LoraLoaderModelOnly": patch_model,
    "CFGZeroStar": patch_model,
    "SkipLayerGuidanceDiT": patch_model,
    "INTConstant": constant,
    "FloatConstant": constant,
    "StringConstant": constant,
    "StringConstantMultiline": lambda context, *, string, **_: constant(context, string=string),
    "BOOLConstant": constant,
    "PrimitiveInt": constant,
    "PrimitiveFloat": constant,
    "PrimitiveString": constant,
    "PrimitiveStringMultiline": constant,
    "PrimitiveBoolean": constant,
}
