"""What ComfyUI's answers mean. Pure functions: bytes and JSON in, values or errors out.

Nothing here does I/O, so a synchronous and an asynchronous client can share every rule.
The shapes are those that ComfyUI 0.33.0 was seen to answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NoReturn

from smoke_tests.comfy_client.errors import (
    CachedResult,
    ConnectionProblem,
    ExecutionError,
    Interrupted,
    NoOutput,
    NotComfyUI,
    NotReady,
    OutOfMemory,
    PartlyRejected,
    QueueFull,
    RejectedGraph,
    UnexpectedAnswer,
    WrongToken,
)
from smoke_tests.comfy_client.rejection import sentence

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v"})
SHOWN_BYTES = 300  # of a foreign body; enough to recognise whose page it is


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, read to its end.

    Attributes:
        request: method and path, for messages.
        headers: names in lower case.
    """

    request: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300

    def words(self) -> str:
        """What the server itself said, short and on one line."""
        text = self.body.decode("utf-8", "replace")
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = None
        if isinstance(parsed, dict):
            error = parsed.get("error", parsed.get("reason", parsed.get("message")))
            if isinstance(error, dict):
                error = error.get("message") or error.get("type")
            if isinstance(error, str):
                text = error
        text = " ".join(text.split())
        return text[:SHOWN_BYTES] + ("..." if len(text) > SHOWN_BYTES else "")

    def json(self) -> Any:
        """The body as JSON; NotComfyUI if it is none."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            kind = self.headers.get("content-type", "no content type")
            raise NotComfyUI(
                f"{self.request} answered {self.status} with {kind} instead of JSON: "
                f"{self.words()!r}."
            ) from error

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object; NotComfyUI if it is anything else."""
        value = self.json()
        if not isinstance(value, dict):
            raise NotComfyUI(
                f"{self.request} answered a JSON {type(value).__name__}, where ComfyUI answers "
                f"an object: {self.words()!r}."
            )
        return value


def expect_ok(answer: Answer) -> Answer:
    """Return a 2xx answer; raise the error that the status stands for otherwise."""
    if answer.ok:
        return answer
    raise problem(answer)


def problem(answer: Answer) -> ConnectionProblem:
    """The error that a non-2xx answer stands for, wherever it occurs."""
    said = f": {answer.words()!r}" if answer.body else ""
    told = f"{answer.request} answered {answer.status}{said}."
    if answer.status == 401:
        return WrongToken(told)
    if answer.status in {502, 503, 504}:
        return NotReady(told)
    if answer.status == 404 and "html" in answer.headers.get("content-type", ""):
        return NotComfyUI(told)
    return UnexpectedAnswer(told)


def submission(answer: Answer, object_info: Mapping[str, Any] | None = None) -> str:
    """The prompt id of an accepted graph (answer to POST /prompt).

    Args:
        object_info: names the allowed values where the answer does not; see
            `rejection.needs_object_info`.

    Raises:
        RejectedGraph, PartlyRejected, QueueFull: see there.
        ConnectionProblem: the answer is none of ComfyUI's.
    """
    if answer.status == 429:
        raise QueueFull(
            f"The service refused the job: {answer.words() or 'queue full'!r}.",
            retry_after_s=_seconds(answer.headers.get("retry-after")),
        )
    if answer.status == 400:
        body = answer.json_object()
        raise RejectedGraph(sentence("The graph was refused", body, object_info))
    body = expect_ok(answer).json_object()
    prompt_id = body.get("prompt_id")
    if not isinstance(prompt_id, str) or not prompt_id:
        raise NotComfyUI(f"{answer.request} answered without a prompt_id: {answer.words()!r}.")
    if body.get("node_errors"):
        raise PartlyRejected(
            sentence(
                f"Job {prompt_id} was queued (200), but without part of the graph",
                body,
                object_info,
            ),
            prompt_id=prompt_id,
        )
    return prompt_id


@dataclass(frozen=True)
class OutputFile:
    """A file that a node reported.

    Attributes:
        node_id: the node that reported it; key: under which name ("gifs", "images", ...).
        kind: "output", "temp" or "input", ComfyUI's name for the folder.
    """

    node_id: str
    key: str
    filename: str
    subfolder: str
    kind: str
    format: str = ""

    @property
    def is_video(self) -> bool:
        """By suffix or declared format: the key says nothing (VHS reports videos as "gifs")."""
        suffix = PurePosixPath(self.filename).suffix.lower()
        return suffix in VIDEO_SUFFIXES or self.format.startswith("video/")

    def query(self) -> dict[str, str]:
        """Parameters of GET /view for this file."""
        return {"filename": self.filename, "subfolder": self.subfolder, "type": self.kind}


def output_files(outputs: Any) -> list[OutputFile]:
    """All files in the outputs of a history entry, whatever the node and the key."""
    found: list[OutputFile] = []
    for node_id, by_key in (outputs or {}).items():
        for key, items in (by_key if isinstance(by_key, dict) else {}).items():
            for item in items if isinstance(items, list) else []:
                if isinstance(item, dict) and isinstance(item.get("filename"), str):
                    found.append(
                        OutputFile(
                            node_id=str(node_id),
                            key=str(key),
                            filename=item["filename"],
                            subfolder=str(item.get("subfolder") or ""),
                            kind=str(item.get("type") or "output"),
                            format=str(item.get("format") or ""),
                        )
                    )
    return found


def queue_position(queue: Mapping[str, Any], prompt_id: str) -> int | None:
    """0 when running, n when it is the n-th of those that wait, None when it is not there.

    GET /queue lists waiting jobs in no order; they run by ascending number (item[0]).
    """
    if any(_queue_id(item) == prompt_id for item in queue.get("queue_running", [])):
        return 0
    pending = sorted(queue.get("queue_pending", []), key=lambda item: float(item[0]))
    for place, item in enumerate(pending, start=1):
        if _queue_id(item) == prompt_id:
            return place
    return None


def queue_ids(queue: Mapping[str, Any]) -> set[str]:
    """Prompt ids of all jobs in the answer to GET /queue."""
    items = [*queue.get("queue_running", []), *queue.get("queue_pending", [])]
    return {_queue_id(item) for item in items} - {""}


def _queue_id(item: Any) -> str:
    return str(item[1]) if isinstance(item, list) and len(item) > 1 else ""


@dataclass(frozen=True)
class JobResult:
    """A job that ended with a video made by it.

    Attributes:
        videos: files of videos made by this very job, kept outputs before temporary ones.
        files: every file that any node reported.
        cached_nodes: nodes whose results were reused.
        queue_wait_s, execution_s: by the server's clock; None if it did not tell.
        events: messages of the event stream about this job; 0 means that it was only polled.
        notes: what went wrong beside the result, such as a clean-up that was refused.
    """

    prompt_id: str
    videos: tuple[OutputFile, ...]
    files: tuple[OutputFile, ...]
    cached_nodes: frozenset[str]
    queue_wait_s: float | None
    execution_s: float | None
    events: int = 0
    notes: tuple[str, ...] = ()


def job_result(prompt_id: str, entry: Mapping[str, Any]) -> JobResult:
    """Judge a history entry.

    Raises:
        ExecutionError, OutOfMemory, Interrupted, NoOutput, CachedResult: see there.
    """
    status = entry.get("status") or {}
    messages = [
        (item[0], item[1])
        for item in status.get("messages", [])
        if isinstance(item, list) and len(item) == 2 and isinstance(item[1], dict)
    ]
    for kind, data in messages:
        if kind == "execution_error":
            raise_execution_error(prompt_id, data)
        if kind == "execution_interrupted":
            raise_interrupted(prompt_id, data)
    if status.get("status_str") == "error":
        raise ExecutionError(
            prompt_id=prompt_id,
            node_id="?",
            node_type="?",
            exception_type="unknown",
            exception_message="the history says error without an execution_error message",
        )
    files = output_files(entry.get("outputs"))
    cached = frozenset(
        str(node)
        for kind, data in messages
        if kind == "execution_cached"
        for node in data.get("nodes", [])
    )
    videos = [file for file in files if file.is_video]
    if not videos:
        seen = ", ".join(f"{file.filename} ({file.key})" for file in files) or "no file at all"
        raise NoOutput(
            f"Job {prompt_id} ended with success, but without a video; it reported {seen}.",
            prompt_id=prompt_id,
        )
    fresh = [file for file in videos if file.node_id not in cached]
    if not fresh:
        raise CachedResult(
            f"Job {prompt_id} ended with success without running node {videos[0].node_id}: "
            f"{videos[0].filename} is the file of an earlier run.",
            prompt_id=prompt_id,
        )
    times = {kind: data.get("timestamp") for kind, data in messages}
    prompt = entry.get("prompt")
    extra = prompt[3] if isinstance(prompt, list) and len(prompt) > 3 else {}
    created = extra.get("create_time") if isinstance(extra, dict) else None
    return JobResult(
        prompt_id=prompt_id,
        videos=tuple(sorted(fresh, key=lambda file: file.kind != "output")),
        files=tuple(files),
        cached_nodes=cached,
        queue_wait_s=_between(created, times.get("execution_start")),
        execution_s=_between(times.get("execution_start"), times.get("execution_success")),
    )


def raise_execution_error(prompt_id: str, data: Mapping[str, Any]) -> NoReturn:
    """Raise what an execution_error message reports (same shape in history and event stream)."""
    exception_type = str(data.get("exception_type") or "unknown")
    message = str(data.get("exception_message") or "")
    traceback = data.get("traceback")
    lines = [str(line) for line in traceback] if isinstance(traceback, list) else []
    out_of_memory = (
        exception_type.endswith(("OutOfMemoryError", "MemoryError"))
        or "out of memory" in message.lower()
        # torch's allocator hook inside ComfyUI words it like this
        or message.startswith("Allocation on device")
    )
    raise (OutOfMemory if out_of_memory else ExecutionError)(
        prompt_id=prompt_id,
        node_id=str(data.get("node_id", "?")),
        node_type=str(data.get("node_type", "?")),
        exception_type=exception_type,
        exception_message=message,
        traceback="\n".join(line.rstrip("\n") for line in lines),
    )


def raise_interrupted(prompt_id: str, data: Mapping[str, Any]) -> NoReturn:
    """Raise what an execution_interrupted message reports."""
    raise Interrupted(
        f"Job {prompt_id} was stopped from outside in node {data.get('node_id', '?')} "
        f"({data.get('node_type', '?')}).",
        prompt_id=prompt_id,
    )


def _between(start_ms: Any, end_ms: Any) -> float | None:
    if not isinstance(start_ms, int | float) or not isinstance(end_ms, int | float):
        return None
    return round((end_ms - start_ms) / 1000, 3)


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None  # the other form of Retry-After is a date; the caller can do without
