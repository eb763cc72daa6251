"""Rounding weights to float8_e4m3fn, bit for bit as PyTorch does.

float8_e4m3fn has one sign bit, four of exponent and three of mantissa: values up to 448, no
infinity. Precision is a matter of definition here, so it is stated exactly:

- scale: `s = float32(absmax) / float32(448)`, rounded to float32, at least the smallest normal
  float32; 1 for a tensor of zeros. In torch: `w.abs().amax().float() / 448`.
- scaled: `float32(w) / s`, one IEEE division rounded to float32, then clamped to [-448, 448], then
  rounded to the nearest FP8 value, ties to even. In torch:
  `(w.float() / s).clamp(-448, 448).to(torch.float8_e4m3fn)`.
- plain: the same without the division. `Tensor.to` alone would turn values above 464 into NaN;
  weights of that size are counted as saturated in the report and clamped instead.

ComfyUI's own run-time quantiser (`comfy_kitchen`, eager backend) multiplies by `1 / s` rounded to
the weight's type, which doubles the rounding: its Triton kernel divides in float32 as this module
does. A loader never repeats the division (it reads `weight` and `weight_scale`), so the more
exact order is free to choose.

A 16-bit type has 65,536 values, and a scale holds for a whole tensor: one table of 65,536 codes,
computed by the definition above, gives every element of the tensor its exact result by look-up.
That is about ten times as fast as the cast of `ml_dtypes`, which makes the tables.
"""

from __future__ import annotations

from typing import Any, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt

Form = Literal["scaled", "plain"]
FORMS: tuple[Form, ...] = ("scaled", "plain")

FP8_MAX = np.float32(448)
FP8_DTYPE = "F8_E4M3"
"""Name of float8_e4m3fn in safetensors headers."""

Float32 = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]

_TINY = np.finfo(np.float32).tiny
SOURCE_TYPES: dict[str, np.dtype[Any]] = {
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F32": np.dtype(np.float32),
}
"""Types that can be converted, by their names in safetensors headers."""

INFINITY_BITS: dict[str, int] = {"F16": 0x7C00, "BF16": 0x7F80, "F32": 0x7F80_0000}
"""Bits of +infinity: larger magnitudes are NaN, smaller ones finite."""


def scale_of(absmax: float) -> np.float32:
    """The scale of a tensor whose largest magnitude is `absmax` (finite)."""
    if absmax == 0:
        return np.float32(1)
    return np.float32(max(np.float32(absmax) / FP8_MAX, _TINY))


def encode(values: Float32, scale: np.float32 | None) -> Codes:
    """FP8 codes of float32 values (finite), divided by `scale` first unless it is None."""
    with np.errstate(over="ignore"):  # a quotient of infinity is clamped like any other
        quotient = values if scale is None else values / scale
    clamped = np.clip(quotient, -FP8_MAX, FP8_MAX)
    return clamped.astype(ml_dtypes.float8_e4m3fn).view(np.uint8)


def decode(codes: Codes, scale: np.float32 | None) -> Float32:
    """The float32 values that a loader gets back: code, times the scale unless it is None."""
    values = _DECODED[codes]
    return values if scale is None else values * scale


def magnitudes(dtype: str) -> Float32:
    """The 32,768 values of a 16-bit type without sign, by their bits; NaN and infinity as 0."""
    bits = np.arange(2**15, dtype=np.uint16)
    values = bits.view(SOURCE_TYPES[dtype]).astype(np.float32)
    values[INFINITY_BITS[dtype] :] = 0
    return values


def code_table(dtype: str, scale: np.float32 | None) -> Codes:
    """FP8 code of each of the 65,536 bit patterns of a 16-bit type ("F16" or "BF16").

    Rounding is symmetric, so the half with the sign bit is the other half with FP8's sign bit.
    """
    positive = encode(magnitudes(dtype), scale)
    return np.concatenate([positive, positive | np.uint8(0x80)])


def look_up(table: Codes, bits: npt.NDArray[np.uint16]) -> Codes:
    """The codes of 16-bit elements, by their bits."""
    codes = np.empty(bits.shape, np.uint8)
    # "clip" never clips here (every index is below 65,536); it spares the copy that "raise" makes
    np.take(table, bits, out=codes, mode="clip")
    return codes


_DECODED: Float32 = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float32)
