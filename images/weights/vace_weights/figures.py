"""What rounding does to a tensor: exact sums from which every figure of the report follows.

For a 16-bit source the sums come from a histogram of the 32,768 magnitudes (rounding is
symmetric, so the sign does not matter): one count of the tensor gives the figures of every form,
exactly, without computing one element twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from vace_weights.quantise import Float32, decode, encode

Counts = npt.NDArray[np.int64]

_LAST_NEAREST = np.float32(464)
# Half a step above 448, FP8's largest value. (absmax / s may come out one bit above 448; that is
# rounding, not saturation.)


@dataclass(frozen=True)
class Figures:
    """Sums over the elements w of one or more tensors and their rounded values q."""

    elements: int = 0
    nonzero: int = 0
    weight_square: float = 0.0
    rounded_square: float = 0.0
    product: float = 0.0
    error_square: float = 0.0
    relative_sum: float = 0.0
    """Sum of |w - q| / |w| over the elements that are not zero."""
    saturated: int = 0
    """Elements whose (scaled) magnitude is above 464, where 448 is no longer the nearest value."""
    underflowed: int = 0
    """Elements that are not zero but became zero."""

    @classmethod
    def total(cls, parts: Iterable[Figures]) -> Figures:
        """The figures of several tensors together."""
        rows = list(parts)
        return cls(**{each.name: sum(getattr(row, each.name) for row in rows) for each in _FIELDS})

    @property
    def relative_error(self) -> float:
        """Norm of the error over the norm of the weights; 0 where all weights are zero."""
        return math.sqrt(self.error_square / self.weight_square) if self.weight_square else 0.0

    @property
    def mean_relative_error(self) -> float:
        """Mean of |w - q| / |w| over the elements that are not zero."""
        return self.relative_sum / self.nonzero if self.nonzero else 0.0

    @property
    def sqnr_db(self) -> float:
        """Signal to quantisation noise ratio in dB; infinite where nothing was lost."""
        if not self.error_square:
            return math.inf
        return 10 * math.log10(self.weight_square / self.error_square)

    @property
    def cosine(self) -> float:
        """Cosine of the angle between weights and rounded weights; 1 where both are zero."""
        norm = math.sqrt(self.weight_square * self.rounded_square)
        if not norm:
            return 1.0 if self.weight_square == self.rounded_square else 0.0
        return min(1.0, self.product / norm)

    @property
    def underflow_share(self) -> float:
        """Share of the elements that are not zero and became zero."""
        return self.underflowed / self.nonzero if self.nonzero else 0.0


_FIELDS = fields(Figures)


def measure(values: Float32, counts: Counts | None, scale: np.float32 | None) -> Figures:
    """Figures of float32 values, each standing for `counts` elements (1 where None)."""
    if counts is not None:
        present = np.flatnonzero(counts)
        values, weight = values[present], counts[present].astype(np.float64)
    else:
        weight = np.ones(values.shape, np.float64)
    rounded = decode(encode(values, scale), scale).astype(np.float64)
    exact = np.abs(values).astype(np.float64)
    with np.errstate(over="ignore"):
        quotient = np.abs(values if scale is None else values / scale)
    error = np.abs(exact - np.abs(rounded))
    nonzero = exact > 0
    relative = np.divide(error, exact, out=np.zeros_like(error), where=nonzero)
    return Figures(
        elements=round(float(weight.sum())),
        nonzero=round(float(weight[nonzero].sum())),
        weight_square=float((weight * exact * exact).sum()),
        rounded_square=float((weight * rounded * rounded).sum()),
        product=float((weight * exact * np.abs(rounded)).sum()),
        error_square=float((weight * error * error).sum()),
        relative_sum=float((weight * relative).sum()),
        saturated=round(float(weight[quotient > _LAST_NEAREST].sum())),
        underflowed=round(float(weight[nonzero & (rounded == 0)].sum())),
    )
