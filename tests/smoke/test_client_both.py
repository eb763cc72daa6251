"""What both clients must do alike: each trap in its own error, each limit kept."""

import asyncio
import copy
import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smoke_tests import reference
from smoke_tests.comfy_client import (
    AsyncComfyClient,
    ComfyClient,
    ComfyError,
    Deadline,
    LostByRestart,
    NotComfyUI,
    OutOfMemory,
    OutputFile,
    PartlyRejected,
    QueueFull,
    RejectedGraph,
    Stalled,
    Target,
    Timeout,
    TruncatedDownload,
    UnexpectedAnswer,
    WrongCertificate,
    WrongToken,
    async_transport,
    transport,
)
from tests.smoke.conftest import Authority, Server
from tests.smoke.scripted_comfyui import RECORDINGS, Reply, ScriptedComfyUI

GRAPH = reference.workflow().graph
VIDEO = OutputFile("32", "gifs", "a.mp4", "", "output")
DRIP = Reply(body=b"x" * 100, drip_s=0.05)  # five seconds in all
SHORT_S = 1.5  # long enough to get a job going on a busy machine
Use = Callable[[Target, Callable[[Any], Any]], Any]


@pytest.fixture(params=["sync", "async"])
def use(request: pytest.FixtureRequest) -> Use:
    """Call a method of the one client or the other."""

    def with_sync(target: Target, act: Callable[[Any], Any]) -> Any:
        with ComfyClient(target) as client:
            return act(client)

    def with_async(target: Target, act: Callable[[Any], Any]) -> Any:
        async def main() -> Any:
            async with AsyncComfyClient(target) as client:
                return await act(client)

        return asyncio.run(main())

    return with_sync if request.param == "sync" else with_async


def _passing() -> Deadline:
    """A deadline that passes after a few looks at its clock, however busy the machine is."""
    ticks = itertools.chain([0.0] * 8, itertools.repeat(99.0))
    return Deadline(30, clock=lambda: next(ticks))


def _run(client: Any, seconds: float = 10.0, **options: Any) -> Any:
    return client.run(GRAPH, Deadline(seconds), **options)


def test_a_job_that_does_not_move_has_stalled_and_is_cancelled(
    use: Use, server: ScriptedComfyUI
) -> None:
    """Prevents an abandoned job from occupying a hung GPU until the deadline."""
    server.job({"mine": {}}, RECORDINGS["reference_events"][:1])
    server.entry = {}
    server.queue = {"queue_running": [[1, "mine", {}, {}, []]], "queue_pending": []}
    server.replies["POST /interrupt"] = [Reply(status=403)]  # so that no end is waited for
    with pytest.raises(Stalled, match=r"the limit is 0\.3 s"):
        use(Target.of(server.url), lambda client: _run(client, stall_s=0.3))
    assert server.bodies("/queue") == [{"delete": ["mine"]}]


def test_the_deadline_ends_a_run_that_goes_on(use: Use, server: ScriptedComfyUI) -> None:
    """Prevents following a job for ever."""
    server.job({"mine": {}})
    server.entry = {}
    server.queue = {"queue_running": [], "queue_pending": [[1, "mine", {}, {}, []]]}
    server.replies["POST /queue"] = [Reply(status=403)]
    with pytest.raises(Timeout, match=r"1\.5 s has passed while job mine was at: queued, number 1"):
        use(Target.of(server.url), lambda client: _run(client, SHORT_S))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(status=400, json=RECORDINGS["rejected"]["no output node"]["json"]), RejectedGraph),
        (
            Reply(json=RECORDINGS["rejected"]["a model file that is not there"]["json"]),
            PartlyRejected,
        ),
        (Reply(status=429, json={"error": {"message": "full"}}), QueueFull),
        (Reply(json={"id": 5}), NotComfyUI),
    ],
    ids=["rejected", "partly rejected", "queue full", "no prompt id"],
)
def test_a_graph_that_is_not_taken_ends_in_its_own_error(
    reply: Reply, expected: type[ComfyError], use: Use, server: ScriptedComfyUI
) -> None:
    """Prevents waiting for a job that does not exist."""
    server.replies["POST /prompt"] = [reply]
    with pytest.raises(expected):
        use(Target.of(server.url), _run)


def test_running_out_of_memory_is_told_and_tidied_up(use: Use, server: ScriptedComfyUI) -> None:
    """Prevents a history that grows by every failed job."""
    entry = copy.deepcopy(RECORDINGS["error_history"])
    (only,) = entry.values()
    only["status"]["messages"][-1][1]["exception_type"] = "torch.OutOfMemoryError"
    prompt_id = server.job(entry)
    with pytest.raises(OutOfMemory):
        use(Target.of(server.url), _run)
    assert server.bodies("/history") == [{"delete": [prompt_id]}]


def test_a_job_that_nobody_knows_is_lost(use: Use, server: ScriptedComfyUI) -> None:
    """Prevents taking {} for "still running" after ComfyUI was restarted."""
    server.job({"lost": {}}, RECORDINGS["reference_events"][:1])
    server.entry, server.websocket = {}, "drop"
    with pytest.raises(LostByRestart):
        use(Target.of(server.url), _run)


@pytest.mark.parametrize("leaf", [("127.0.0.9", 1), ("127.0.0.1", -1)], ids=["other", "expired"])
def test_a_run_shows_no_token_to_a_server_with_a_bad_certificate(
    leaf: tuple[str, int], use: Use, start: Server, make_authority: Callable[..., Authority]
) -> None:
    """Prevents an event stream, the first thing to be opened, that verifies nothing."""
    authority = make_authority(*leaf)
    server = start(context=authority.context)
    target = Target.of(server.url, token="secret", ca_file=authority.ca_file)
    with pytest.raises(WrongCertificate):
        use(target, _run)
    assert not server.seen


def test_a_run_with_a_wrong_token_submits_nothing(use: Use, start: Server) -> None:
    """Prevents a 401 of the event stream from being taken for a reason to poll."""
    server = start(token="right")
    with pytest.raises(WrongToken):
        use(Target.of(server.url, token="wrong"), _run)
    assert [seen.path for seen in server.seen] == ["/ws"]


def test_the_event_stream_carries_the_token(use: Use, start: Server) -> None:
    """Prevents a run that is polled, or refused, because one request of it has no token."""
    server = start(token="right")
    server.job(RECORDINGS["reference_history"], RECORDINGS["reference_events"])
    assert use(Target.of(server.url, token="right"), _run).events > 10


def test_a_run_is_polled_when_there_is_no_websocket(use: Use, server: ScriptedComfyUI) -> None:
    """Prevents a proxy that cannot pass WebSockets from hiding a finished video."""
    server.job(RECORDINGS["reference_history"])
    server.websocket = "refuse"
    result = use(Target.of(server.url), _run)
    assert (len(result.videos), result.events) == (1, 0)


def test_a_redirect_is_not_followed(use: Use, start: Server) -> None:
    """Prevents a redirect from carrying the token to another host."""
    elsewhere, server = start(), start(token="right")
    moved = Reply(status=302, headers={"Location": f"{elsewhere.url}/queue"})
    server.replies["GET /queue"] = [moved]
    with pytest.raises(UnexpectedAnswer, match="302"):
        use(Target.of(server.url, token="right"), lambda client: client.queue())
    assert not elsewhere.seen


def test_an_answer_that_drips_ends_at_the_deadline(use: Use, server: ScriptedComfyUI) -> None:
    """Prevents a hang on a server that is never silent for long, and never done."""
    server.replies["GET /queue"] = [DRIP]
    with pytest.raises(Timeout, match="reading the answer to GET /queue"):
        use(Target.of(server.url), lambda client: client.queue(_passing()))


def test_a_download_that_drips_ends_at_the_deadline(
    use: Use, server: ScriptedComfyUI, tmp_path: Path
) -> None:
    """Prevents a file that takes for ever, and half of it left behind."""
    server.replies["GET /view"] = [DRIP]
    with pytest.raises(Timeout, match=r"downloading a\.mp4"):
        use(
            Target.of(server.url),
            lambda client: client.download(VIDEO, tmp_path / "a.mp4", _passing()),
        )
    assert not list(tmp_path.iterdir())


def test_an_empty_or_cut_download_is_told(
    use: Use, server: ScriptedComfyUI, tmp_path: Path
) -> None:
    """Prevents an empty file from passing for a video."""
    for reply in (Reply(headers={"Content-Length": "0"}), Reply(body=b"x" * 100, cut_after=10)):
        server.replies["GET /view"] = [reply]
        with pytest.raises(TruncatedDownload):
            use(Target.of(server.url), lambda client: client.download(VIDEO, tmp_path / "a.mp4"))
    assert not list(tmp_path.iterdir())


def test_a_large_upload_does_not_have_to_fit_into_memory(
    use: Use, server: ScriptedComfyUI, tmp_path: Path
) -> None:
    """Prevents reading a video of half a gigabyte at once."""
    path, size = tmp_path / "large.mp4", 4 << 20
    with path.open("wb") as out:
        out.truncate(size)
    server.replies["POST /upload/image"] = [Reply(json={"name": "large.mp4"})]
    read: list[int] = []

    class Counted(io.FileIO):
        def read(self, count: int | None = -1) -> bytes:
            read.append(-1 if count is None else count)
            return super().read(-1 if count is None else count)

    with Counted(path) as file:
        use(Target.of(server.url), lambda client: client.upload(file, "large.mp4", Deadline(30)))
    assert int(server.seen[-1].headers["content-length"]) > size
    assert 0 < min(read) <= max(read) <= 1 << 20


def test_an_upload_stops_at_its_deadline(use: Use, server: ScriptedComfyUI) -> None:
    """Prevents a slow disk from holding a run for ever."""
    with pytest.raises(Timeout):
        use(
            Target.of(server.url),
            lambda client: client.upload(io.BytesIO(bytes(1 << 22)), "x.png", _passing()),
        )


def test_an_answer_without_end_is_not_comfyui(
    use: Use, server: ScriptedComfyUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents filling the memory with whatever a foreign server sends."""
    for module in (transport, async_transport):
        monkeypatch.setattr(module, "MAX_BODY", 1 << 20)
    server.replies["GET /queue"] = [Reply(body=bytes(2 << 20))]
    with pytest.raises(NotComfyUI, match="more than 1 MiB"):
        use(Target.of(server.url), lambda client: client.queue())


def test_a_queue_without_its_lists_is_not_comfyui(use: Use, server: ScriptedComfyUI) -> None:
    """Prevents "nothing runs, nothing waits" on behalf of another program."""
    server.replies["GET /queue"] = [Reply(json={"jobs": []})]
    with pytest.raises(NotComfyUI, match="queue_running and queue_pending"):
        use(Target.of(server.url), lambda client: client.queue())


def test_kept_outputs_come_before_temporary_ones_with_their_folders(
    use: Use, server: ScriptedComfyUI, tmp_path: Path
) -> None:
    """Prevents fetching a preview, or a file of the same name from another folder."""
    entry = copy.deepcopy(RECORDINGS["save_video_history"])
    (only,) = entry.values()
    preview = {"filename": "p.mp4", "subfolder": "deep", "type": "temp"}
    only["outputs"] = {"1": {"gifs": [preview]}, **only["outputs"]}
    server.job(entry)
    result = use(Target.of(server.url), _run)
    assert [(file.filename, file.kind) for file in result.videos] == [
        ("edit_00001_.mp4", "output"),
        ("p.mp4", "temp"),
    ]
    server.replies["GET /view"] = [Reply(body=b"video")]
    out = tmp_path / "p.mp4"
    use(Target.of(server.url), lambda client: client.download(result.videos[1], out))
    assert server.seen[-1].query == "filename=p.mp4&subfolder=deep&type=temp"
