"""PSNR and SSIM against values that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from smoke_tests.bench import quality
from smoke_tests.bench.quality import C1, C2, compare, psnr, ssim

RANDOM = np.random.default_rng(5)


def grey(value: int, height: int = 24, width: int = 30) -> quality.Picture:
    return np.full((height, width, 3), value, np.uint8)


def noise(height: int = 24, width: int = 30) -> quality.Picture:
    return RANDOM.integers(0, 256, (height, width, 3), np.uint8)


def test_equal_pictures_are_equal() -> None:
    """Prevents: a loss where there is none."""
    picture = noise()
    assert psnr(picture, picture) == math.inf
    assert ssim(picture, picture) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("difference", "decibels"), [(1, 48.1308), (5, 34.1514), (16, 24.0484), (255, 0.0)]
)
def test_psnr_of_a_constant_difference_is_known(difference: int, decibels: float) -> None:
    """Prevents: a wrong peak, logarithm or mean. 20 log10(255 / difference)."""
    assert psnr(grey(0), grey(difference)) == pytest.approx(decibels, abs=1e-3)


def test_psnr_does_not_wrap_around() -> None:
    """Prevents: 8-bit arithmetic, in which 3 - 5 is 254."""
    assert psnr(grey(3), grey(5)) == psnr(grey(5), grey(3))
    assert psnr(grey(3), grey(5)) == pytest.approx(20 * math.log10(255 / 2))


@pytest.mark.parametrize(("one", "two"), [(0, 255), (100, 110), (200, 50)])
def test_ssim_of_flat_pictures_is_the_term_of_light(one: int, two: int) -> None:
    """Prevents: wrong constants; without variance only (2ab + C1) / (a^2 + b^2 + C1) is left."""
    expected = (2 * one * two + C1) / (one**2 + two**2 + C1)
    assert ssim(grey(one), grey(two)) == pytest.approx(expected, rel=1e-6)


def test_ssim_of_one_window_follows_the_definition() -> None:
    """Prevents: a wrong window: one place, all weights written out, no separability used."""
    one, two = noise(11, 11)[..., 0], noise(11, 11)[..., 0]
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    a, b = one.astype(float), two.astype(float)
    mean_a, mean_b = (window * a).sum(), (window * b).sum()
    variance_a = (window * (a - mean_a) ** 2).sum()
    variance_b = (window * (b - mean_b) ** 2).sum()
    covariance = (window * (a - mean_a) * (b - mean_b)).sum()
    expected = (
        (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
        / ((mean_a**2 + mean_b**2 + C1) * (variance_a + variance_b + C2))
    )  # fmt: skip
    assert ssim(one, two) == pytest.approx(expected, rel=1e-9)


def test_ssim_falls_with_damage_and_turns_negative_for_a_negative() -> None:
    """Prevents: a figure that cannot tell a small fault from a large one."""
    picture = (127 + 60 * np.sin(np.arange(64)[:, None] / 3) * np.cos(np.arange(64) / 4)).astype(
        np.uint8
    )
    hurt = [
        np.clip(picture + RANDOM.normal(0, size, picture.shape), 0, 255).astype(np.uint8)
        for size in (2, 10, 40)
    ]
    found = [ssim(picture, each) for each in hurt]
    assert 1 > found[0] > found[1] > found[2] > 0
    assert ssim(picture, 255 - picture) < 0


def test_a_clip_is_judged_by_all_frames_and_the_worst_one() -> None:
    """Prevents: one ruined frame that a mean of decibels hides."""
    first = [grey(10), grey(20), grey(30)]
    second = [grey(10), grey(20), grey(60)]
    seen: list[int] = []
    found = compare(first, second, on_frame=seen.append)
    assert seen == [1, 2, 3]
    assert found.frames == 3
    assert found.psnr_db == pytest.approx(10 * math.log10(255**2 / (900 / 3)))
    assert found.psnr_worst_db == pytest.approx(20 * math.log10(255 / 30))
    assert found.ssim > found.ssim_worst == ssim(first[2], second[2])


def test_clips_of_different_length_or_size_are_refused() -> None:
    """Prevents: figures of the part that happens to fit."""
    with pytest.raises(ValueError, match="shorter"):
        compare([grey(1), grey(2)], [grey(1)])
    with pytest.raises(ValueError, match="one shape"):
        compare([grey(1)], [grey(1, 24, 32)])
    with pytest.raises(ValueError, match="without a frame"):
        compare([], [])
    with pytest.raises(ValueError, match="11x11"):
        ssim(grey(1, 10, 30), grey(1, 10, 30))
