"""A run that ends early leaves no job on the GPU, says so where it must, and shows no token."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from smoke_tests import reference
from smoke_tests.comfy_client import (
    AsyncComfyClient,
    ComfyClient,
    ComfyError,
    Deadline,
    LostByRestart,
    NotReady,
    PartlyRejected,
    Progress,
    Target,
    Timeout,
    Unreachable,
)
from tests.smoke.conftest import Server
from tests.smoke.scripted_comfyui import RECORDINGS, Reply, ScriptedComfyUI

GRAPH = reference.workflow().graph
NEVER = Reply(json={"prompt_id": "never told", "number": 1, "node_errors": {}}, stop_after=1)
PARTIAL = RECORDINGS["rejected"]["a model file that is not there"]["json"]
TOKEN = "secret-token-of-the-service"
WAIT_S = 10.0
SHORT_S = 1.5  # long enough to get a job going on a busy machine


def _asked_id(server: ScriptedComfyUI) -> str:
    (body,) = server.bodies("/prompt")
    return str(uuid.UUID(body["prompt_id"]))


def _expect_cancelled(server: ScriptedComfyUI, prompt_id: str) -> None:
    """Taken out of the queue, stopped if it ran, and no other job touched."""
    assert server.bodies("/queue")
    assert all(body == {"delete": [prompt_id]} for body in server.bodies("/queue"))
    assert all(body == {"prompt_id": prompt_id} for body in server.bodies("/interrupt"))
    assert server.bodies("/interrupt")


def _wait_for(server: ScriptedComfyUI, path: str) -> None:
    """Return once a POST to `path` has arrived."""
    until = time.monotonic() + WAIT_S
    while path not in server.paths("POST"):
        assert time.monotonic() < until, f"no POST {path}"
        time.sleep(0.01)


def test_a_submission_that_is_not_answered_in_time_is_cancelled_by_our_own_id(
    server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents a job on the GPU that nobody follows, because its id was never told."""
    server.replies["POST /prompt"] = [NEVER]
    with pytest.raises(Timeout, match="POST /prompt"):
        client.run(GRAPH, Deadline(SHORT_S))
    _expect_cancelled(server, _asked_id(server))
    assert len(server.bodies("/queue")) > 1, "a graph that arrives late must be taken out, too"


def test_a_lost_answer_is_taken_for_an_accepted_graph(
    server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents the same where a gateway answers 504 in place of ComfyUI."""
    server.replies["POST /prompt"] = [Reply(status=504)]
    with pytest.raises(NotReady):
        client.run(GRAPH, Deadline(WAIT_S))
    _expect_cancelled(server, _asked_id(server))


async def test_a_task_cancelled_before_its_submission_was_answered_leaves_no_job(
    server: ScriptedComfyUI,
) -> None:
    """Prevents the same with asyncio."""
    server.replies["POST /prompt"] = [NEVER]
    async with AsyncComfyClient(Target.of(server.url)) as client:
        task = asyncio.create_task(client.run(GRAPH, Deadline(30)))
        await asyncio.to_thread(_wait_for, server, "/prompt")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    _expect_cancelled(server, _asked_id(server))
    assert len(server.bodies("/queue")) > 1, "a graph that arrives late must be taken out, too"


async def test_a_second_cancellation_does_not_stop_the_first_from_reaching_the_server(
    server: ScriptedComfyUI,
) -> None:
    """Prevents an impatient caller, or a closed client, from leaving the job on the GPU."""
    server.job({"mine": {}})
    server.entry = {}
    server.queue = {"queue_running": [[1, "mine", {}, {}, []]], "queue_pending": []}
    begun = asyncio.Event()
    async with AsyncComfyClient(Target.of(server.url)) as client:
        task = asyncio.create_task(
            client.run(GRAPH, Deadline(30), on_progress=lambda progress: begun.set())
        )
        await asyncio.wait_for(begun.wait(), WAIT_S)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.2, server.queue["queue_running"].clear)
        with pytest.raises(asyncio.CancelledError):
            await task
    _expect_cancelled(server, "mine")
    assert server.bodies("/history") == [{"delete": ["mine"]}]


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Children can be interrupted, also where this process runs in a shell's background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_an_unanswered_submission_cancels_the_job(
    number: signal.Signals, server: ScriptedComfyUI, tmp_path: Path
) -> None:
    """Prevents an interrupted command or pipeline from leaving its job, and a traceback."""
    server.replies["POST /prompt"] = [NEVER]
    command = [sys.executable, "-m", "smoke_tests.comfy_client", "run"]
    command += [str(reference.WORKFLOW_FILE), "--out", str(tmp_path / "x.mp4")]
    with subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "VACE_URL": server.url},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            _wait_for(server, "/prompt")
            process.send_signal(number)
            _, told = process.communicate(timeout=2 * WAIT_S)
        finally:
            process.kill()
    assert process.returncode == 130
    assert told.strip().endswith("interrupted; no job of this command is left")
    assert "Traceback" not in told
    _expect_cancelled(server, _asked_id(server))


def test_an_exception_of_the_callers_own_cancels_the_job(
    server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents a closed pipe in `on_progress` from leaving the job on the GPU."""
    server.job({"mine": {}})

    def broken(progress: Progress) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        client.run(GRAPH, Deadline(WAIT_S), on_progress=broken)
    _expect_cancelled(server, "mine")


def test_a_graph_that_was_not_taken_is_not_cancelled(
    server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents seconds of cleaning up where nothing was queued."""
    for reply in (Reply(status=401), Reply(status=500), Reply(json=[])):
        server.replies["POST /prompt"] = [reply]
        with pytest.raises(ComfyError):
            client.run(GRAPH, Deadline(WAIT_S))
    assert set(server.paths("POST")) == {"/prompt"}


def test_what_is_left_of_a_graph_is_said_to_be_cancelled_only_when_it_is(
    server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents advice to cancel what is cancelled, and silence where it still runs."""
    server.replies["POST /prompt"] = [Reply(json=PARTIAL)]
    with pytest.raises(PartlyRejected, match=r"that was left is cancelled\.$"):
        client.run(GRAPH, Deadline(WAIT_S))
    with pytest.raises(PartlyRejected, match=r"cancel the job that is left\.$"):
        client.submit(GRAPH, "me")
    server.replies["POST /queue"] = [Reply(status=403)]
    with pytest.raises(PartlyRejected, match=r"cancel the job that is left\.$") as caught:
        client.run(GRAPH, Deadline(WAIT_S))
    assert f"Job {PARTIAL['prompt_id']} may still run" in caught.value.detail


def test_a_job_that_could_not_be_cancelled_is_named(
    server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents believing that the GPU is free when the service did not take the cancellation."""
    server.job({"mine": {}})
    server.entry = {}
    server.queue = {"queue_running": [[1, "mine", {}, {}, []]], "queue_pending": []}
    server.replies["POST /interrupt"] = [Reply(status=403)]
    with pytest.raises(Timeout) as caught:
        client.run(GRAPH, Deadline(SHORT_S))
    assert "Job mine may still run, cancelling it failed" in caught.value.detail
    assert "POST /interrupt answered 403" in caught.value.detail

    def interrupted(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        client.run(GRAPH, Deadline(WAIT_S), on_progress=interrupted)
    assert "may still run" in stopped.value.__notes__[0]


def test_a_restart_that_takes_a_moment_ends_in_its_own_error(server: ScriptedComfyUI) -> None:
    """Prevents "not ready" for a job that a restart has lost: the outage itself is no verdict."""
    server.job({"mine": {}}, RECORDINGS["reference_events"][:3])
    server.entry, server.websocket = {}, "drop"
    away = [Reply(status=503)] * 5
    server.replies["GET /history/mine"] = [*away, Reply(json={})]
    with (
        ComfyClient(Target.of(server.url), pause=lambda _: None) as client,
        pytest.raises(LostByRestart, match="did not answer for a while"),
    ):
        client.run(GRAPH, Deadline(WAIT_S))


async def test_an_outage_does_not_end_a_run_that_goes_on(server: ScriptedComfyUI) -> None:
    """Prevents losing a video to a gateway that reloads, with asyncio too."""
    prompt_id = server.job(RECORDINGS["reference_history"])
    away = [Reply(status=502)] * 5
    back = Reply(json=RECORDINGS["reference_history"])
    server.replies[f"GET /history/{prompt_id}"] = [*away, back]

    async def at_once(seconds: float) -> None:
        await asyncio.sleep(0)

    async with AsyncComfyClient(Target.of(server.url), pause=at_once) as client:
        assert (await client.run(GRAPH, Deadline(WAIT_S))).videos


def test_the_token_is_in_no_log_and_no_traceback(
    start: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Prevents a token in a pipeline's log: one library writes the headers it sends at DEBUG."""
    caplog.set_level(logging.DEBUG)
    server = start(token=TOKEN)
    server.job(RECORDINGS["error_history"], RECORDINGS["error_events"])

    async def fail(url: str) -> None:
        async with AsyncComfyClient(Target.of(url, token=TOKEN), pause=_at_once) as client:
            await client.run(GRAPH, Deadline(WAIT_S))

    def fail_here(url: str) -> None:
        with ComfyClient(Target.of(url, token=TOKEN), pause=lambda _: None) as client:
            client.run(GRAPH, Deadline(WAIT_S))

    texts = []
    for url in (server.url, "http://127.0.0.1:9"):
        for run in (lambda url: asyncio.run(fail(url)), fail_here):
            with pytest.raises(ComfyError) as caught:
                run(url)
            texts += traceback.format_exception(caught.value)
    assert "GET" in caplog.text, "nothing was logged, so nothing was tested"
    assert TOKEN not in "".join(texts) + caplog.text


async def _at_once(seconds: float) -> None:
    await asyncio.sleep(0)


def test_nothing_is_cancelled_where_no_connection_was_made() -> None:
    """Prevents waiting for the clean-up of a job that cannot exist."""
    waits: list[float] = []
    with (
        ComfyClient(Target.of("http://127.0.0.1:9"), pause=waits.append) as client,
        pytest.raises(Unreachable),
    ):
        client.run(GRAPH, Deadline(WAIT_S))
    assert len(waits) == 3  # the repetitions of one call
