"""The end of a stack, and of a rehearsal whose processes were all killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rehearsal.paths import REPOSITORY
from tests.machine.test_cleanup import traces
from tests.rehearsal.polling import eventually
from tests.rehearsal.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.machine, pytest.mark.timeout(180)]


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that name the folder, in words or in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
            surroundings = (process / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in words + surroundings and int(process.name) != os.getpid():
            found.append(words.replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_destroy_leaves_an_empty_cloud(node: Stack) -> None:
    """Whatever is left in the account costs money."""
    node.pulumi("destroy", "--yes", "--skip-preview")
    node.outputs = {}
    status = node.emulator.call("GET", "/status")
    assert status["empty"], status["resources"]
    assert status["unknown_actions"] == []


def test_a_rehearsal_that_was_killed_in_the_middle_is_removed_wholly(stack: Stack) -> None:
    """A kill -9 gives nobody a chance to tidy up: machines, networks, disks and plugins stay."""
    slot = stack.slot
    process = stack.workspace.start("up", "--yes", "--skip-preview", capture=True)
    known = len(stack.emulator.call("GET", "/calls?since=0"))

    def disk_attached() -> bool:
        calls = stack.emulator.call("GET", "/calls?since=0")[known:]
        return any(call["action"] == "AttachDisk" for call in calls)

    eventually("the machine has its disk", disk_attached, within_s=90)
    process.kill()
    process.wait()
    stack.kill_cloud()
    assert traces(slot, stack.journey.cloud_state)
    assert any("pulumi.dynamic" in words for words in processes_of(stack.root))

    ended = subprocess.run(
        [sys.executable, "-m", "rehearsal", "clean"],
        cwd=REPOSITORY,
        env={**os.environ, "WAN_VACE_REHEARSAL_DIR": str(stack.root)},
        check=False,
        text=True,
        capture_output=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert traces(slot, stack.journey.cloud_state) == []
    eventually("its processes are gone", lambda: not processes_of(stack.root), within_s=10)
    assert not stack.journey.folder.exists()
