"""Follow one job to its end with synchronous I/O; every decision is in `following`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from smoke_tests.comfy_client import protocol
from smoke_tests.comfy_client.deadline import Deadline
from smoke_tests.comfy_client.errors import (
    ConnectionProblem,
    NotReady,
    Unreachable,
    WrongCertificate,
    WrongToken,
)
from smoke_tests.comfy_client.events import EventStream
from smoke_tests.comfy_client.following import CATCH_UP_S, HEARTBEAT_S, REOPEN_S, Following
from smoke_tests.comfy_client.progress import Progress
from smoke_tests.comfy_client.protocol import JobResult

if TYPE_CHECKING:
    from smoke_tests.comfy_client.client import ComfyClient


class Follower:
    """Watches one job for `ComfyClient.run`.

    Args:
        client: answers the polls.
        graph: gives node ids their class names in progress.
        client_id: the id under which the job is submitted; its events come to this id only.
        pause: how to wait between polls.
        stall_s: see `ComfyClient.run`.
    """

    def __init__(
        self,
        client: ComfyClient,
        graph: Mapping[str, Any],
        client_id: str,
        deadline: Deadline,
        *,
        pause: Callable[[float], None] = time.sleep,
        stall_s: float,
    ) -> None:
        self._client = client
        self._graph = graph
        self._client_id = client_id
        self._deadline = deadline
        self._pause = pause
        self._stall_s = stall_s
        self._stream: EventStream | None = None
        self._next_open = 0.0

    def listen(self) -> None:
        """Open the event stream, or leave it to polling.

        Raises:
            WrongToken, WrongCertificate: polling would fail for the same reason.
        """
        self._next_open = time.monotonic() + REOPEN_S
        try:
            self._stream = EventStream(self._client.target, self._client_id, self._deadline)
        except (WrongToken, WrongCertificate):
            raise
        except ConnectionProblem:
            self._stream = None

    def close(self) -> None:
        """Close the event stream."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def follow(self, prompt_id: str, on_progress: Callable[[Progress], None]) -> JobResult:
        """Return the job's result, or raise what became of it; see `ComfyClient.run`."""
        job = Following(
            self._graph,
            prompt_id,
            stall_s=self._stall_s,
            now=time.monotonic(),
            listening=self._stream is not None,
        )
        while True:
            self._deadline.check(job.doing)
            self._wait(job, job.wait_s(time.monotonic()))
            on_progress(job.moment(time.monotonic(), listening=self._stream is not None))
            if job.poll_due(time.monotonic()):
                try:
                    entry, queue = self._look(prompt_id)
                except (NotReady, Unreachable) as problem:
                    job.unanswered(problem, time.monotonic())
                    continue
                if entry is not None:
                    job.found()
                    self._catch_up(job)
                    on_progress(job.progress)
                    return job.result(entry, time.monotonic())
                job.not_found(queue, time.monotonic())
            if job.is_gone(time.monotonic()):
                raise job.gone(self._client.known_jobs(self._deadline))
            job.check_stall(time.monotonic())

    def _wait(self, job: Following, seconds: float) -> None:
        """Take in events for at most `seconds`, or sleep so long when there is no stream."""
        seconds = max(0.0, min(seconds, HEARTBEAT_S, self._deadline.remaining()))
        if self._stream is None and time.monotonic() >= self._next_open and not job.ended:
            self.listen()
        if self._stream is None:
            self._pause(seconds)
            return
        messages = self._stream.receive(seconds)
        job.heard(messages)
        if messages is None:
            self.close()
            self._next_open = time.monotonic() + REOPEN_S

    def _catch_up(self, job: Following) -> None:
        """Take in the events that a poll has overtaken, up to the last one."""
        until = time.monotonic() + CATCH_UP_S
        while self._stream and not job.ended and (left := until - time.monotonic()) > 0:
            self._wait(job, left)

    def _look(self, prompt_id: str) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        """(history entry, queue); a job that moves between the two calls is not missed."""
        entry = self._client.history(prompt_id, self._deadline)
        if entry is not None:
            return entry, {}
        queue = self._client.queue(self._deadline)
        if protocol.queue_position(queue, prompt_id) is None:
            entry = self._client.history(prompt_id, self._deadline)
        return entry, queue
