"""The rules of following one job, without I/O: what to do next, and how it ended.

The history decides; events only make progress visible at once. So a dropped WebSocket, a proxy
that cuts idle connections, or a lost message never changes the outcome. `follow` and
`async_follow` carry these decisions out, each with its own kind of I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from smoke_tests.comfy_client import protocol
from smoke_tests.comfy_client.errors import (
    ComfyError,
    ConnectionProblem,
    Deleted,
    JobProblem,
    LostByRestart,
    NotReady,
    PartlyRejected,
    Stalled,
    SubmitProblem,
    Unreachable,
)
from smoke_tests.comfy_client.progress import Progress, Tracker
from smoke_tests.comfy_client.protocol import JobResult

POLL_S = 1.0  # without events; a job takes tens of seconds, so this costs nothing
POLL_BESIDE_EVENTS_S = 5.0  # the events' safety net
FIRST_POLL_S = 0.25  # after submitting, beside events
CATCH_UP_S = 0.5  # for events that are under way when a poll finds the end
SETTLE_S = 0.1  # between polls when the end was announced but is not in the history yet
SETTLE_FOR_S = 15.0  # ComfyUI was seen to take 0.4 s; it may also run its garbage collector first
HEARTBEAT_S = 1.0  # on_progress is called at least so often
REOPEN_S = 5.0  # between attempts to get a lost event stream back
# Without an answer to any poll. A gateway that says "not ready" sees ComfyUI start, which takes
# up to a minute with torch and the node packs; where nothing answers at all, little is to be hoped.
NOT_READY_S = 90.0
UNREACHABLE_S = 15.0
CLEANUP_S = 10.0  # after the caller's own deadline: enough to stop a job and to tidy up
LATE_S = 1.0  # in which a graph whose acceptance was not waited for may still reach the queue


class Following:
    """What is known of one job, and what follows from it. Times are seconds of one clock.

    Args:
        graph: gives node ids their class names in progress.
        stall_s: see `ComfyClient.run`.
        now: the present time.
        listening: whether the event stream is open, as it was before the job was submitted.
    """

    def __init__(
        self,
        graph: Mapping[str, Any],
        prompt_id: str,
        *,
        stall_s: float,
        now: float,
        listening: bool,
    ) -> None:
        self._tracker = Tracker(graph, prompt_id)
        self._prompt_id = prompt_id
        self._stall_s = stall_s
        self._started_at = self._looked_at = now
        self._silent_s = 0.0  # with the event stream open, since the last change
        self._outage_at: float | None = None
        self._outages = 0
        self._running_at: float | None = None
        self._ended_at: float | None = None
        self._shown: Progress | None = None
        self._announced: JobProblem | None = None
        self._missing = 0
        self._events = 0
        self._listening = listening
        self._heard_all = listening
        self._neighbours: set[str] = set()
        # with events, the first poll only tells the place in the queue, and can wait for them
        self._next_poll = now + (FIRST_POLL_S if listening else 0.0)

    @property
    def progress(self) -> Progress:
        """The job's present moment."""
        return self._tracker.progress

    @property
    def ended(self) -> bool:
        """Whether the event stream has told the end."""
        return self._tracker.ended is not None

    @property
    def doing(self) -> str:
        """What goes on, for the message of a deadline."""
        unseen = ""
        if self.progress.state == "running" and not self._listening:
            unseen = " (there is no event stream, so whether it has stalled cannot be told)"
        return f"job {self._prompt_id} was at: {self.progress}{unseen}"

    def wait_s(self, now: float) -> float:
        """How long to wait for events before looking again."""
        return max(0.0, min(self._next_poll - now, HEARTBEAT_S))

    def heard(self, messages: Collection[Mapping[str, Any]] | None) -> None:
        """Take in what the event stream gave; None means that it has ended."""
        if messages is None:
            self._heard_all = False
        for message in messages or ():
            if (message.get("data") or {}).get("prompt_id"):
                self._events += 1
            try:
                self._tracker.feed(message)
            except JobProblem as problem:
                # the history entry follows; without it there would be nothing to delete yet
                self._announced = self._announced or problem

    def moment(self, now: float, *, listening: bool) -> Progress:
        """Settle what has been heard; the progress to show."""
        if self._listening and listening:
            self._silent_s += now - self._looked_at
        self._looked_at, self._listening = now, listening
        if self.ended and self._ended_at is None:
            self._ended_at = self._next_poll = now
        if self.progress != self._shown:
            self._shown, self._silent_s = self.progress, 0.0
            if self._shown.state == "running" and self._running_at is None:
                self._running_at = now
        return self._shown

    def poll_due(self, now: float) -> bool:
        """Whether to ask history and queue now."""
        return now >= self._next_poll

    def found(self) -> None:
        """The history has the job: raise what the events announced of its end, if they did."""
        if self._announced is not None:
            raise self._announced

    def unanswered(self, problem: NotReady | Unreachable, now: float) -> None:
        """A poll was not answered: raise `problem` when that has lasted for too long.

        A restart ends in the right sentence only when it is waited for: then the history is empty.
        """
        if self._outage_at is None:
            self._outage_at, self._outages = now, self._outages + 1
        silent = now - self._outage_at
        if silent >= (NOT_READY_S if isinstance(problem, NotReady) else UNREACHABLE_S):
            problem.detail = (
                f"Job {self._prompt_id} was last seen at: {self.progress}. "
                f"No poll has been answered for {silent:.0f} s."
            )
            raise problem
        self._next_poll = now + POLL_S

    def not_found(self, queue: Mapping[str, Any], now: float) -> None:
        """The history does not have the job (yet); `queue` is what GET /queue answered before."""
        self._outage_at = None
        position = protocol.queue_position(queue, self._prompt_id)
        self._tracker.queue_position(position)
        self._missing = self._missing + 1 if position is None else 0
        if position is not None:
            self._neighbours |= protocol.queue_ids(queue) - {self._prompt_id}
        if self._ended_at is not None:
            pause = SETTLE_S
        elif self._missing or not self._listening:
            pause = POLL_S
        else:
            pause = POLL_BESIDE_EVENTS_S
        self._next_poll = now + pause

    def is_gone(self, now: float) -> bool:
        """Whether the job is nowhere, for longer than it takes to move from queue to history."""
        settling = self._ended_at is not None and now - self._ended_at < SETTLE_FOR_S
        return self._missing > 1 and not settling

    def gone(self, known_ids: Collection[str]) -> JobProblem:
        """The error for a job that is nowhere.

        Args:
            known_ids: all jobs that the server knows now, of queue and history.
        """
        if self._announced is not None:
            return self._announced
        told = (
            f"Job {self._prompt_id} is neither in the queue nor in the history (GET /history "
            f"answers {{}}); it was last seen at: {self.progress}."
        )
        witnesses = sorted(self._neighbours & set(known_ids))
        proof = ""
        if witnesses:
            proof = f"job {witnesses[0]} of the same time is still known"
        elif self._heard_all and self._listening:
            proof = "its event stream has been open all the time"
        if proof:
            removed = "its history entry was deleted" if self.ended else "it was removed"
            return Deleted(
                f"{told} The server did not restart ({proof}), so {removed} by somebody.",
                prompt_id=self._prompt_id,
            )
        if self._outages:
            hint = "The service did not answer for a while meanwhile, as in a restart."
        elif not self._heard_all and self._events:
            hint = "The event stream broke off meanwhile, which a restart does."
        else:
            hint = (
                "Whether the server restarted or somebody removed the job cannot be told: "
                "there was no unbroken event stream, and no other job to compare with."
            )
        return LostByRestart(f"{told} {hint}", prompt_id=self._prompt_id)

    def check_stall(self, now: float) -> None:
        """Raise `Stalled` when the job runs without moving.

        Only time with the event stream open counts: GET /queue says of a job that it runs, not how
        far it is, so that a long step and a stall look alike to polling. Then the deadline decides.
        """
        silent = self._silent_s + (now - self._looked_at if self._listening else 0.0)
        if self._listening and self.progress.state == "running" and silent > self._stall_s:
            raise Stalled(
                f"Job {self._prompt_id} has been at {self.progress} for {silent:.0f} s; "
                f"the limit is {self._stall_s:g} s.",
                prompt_id=self._prompt_id,
            )

    def result(self, entry: Mapping[str, Any], now: float) -> JobResult:
        """Judge the history entry; what the server's clock does not tell is taken from ours.

        Raises:
            JobProblem: see `protocol.job_result`.
        """
        result = protocol.job_result(self._prompt_id, entry)
        running = self._running_at if self._running_at is not None else now
        waited = result.queue_wait_s
        took = result.execution_s
        return replace(
            result,
            queue_wait_s=round(running - self._started_at, 3) if waited is None else waited,
            execution_s=round(now - running, 3) if took is None else took,
            events=self._events,
        )


def may_run_on(error: BaseException, *, taken: bool) -> bool:
    """Whether the job may be on the server, unfinished, when `run` ends with this error.

    Args:
        taken: POST /prompt has been answered with a prompt id, and without faults.
    """
    if isinstance(error, PartlyRejected | Stalled):
        return True
    if isinstance(error, JobProblem | SubmitProblem):
        return False
    if taken or not isinstance(error, ConnectionProblem):
        return True  # whatever happened on this side: deadline, Ctrl-C, a caller's own exception
    # a lost answer may be that of an accepted graph
    return isinstance(error, NotReady) or (
        isinstance(error, Unreachable) and not error.nothing_sent
    )


def cancel_failed(prompt_id: str, problem: ComfyError, *, asked: bool) -> str:
    """What to say when a job could not be cancelled, or did not end upon it."""
    if asked:
        return f"Job {prompt_id} was told to stop, but was not seen to end: {problem.what}"
    return f"Job {prompt_id} may still run, cancelling it failed: {problem.what}"


def leave_word(error: BaseException, failed: str) -> None:
    """Tell with `error` what became of the job: `failed` is empty when it was cancelled."""
    if failed and isinstance(error, ComfyError):
        error.detail = f"{error.detail}\n{failed}".strip()
    elif failed:
        error.add_note(failed)
    elif isinstance(error, PartlyRejected):
        error.rest_cancelled()
