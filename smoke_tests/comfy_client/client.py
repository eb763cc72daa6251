"""The client: upload, submit, follow, fetch, clean up."""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from smoke_tests.comfy_client import answers, protocol
from smoke_tests.comfy_client.answers import Download, UploadedFile
from smoke_tests.comfy_client.deadline import Deadline
from smoke_tests.comfy_client.errors import (
    ComfyError,
    ConnectionProblem,
    PartlyRejected,
    RejectedGraph,
)
from smoke_tests.comfy_client.follow import Follower
from smoke_tests.comfy_client.following import (
    CLEANUP_S,
    LATE_S,
    cancel_failed,
    leave_word,
    may_run_on,
)
from smoke_tests.comfy_client.progress import Progress
from smoke_tests.comfy_client.protocol import Answer, JobResult, OutputFile
from smoke_tests.comfy_client.rejection import needs_object_info
from smoke_tests.comfy_client.target import Target
from smoke_tests.comfy_client.transport import TimedFile, Transport

RECENT_JOBS = "64"  # history entries hold whole graphs; these are enough to find a witness


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
        return answers.stats(self._get("/system_stats", deadline))

    def object_info(self, deadline: Deadline | None = None) -> dict[str, Any]:
        """GET /object_info: every node class of the server with its inputs."""
        return self._get("/object_info", deadline).json_object()

    def queue(self, deadline: Deadline | None = None) -> dict[str, Any]:
        """GET /queue."""
        return answers.queue(self._get("/queue", deadline))

    def history(self, prompt_id: str, deadline: Deadline | None = None) -> dict[str, Any] | None:
        """The history entry of one job; None while it waits, while it runs, and if unknown."""
        return answers.history_entry(self._get(f"/history/{prompt_id}", deadline), prompt_id)

    def known_jobs(self, deadline: Deadline | None = None) -> set[str]:
        """Prompt ids of the jobs that wait, run, or have ended lately, as far as it tells."""
        known = set[str]()
        # a gateway may keep the list of all jobs closed; then the queue alone must do
        with contextlib.suppress(ConnectionProblem):
            known |= protocol.queue_ids(self.queue(deadline))
            recent = self._transport.call(
                "GET", "/history", params={"max_items": RECENT_JOBS}, deadline=deadline
            )
            known |= set(protocol.expect_ok(recent).json_object())
        return known

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
        return answers.uploaded(answer)

    def submit(
        self,
        graph: Mapping[str, Any],
        client_id: str,
        deadline: Deadline | None = None,
        *,
        prompt_id: str = "",
    ) -> str:
        """POST /prompt, once and only once; the new job's prompt id.

        Args:
            client_id: whose event stream the job's events go to.
            prompt_id: the id to ask for; ComfyUI takes it, an older one chooses another.

        Raises:
            RejectedGraph, PartlyRejected, QueueFull: see there.
        """
        body = answers.order(graph, client_id, prompt_id)
        answer = self._transport.call("POST", "/prompt", json=body, deadline=deadline)
        try:
            return protocol.submission(answer)
        except (RejectedGraph, PartlyRejected):
            if not needs_object_info(answer.json_object()):
                raise
            known = None
            with contextlib.suppress(ComfyError):  # the refusal is the news, not this
                known = self.object_info(deadline)
            return protocol.submission(answer, known)

    def run(
        self,
        graph: Mapping[str, Any],
        deadline: Deadline,
        *,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        stall_s: float = 300.0,
    ) -> JobResult:
        """Submit a graph, follow it to its end, and leave no trace of it in the queue or history.

        A job that is abandoned (deadline, stall, lost connection, Ctrl-C, an exception of
        `on_progress`) is cancelled first, even if its submission was not answered yet, so that it
        does not go on occupying the GPU. Where that fails, the error's detail or note says so.

        Args:
            on_progress: called with the present moment on every change, and every second.
            stall_s: running without any progress for so long is an error. The longest honest
                silence is the first load of the models from a cold disk, about a minute. It
                takes an event stream to tell; without one, the deadline ends a stalled job.

        Raises:
            SubmitProblem, JobProblem, Timeout, ConnectionProblem: see `comfy_client.errors`.
        """
        # an id of our own: a job whose acceptance was never answered can be cancelled by it
        client_id, prompt_id, taken = uuid.uuid4().hex, str(uuid.uuid4()), False
        follower = Follower(self, graph, client_id, deadline, pause=self._pause, stall_s=stall_s)
        with contextlib.closing(follower):
            follower.listen()  # before submitting, so that no event is missed
            try:
                prompt_id = self.submit(graph, client_id, deadline, prompt_id=prompt_id)
                taken = True
                result = follower.follow(prompt_id, on_progress)
            except BaseException as error:
                self._leave(error, prompt_id, taken=taken)
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
            answers.expect_whole(file, answer, size)
            partial.replace(destination)
        finally:
            partial.unlink(missing_ok=True)
        seconds = round(time.monotonic() - started, 3)
        return Download(destination, size, digest.hexdigest(), seconds)

    def cancel(self, prompt_id: str, deadline: Deadline | None = None) -> None:
        """Take a job out of the queue, and stop it if it runs. Other jobs are not touched."""
        for path, body in answers.cancellation(prompt_id):
            protocol.expect_ok(self._transport.call("POST", path, json=body, deadline=deadline))

    def forget(self, prompt_id: str, deadline: Deadline | None = None) -> None:
        """Delete a job's history entry (POST /history); each keeps a whole graph in memory."""
        body = {"delete": [prompt_id]}
        protocol.expect_ok(self._transport.call("POST", "/history", json=body, deadline=deadline))

    def _get(self, path: str, deadline: Deadline | None) -> Answer:
        return protocol.expect_ok(self._transport.call("GET", path, deadline=deadline))

    def _leave(self, error: BaseException, prompt_id: str, *, taken: bool) -> None:
        """Leave nothing behind of a job that ends with an error; the error tells what stays."""
        if isinstance(error, PartlyRejected):
            prompt_id, taken = error.prompt_id, True
        if may_run_on(error, taken=taken):
            leave_word(error, self._abandon(prompt_id, taken=taken))
        elif taken:
            self._tidy(prompt_id)

    def _abandon(self, prompt_id: str, *, taken: bool) -> str:
        """Cancel, wait for the end that this brings, delete; what of it failed, or nothing."""
        deadline, asked = Deadline(CLEANUP_S), False
        try:
            self.cancel(prompt_id, deadline)
            asked = taken
            while self.history(prompt_id, deadline) is None:
                queued = protocol.queue_position(self.queue(deadline), prompt_id) is not None
                if not queued and (taken or deadline.elapsed() > LATE_S):
                    break
                if not taken:  # it may come into the queue only now
                    self.cancel(prompt_id, deadline)
                self._pause(min(0.2, deadline.remaining()))
        except ComfyError as problem:
            return cancel_failed(prompt_id, problem, asked=asked)
        except KeyboardInterrupt as again:
            again.add_note(f"Job {prompt_id} may still run: its cancellation was interrupted, too.")
            raise
        self._tidy(prompt_id)
        return ""

    def _tidy(self, prompt_id: str) -> tuple[str, ...]:
        try:
            self.forget(prompt_id, Deadline(CLEANUP_S))
        except ComfyError as error:
            return (f"The job's history entry could not be deleted: {error.what}",)
        return ()
