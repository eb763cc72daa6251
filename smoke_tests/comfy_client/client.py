"""The client: upload, submit, follow, fetch, clean up."""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from smoke_tests.comfy_client import protocol
from smoke_tests.comfy_client.deadline import Deadline
from smoke_tests.comfy_client.errors import (
    ComfyError,
    NotComfyUI,
    PartlyRejected,
    Stalled,
    Timeout,
    TruncatedDownload,
)
from smoke_tests.comfy_client.follow import Follower
from smoke_tests.comfy_client.progress import Progress
from smoke_tests.comfy_client.protocol import Answer, JobResult, OutputFile
from smoke_tests.comfy_client.target import Target
from smoke_tests.comfy_client.transport import TimedFile, Transport

CLEANUP_S = 10.0  # after the caller's own deadline: enough to stop a job and to tidy up


@dataclass(frozen=True)
class UploadedFile:
    """A file in ComfyUI's input folder."""

    name: str
    subfolder: str

    @property
    def reference(self) -> str:
        """How LoadImage and VHS_LoadVideo name it."""
        return f"{self.subfolder}/{self.name}" if self.subfolder else self.name


@dataclass(frozen=True)
class Download:
    """A complete file on this machine."""

    path: Path
    size: int
    sha256: str
    seconds: float


class ComfyClient:
    """A ComfyUI service. Use as a context manager.

    >>> with ComfyClient(Target.of("https://host", token_file=path)) as client:
    ...     result = client.run(graph, Deadline(600), on_progress=print)
    ...     client.download(result.videos[0], Path("out.mp4"), Deadline(60))

    Every method raises errors of the tree in `comfy_client.errors` and no others.
    """

    def __init__(self, target: Target, *, pause: Callable[[float], None] = time.sleep) -> None:
        self.target = target
        self._transport = Transport(target, pause=pause)
        self._pause = pause

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def call(self, method: str, path: str, **options: Any) -> Answer:
        """One raw request, whatever it answers; for checks of the protocol itself."""
        return self._transport.call(method, path, **options)

    def system_stats(self, deadline: Deadline | None = None) -> tuple[dict[str, Any], bool]:
        """GET /system_stats, and whether the server says that it is a simulation.

        Raises:
            NotComfyUI: the answer has no comfyui_version.
        """
        answer = self._get("/system_stats", deadline)
        stats = answer.json_object()
        system = stats.get("system")
        if not isinstance(system, dict) or "comfyui_version" not in system:
            raise protocol_mismatch(answer, "system.comfyui_version")
        return stats, "x-simulated" in answer.headers or system.get("simulated") is True

    def object_info(self, deadline: Deadline | None = None) -> dict[str, Any]:
        """GET /object_info: every node class of the server with its inputs."""
        return self._get("/object_info", deadline).json_object()

    def queue(self, deadline: Deadline | None = None) -> dict[str, Any]:
        """GET /queue."""
        answer = self._get("/queue", deadline)
        queue = answer.json_object()
        if "queue_running" not in queue or "queue_pending" not in queue:
            raise protocol_mismatch(answer, "queue_running and queue_pending")
        return queue

    def history(self, prompt_id: str, deadline: Deadline | None = None) -> dict[str, Any] | None:
        """The history entry of one job; None while it waits, while it runs, and if unknown."""
        entry = self._get(f"/history/{prompt_id}", deadline).json_object().get(prompt_id)
        return entry if isinstance(entry, dict) else None

    def upload(
        self,
        source: Path | BinaryIO,
        name: str,
        deadline: Deadline | None = None,
        *,
        subfolder: str = "",
    ) -> UploadedFile:
        """POST /upload/image, streamed; pictures and videos alike.

        Nothing is overwritten: ComfyUI keeps an equal file of that name, and stores another one
        under a new name, which the returned value holds.
        """
        if isinstance(source, Path):
            with source.open("rb") as file:
                return self.upload(file, name, deadline, subfolder=subfolder)
        deadline = deadline or Deadline(600)
        timed = TimedFile(source, deadline, name).as_file()
        fields: dict[str, Any] = {"image": (name, timed)}
        if subfolder:
            fields["subfolder"] = (None, subfolder)
        answer = self._transport.call("POST", "/upload/image", files=fields, deadline=deadline)
        body = protocol.expect_ok(answer).json_object()
        if not isinstance(body.get("name"), str):
            raise protocol_mismatch(answer, "name")
        return UploadedFile(body["name"], str(body.get("subfolder") or ""))

    def submit(
        self, graph: Mapping[str, Any], client_id: str, deadline: Deadline | None = None
    ) -> str:
        """POST /prompt, once and only once; the new job's prompt id.

        Raises:
            RejectedGraph, PartlyRejected, QueueFull: see there.
        """
        body = {"prompt": dict(graph), "client_id": client_id}
        return protocol.submission(
            self._transport.call("POST", "/prompt", json=body, deadline=deadline)
        )

    def run(
        self,
        graph: Mapping[str, Any],
        deadline: Deadline,
        *,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        stall_s: float = 300.0,
    ) -> JobResult:
        """Submit a graph, follow it to its end, and leave no trace of it in the queue or history.

        A job that is abandoned (deadline, stall, Ctrl-C) is cancelled first, so that it does not
        go on occupying the GPU.

        Args:
            on_progress: called with the present moment on every change, and every second.
            stall_s: running without any progress for so long is an error. The longest honest
                silence is the first load of the models from a cold disk, about a minute.

        Raises:
            SubmitProblem, JobProblem, Timeout, ConnectionProblem: see `comfy_client.errors`.
        """
        client_id = uuid.uuid4().hex
        follower = Follower(self, graph, client_id, deadline, pause=self._pause, stall_s=stall_s)
        with contextlib.closing(follower):
            follower.listen()  # before submitting, so that no event is missed
            try:
                prompt_id = self.submit(graph, client_id, deadline)
            except PartlyRejected as error:
                self._abandon(error.prompt_id)
                raise
            try:
                result = follower.follow(prompt_id, on_progress)
            except (Timeout, Stalled, KeyboardInterrupt):
                self._abandon(prompt_id)
                raise
            except ComfyError:
                self._tidy(prompt_id)
                raise
            return replace(result, notes=self._tidy(prompt_id))

    def download(
        self, file: OutputFile, destination: Path, deadline: Deadline | None = None
    ) -> Download:
        """GET /view into `destination`: under a temporary name beside it, then moved.

        Raises:
            TruncatedDownload: fewer bytes than announced, or none; nothing is left behind.
        """
        deadline = deadline or Deadline(600)
        partial = destination.with_name(f".{destination.name}.partial")
        digest, size = hashlib.sha256(), 0
        started = time.monotonic()
        try:
            with (
                self._transport.download("/view", file.query(), deadline) as (answer, pieces),
                partial.open("wb") as out,
            ):
                protocol.expect_ok(answer)
                for piece in pieces:
                    out.write(piece)
                    digest.update(piece)
                    size += len(piece)
            announced = answer.headers.get("content-length")
            if size == 0 or (announced is not None and int(announced) != size):
                raise TruncatedDownload(
                    f"{file.filename} has {announced or 'more than 0'} bytes on the server, "
                    f"{size} arrived."
                )
            partial.replace(destination)
        finally:
            partial.unlink(missing_ok=True)
        seconds = round(time.monotonic() - started, 3)
        return Download(destination, size, digest.hexdigest(), seconds)

    def cancel(self, prompt_id: str, deadline: Deadline | None = None) -> None:
        """Take a job out of the queue, and stop it if it runs. Other jobs are not touched."""
        for path, body in (
            ("/queue", {"delete": [prompt_id]}),
            ("/interrupt", {"prompt_id": prompt_id}),
        ):
            protocol.expect_ok(self._transport.call("POST", path, json=body, deadline=deadline))

    def forget(self, prompt_id: str, deadline: Deadline | None = None) -> None:
        """Delete a job's history entry (POST /history); each keeps a whole graph in memory."""
        body = {"delete": [prompt_id]}
        protocol.expect_ok(self._transport.call("POST", "/history", json=body, deadline=deadline))

    def _get(self, path: str, deadline: Deadline | None) -> Answer:
        return protocol.expect_ok(self._transport.call("GET", path, deadline=deadline))

    def _abandon(self, prompt_id: str) -> None:
        """Cancel, wait for the end that this brings, delete; as far as the service plays along."""
        deadline = Deadline(CLEANUP_S)
        with contextlib.suppress(ComfyError):
            self.cancel(prompt_id, deadline)
            while self.history(prompt_id, deadline) is None:
                if protocol.queue_position(self.queue(deadline), prompt_id) is None:
                    break
                self._pause(min(0.2, deadline.remaining()))
        self._tidy(prompt_id)

    def _tidy(self, prompt_id: str) -> tuple[str, ...]:
        try:
            self.forget(prompt_id, Deadline(CLEANUP_S))
        except ComfyError as error:
            return (f"The job's history entry could not be deleted: {error.what}",)
        return ()


def protocol_mismatch(answer: Answer, missing: str) -> NotComfyUI:
    """The error for a JSON answer that lacks what ComfyUI always sends."""
    return NotComfyUI(f"{answer.request} answered JSON without {missing}: {answer.words()!r}.")
