"""One video: made, timed by phase, fetched. Times are seconds of this machine's clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from smoke_tests.bench.errors import BenchError
from smoke_tests.comfy_client import ComfyClient, Deadline, Progress, Workflow
from smoke_tests.phases import PhaseClock, totals


@dataclass(frozen=True)
class Run:
    """One video.

    Attributes:
        client: which of several clients, from 0.
        total_s: from the submission to the complete file.
        queue_s, execution_s: by the server's clock where it tells.
        step_s: the median of the sampler's steps; the first one, which loads weights, does not sway
            it. None with fewer than two steps reported.
        sampling_s: all steps at that pace; None without.
        phases: seconds by phase, as progress came; see `smoke_tests.phases`.
        cached_nodes: how many nodes the server did not run again.
        file: name of the video in the results folder.
    """

    scenario: str
    client: int
    seed: int
    started_s: float
    total_s: float
    queue_s: float
    execution_s: float
    step_s: float | None
    sampling_s: float | None
    phases: dict[str, float]
    cached_nodes: int
    file: str
    sha256: str
    size: int


def samplers(workflow: Workflow) -> frozenset[str]:
    """Ids of the nodes that sample."""
    return frozenset(
        node_id
        for node_id, node in workflow.graph.items()
        if "Sampler" in node["class_type"] and "steps" in node["inputs"]
    )


def one(
    client: ComfyClient,
    workflow: Workflow,
    folder: Path,
    *,
    scenario: str,
    number: int,
    seed: int,
    timeout_s: float,
    client_number: int = 0,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Run:
    """Make one video and fetch it.

    Raises:
        BenchError: the server sampled nothing, because it had the result already.
        ComfyError: see `comfy_client.errors`.
    """
    name = f"bench_{scenario}_{client_number}_{seed}"
    graph = workflow.with_inputs(seed=seed, filename_prefix=name)
    began = time.monotonic()
    clock = PhaseClock(on_progress)
    clock.enter("queue")
    deadline = Deadline(timeout_s)
    result = client.run(graph.graph, deadline, on_progress=clock)
    made = time.monotonic()
    clock.enter("download")
    if samplers(workflow) & result.cached_nodes:
        raise BenchError(
            f"the server did not sample for seed {seed}: it had the result of an earlier run",
            "each video must be computed anew",
            "a cached result says nothing about speed",
            "Give another --seed, or restart ComfyUI",
        )
    video = result.videos[0]
    file = folder / f"{name}_{number:02d}{Path(video.filename).suffix}"
    download = client.download(video, file, deadline)
    ended = time.monotonic()
    clock.stop()
    step_s = median(clock.step_s) if len(clock.step_s) > 1 else None
    return Run(
        scenario=scenario,
        client=client_number,
        seed=seed,
        started_s=began,
        total_s=ended - began,
        queue_s=result.queue_wait_s or 0.0,
        execution_s=result.execution_s if result.execution_s is not None else made - began,
        step_s=step_s,
        sampling_s=None if step_s is None else step_s * workflow.value("steps"),
        phases=totals(clock.spans),
        cached_nodes=len(result.cached_nodes),
        file=file.name,
        sha256=download.sha256,
        size=download.size,
    )


def wall_s(runs: Sequence[Run]) -> float:
    """Seconds from the first submission to the last complete file."""
    return max(run.started_s + run.total_s for run in runs) - min(run.started_s for run in runs)
