"""Cold, warm, and several clients at once.

* **cold**: after POST /free, which takes the models out of GPU and host memory and empties the
  cache of node results. The process goes on and the files may still be in the page cache: a start
  of the container costs more, the first video of the day costs about this.
* **warm**: one video after another, each with a seed of its own; the models stay, and ComfyUI keeps
  the encoded prompts, as for a person who tries seeds.
* **clients-N**: N clients that submit at the same moment, each its videos one after another.
  ComfyUI computes one at a time, so this measures the queue and what overlaps with computing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from smoke_tests.bench.measure import Run, one
from smoke_tests.bench.memory import Peak, Watch
from smoke_tests.comfy_client import ComfyClient, ConnectionProblem, Progress, Target, Workflow

UNLOAD_S = 1.0
"""ComfyUI unloads in the thread of its queue, shortly after it has answered."""

Tell = Callable[[str, Progress], None]


@dataclass(frozen=True)
class Plan:
    """What to run, and where results go.

    Attributes:
        workflow: ready to send, apart from seed and file name.
        seed: of the first video; every further one has the next.
        tell: called with a video's name and its progress.
        poll_s: between two looks at the memory.
    """

    target: Target
    workflow: Workflow
    folder: Path
    seed: int
    timeout_s: float
    tell: Tell
    poll_s: float = 0.5


@dataclass(frozen=True)
class Outcome:
    """One scenario.

    Attributes:
        note: what to know about these figures; empty when there is nothing.
    """

    name: str
    runs: tuple[Run, ...]
    peak: Peak
    note: str = ""


def cold(plan: Plan, *, pause: Callable[[float], None] = time.sleep) -> Outcome:
    """One video after the models were unloaded."""
    with ComfyClient(plan.target) as client, Watch(plan.target, plan.poll_s) as watch:
        note = ""
        try:
            answer = client.call("POST", "/free", json={"unload_models": True, "free_memory": True})
            if answer.status >= 400:
                note = f"not cold for sure: POST /free was answered with {answer.status}"
        except ConnectionProblem as error:
            note = f"not cold for sure: POST /free failed ({error.what})"
        pause(UNLOAD_S)
        run = _one(plan, client, "cold", 1, plan.seed)
        if run.cached_nodes and not note:
            note = f"not cold for sure: {run.cached_nodes} nodes were not run again"
    return Outcome("cold", (run,), watch.peak, note)


def warm(plan: Plan, videos: int, *, first: bool) -> Outcome:
    """Videos one after another.

    Args:
        first: whether nothing ran before; then one more video comes first, and is not counted.
    """
    with ComfyClient(plan.target) as client:
        if first:
            _one(plan, client, "warm-up", 1, plan.seed)
        with Watch(plan.target, plan.poll_s) as watch:
            runs = tuple(
                _one(plan, client, "warm", number, plan.seed + number)
                for number in range(1, videos + 1)
            )
    return Outcome("warm", runs, watch.peak)


def concurrent(plan: Plan, clients: int, videos: int, *, used: int) -> Outcome:
    """Several clients at once.

    Args:
        videos: of each client.
        used: seeds that earlier scenarios took, so that nothing is cached.
    """
    name = f"clients-{clients}"
    start = threading.Barrier(clients)
    stopped = threading.Event()

    def tell(label: str, progress: Progress) -> None:
        if stopped.is_set():
            # what the client cancels its job for; Ctrl-C itself reaches the main thread only
            raise KeyboardInterrupt
        plan.tell(label, progress)

    watched = replace(plan, tell=tell)

    def work(client_number: int) -> list[Run]:
        with ComfyClient(plan.target) as client:
            start.wait(60)
            first = plan.seed + used + client_number * videos
            return [
                _one(watched, client, name, number + 1, first + number, client_number=client_number)
                for number in range(videos)
            ]

    with Watch(plan.target, plan.poll_s) as watch, ThreadPoolExecutor(clients) as pool:
        try:
            runs = [run for each in pool.map(work, range(clients)) for run in each]
        except BaseException:
            stopped.set()
            raise
    return Outcome(name, tuple(runs), watch.peak)


def _one(
    plan: Plan,
    client: ComfyClient,
    scenario: str,
    number: int,
    seed: int,
    *,
    client_number: int = 0,
) -> Run:
    label = f"{scenario} {number}" + (
        f" client {client_number + 1}" if scenario.startswith("clients-") else ""
    )
    return one(
        client,
        plan.workflow,
        plan.folder,
        scenario=scenario,
        number=number,
        seed=seed,
        timeout_s=plan.timeout_s,
        client_number=client_number,
        on_progress=lambda progress: plan.tell(label, progress),
    )
