"""Several callers, a queue, a change of mind, a restart: what a service must stand."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import pytest

from smoke_tests import reference
from smoke_tests.comfy_client import (
    ComfyClient,
    ComfyError,
    ConnectionProblem,
    Deadline,
    Deleted,
    Interrupted,
    JobResult,
    LostByRestart,
    NotReady,
    Workflow,
)
from smoke_tests.comfy_client.protocol import queue_position
from smoke_tests.making import new_seed
from smoke_tests.session import Run

CLIENTS = 3
LONG_STEPS = 1000  # at the tiny size: seconds even without a model, a minute on a GPU
LOOK_AGAIN_S = 0.05
RESTART_S = 900.0  # container and models from a cold disk


def _tiny(run: Run, image: str, what: str, **more: Any) -> Workflow:
    """The tiny graph with a seed and a prefix of its own."""
    inputs = {**reference.TINY, **more}
    prefix = f"vace_smoke_{run.report.run_id}_{what}"
    return reference.workflow().with_inputs(
        image=image, seed=new_seed(), filename_prefix=prefix, **inputs
    )


@pytest.fixture
def picture(run: Run, client: ComfyClient) -> str:
    """The example image on the server. No test here may meet an unwanted simulation."""
    run.refuse_simulation()
    path = reference.write_example_image(run.folder)
    return client.upload(path, path.name).reference


def test_three_clients_at_once_get_their_own_videos(run: Run, picture: str) -> None:
    """Three clients at the same time each get their own video and their own progress."""

    def one(number: int) -> JobResult:
        graph = _tiny(run, picture, f"client{number}").graph
        with ComfyClient(run.settings.target) as client:
            return client.run(graph, Deadline(run.settings.timeout_s), stall_s=run.settings.stall_s)

    with ThreadPoolExecutor(CLIENTS) as pool:
        running = {pool.submit(one, number): number for number in range(CLIENTS)}
        results = {running[job]: job.result() for job in as_completed(running)}
    names = {number: result.videos[0].filename for number, result in results.items()}
    wrong = [f"{n} got {name}" for n, name in names.items() if f"_client{n}_" not in name]
    assert not wrong, f"clients got videos of others: {', '.join(wrong)}"
    polled = [number for number, result in results.items() if not result.events]
    assert not polled, f"clients {polled} heard no event of their own job on GET /ws"


def test_jobs_run_in_the_order_in_which_they_came(
    run: Run, client: ComfyClient, picture: str
) -> None:
    """Jobs start in the order of their submission, and the queue says so while they wait."""
    deadline = Deadline(run.settings.timeout_s)
    steps = (LONG_STEPS // 4, 2, 2)
    jobs = [
        client.submit(_tiny(run, picture, f"order{place}", steps=count).graph, "smoke", deadline)
        for place, count in enumerate(steps)
    ]
    try:
        places = [queue_position(client.queue(deadline), job) for job in jobs]
        waiting = [place for place in places if place is not None]
        assert waiting == sorted(waiting), f"the queue has them in places {places}"
        begun = [_started(client, job, deadline) for job in jobs]
    finally:
        for job in jobs:
            client.cancel(job)
            client.forget(job)
    assert begun == sorted(begun), f"jobs began at {begun} ms, in another order than they came"


def _started(client: ComfyClient, job: str, deadline: Deadline) -> int:
    """When a job began by the server's clock, in ms; waits for its end."""
    while (entry := client.history(job, deadline)) is None:
        deadline.check(f"waiting for job {job}")
        time.sleep(LOOK_AGAIN_S)
    for kind, data in entry["status"]["messages"]:
        if kind == "execution_start":
            return int(data["timestamp"])
    raise AssertionError(f"the history of job {job} does not say when it began")


def test_a_running_job_can_be_cancelled(run: Run, client: ComfyClient, picture: str) -> None:
    """A running job that is cancelled ends at once as Interrupted, and leaves the queue."""
    error, seconds = _cancelled(run, client, picture, running=True)
    assert isinstance(error, Interrupted), f"it ended as {error!r}; expected Interrupted"
    # a step of the tiny size takes well under a second; the longest wait is for one that began
    assert seconds < 30, f"it ran on for {seconds:.0f} s after it was cancelled"


def test_a_waiting_job_can_be_cancelled(run: Run, client: ComfyClient, picture: str) -> None:
    """A waiting job that is taken out of the queue never runs, and its caller is told."""
    before = _tiny(run, picture, "front", steps=LONG_STEPS)
    in_front = client.submit(before.graph, "smoke", Deadline(run.settings.timeout_s))
    try:
        error, _ = _cancelled(run, client, picture, running=False)
    finally:
        client.cancel(in_front)
        client.forget(in_front)
    assert isinstance(error, Deleted | Interrupted), f"it ended as {error!r}; expected Deleted"


def _cancelled(
    run: Run, client: ComfyClient, picture: str, *, running: bool
) -> tuple[ComfyError | None, float]:
    """(how a job ended, seconds since it was cancelled) for a job cancelled from another client."""
    graph = _tiny(run, picture, "cancel", steps=LONG_STEPS).graph
    with ComfyClient(run.settings.target) as other, ThreadPoolExecutor(1) as pool:
        known = client.known_jobs()
        limit = Deadline(run.settings.timeout_s)
        job = pool.submit(other.run, graph, limit, stall_s=run.settings.stall_s)
        prompt_id, state = "", None
        while state is None or (running and state > 0):
            limit.check("waiting for the job to start")
            assert not job.done(), f"the job ended before it could be cancelled: {job}"
            queue = client.queue(limit)
            new = [item[1] for key in queue for item in queue[key] if item[1] not in known]
            prompt_id = new[0] if new else ""
            state = queue_position(queue, prompt_id) if prompt_id else None
            time.sleep(LOOK_AGAIN_S)
        client.cancel(prompt_id, limit)
        since = time.monotonic()
        error = job.exception(limit.remaining())
        assert error is None or isinstance(error, ComfyError), repr(error)
        return error, time.monotonic() - since


def test_a_restart_is_told_and_survived(run: Run, client: ComfyClient, picture: str) -> None:
    """A job that a restart loses is told as lost, and the service makes videos again after it."""
    if not run.settings.restart_command:
        pytest.skip("no --restart-command was given; without one nothing here can restart ComfyUI")
    graph = _tiny(run, picture, "restart", steps=LONG_STEPS).graph
    asked = False

    def restart(_: object) -> None:
        nonlocal asked
        if not asked and client.queue()["queue_running"]:
            asked = True
            subprocess.run(run.settings.restart_command, check=True, timeout=RESTART_S)

    with ComfyClient(run.settings.target) as other, pytest.raises((LostByRestart, NotReady)):
        other.run(graph, Deadline(run.settings.timeout_s), on_progress=restart, stall_s=RESTART_S)
    back = Deadline(RESTART_S)
    while True:
        try:
            client.system_stats(back)
            break
        except ConnectionProblem:
            back.check("waiting for the service after the restart")
            time.sleep(LOOK_AGAIN_S)
    path = reference.write_example_image(run.folder)
    again = client.upload(path, path.name).reference
    client.run(_tiny(run, again, "after").graph, back, stall_s=run.settings.stall_s)
