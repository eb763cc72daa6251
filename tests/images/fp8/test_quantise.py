"""Rounding and figures, against definitions written out the slow way."""

import itertools
import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from vace_weights.figures import Figures, measure
from vace_weights.quantise import code_table, decode, encode, look_up, magnitudes, scale_of

VALUES = [
    Fraction(float(each)) for each in np.arange(127, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn)
]


def nearest(value: Fraction) -> int:
    """The code of the nearest FP8 magnitude, ties to the even code, in exact arithmetic."""
    return min(range(127), key=lambda code: (abs(VALUES[code] - value), code % 2))


def test_rounding_is_to_the_nearest_with_ties_to_even() -> None:
    """Exact fractions know nothing of floating point: they catch a double rounding."""
    random = np.random.Generator(np.random.PCG64(3))
    values = np.concatenate(
        [
            random.uniform(0, 460, 300),
            random.uniform(0, 0.02, 300),
            [float((a + b) / 2) for a, b in itertools.pairwise(VALUES)],
        ]
    ).astype(np.float32)
    codes = encode(values, None)
    for value, code in zip(values, codes, strict=True):
        assert code == nearest(Fraction(float(value))), value
    np.testing.assert_array_equal(encode(-values, None), codes | 0x80)


def test_what_is_too_large_becomes_448_not_nan() -> None:
    """Tensor.to gives NaN above 464; one NaN in a weight makes every frame black."""
    values = np.array([448, 464, 464.1, 1e30, -1e30], np.float32)
    assert encode(values, None).tolist() == [0x7E, 0x7E, 0x7E, 0x7E, 0xFE]


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_the_table_equals_the_definition_for_every_finite_value(dtype: str) -> None:
    """The table is a shortcut; it must not be a different rounding."""
    kind = np.float16 if dtype == "F16" else ml_dtypes.bfloat16
    bits = np.arange(2**16, dtype=np.uint16)
    values = bits.view(kind).astype(np.float32)
    finite = np.isfinite(values)
    for absmax in (0.0, 1e-7, 0.0371, 1.0, 60000.0):
        scale = scale_of(absmax)
        expected = encode(values[finite], scale)
        np.testing.assert_array_equal(look_up(code_table(dtype, scale), bits)[finite], expected)


def test_the_scale_puts_the_largest_weight_at_448() -> None:
    """A scale that is too large wastes range; one that is too small clamps."""
    random = np.random.Generator(np.random.PCG64(3))
    for absmax in np.abs(random.standard_normal(500)).astype(np.float16):
        scale = scale_of(float(absmax))
        assert encode(np.array([absmax], np.float32), scale)[0] == 0x7E
        assert not measure(np.array([absmax], np.float32), None, scale).saturated


def test_zeros_and_the_smallest_numbers_get_a_usable_scale() -> None:
    """absmax / 448 of the smallest float32 is zero, and zero would divide everything to NaN."""
    assert scale_of(0.0) == 1
    tiny = float(np.finfo(np.float32).smallest_subnormal)
    scale = scale_of(tiny)
    assert scale > 0
    assert np.isfinite(decode(encode(np.array([tiny], np.float32), scale), scale)).all()


def test_figures_from_a_histogram_equal_those_of_the_elements() -> None:
    """The histogram is a shortcut; figures that differ would favour the wrong form."""
    random = np.random.Generator(np.random.PCG64(5))
    weights = (random.standard_normal(20_000) * 0.01).astype(np.float16)
    counts = np.bincount(weights.view(np.uint16) & 0x7FFF, minlength=2**15).astype(np.int64)
    for scale in (None, scale_of(float(np.abs(weights).max()))):
        quick = measure(magnitudes("F16"), counts, scale)
        exact = weights.astype(np.float64)
        rounded = decode(encode(weights.astype(np.float32), scale), scale).astype(np.float64)
        error = exact - rounded
        assert quick.elements == weights.size
        assert quick.relative_error == pytest.approx(
            np.linalg.norm(error) / np.linalg.norm(exact), rel=1e-9
        )
        assert quick.sqnr_db == pytest.approx(
            10 * math.log10((exact**2).sum() / (error**2).sum()), rel=1e-9
        )
        cosine = (exact @ rounded) / np.linalg.norm(exact) / np.linalg.norm(rounded)
        assert quick.cosine == pytest.approx(cosine, rel=1e-9)
        assert quick.underflowed == ((exact != 0) & (rounded == 0)).sum()
        nonzero = exact != 0
        assert quick.mean_relative_error == pytest.approx(
            np.abs(error[nonzero] / exact[nonzero]).mean(), rel=1e-9
        )


def test_saturated_weights_are_counted() -> None:
    """A clamp is the one error that has no bound; it must be seen in the report."""
    figures = measure(np.array([500, -1000, 448, 464, 1], np.float32), None, None)
    assert figures.saturated == 2


def test_figures_of_nothing_and_of_zeros_are_defined() -> None:
    """Layers that were initialised to zero exist; a report must not divide by zero for them."""
    for figures in (Figures(), measure(np.zeros(4, np.float32), None, None)):
        assert figures.relative_error == 0
        assert figures.sqnr_db == math.inf
        assert figures.cosine == 1
        assert figures.underflow_share == 0
