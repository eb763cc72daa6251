"""The status file: its transitions, and what is left after a killed run or a reboot."""

import json
import os
from pathlib import Path

import pytest

from infra.node.vace_node.errors import NodeError
from infra.node.vace_node.status import Report, Run, Step, load


def fail(message: str, *, permanent: bool = False) -> str:
    """An action that fails."""
    raise NodeError(message, permanent=permanent)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the status is written."""
    return tmp_path / "status.json"


def test_steps_go_from_pending_to_done(path: Path) -> None:
    """The usual run, as the file shows it afterwards."""
    run = Run(["one", "two"], path, boot="b1")
    assert load(path, boot="b1").phase == "booting"
    run.execute("one", lambda: "first")
    assert [step.state for step in load(path, boot="b1").steps] == ["done", "pending"]
    run.execute("two", lambda: None)
    run.finish()
    report = load(path, boot="b1")
    assert report.phase == "ready"
    assert report.steps[0].message == "first"
    assert not report.running
    assert json.loads(path.read_text())["schema"] == 1


@pytest.mark.parametrize(
    ("state", "to"),
    [
        ("pending", "done"),
        ("pending", "failed"),
        ("done", "running"),
        ("failed", "done"),
        ("running", "running"),
    ],
)
def test_illegal_moves_are_refused(state: str, to: str) -> None:
    """A step that is done twice or never begun means that the agent lost its place."""
    with pytest.raises(ValueError, match=f"cannot go from {state} to {to}"):
        Step("one", state=state).move(to, 1.0)


def test_failure_is_recorded_with_its_step(path: Path) -> None:
    """`wait` reports the step and stops waiting when trying again is no use."""
    run = Run(["one", "two"], path, boot="b1")
    with pytest.raises(NodeError):
        run.execute("one", lambda: fail("the disk holds xfs", permanent=True))
    report = load(path, boot="b1")
    assert report.phase == "failed"
    assert report.error == {
        "step": "one",
        "message": "the disk holds xfs",
        "permanent": True,
        "restart": False,
    }
    assert report.finished
    assert [step.state for step in report.steps] == ["failed", "pending"]


def test_secrets_do_not_reach_the_file(path: Path) -> None:
    """The file is readable for everybody on the node, and is shown to operators."""
    run = Run(["one"], path, boot="b1")
    with pytest.raises(NodeError):
        run.execute("one", lambda: fail("Authorization: Bearer abcdef0123456789 was refused"))
    assert "abcdef0123456789" not in path.read_text()


def test_service_stays_ready_while_a_later_run_looks_after_it(path: Path) -> None:
    """The timer runs every five minutes; the phase must not flap each time."""
    first = Run(["one"], path, boot="b1")
    first.execute("one", lambda: None)
    first.finish()
    second = Run(["one"], path, boot="b1")
    assert load(path, boot="b1").phase == "ready"
    second.interrupted_service()
    assert load(path, boot="b1").phase == "booting"


def test_reboot_begins_anew(path: Path) -> None:
    """Ready before the reboot is not ready after it."""
    run = Run(["one"], path, boot="b1")
    run.execute("one", lambda: None)
    run.finish()
    assert load(path, boot="b2") == Report(boot_id="b2")


def test_killed_run_is_not_taken_for_a_running_one(path: Path) -> None:
    """Otherwise `wait` would wait for a process that no longer exists."""
    run = Run(["one"], path, boot="b1")
    assert load(path, boot="b1").running
    document = json.loads(path.read_text())
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    path.write_text(json.dumps({**document, "pid": child}))
    assert not load(path, boot="b1").running
    run.finish()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 9, "steps": []}'])
def test_damaged_file_counts_as_none(path: Path, text: str) -> None:
    """A power failure must not stop the node from starting again."""
    path.write_text(text)
    assert load(path, boot="b1").phase == "booting"
