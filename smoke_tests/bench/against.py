"""Compare a run's pictures with those of a saved run of the profile ``safe``, seed by seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np

from smoke_tests.bench import quality
from smoke_tests.bench.errors import BenchError
from smoke_tests.bench.measure import Run
from smoke_tests.bench.quality import Picture, Quality
from smoke_tests.bench.quantiles import summarise
from smoke_tests.bench.report import Comparison, Report

BASELINE = "safe"
SCENARIO = "warm"


def pictures(path: Path) -> Iterator[Picture]:
    """Frames of a video as RGB, (height, width, 3)."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)


def compare(
    report: Report,
    folder: Path,
    saved: Mapping[str, Any],
    source: Path,
    *,
    on_frame: Callable[[int], None] = lambda number: None,
) -> Comparison:
    """Compare the warm videos.

    Args:
        report, folder: this run, and where its videos are.
        saved, source: the other run's document, and its file; its videos lie beside that.
        on_frame: called with the number of frames compared up to now.

    Raises:
        BenchError: the two cannot be compared: another workflow, profile or seed, one of them
            simulated, or videos that are gone or were changed.
    """
    refuse(report, saved, source)
    before = _runs(saved)
    now = _warm(report)
    seeds = [seed for seed in now if seed in before]
    if not seeds:
        raise BenchError(
            f"{source} has the seeds {sorted(before)}, this run {sorted(now)}",
            "both must have at least one warm video of one seed",
            "pictures of different seeds differ in everything",
            f"Run again with --seed {saved['workflow']['seed']}",
        )
    counted = 0

    def count(number: int) -> None:
        nonlocal counted
        counted += 1
        on_frame(counted)

    found = [
        quality.compare(
            pictures(_unchanged(source.parent / before[seed]["file"], before[seed]["sha256"])),
            pictures(folder / now[seed].file),
            on_frame=count,
        )
        for seed in seeds
    ]
    ratio = None
    if not report.simulated:
        median = summarise([run.total_s for run in now.values()]).median
        earlier = summarise([float(run["total_s"]) for run in before.values()]).median
        ratio = median / earlier if median and earlier else None
    return Comparison(source.name, tuple(seeds), _together(found), ratio)


def refuse(report: Report, saved: Mapping[str, Any], source: Path) -> None:
    """Raise when the figures would compare two different things."""
    job = {"name": report.workflow, **asdict(report.job)}
    other = {key: value for key, value in saved["workflow"].items() if key != "seed"}
    if other != job:
        differing = sorted(key for key in job if other.get(key) != job[key])
        raise BenchError(
            f"{source} and this run differ in {', '.join(differing)}",
            "workflow, size, frames, steps and cfg must be the same",
            "only the profile may make the difference",
            "Run again with the values of the other run",
        )
    if saved["simulated"] != report.simulated:
        raise BenchError(
            f"one of {source} and this run is simulated",
            "both must be real, or both simulated",
            "drawn pictures are not what a model makes",
            "Compare with a run of the same kind",
        )
    if saved["profile"] != BASELINE:
        raise BenchError(
            f"{source} is a run of the profile {saved['profile']}",
            f"allowed is {BASELINE}",
            "quality is told against the profile that changes nothing",
            f"Run the benchmark on a service with the profile {BASELINE} first",
        )


def refuse_folder(source: Path | None, folder: Path) -> None:
    """Raise when this run's videos would replace those that it is compared with."""
    if source is not None and source.resolve().parent == folder.resolve():
        raise BenchError(
            f"--against {source} lies in the folder that this run writes to",
            "any other folder is allowed",
            "its videos would be overwritten before they are compared",
            "Name another folder with --out",
        )


def _warm(report: Report) -> dict[int, Run]:
    return {
        run.seed: run
        for outcome in report.outcomes
        if outcome.name == SCENARIO
        for run in outcome.runs
    }


def _runs(saved: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    return {
        run["seed"]: run
        for scenario in saved["scenarios"]
        if scenario["name"] == SCENARIO
        for run in scenario["runs"]
    }


def _unchanged(path: Path, sha256: str) -> Path:
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
    if found != sha256:
        raise BenchError(
            f"{path} is not the video that the saved run made ({found[:16]})",
            f"the file of SHA-256 {sha256[:16]}... is allowed",
            "the comparison would be with something else",
            "Keep the folder of the saved run together, or make that run again",
        )
    return path


def _together(found: Sequence[Quality]) -> Quality:
    """Means over clips of one length, and the worst frame of all."""
    errors = [0.0 if np.isinf(each.psnr_db) else 10 ** (-each.psnr_db / 10) for each in found]
    mean = sum(errors) / len(errors)
    return Quality(
        frames=sum(each.frames for each in found),
        psnr_db=float("inf") if mean == 0 else float(-10 * np.log10(mean)),
        psnr_worst_db=min(each.psnr_worst_db for each in found),
        ssim=sum(each.ssim for each in found) / len(found),
        ssim_worst=min(each.ssim_worst for each in found),
    )
