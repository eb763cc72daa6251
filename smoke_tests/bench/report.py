"""The figures of a benchmark as one JSON document, and as names with values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from smoke_tests.bench import flops
from smoke_tests.bench.errors import BenchError
from smoke_tests.bench.limits import Limit
from smoke_tests.bench.measure import Run, wall_s
from smoke_tests.bench.memory import GIB
from smoke_tests.bench.price import Price
from smoke_tests.bench.quality import Quality
from smoke_tests.bench.quantiles import Summary, summarise
from smoke_tests.bench.scenarios import Outcome

SCHEMA = 1
SIMULATED = "SIMULATED"
NOTICE = (
    "No model ran: SIMULATED. Times are those of a drawing program; they say nothing about the "
    "speed of any GPU, and no distance to a limit is given."
)


@dataclass(frozen=True)
class Comparison:
    """How close the videos are to those of a saved run of the profile ``safe``.

    Attributes:
        seconds_ratio: this run's median over the other's (warm); below 1 is faster. None for
            simulated runs.
    """

    baseline: str
    seeds: tuple[int, ...]
    quality: Quality
    seconds_ratio: float | None


@dataclass(frozen=True)
class Report:
    """Everything that a run found.

    Attributes:
        service: what the server said of itself. profile: None when its flags are no profile's.
        least: the physical limit; None where simulated, or the card's peaks are not known.
        notes: sentences for whoever reads the figures.
    """

    url: str
    date: str
    simulated: bool
    service: Mapping[str, str]
    profile: str | None
    workflow: str
    job: flops.Job
    seed: int
    outcomes: tuple[Outcome, ...]
    least: Limit | None
    price: Price | None
    notes: tuple[str, ...] = ()
    comparison: Comparison | None = None

    @property
    def mark(self) -> str:
        """What every line of a simulated run begins with; empty for a real one."""
        return SIMULATED if self.simulated else ""


def quantities(runs: Sequence[Run]) -> dict[str, Summary]:
    """Percentiles of what was measured, by name with its unit."""
    return {
        "seconds": summarise([run.total_s for run in runs]),
        "execution_seconds": summarise([run.execution_s for run in runs]),
        "queue_seconds": summarise([run.queue_s for run in runs]),
        "step_seconds": summarise([run.step_s for run in runs if run.step_s is not None]),
        "sampling_seconds": summarise([each.sampling_s for each in runs if each.sampling_s]),
    }


def rates(report: Report, outcome: Outcome) -> dict[str, float]:
    """Throughput of a scenario, and what a video costs at that rate."""
    wall, videos = wall_s(outcome.runs), len(outcome.runs)
    found = {
        "videos": float(videos),
        "wall_seconds": wall,
        "frames_per_second": report.job.frames * videos / wall,
        "videos_per_hour": 3600 * videos / wall,
    }
    if report.price is not None:
        found["price_per_video"] = report.price.of_seconds(wall / videos)
    if outcome.peak.vram_total:
        found["peak_vram_gib"] = outcome.peak.vram / GIB
    if outcome.peak.ram_total:
        found["peak_ram_gib"] = outcome.peak.ram / GIB
    return found


def distances(report: Report, outcome: Outcome) -> dict[str, float]:
    """How many times the physical limit a scenario took; empty without a limit."""
    if report.least is None:
        return {}
    found = {}
    for name in ("sampling", "execution"):
        median = quantities(outcome.runs)[f"{name}_seconds"].median
        if median is not None:
            found[f"{name}_times_the_limit"] = report.least.ratio(median)
    return found


def document(report: Report) -> dict[str, Any]:
    """The whole report, ready for JSON; infinite figures become null."""
    parts = flops.sampling(report.job)
    return {
        "schema": SCHEMA,
        "simulated": report.simulated,
        **({"notice": NOTICE} if report.simulated else {}),
        "url": report.url,
        "date": report.date,
        "service": dict(report.service),
        "profile": report.profile,
        "workflow": {"name": report.workflow, "seed": report.seed, **asdict(report.job)},
        "work": {
            "unit": "FLOP, a multiply-add is two",
            "sampling": flops.total(parts),
            "sampling_parts": parts,
            "text_encoder": flops.text_encoder(),
            "vae_decode": flops.vae_decode(report.job),
        },
        "limit": None
        if report.least is None
        else {**asdict(report.least), "least_s": report.least.least_s},
        "price": None if report.price is None else asdict(report.price),
        "scenarios": [_scenario(report, outcome) for outcome in report.outcomes],
        "comparison": None if report.comparison is None else _comparison(report.comparison),
        "notes": list(report.notes),
    }


def _scenario(report: Report, outcome: Outcome) -> dict[str, Any]:
    began = min(run.started_s for run in outcome.runs)
    return {
        "name": outcome.name,
        "simulated": report.simulated,
        "note": outcome.note,
        **rates(report, outcome),
        **distances(report, outcome),
        "memory": asdict(outcome.peak),
        **{
            name: {
                "count": summary.count,
                **{f"p{level}": value for level, value in summary.percentiles.items()},
            }
            for name, summary in quantities(outcome.runs).items()
        },
        "runs": [asdict(replace(run, started_s=run.started_s - began)) for run in outcome.runs],
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    found = asdict(comparison)
    found["quality"] = {
        name: value if math.isfinite(value) else None for name, value in found["quality"].items()
    }
    found["equal"] = math.isinf(comparison.quality.psnr_db)
    return found


def plain(report: Report) -> Iterator[str]:
    """One ``name value`` a line; names of simulated figures begin with ``SIMULATED.``."""
    for name, value in _values(report):
        prefix = f"{report.mark}." if report.simulated else ""
        yield f"{prefix}{name} {value}"


def _values(report: Report) -> Iterator[tuple[str, str]]:
    yield "profile", report.profile or "none"
    yield "work_flop", str(flops.total(flops.sampling(report.job)))
    if report.least is not None:
        yield "limit.least_seconds", f"{report.least.least_s:.6g}"
    for outcome in report.outcomes:
        for name, summary in quantities(outcome.runs).items():
            for level, value in summary.percentiles.items():
                if value is not None:
                    yield f"{outcome.name}.{name}.p{level}", f"{value:.6g}"
        rated = {**rates(report, outcome), **distances(report, outcome)}
        for name, value in rated.items():
            yield f"{outcome.name}.{name}", f"{value:.6g}"
    if report.price is not None:
        yield "price.per_hour", f"{report.price.per_hour:g}"
        yield "price.currency", report.price.currency
    if report.comparison is not None:
        for name, value in asdict(report.comparison.quality).items():
            yield f"comparison.{name}", f"{value:.6g}"
        if report.comparison.seconds_ratio is not None:
            yield "comparison.seconds_ratio", f"{report.comparison.seconds_ratio:.6g}"


def write(report: Report, folder: Path) -> Path:
    """Write ``bench.json``; its path."""
    path = folder / "bench.json"
    text = json.dumps(document(report), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def read(path: Path) -> dict[str, Any]:
    """A saved report.

    Raises:
        BenchError: it is no report of this program.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        found, problem = None, str(error)
    else:
        problem = "it has another form"
    if not isinstance(found, dict) or found.get("schema") != SCHEMA or "scenarios" not in found:
        raise BenchError(
            f"--against {path} cannot be used: {problem}",
            "a bench.json that this program wrote is allowed",
            "its videos are compared by seed",
            "Run the benchmark on the profile safe first and name its bench.json",
        )
    return found
