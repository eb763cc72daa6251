"""The rules of following a job, by a clock of the test's own: stalls and outages."""

import pytest

from smoke_tests import reference
from smoke_tests.comfy_client import (
    ComfyError,
    Deadline,
    ExecutionError,
    Interrupted,
    LostByRestart,
    NotReady,
    Stalled,
    Timeout,
    Unreachable,
)
from smoke_tests.comfy_client.following import (
    NOT_READY_S,
    SETTLE_FOR_S,
    UNREACHABLE_S,
    Following,
)

GRAPH = reference.workflow().graph
RUNS = {"queue_running": [[1, "mine", {}, {}, []]], "queue_pending": []}
EMPTY: dict[str, list[object]] = {"queue_running": [], "queue_pending": []}


def _job(*, listening: bool = True, stall_s: float = 10.0) -> Following:
    job = Following(GRAPH, "mine", stall_s=stall_s, now=0.0, listening=listening)
    job.not_found(RUNS, 0.0)
    job.moment(0.0, listening=listening)
    return job


def _step(value: int) -> list[dict[str, object]]:
    data = {"prompt_id": "mine", "node": "24", "value": value, "max": 20}
    return [{"type": "progress", "data": data}]


def test_a_job_without_a_step_for_so_long_has_stalled() -> None:
    """Prevents a limit that counts from the start, and one that never ends a job."""
    job = _job()
    for second in range(1, 9):
        job.heard(_step(second))
        job.moment(5.0 * second, listening=True)
        job.check_stall(5.0 * second)
    job.moment(49.0, listening=True)
    job.check_stall(49.0)
    job.moment(51.0, listening=True)
    with pytest.raises(Stalled, match=r"KSampler 8/20 for 11 s; the limit is 10 s"):
        job.check_stall(51.0)


def test_a_job_that_waits_in_the_queue_has_not_stalled() -> None:
    """Prevents giving up behind somebody else's long job."""
    job = Following(GRAPH, "mine", stall_s=10, now=0.0, listening=True)
    job.not_found({"queue_running": [], "queue_pending": [[2, "mine", {}, {}, []]]}, 0.0)
    job.moment(100.0, listening=True)
    job.check_stall(100.0)


def test_time_without_an_event_stream_is_no_stall() -> None:
    """Prevents a stall that is told the moment a lost stream is back, before it said anything."""
    job = _job()
    job.heard(None)
    for second in (1.0, 300.0):
        job.moment(second, listening=False)
        job.check_stall(second)
    job.moment(301.0, listening=True)
    job.check_stall(301.0)
    job.moment(312.0, listening=True)
    with pytest.raises(Stalled):
        job.check_stall(312.0)


def test_polling_alone_says_that_it_cannot_tell_a_stall() -> None:
    """Prevents a deadline's message that looks as if the job had been seen to stand still."""
    job = _job(listening=False)
    job.moment(1000.0, listening=False)
    job.check_stall(1000.0)
    ticks = iter([0.0, 2.0, 2.0])
    with pytest.raises(Timeout, match="no event stream, so whether it has stalled cannot be told"):
        Deadline(1, clock=lambda: next(ticks)).check(job.doing)


@pytest.mark.parametrize(
    ("problem", "limit"),
    [
        (NotReady("GET /queue answered 503."), NOT_READY_S),
        (Unreachable("nobody answers."), UNREACHABLE_S),
    ],
    ids=["not ready", "unreachable"],
)
def test_an_outage_ends_the_run_when_it_lasts(
    problem: NotReady | Unreachable, limit: float
) -> None:
    """Prevents waiting for a machine that is gone until a deadline of twenty minutes."""
    job = _job()
    job.unanswered(problem, 1.0)
    assert not job.poll_due(1.5)
    job.unanswered(problem, limit)
    with pytest.raises(type(problem)) as caught:
        job.unanswered(problem, 1.0 + limit)
    assert "Job mine was last seen at: 0 %  starting." in caught.value.detail
    assert f"No poll has been answered for {limit:.0f} s." in caught.value.detail


def test_outages_do_not_add_up() -> None:
    """Prevents failing a long run for a second of every minute."""
    job = _job()
    for minute in range(1, 30):
        job.unanswered(Unreachable("nobody answers."), 60.0 * minute)
        job.not_found(RUNS, 60.0 * minute + 5)


def test_a_job_that_is_nowhere_after_an_outage_was_lost_by_it() -> None:
    """Prevents "cannot be told" where the outage itself was seen."""
    job = _job(listening=False)
    job.unanswered(NotReady("GET /queue answered 503."), 1.0)
    for second in (2.0, 3.0):
        job.not_found(EMPTY, second)
    assert job.is_gone(3.0)
    error = job.gone(set())
    assert isinstance(error, LostByRestart)
    assert "did not answer for a while meanwhile, as in a restart" in str(error)


def test_a_job_that_moves_from_queue_to_history_is_not_lost() -> None:
    """Prevents "lost" for a job that one poll found in neither place, just between the two."""
    job = _job()
    job.not_found(EMPTY, 1.0)
    assert not job.is_gone(1.0)
    job.not_found(EMPTY, 2.0)
    assert job.is_gone(2.0)


def test_a_history_that_is_written_late_is_waited_for() -> None:
    """Prevents "lost" for a job whose end was announced before its entry could be read."""
    job = _job()
    job.heard([{"type": "execution_success", "data": {"prompt_id": "mine"}}])
    job.moment(1.0, listening=True)
    for second in (1.0, 2.0, 3.0):
        job.not_found(EMPTY, second)
    assert not job.is_gone(3.0)
    assert job.is_gone(1.0 + SETTLE_FOR_S)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("execution_interrupted", Interrupted), ("execution_error", ExecutionError)],
)
def test_an_end_that_only_the_events_told_is_told(kind: str, expected: type[ComfyError]) -> None:
    """Prevents "deleted" for a job whose history entry was removed at once after its end."""
    job = _job()
    job.heard([{"type": kind, "data": {"prompt_id": "mine", "node_id": "24"}}])
    job.moment(1.0, listening=True)
    assert job.ended
    assert isinstance(job.gone(set()), expected)
