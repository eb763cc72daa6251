"""The tensors of a Wan 2.1 VACE model: names, shapes, classes, and which of them become FP8.

Source of the names and shapes: `comfy/ldm/wan/model.py` (VaceWanModel) of ComfyUI. Source of the
keys that make ComfyUI take a file for this model: `comfy/model_detection.py`.

**Which layers become FP8.** The linear layers inside `blocks` and `vace_blocks` (attention q, k,
v, o and both layers of the feed-forward network): 97 % of the parameters.

**Which of them are also multiplied in FP8.** ComfyUI multiplies a layer of this form in FP8 on GPUs
that can, and then rounds the layer's *input* to FP8, too, with scale 1: values above 448 are cut
off. Those layers whose input is normalised (q, k, v of the self-attention, q of the
cross-attention, the first feed-forward layer: 48 % of the parameters) are left to that. The others
(o, k and v of the cross-attention, which read the text encoder's output, and the second
feed-forward layer behind its GELU) carry `full_precision_matrix_mult`: stored in FP8, multiplied
in 16 bit. FP8 products are reported to degrade Wan; what they cost here, only a GPU can tell.

**What stays in the source's type**, copied byte for byte:

- biases, norms and modulation: one-dimensional or added element by element, under 0.1 % of the
  size, and each value counts for a whole channel. ComfyUI has FP8 kernels for matrices only;
- patch_embedding and vace_patch_embedding: convolutions, which ComfyUI computes in float32;
- text_embedding, time_embedding, time_projection: 1.2 % of the size. They feed every block, and
  time_projection's output scales and shifts every block's activations, so its error is systematic;
- vace_blocks' before_proj and after_proj: 1.8 %. Their input is the residual stream itself, not
  normalised, so an FP8 product would clip it; their output is added to the main stream unscaled;
- head: the last layer, whose error nothing evens out.

Together they cost 63 MB more than casting every matrix would: 2.22 GB instead of 2.16 GB. The
report's figures do not single out a class (three bits of mantissa give every matrix that fits the
range a relative error of about 2.65 %, 31.5 dB); what differs is what stands behind the layer, and
that is what the choice goes by.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from vace_weights.conversion_errors import ArchitectureError

PREFIXES = ("", "model.diffusion_model.")
"""What may stand before each name: bare diffusion models, and whole checkpoints."""

HEAD_DIM = 128
"""ComfyUI derives the number of heads from the width: dim / 128."""

_PATCH = (1, 2, 2)
_BLOCK_PART = re.compile(
    r"(?P<group>blocks|vace_blocks)\.\d+\.(?P<part>self_attn\.[qkvo]|cross_attn\.[qkvo]|ffn\.[02])"
    r"\.weight"
)
_NORMALISED_INPUT = ("self_attn.q", "self_attn.k", "self_attn.v", "cross_attn.q", "ffn.0")
_PROJECTION = re.compile(r"vace_blocks\.\d+\.(before_proj|after_proj)\.weight")
_CLASSES = (
    ("bias", re.compile(r".*\.bias")),
    ("norm", re.compile(r".*\.norm(3|_q|_k)\.weight")),
    ("modulation", re.compile(r".*(^|\.)modulation")),
    ("patch_embedding", re.compile(r"(vace_)?patch_embedding\.weight")),
    ("text_embedding", re.compile(r"text_embedding\.[02]\.weight")),
    ("time_embedding", re.compile(r"time_embedding\.[02]\.weight")),
    ("time_projection", re.compile(r"time_projection\.1\.weight")),
    ("head", re.compile(r"head\.head\.weight")),
)
_DETECTION_KEYS = (
    "head.modulation",
    "head.head.weight",
    "patch_embedding.weight",
    "blocks.0.ffn.0.weight",
    "text_embedding.0.weight",
    "time_embedding.0.weight",
    "vace_patch_embedding.weight",
    "vace_blocks.0.after_proj.weight",
)


@dataclass(frozen=True)
class Architecture:
    """Dimensions of a Wan VACE model. The defaults are those of Wan2.1-VACE-1.3B."""

    dim: int = 1536
    ffn_dim: int = 8960
    layers: int = 30
    vace_layers: int = 15
    text_dim: int = 4096
    freq_dim: int = 256
    in_channels: int = 16
    out_channels: int = 16
    vace_channels: int = 96

    def __post_init__(self) -> None:
        problems = []
        if min(vars(self).values()) < 1:
            problems.append("every dimension is at least 1")
        elif self.layers % self.vace_layers:
            problems.append("layers is a multiple of vace_layers (each VACE block feeds one layer)")
        if self.dim % HEAD_DIM:
            problems.append(f"dim is a multiple of {HEAD_DIM} (the width of one attention head)")
        if problems:
            raise ArchitectureError(
                given=f"a model of {self}",
                allowed="; ".join(problems),
                why="ComfyUI derives heads and the layers that VACE blocks feed from these numbers",
                advice="Choose other dimensions.",
            )

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor by name, in the order of the model's modules."""
        dim = self.dim
        shapes: dict[str, tuple[int, ...]] = {}

        def linear(name: str, inputs: int, outputs: int) -> None:
            shapes[f"{name}.weight"] = (outputs, inputs)
            shapes[f"{name}.bias"] = (outputs,)

        def block(name: str) -> None:
            for attention in ("self_attn", "cross_attn"):
                for part in "qkvo":
                    linear(f"{name}.{attention}.{part}", dim, dim)
                for norm in ("norm_q", "norm_k"):
                    shapes[f"{name}.{attention}.{norm}.weight"] = (dim,)
            shapes[f"{name}.norm3.weight"] = (dim,)
            shapes[f"{name}.norm3.bias"] = (dim,)
            linear(f"{name}.ffn.0", dim, self.ffn_dim)
            linear(f"{name}.ffn.2", self.ffn_dim, dim)
            shapes[f"{name}.modulation"] = (1, 6, dim)

        shapes["patch_embedding.weight"] = (dim, self.in_channels, *_PATCH)
        shapes["patch_embedding.bias"] = (dim,)
        linear("text_embedding.0", self.text_dim, dim)
        linear("text_embedding.2", dim, dim)
        linear("time_embedding.0", self.freq_dim, dim)
        linear("time_embedding.2", dim, dim)
        linear("time_projection.1", dim, 6 * dim)
        for index in range(self.layers):
            block(f"blocks.{index}")
        linear("head.head", dim, self.out_channels * math.prod(_PATCH))
        shapes["head.modulation"] = (1, 2, dim)
        for index in range(self.vace_layers):
            name = f"vace_blocks.{index}"
            block(name)
            if index == 0:
                linear(f"{name}.before_proj", dim, dim)
            linear(f"{name}.after_proj", dim, dim)
        shapes["vace_patch_embedding.weight"] = (dim, self.vace_channels, *_PATCH)
        shapes["vace_patch_embedding.bias"] = (dim,)
        return shapes

    @property
    def parameters(self) -> int:
        """Number of parameters of the whole model."""
        return sum(math.prod(shape) for shape in self.tensors().values())


WAN_VACE_1_3B = Architecture()


def bare(name: str, prefix: str) -> str:
    """A tensor's name as the model's modules know it."""
    return name.removeprefix(prefix)


def becomes_fp8(name: str) -> bool:
    """Whether the tensor of this bare name is stored as FP8 (see the top of this file)."""
    return _BLOCK_PART.fullmatch(name) is not None


def multiplies_in_16_bit(name: str) -> bool:
    """Whether the FP8 layer of this bare tensor name has an input that FP8 may cut off."""
    found = _BLOCK_PART.fullmatch(name)
    return found is not None and found["part"] not in _NORMALISED_INPUT


def tensor_class(name: str) -> str:
    """The row of the report that the tensor of this bare name belongs to.

    `blocks.self_attn.q`, `vace_blocks.ffn.2`, ... for what becomes FP8; `vace_projection`,
    `norm`, `bias`, ... for what does not; `other` for a name that the model does not have.
    """
    if found := _BLOCK_PART.fullmatch(name):
        return f"{found['group']}.{found['part']}"
    if _PROJECTION.fullmatch(name):
        return "vace_projection"
    return next((label for label, pattern in _CLASSES if pattern.fullmatch(name)), "other")


def detect(shapes: Mapping[str, tuple[int, ...]], source: str) -> tuple[Architecture, str]:
    """The dimensions of a model and the prefix of its names.

    `shapes` are the shapes by name, `source` names the file in errors. Raises ArchitectureError
    when tensors of a Wan VACE model are missing or do not fit one another; further tensors are
    taken as they are.
    """
    prefix = next((each for each in PREFIXES if f"{each}head.modulation" in shapes), PREFIXES[0])
    missing = [key for key in _DETECTION_KEYS if prefix + key not in shapes]
    if missing:
        raise _no_vace(source, f"lacks {_few(missing)}")

    def shape(name: str, rank: int) -> tuple[int, ...]:
        found = shapes[prefix + name]
        if len(found) != rank:
            raise _no_vace(source, f"has {name} of the shape {list(found)}")
        return found

    head = shape("head.head.weight", 2)
    model = Architecture(
        dim=head[1],
        ffn_dim=shape("blocks.0.ffn.0.weight", 2)[0],
        layers=_count(shapes, f"{prefix}blocks."),
        vace_layers=_count(shapes, f"{prefix}vace_blocks."),
        text_dim=shape("text_embedding.0.weight", 2)[1],
        freq_dim=shape("time_embedding.0.weight", 2)[1],
        in_channels=shape("patch_embedding.weight", 5)[1],
        out_channels=head[0] // math.prod(_PATCH),
        vace_channels=shape("vace_patch_embedding.weight", 5)[1],
    )
    expected = model.tensors()
    missing = [name for name in expected if prefix + name not in shapes]
    if missing:
        raise _no_vace(source, f"lacks {_few(missing)}")
    misfits = [
        f"{name} (is {list(shapes[prefix + name])}, must be {list(wanted)})"
        for name, wanted in expected.items()
        if shapes[prefix + name] != wanted
    ]
    if misfits:
        raise _no_vace(source, f"has tensors whose shapes do not fit: {_few(misfits)}")
    return model, prefix


def _count(shapes: Mapping[str, tuple[int, ...]], start: str) -> int:
    found = {name[len(start) :].split(".", 1)[0] for name in shapes if name.startswith(start)}
    count = 0
    while str(count) in found:
        count += 1
    return max(count, 1)


def _few(names: list[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _no_vace(source: str, what: str) -> ArchitectureError:
    return ArchitectureError(
        given=f"{source} {what}",
        allowed="the tensors of a Wan 2.1 VACE diffusion model, as ComfyUI names them",
        why="which layers may become FP8 was chosen for that model, and ComfyUI would load this "
        "file as another one",
        advice="Name the diffusion model wan2.1_vace_1.3B_fp16.safetensors, not a VAE, text "
        "encoder, LoRA or another Wan model.",
    )
