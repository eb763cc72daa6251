"""How close two pictures or clips are: PSNR and SSIM. Pure NumPy.

PSNR: peak signal-to-noise ratio over all samples, in decibels, for samples of 0 to 255.

SSIM: structural similarity of Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from
error visibility to structural similarity" (2004), on the luma: Gaussian window of 11x11 with a
standard deviation of 1.5, K1 = 0.01, K2 = 0.03, the mean over all places where the window fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float64]

PEAK = 255.0
WINDOW = 11
SIGMA = 1.5
C1 = (0.01 * PEAK) ** 2
C2 = (0.03 * PEAK) ** 2
LUMA = np.array([0.2126, 0.7152, 0.0722])  # BT.709


@dataclass(frozen=True)
class Quality:
    """How close a clip is to another of the same seed.

    Attributes:
        psnr_db: of all samples of all frames; infinity for equal clips.
        psnr_worst_db: of the worst frame.
        ssim: mean over frames. ssim_worst: of the worst frame.
    """

    frames: int
    psnr_db: float
    psnr_worst_db: float
    ssim: float
    ssim_worst: float


def _decibels(error: float) -> float:
    return math.inf if error == 0 else 10 * math.log10(PEAK**2 / error)


def squared_error(first: Picture, second: Picture) -> float:
    """Mean squared error of all samples."""
    difference = first.astype(np.float64) - second.astype(np.float64)
    return float(np.mean(difference * difference))


def psnr(first: Picture, second: Picture) -> float:
    """PSNR of two pictures of one shape, in decibels; infinity when they are equal."""
    _same_shape(first, second)
    return _decibels(squared_error(first, second))


def luma(picture: Picture) -> Plane:
    """BT.709 luma of an RGB picture (height, width, 3), or a grey one as it is."""
    if picture.ndim == 2:
        return picture.astype(np.float64)
    return np.asarray(picture @ LUMA, dtype=np.float64)


def _kernel() -> Plane:
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * SIGMA**2))
    return np.asarray(weights / weights.sum())


def _blurred(plane: Plane) -> Plane:
    """Weighted means under the window; 10 rows and columns smaller. The window is separable."""
    kernel = _kernel()
    height, width = plane.shape[0] - WINDOW + 1, plane.shape[1] - WINDOW + 1
    rows = sum(weight * plane[at : at + height] for at, weight in enumerate(kernel))
    return np.asarray(sum(weight * rows[:, at : at + width] for at, weight in enumerate(kernel)))


def ssim(first: Picture, second: Picture) -> float:
    """SSIM of two pictures of one shape, at least 11x11: 1 when they are equal."""
    _same_shape(first, second)
    if min(first.shape[:2]) < WINDOW:
        raise ValueError(
            f"pictures of {first.shape[1]}x{first.shape[0]} were given; at least {WINDOW}x{WINDOW} "
            "is needed, the size of SSIM's window. Compare larger pictures"
        )
    one, two = luma(first), luma(second)
    mean_1, mean_2 = _blurred(one), _blurred(two)
    # variances of the Gaussian window can come out a hair below zero
    variance_1 = np.maximum(_blurred(one * one) - mean_1**2, 0)
    variance_2 = np.maximum(_blurred(two * two) - mean_2**2, 0)
    covariance = _blurred(one * two) - mean_1 * mean_2
    structure = (2 * covariance + C2) / (variance_1 + variance_2 + C2)
    light = (2 * mean_1 * mean_2 + C1) / (mean_1**2 + mean_2**2 + C1)
    return float(np.mean(light * structure))


def compare(
    first: Iterable[Picture],
    second: Iterable[Picture],
    *,
    on_frame: Callable[[int], None] = lambda number: None,
) -> Quality:
    """Compare two clips frame by frame.

    Raises:
        ValueError: they differ in size or number of frames, or have none.
    """
    errors, similarities = [], []
    for number, (one, two) in enumerate(zip(first, second, strict=True), start=1):
        _same_shape(one, two)
        errors.append(squared_error(one, two))
        similarities.append(ssim(one, two))
        on_frame(number)
    if not errors:
        raise ValueError("clips without a frame were given; at least one is needed to compare")
    return Quality(
        frames=len(errors),
        psnr_db=_decibels(sum(errors) / len(errors)),
        psnr_worst_db=_decibels(max(errors)),
        ssim=sum(similarities) / len(similarities),
        ssim_worst=min(similarities),
    )


def _same_shape(first: Picture, second: Picture) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"pictures of the shapes {first.shape} and {second.shape} were given; they must be of "
            "one shape, since samples are compared one by one. Run both with the same size"
        )
