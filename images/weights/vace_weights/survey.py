"""First pass over a tensor: is it finite, how large is it, what would each form do to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vace_weights.conversion_errors import NotFiniteError
from vace_weights.figures import Figures, measure
from vace_weights.quantise import INFINITY_BITS, SOURCE_TYPES, Form, magnitudes, scale_of
from vace_weights.safetensors import Reader, TensorEntry

SLICE_ELEMENTS = 2**20
"""Elements that are read and computed at a time: 2 MiB of fp16, so a slice stays in the cache."""

_COUNT_ELEMENTS = 2**18

Bits = npt.NDArray[Any]


@dataclass(frozen=True)
class Survey:
    """What the first pass found out about one tensor."""

    scale: np.float32
    figures: dict[Form, Figures]


def slices(reader: Reader, entry: TensorEntry) -> Iterator[Bits]:
    """The tensor's elements as unsigned integers of their size, a slice at a time.

    The array is reused: it is valid until the next one is asked for.
    """
    kind = np.dtype(np.uint16 if entry.dtype != "F32" else np.uint32)
    buffer = np.empty(min(SLICE_ELEMENTS, entry.elements), kind)
    for start in range(0, entry.elements, SLICE_ELEMENTS):
        part = buffer[: min(SLICE_ELEMENTS, entry.elements - start)]
        reader.read_into(entry, start * kind.itemsize, part.data.cast("B"))
        yield part


def survey(reader: Reader, entry: TensorEntry) -> Survey:
    """Read a whole tensor of a convertible type. Raises NotFiniteError at the first NaN or inf."""
    return _survey_wide(reader, entry) if entry.dtype == "F32" else _survey_16(reader, entry)


def _survey_16(reader: Reader, entry: TensorEntry) -> Survey:
    infinity = INFINITY_BITS[entry.dtype]
    counts = np.zeros(2**15, np.int64)
    indices = np.empty(_COUNT_ELEMENTS, np.int64)
    for number, part in enumerate(slices(reader, entry)):
        for start in range(0, part.size, _COUNT_ELEMENTS):
            piece = part[start : start + _COUNT_ELEMENTS]
            # bincount works on int64; converting while the sign is masked off spares it a copy
            index = indices[: piece.size]
            np.bitwise_and(piece, 0x7FFF, out=index, casting="unsafe")
            counts += np.bincount(index, minlength=2**15)
        if counts[infinity:].any():
            raise _not_finite(reader.path, entry, number, part, infinity)
    present = np.flatnonzero(counts)
    values = magnitudes(entry.dtype)
    scale = scale_of(float(values[present[-1]]) if present.size else 0.0)
    return Survey(
        scale,
        {"scaled": measure(values, counts, scale), "plain": measure(values, counts, None)},
    )


def _survey_wide(reader: Reader, entry: TensorEntry) -> Survey:
    infinity = INFINITY_BITS[entry.dtype]
    largest = 0
    for number, part in enumerate(slices(reader, entry)):
        # positive floats sort like their bits, so the largest magnitude is the largest integer
        largest = max(largest, int((part & np.uint32(0x7FFF_FFFF)).max()))
        if largest >= infinity:
            raise _not_finite(reader.path, entry, number, part, infinity)
    scale = scale_of(float(np.uint32(largest).view(np.float32)))
    scaled, plain = [], []
    for part in slices(reader, entry):
        values = part.view(np.float32)
        scaled.append(measure(values, None, scale))
        plain.append(measure(values, None, None))
    return Survey(scale, {"scaled": Figures.total(scaled), "plain": Figures.total(plain)})


def _not_finite(
    path: Path, entry: TensorEntry, number: int, part: Bits, infinity: int
) -> NotFiniteError:
    unsigned = part & part.dtype.type(2 ** (8 * part.itemsize - 1) - 1)
    first = int(np.flatnonzero(unsigned >= infinity)[0])
    index = tuple(
        int(each) for each in np.unravel_index(number * SLICE_ELEMENTS + first, entry.shape)
    )
    value = part[first : first + 1].view(SOURCE_TYPES[entry.dtype])[0]
    return NotFiniteError(
        tensor=entry.name,
        index=index,
        given=f"tensor {entry.name!r} of {path} is {float(value)} at index {list(index)}",
        allowed="finite numbers",
        why="one such weight turns every frame into noise, and it would give the whole tensor a "
        "scale of infinity",
        advice="The source is damaged: verify it (`python -m vace_weights verify DIR`) and fetch "
        "it again.",
    )
