"""The asynchronous client: the same answers and errors, several jobs at once, safe cancellation."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from smoke_tests import reference
from smoke_tests.comfy_client import (
    AsyncComfyClient,
    CachedResult,
    ComfyClient,
    ComfyError,
    Deadline,
    Deleted,
    ExecutionError,
    Interrupted,
    JobResult,
    NoOutput,
    OutputFile,
    RejectedGraph,
    Target,
    Timeout,
    TruncatedDownload,
    WrongCertificate,
    WrongToken,
)
from tests.smoke.conftest import Server
from tests.smoke.scripted_comfyui import RECORDINGS, Reply, ScriptedComfyUI

GRAPH = reference.workflow().graph
VIDEO = OutputFile("32", "gifs", "a.mp4", "sub", "output")


@pytest_asyncio.fixture
async def connected(server: ScriptedComfyUI) -> AsyncIterator[AsyncComfyClient]:
    """An asynchronous client of `server`."""
    async with AsyncComfyClient(Target.of(server.url)) as made:
        yield made


async def test_a_run_gives_the_same_result_as_the_synchronous_client(
    start: Server,
) -> None:
    """Prevents two sets of rules that drift apart."""
    results: list[JobResult] = []
    for _ in range(2):
        server = start()
        server.job(RECORDINGS["reference_history"], RECORDINGS["reference_events"])
        target = Target.of(server.url)
        if results:
            async with AsyncComfyClient(target) as client:
                results.append(await client.run(GRAPH, Deadline(10)))
        else:
            with ComfyClient(target) as plain:
                results.append(await asyncio.to_thread(plain.run, GRAPH, Deadline(10)))
        assert server.bodies("/history") == [{"delete": [results[-1].prompt_id]}]
    assert results[0] == results[1]
    assert results[1].events > 10


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("error_history", ExecutionError),
        ("cached_history", CachedResult),
        ("interrupted_history", Interrupted),
    ],
)
async def test_a_job_that_went_wrong_ends_in_its_own_error(
    name: str, expected: type[ComfyError], server: ScriptedComfyUI, connected: AsyncComfyClient
) -> None:
    """Prevents an asynchronous caller from taking a failed job for a video."""
    server.job(RECORDINGS[name])
    with pytest.raises(expected):
        await connected.run(GRAPH, Deadline(10))


async def test_a_success_without_video_and_a_removed_job_are_errors(
    server: ScriptedComfyUI, connected: AsyncComfyClient
) -> None:
    """Prevents endless polling for a job that the server does not know."""
    (entry,) = RECORDINGS["reference_history"].values()
    server.job({"empty": {**entry, "outputs": {}}})
    with pytest.raises(NoOutput):
        await connected.run(GRAPH, Deadline(10))
    server.job({"removed": {}})
    server.entry = {}
    with pytest.raises(Deleted):
        await connected.run(GRAPH, Deadline(10))


async def test_a_cancelled_task_cancels_its_job_on_the_server(
    server: ScriptedComfyUI, connected: AsyncComfyClient
) -> None:
    """Prevents an abandoned job from occupying the GPU after its caller has gone."""
    server.job({"mine": {}}, RECORDINGS["reference_events"][:3])
    server.entry = {}
    server.queue = {"queue_running": [[1, "mine", {}, {}, []]], "queue_pending": []}
    begun = asyncio.Event()
    task = asyncio.create_task(
        connected.run(GRAPH, Deadline(30), on_progress=lambda progress: begun.set())
    )
    await asyncio.wait_for(begun.wait(), 10)
    asyncio.get_running_loop().call_later(0.3, server.queue["queue_running"].clear)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.bodies("/queue") == [{"delete": ["mine"]}]
    assert server.bodies("/interrupt") == [{"prompt_id": "mine"}]


async def test_many_calls_share_one_client(
    server: ScriptedComfyUI, connected: AsyncComfyClient
) -> None:
    """Prevents a client that holds state of one job, so that a second one mixes with it."""
    server.job(RECORDINGS["reference_history"], RECORDINGS["reference_events"])
    jobs: list[Any] = [connected.run(GRAPH, Deadline(20)) for _ in range(3)]
    results = await asyncio.gather(*jobs)
    assert [len(result.videos) for result in results] == [1, 1, 1]


async def test_a_wrong_token_and_a_foreign_authority_are_told(
    start: Server, make_authority: Any
) -> None:
    """Prevents a WebSocket or a call that trusts more than the other client."""
    guarded = start(token="right")
    async with AsyncComfyClient(Target.of(guarded.url, token="wrong")) as client:
        with pytest.raises(WrongToken):
            await client.run({}, Deadline(5))
    secure = start(context=make_authority().context)
    async with AsyncComfyClient(Target.of(secure.url, ca_file=make_authority().ca_file)) as client:
        with pytest.raises(WrongCertificate):
            await client.system_stats()
        with pytest.raises(WrongCertificate):
            await client.run({}, Deadline(5))
    assert not secure.seen


async def test_a_rejected_graph_names_every_fault(
    server: ScriptedComfyUI, connected: AsyncComfyClient
) -> None:
    """Prevents a bare 400."""
    body = RECORDINGS["rejected"]["unknown node class"]["json"]
    server.replies["POST /prompt"] = [Reply(status=400, json=body)]
    server.replies["GET /object_info"] = [Reply(json={"VHS_VideoCombine": {}})]
    with pytest.raises(RejectedGraph, match="most like it: VHS_VideoCombine"):
        await connected.run(GRAPH, Deadline(10))


async def test_files_go_up_and_come_down_whole_or_not_at_all(
    server: ScriptedComfyUI, connected: AsyncComfyClient, tmp_path: Path
) -> None:
    """Prevents half a video beside the right name."""
    server.replies["POST /upload/image"] = [Reply(json={"name": "x.png", "subfolder": "in"})]
    uploaded = await connected.upload(io.BytesIO(b"picture"), "x.png", subfolder="in")
    assert uploaded.reference == "in/x.png"
    assert b'name="image"; filename="x.png"' in server.seen[-1].body
    whole = bytes(range(256)) * 400
    server.replies["GET /view"] = [Reply(body=whole), Reply(body=whole, cut_after=1000)]
    done = await connected.download(VIDEO, tmp_path / "a.mp4")
    assert (done.path.read_bytes(), done.size) == (whole, len(whole))
    with pytest.raises(TruncatedDownload):
        await connected.download(VIDEO, tmp_path / "b.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


async def test_the_deadline_ends_a_call_to_a_silent_server(server: ScriptedComfyUI) -> None:
    """Prevents a hang of the whole event loop's caller."""
    server.replies["GET /queue"] = [Reply(body=b"x" * 100, stop_after=10)]
    async with AsyncComfyClient(Target.of(server.url)) as client:
        with pytest.raises(Timeout):
            await client.queue(Deadline(0.4))
