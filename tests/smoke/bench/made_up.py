"""Reports with made-up figures, to look at what is made of them."""

from __future__ import annotations

from typing import Any

from images.variants import gpus
from smoke_tests.bench import flops, limits
from smoke_tests.bench.measure import Run
from smoke_tests.bench.memory import GIB, Peak
from smoke_tests.bench.price import Price
from smoke_tests.bench.report import Report
from smoke_tests.bench.scenarios import Outcome


def run(seconds: float, *, scenario: str = "warm", number: int = 0, queue: float = 0.0) -> Run:
    """A video that took so long, after a wait."""
    return Run(
        scenario=scenario,
        client=0,
        seed=1000 + number,
        started_s=number * seconds if scenario == "warm" else 0.0,
        total_s=seconds + queue,
        queue_s=queue,
        execution_s=seconds,
        step_s=seconds / 25,
        sampling_s=seconds / 25 * 20,
        phases={"queue": queue, "sample": 0.8 * seconds, "decode": 0.2 * seconds},
        cached_nodes=0,
        file=f"{scenario}_{number}.mp4",
        sha256="ab" * 32,
        size=1000,
    )


def report(*, simulated: bool = False, **changes: Any) -> Report:
    """Three warm videos and two at once, on an L20 unless simulated."""
    job = flops.REFERENCE
    (l20,) = [each for each in gpus() if each.gpu == "L20"]
    peak = Peak(8 * GIB, 45 * GIB, 12 * GIB, 64 * GIB, polls=9)
    found: dict[str, Any] = {
        "url": "https://203.0.113.10",
        "date": "2026-11-24T00:00:00+00:00",
        "simulated": simulated,
        "service": {"ComfyUI": "0.33.0", "GPU": "NVIDIA L20"},
        "profile": "safe",
        "workflow": "reference",
        "job": job,
        "seed": 1000,
        "outcomes": (
            Outcome("warm", tuple(run(50.0, number=number) for number in range(3)), peak),
            Outcome("clients-2", (run(50.0, scenario="clients-2"),
                                  run(50.0, scenario="clients-2", queue=50.0)), peak),
        ),
        "least": None if simulated else limits.limit(l20, flops.sampling(job), job.steps),
        "price": Price(36.0, "CNY", "a price list"),
    }  # fmt: skip
    return Report(**{**found, **changes})
