"""Generates models for tests, rehearsals and benchmarks: the real architecture, seeded weights.

The names, shapes and types are those of the published files, the dimensions are chosen; the
weights are random. They are not trained weights, but they are shaped like some: each layer has a
width of its own (about 1 / sqrt(inputs), varied by depth and kind), rows differ in size, and a
few outliers stand six to fourteen times as far out as the rest, so that what FP8 does to
them is of the size that it has in trained models.

The same arguments give the same bytes on every machine: the random bits are PCG64's raw output,
and everything after that is integer arithmetic and IEEE products and sums, no library function
whose last bit differs between processors. Memory stays at a few slices, whatever the size.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vace_weights.architecture import WAN_VACE_1_3B, Architecture, tensor_class
from vace_weights.conversion_errors import FormError
from vace_weights.files import readable_bytes
from vace_weights.output import OutputFile
from vace_weights.quantise import SOURCE_TYPES, encode
from vace_weights.safetensors import TensorEntry, encode_header, layout

Scale = Literal["tiny", "small", "gib", "full"]

SCALES: Mapping[Scale, Architecture] = {
    "tiny": Architecture(dim=128, ffn_dim=256, layers=2, vace_layers=1, text_dim=64, freq_dim=256),
    "small": Architecture(dim=256, ffn_dim=1280, layers=6, vace_layers=3, text_dim=4096),
    "gib": replace(WAN_VACE_1_3B, layers=10, vace_layers=1),
    "full": WAN_VACE_1_3B,
}
"""`tiny`: 1.75 MB, for unit tests. `small`: 25 MB with the text width of the real encoder, for
rehearsals. `gib`: layers of the real width, as many as make just over 1 GiB. `full`: 4.31 GB."""

SourceType = Literal["F16", "BF16", "F32"]

_SLICE = 2**20
_ROW_SPREAD = 0.5
_OUTLIER_BITS = 16
"""One element in 2**16 is an outlier."""


def generate_vace(
    path: Path,
    *,
    scale: Scale | Architecture = "small",
    seed: int = 0,
    dtype: SourceType = "F16",
    prefix: str = "",
) -> tuple[int, str]:
    """Write a Wan VACE model of the given dimensions; returns its size and SHA-256.

    `prefix` is put before every name, as whole checkpoints have it. Raises TargetError as a
    conversion does.
    """
    model = scale if isinstance(scale, Architecture) else _of_scale(scale)
    tensors = [(prefix + name, dtype, shape) for name, shape in sorted(model.tensors().items())]
    entries = layout(tensors)
    header = encode_header(entries, {"format": "pt"})
    size = len(header) + entries[-1].end
    with OutputFile(path, size) as output:
        output.write(header)
        for entry in entries:
            name = entry.name.removeprefix(prefix)
            for values in _values(name, entry, model, seed):
                output.write(values.astype(SOURCE_TYPES[dtype]).view(np.uint8).data)
        return size, output.finish()


def size_of(model: Architecture) -> int:
    """Bytes of the fp16 file that `generate_vace` writes for a model, without writing it."""
    entries = layout((name, "F16", shape) for name, shape in sorted(model.tensors().items()))
    return len(encode_header(entries, {"format": "pt"})) + entries[-1].end


def generate_umt5(path: Path, *, seed: int = 0) -> tuple[int, str]:
    """Write a stand-in for the FP8 UMT5-XXL text encoder: a whole file, a few small tensors.

    Names and types are those of one block of the published file (FP8 weights with float32
    scales); it can be fetched, verified and mounted, not run.
    """
    tensors: list[tuple[str, str, tuple[int, ...]]] = [("shared.weight", "F16", (512, 64))]
    block = "encoder.block.0.layer"
    for part in "qkvo":
        tensors.append((f"{block}.0.SelfAttention.{part}.weight", "F8_E4M3", (64, 64)))
        tensors.append((f"{block}.0.SelfAttention.{part}.scale_weight", "F32", (1,)))
    tensors.append((f"{block}.0.layer_norm.weight", "F16", (64,)))
    tensors.append(("encoder.final_layer_norm.weight", "F16", (64,)))
    tensors.append(("scaled_fp8", "F8_E4M3", (2,)))
    return _stand_in(path, tensors, seed)


def generate_vae(path: Path, *, seed: int = 0) -> tuple[int, str]:
    """Write a stand-in for the Wan VAE: a whole file, a few small tensors of its names."""
    return _stand_in(
        path,
        [
            ("conv1.weight", "F16", (32, 32, 1, 1, 1)),
            ("conv1.bias", "F16", (32,)),
            ("conv2.weight", "F16", (16, 16, 1, 1, 1)),
            ("conv2.bias", "F16", (16,)),
            ("encoder.conv1.weight", "F16", (96, 3, 3, 3, 3)),
            ("encoder.conv1.bias", "F16", (96,)),
            ("decoder.conv1.weight", "F16", (384, 16, 3, 3, 3)),
            ("decoder.conv1.bias", "F16", (384,)),
        ],
        seed,
    )


def _stand_in(
    path: Path, tensors: list[tuple[str, str, tuple[int, ...]]], seed: int
) -> tuple[int, str]:
    width = {"F32": 4, "F16": 2, "F8_E4M3": 1}
    entries = layout(sorted(tensors, key=lambda each: (-width[each[1]], each[0])))
    header = encode_header(entries, {"format": "pt"})
    size = len(header) + entries[-1].end
    with OutputFile(path, size) as output:
        output.write(header)
        for entry in entries:
            values = _normal(_bits(entry.name, seed), entry.elements) * np.float32(0.02)
            if entry.dtype == "F8_E4M3":
                output.write(encode(values, None).data)
            else:
                output.write(values.astype(SOURCE_TYPES[entry.dtype]).view(np.uint8).data)
        return size, output.finish()


def _of_scale(scale: str) -> Architecture:
    found = next((model for name, model in SCALES.items() if name == scale), None)
    if found is None:
        raise FormError(
            given=f"the scale {scale!r}",
            allowed=", ".join(SCALES),
            why="each scale is a fixed set of dimensions",
            advice="Choose one of them, or pass an Architecture.",
        )
    return found


def _bits(name: str, seed: int) -> np.random.PCG64:
    """A generator of its own for each tensor, so that no tensor depends on another's size."""
    key = hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16]
    return np.random.PCG64(int.from_bytes(key, "little"))


def _normal(bits: np.random.PCG64, count: int) -> npt.NDArray[np.float32]:
    """Numbers of mean 0 and deviation 1: sums of four 16-bit uniforms, which are near normal."""
    parts = bits.random_raw(count).view(np.uint16).reshape(count, 4)
    total = parts[:, 0].astype(np.int32)
    for column in range(1, 4):
        total += parts[:, column]
    # four uniforms on 0..65535: mean 131070, variance 4 * 65536**2 / 12
    return (total - 131070).astype(np.float32) * np.float32(math.sqrt(3) / 65536)


def _values(
    name: str, entry: TensorEntry, model: Architecture, seed: int
) -> Iterator[npt.NDArray[np.float32]]:
    """The tensor's values, flat, a slice of whole rows at a time."""
    bits = _bits(name, seed)
    mean, deviation = _statistics(name, entry, model)
    columns = math.prod(entry.shape[1:]) if len(entry.shape) > 1 else 1
    rows = entry.elements // columns
    step = max(1, _SLICE // columns)
    for start in range(0, rows, step):
        count = min(step, rows - start)
        values = _normal(bits, count * columns)
        if len(entry.shape) > 1:
            outliers = bits.random_raw(count * columns // 2**_OUTLIER_BITS + 1)
            places = (outliers >> np.uint64(32)) % np.uint64(values.size)
            # a sign and a size of 6 to 14 deviations, from the lower half of the same number
            size = (outliers & np.uint64(0xFF)).astype(np.float32) / np.float32(32) + np.float32(6)
            values[places] = np.where(outliers & np.uint64(0x100), size, -size)
            spread = (bits.random_raw(count) >> np.uint64(40)).astype(np.float32)
            factor = spread * np.float32(2 * _ROW_SPREAD / 2**24) + np.float32(1 - _ROW_SPREAD)
            values = (values.reshape(count, columns) * factor[:, None]).reshape(-1)
        yield values * np.float32(deviation) + np.float32(mean)


def _statistics(name: str, entry: TensorEntry, model: Architecture) -> tuple[float, float]:
    """Mean and standard deviation of a tensor: plausible for its kind and depth, not measured."""
    kind = tensor_class(name)
    if kind == "norm":
        return 1.0, 0.15
    if kind == "bias":
        return 0.0, 0.05
    if kind == "modulation":
        return 0.0, 0.1
    inputs = math.prod(entry.shape[1:])
    parts = name.split(".")
    depth = int(parts[1]) / model.layers if "blocks" in parts[0] else 0.5
    return 0.0, (0.6 + 0.8 * depth) / math.sqrt(inputs)


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Register `generate DST [--what vace|umt5|vae] [--scale S] [--seed N] [--dtype T]`."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "generate",
        help="write a model with random weights, for tests and rehearsals",
        description="Writes a model with random weights: a Wan VACE model of smaller (or full) "
        "dimensions, or a small stand-in for the text encoder or the VAE.",
    )
    parser.add_argument("target", type=Path, metavar="DST", help="the file to write")
    parser.add_argument("--what", choices=("vace", "umt5", "vae"), default="vace")
    parser.add_argument("--scale", choices=tuple(SCALES), default="small", help="default: small")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--dtype", choices=tuple(SOURCE_TYPES), default="F16", help="default: F16")
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Carry out the `generate` command."""
    if arguments.what == "vace":
        size, sha256 = generate_vace(
            arguments.target, scale=arguments.scale, seed=arguments.seed, dtype=arguments.dtype
        )
    elif arguments.what == "umt5":
        size, sha256 = generate_umt5(arguments.target, seed=arguments.seed)
    else:
        size, sha256 = generate_vae(arguments.target, seed=arguments.seed)
    sys.stdout.write(f"{sha256}  {arguments.target} ({readable_bytes(size)})\n")
    return 0
