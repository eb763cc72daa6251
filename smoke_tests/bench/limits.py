"""How long the GPU needs at the very least: matrix work over its dense peak. Pure.

A lower bound, not a forecast: no kernel reaches the peak, and softmax, norms, moving weights, text
encoder, VAE and encoder come on top. What it is good for is the ratio: how much there is to gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from images.variants import Gpu
from smoke_tests.bench import flops

#: The FP8 file of the diffusion model; read from the GPU's memory once a step at the very least.
WEIGHT_BYTES = 2.22e9
FP8_PART = "blocks.normalised"


@dataclass(frozen=True)
class Limit:
    """The least time for the sampling of one video on one card, in seconds.

    Attributes:
        work: FLOP of the sampling.
        half_s: all of it at the peak for 16-bit inputs.
        fp8_s: as the project's weights are made, with normalised inputs multiplied in FP8 and the
            rest in 16 bit; None on cards without FP8.
        memory_s: reading the weights once a step; far below the others, given as a check.
    """

    gpu: str
    work: int
    half_tflops: float
    fp8_tflops: float | None
    half_s: float
    fp8_s: float | None
    memory_s: float | None
    source: str

    @property
    def least_s(self) -> float:
        """The bound that counts: the slower of memory and of the fastest arithmetic."""
        arithmetic = self.half_s if self.fp8_s is None else min(self.half_s, self.fp8_s)
        return max(arithmetic, self.memory_s or 0.0)

    def ratio(self, seconds: float) -> float:
        """How many times the least time something took; 1 is the physical limit."""
        return seconds / self.least_s


def limit(gpu: Gpu, parts: Mapping[str, int], steps: int) -> Limit | None:
    """The least time on a card of the shared table; None where its peaks are not known.

    Args:
        parts: FLOP by part, as `flops.sampling` gives them.
    """
    half = gpu.bf16_tflops or gpu.fp16_tflops
    if half is None:
        return None
    work = flops.total(parts)
    narrow = parts[FP8_PART]
    fp8 = gpu.fp8_tflops
    rate = gpu.memory_gb_per_s
    return Limit(
        gpu=gpu.gpu,
        work=work,
        half_tflops=half,
        fp8_tflops=fp8,
        half_s=work / (half * 1e12),
        fp8_s=None if fp8 is None else narrow / (fp8 * 1e12) + (work - narrow) / (half * 1e12),
        memory_s=None if rate is None else steps * WEIGHT_BYTES / (rate * 1e9),
        source=gpu.peak_source,
    )
