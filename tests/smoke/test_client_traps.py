"""Answers that look like success, or like nothing at all, each end in their own error."""

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest

from smoke_tests import reference
from smoke_tests.comfy_client import (
    CachedResult,
    ComfyClient,
    Deadline,
    Deleted,
    ExecutionError,
    Interrupted,
    LostByRestart,
    NoOutput,
    NotComfyUI,
    OutOfMemory,
    PartlyRejected,
    Progress,
    QueueFull,
    RejectedGraph,
    Stalled,
    Timeout,
)
from tests.smoke.scripted_comfyui import RECORDINGS, Reply, ScriptedComfyUI

GRAPH = reference.workflow().graph


def _run(client: ComfyClient, seconds: float = 10.0, **options: Any) -> Any:
    return client.run(GRAPH, Deadline(seconds), **options)


def _rejected(note: str) -> Reply:
    recorded = RECORDINGS["rejected"][note]
    return Reply(status=recorded["status"], json=recorded["json"])


def test_the_recorded_run_ends_with_its_video_and_leaves_no_history(
    server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents losing a video that VideoHelperSuite reports as a gif, and a growing history."""
    prompt_id = server.job(RECORDINGS["reference_history"], RECORDINGS["reference_events"])
    shown: list[Progress] = []
    result = _run(client, on_progress=shown.append)
    assert [file.filename for file in result.videos] == ["VACE_video_00001.mp4"]
    assert (result.queue_wait_s, result.execution_s) == (0.001, 11.129)
    assert result.events > 10
    assert server.bodies("/history") == [{"delete": [prompt_id]}]
    assert shown[-1].percent == 100
    assert [step.percent for step in shown] == sorted(step.percent for step in shown)


def test_a_run_is_followed_by_polling_when_there_is_no_websocket(
    server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents a proxy that cannot pass WebSockets from hiding a finished video."""
    prompt_id = server.job(RECORDINGS["reference_history"])
    server.websocket, server.empty_histories = "refuse", 1
    server.queue = {"queue_running": [[1, prompt_id, {}, {}, []]], "queue_pending": []}
    result = _run(client)
    assert result.videos
    assert result.events == 0


def test_a_dropped_websocket_does_not_change_the_outcome(
    server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents an idle timeout of a load balancer from failing a running job."""
    server.job(RECORDINGS["reference_history"], RECORDINGS["reference_events"])
    server.websocket = "drop"
    assert _run(client).videos


def test_the_output_of_core_video_nodes_is_found(
    server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents looking under `gifs` only: SaveVideo reports under `images`, in a subfolder."""
    server.job(RECORDINGS["save_video_history"])
    (video,) = _run(client).videos
    assert (video.filename, video.subfolder, video.key) == ("edit_00001_.mp4", "video", "images")


@pytest.mark.parametrize("note", RECORDINGS["rejected"])
def test_every_recorded_rejection_ends_in_its_own_error(
    note: str, server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents waiting for a job that ComfyUI refused, wholly (400) or in part (200)."""
    recorded = RECORDINGS["rejected"][note]
    server.replies["POST /prompt"] = [_rejected(note)]
    expected = RejectedGraph if recorded["status"] == 400 else PartlyRejected
    with pytest.raises(expected) as caught:
        _run(client)
    for node_id, fault in (recorded["json"].get("node_errors") or {}).items():
        assert f"node {node_id} ({fault['class_type']})" in str(caught.value)
    if expected is PartlyRejected:
        assert server.bodies("/queue") == [{"delete": [recorded["json"]["prompt_id"]]}]


@pytest.mark.parametrize(
    ("note", "part"),
    [
        ("a model file that is not there", "allowed: 'wan21_vace_1_3_b.safetensors'"),
        ("width below its minimum", "allowed: INT min 16 max 16384 step 16"),
        ("unknown node class", "Node 'VHS_VideoCombineX' not found"),
        ("a required input is missing", "Required input is missing: model"),
        ("no output node", "Prompt has no outputs"),
        ("an input image that was never uploaded", "Invalid image file: nope.png"),
    ],
)
def test_a_rejection_names_what_is_allowed(
    note: str, part: str, server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents a message that sends the reader to the server's log for the allowed values."""
    server.replies["POST /prompt"] = [_rejected(note)]
    with pytest.raises((RejectedGraph, PartlyRejected)) as caught:
        _run(client)
    assert part in str(caught.value)


def test_all_faults_are_told_at_once(server: ScriptedComfyUI, client: ComfyClient) -> None:
    """Prevents repairing a graph one fault per submission."""
    merged = copy.deepcopy(RECORDINGS["rejected"]["a model file that is not there"]["json"])
    for note in ("width below its minimum", "steps is no number"):
        merged["node_errors"] |= RECORDINGS["rejected"][note]["json"]["node_errors"]
    server.replies["POST /prompt"] = [Reply(json=merged)]
    with pytest.raises(PartlyRejected, match="3 faults") as caught:
        _run(client)
    assert all(f"node {node} " in str(caught.value) for node in ("11", "17", "24"))


@pytest.mark.parametrize("with_events", [True, False], ids=["by event", "by history only"])
def test_an_error_while_running_carries_node_type_and_message(
    with_events: bool, server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents an endless wait for a job whose failure stands in the history alone."""
    events = RECORDINGS["error_events"] if with_events else []
    prompt_id = server.job(RECORDINGS["error_history"], events)
    with pytest.raises(ExecutionError) as caught:
        _run(client)
    error = caught.value
    assert (error.node_id, error.node_type) == ("18", "LoadImage")
    assert error.exception_type == "PIL.UnidentifiedImageError"
    assert "cannot identify image file" in str(error)
    assert error.detail
    assert server.bodies("/history") == [{"delete": [prompt_id]}]


def _error_entry(change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    entry = copy.deepcopy(RECORDINGS["error_history"])
    (only,) = entry.values()
    change(only["status"]["messages"][-1][1])
    return entry


@pytest.mark.parametrize(
    ("exception_type", "message"),
    [
        ("torch.OutOfMemoryError", "Allocation on device 0 would exceed allowed memory."),
        ("torch.cuda.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.50 GiB."),
        ("RuntimeError", "CUDA error: out of memory"),
        ("RuntimeError", "Allocation on device would exceed allowed memory."),
        ("MemoryError", ""),
    ],
)
def test_running_out_of_memory_is_told_apart(
    exception_type: str, message: str, server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents searching the graph for a fault that only a larger GPU can cure."""
    server.job(
        _error_entry(
            lambda data: data.update(exception_type=exception_type, exception_message=message)
        )
    )
    with pytest.raises(OutOfMemory):
        _run(client)


def test_success_without_a_video_is_an_error(server: ScriptedComfyUI, client: ComfyClient) -> None:
    """Prevents a preview picture from passing for the result."""
    entry = copy.deepcopy(RECORDINGS["reference_history"])
    (only,) = entry.values()
    del only["outputs"]["32"]
    server.job(entry)
    with pytest.raises(NoOutput, match=r"ComfyUI_temp_ggols_00001_\.png"):
        _run(client)


def test_a_cached_result_is_an_error(server: ScriptedComfyUI, client: ComfyClient) -> None:
    """Prevents an old file from proving that the service works now."""
    server.job(RECORDINGS["cached_history"])
    with pytest.raises(CachedResult, match=r"VACE_video_00002\.mp4 is the file of an earlier run"):
        _run(client)


def test_an_interrupted_job_is_told_apart(server: ScriptedComfyUI, client: ComfyClient) -> None:
    """Prevents looking for a fault where somebody pressed Cancel: the status says error, too."""
    server.job(RECORDINGS["interrupted_history"])
    with pytest.raises(Interrupted, match=r"node 17 \(WanVaceToVideo\)"):
        _run(client)


@pytest.mark.parametrize(
    ("websocket", "part"),
    [("drop", "broke off meanwhile"), ("refuse", "cannot be told")],
)
def test_a_job_that_nobody_knows_is_lost(
    websocket: str, part: str, server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents taking {} for "still running" after ComfyUI was restarted."""
    events = [
        {"type": "executing", "data": {"node": "24", "prompt_id": "gone-after-restart"}},
    ]
    server.job({"gone-after-restart": {}}, events)
    server.entry, server.websocket = {}, websocket
    with pytest.raises(LostByRestart, match=rf"gone-after-restart.*{part}"):
        _run(client)


def test_a_job_removed_from_a_server_that_did_not_restart_is_told_apart(
    server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents a hunt for a crash when somebody cleared the queue: the events never broke off."""
    server.job({"cleared": {}})
    server.entry = {}
    with pytest.raises(Deleted, match=r"did not restart \(its event stream .* removed by somebody"):
        _run(client)


def test_a_neighbour_that_is_still_known_proves_that_nothing_restarted(
    server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents blaming a restart when polling is all there is, and the queue went on."""
    theirs, mine = [1, "theirs", {}, {}, []], [2, "mine", {}, {}, []]
    server.job({"mine": {}})
    server.entry, server.websocket = {}, "refuse"
    full = {"queue_running": [theirs], "queue_pending": [mine]}
    server.replies["GET /queue"] = [
        Reply(json=full),
        Reply(json={"queue_running": [], "queue_pending": []}),
    ]
    server.replies["GET /history"] = [Reply(json={"theirs": {}})]
    with pytest.raises(Deleted, match="job theirs of the same time is still known"):
        _run(client)


def test_a_long_list_of_choices_is_fetched_from_object_info(
    server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents "(list of length 30)" as all that a reader gets: ComfyUI leaves long lists out."""
    fault = {
        "type": "value_not_in_list",
        "message": "Value not in list",
        "details": "sampler_name: 'best' not in (list of length 30)",
        "extra_info": {"input_name": "sampler_name", "input_config": None},
    }
    body = {
        "error": {"type": "prompt_outputs_failed_validation", "message": "failed_validation"},
        "node_errors": {"24": {"class_type": "KSampler", "errors": [fault]}},
    }
    names = [f"sampler_{number}" for number in range(30)]
    declared = {"input": {"required": {"sampler_name": [names, {}]}}}
    server.replies["POST /prompt"] = [Reply(status=400, json=body)]
    server.replies["GET /object_info"] = [Reply(json={"KSampler": declared})]
    with pytest.raises(RejectedGraph, match=r"allowed: 'sampler_0', .* and 18 more"):
        _run(client)


def test_an_unknown_node_class_is_answered_with_those_most_like_it(
    server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents searching 900 classes for a misspelt one."""
    server.replies["POST /prompt"] = [_rejected("unknown node class")]
    server.replies["GET /object_info"] = [Reply(json={"VHS_VideoCombine": {}, "KSampler": {}})]
    with pytest.raises(RejectedGraph, match="has 2 node classes, most like it: VHS_VideoCombine"):
        _run(client)


def test_a_full_queue_tells_when_to_come_back(server: ScriptedComfyUI, client: ComfyClient) -> None:
    """Prevents a retry that would hit a full queue at once."""
    server.replies["POST /prompt"] = [
        Reply(
            status=429,
            json={"error": {"type": "queue_full", "message": "The queue is full."}},
            headers={"Retry-After": "30"},
        )
    ]
    with pytest.raises(QueueFull, match=r"The queue is full") as caught:
        _run(client)
    assert caught.value.retry_after_s == 30
    assert server.paths("POST") == ["/prompt"]


def test_a_job_that_does_not_move_has_stalled_and_is_cancelled(
    server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents an abandoned job from occupying a hung GPU until the deadline."""
    prompt_id = server.job(RECORDINGS["reference_history"], RECORDINGS["reference_events"][:6])
    server.empty_histories = 10**6
    server.queue = {"queue_running": [[1, prompt_id, {}, {}, []]], "queue_pending": []}
    threading.Timer(1.2, lambda: setattr(server, "empty_histories", 0)).start()
    with pytest.raises(Stalled, match=r"for \d+ s; the limit is 0\.5 s"):
        _run(client, stall_s=0.5)
    assert server.bodies("/queue") == [{"delete": [prompt_id]}]
    assert server.bodies("/interrupt") == [{"prompt_id": prompt_id}]


def test_the_deadline_ends_a_run_with_the_last_state_seen(
    server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents waiting for ever behind somebody else's jobs."""
    job = [7, "mine", {}, {}, []]
    server.job({"mine": {}})
    server.entry = {}
    server.queue = {"queue_running": [[1, "theirs", {}, {}, []]], "queue_pending": [job]}
    threading.Timer(1.7, server.queue["queue_pending"].clear).start()
    with pytest.raises(Timeout, match=r"1\.5 s has passed while job mine was at: queued, number 1"):
        _run(client, seconds=1.5)
    assert server.bodies("/queue") == [{"delete": ["mine"]}]


def test_an_answer_without_a_prompt_id_is_not_comfyui(
    server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents following a job called None."""
    server.replies["POST /prompt"] = [Reply(json={"id": 5})]
    with pytest.raises(NotComfyUI, match="without a prompt_id"):
        _run(client)


def test_a_prompt_is_never_sent_twice(server: ScriptedComfyUI, client: ComfyClient) -> None:
    """Prevents two jobs for one: a lost answer may belong to an accepted graph."""
    server.replies["POST /prompt"] = [Reply(status=503)]
    with pytest.raises(Exception, match="503"):
        _run(client)
    assert server.paths("POST").count("/prompt") == 1
