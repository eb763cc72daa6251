"""Follow one job to its end: events while they flow, polling always.

The history decides; events only make progress visible at once. So a dropped WebSocket, a proxy
that cuts idle connections, or a lost message never changes the outcome.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from smoke_tests.comfy_client import protocol
from smoke_tests.comfy_client.deadline import Deadline
from smoke_tests.comfy_client.errors import (
    ConnectionProblem,
    JobProblem,
    LostByRestart,
    Stalled,
    WrongCertificate,
    WrongToken,
)
from smoke_tests.comfy_client.events import EventStream
from smoke_tests.comfy_client.progress import Progress, Tracker
from smoke_tests.comfy_client.protocol import JobResult

if TYPE_CHECKING:
    from smoke_tests.comfy_client.client import ComfyClient

POLL_S = 1.0  # without events; a job takes tens of seconds, so this costs nothing
POLL_BESIDE_EVENTS_S = 5.0  # the events' safety net
FIRST_POLL_S = 0.25  # after submitting, beside events
CATCH_UP_S = 0.5  # for events that are under way when a poll finds the end
SETTLE_S = 0.1  # between polls when the end was announced but is not in the history yet
SETTLE_FOR_S = 15.0  # ComfyUI was seen to take 0.4 s; it may also run its garbage collector first
HEARTBEAT_S = 1.0  # on_progress is called at least so often
REOPEN_S = 5.0  # between attempts to get a lost event stream back


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
        self._events_seen = 0

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
        tracker = Tracker(self._graph, prompt_id)
        announced: JobProblem | None = None
        ended_at = 0.0
        shown: Progress | None = None
        changed_at = started_at = time.monotonic()
        running_at: float | None = None
        # with events, the first poll only tells the place in the queue, and can wait for them
        next_poll = started_at + (FIRST_POLL_S if self._stream else 0.0)
        missing = 0
        while True:
            self._deadline.check(f"job {prompt_id} was at: {tracker.progress}")
            try:
                self._wait(tracker, next_poll - time.monotonic())
            except JobProblem as problem:
                # the history entry follows; without it there would be nothing to delete yet
                announced = problem
            now = time.monotonic()
            if tracker.ended and not ended_at:
                ended_at = next_poll = now
            if tracker.progress != shown:
                shown, changed_at = tracker.progress, now
                if shown.state == "running" and running_at is None:
                    running_at = now
            on_progress(shown)
            if now >= next_poll:
                entry, position = self._look(prompt_id)
                if entry is not None:
                    if announced is not None:
                        raise announced
                    self._catch_up(tracker)
                    on_progress(tracker.progress)
                    return self._result(prompt_id, entry, started_at, running_at)
                tracker.queue_position(position)
                missing = missing + 1 if position is None else 0
                next_poll = time.monotonic() + self._interval(bool(ended_at), missing)
            if ended_at and now - ended_at > SETTLE_FOR_S and announced is not None:
                raise announced
            if missing > 1 and not (ended_at and now - ended_at < SETTLE_FOR_S):
                raise LostByRestart(
                    f"Job {prompt_id} is neither in the queue nor in the history (GET /history "
                    f"answers {{}}); it was last seen at: {tracker.progress}.",
                    prompt_id=prompt_id,
                )
            silent = now - changed_at
            # without events nothing can be said about progress, only the deadline counts
            if self._stream and tracker.progress.state == "running" and silent > self._stall_s:
                raise Stalled(
                    f"Job {prompt_id} has been at {tracker.progress} for {silent:.0f} s; "
                    f"the limit is {self._stall_s:g} s.",
                    prompt_id=prompt_id,
                )

    def _wait(self, tracker: Tracker, seconds: float) -> None:
        """Take in events for at most `seconds`, or sleep so long when there is no stream."""
        seconds = max(0.0, min(seconds, HEARTBEAT_S, self._deadline.remaining()))
        if self._stream is None and time.monotonic() >= self._next_open and not tracker.ended:
            self.listen()
        if self._stream is None:
            self._pause(seconds)
            return
        messages = self._stream.receive(seconds)
        if messages is None:
            self.close()
            self._next_open = time.monotonic() + REOPEN_S
            return
        for message in messages:
            tracker.feed(message)
            if (message.get("data") or {}).get("prompt_id"):
                self._events_seen += 1

    def _catch_up(self, tracker: Tracker) -> None:
        """Take in the events that a poll has overtaken, up to the last one."""
        until = time.monotonic() + CATCH_UP_S
        # what they report of the end does not matter any more, the history has been read
        with contextlib.suppress(JobProblem):
            while self._stream and not tracker.ended and (left := until - time.monotonic()) > 0:
                self._wait(tracker, left)

    def _look(self, prompt_id: str) -> tuple[dict[str, Any] | None, int | None]:
        """(history entry, place in the queue); a job that moves between the calls is not missed."""
        entry = self._client.history(prompt_id, self._deadline)
        if entry is not None:
            return entry, None
        position = protocol.queue_position(self._client.queue(self._deadline), prompt_id)
        if position is None:
            entry = self._client.history(prompt_id, self._deadline)
        return entry, position

    def _interval(self, ended: bool, missing: int) -> float:
        if ended:
            return SETTLE_S
        if missing or self._stream is None:
            return POLL_S
        return POLL_BESIDE_EVENTS_S

    def _result(
        self, prompt_id: str, entry: Mapping[str, Any], started: float, running: float | None
    ) -> JobResult:
        result = protocol.job_result(prompt_id, entry)
        now = time.monotonic()
        waited = (running if running is not None else now) - started
        return replace(
            result,
            queue_wait_s=round(waited, 3) if result.queue_wait_s is None else result.queue_wait_s,
            execution_s=(
                round(now - started - waited, 3)
                if result.execution_s is None
                else result.execution_s
            ),
            events=self._events_seen,
        )
