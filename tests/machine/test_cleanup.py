"""After a rehearsal, or after one that was killed, the computer is as it was before."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.cloud.hypervisor import MachineSpec
from rehearsal.machine import PodmanHypervisor, SlotBusyError
from rehearsal.machine.__main__ import main
from rehearsal.machine.slots import Slot
from tests.machine.conftest import make_authority

pytestmark = [pytest.mark.machine, pytest.mark.timeout(300)]

# Runs in a process of its own, so that it can be killed with everything it holds.
VICTIM = """
import sys, time
from pathlib import Path
from rehearsal.cloud.hypervisor import MachineSpec
from rehearsal.machine import PodmanHypervisor
state = Path(sys.argv[1])
h = PodmanHypervisor(state, None, state / "ca.pem", state / "ca.key")
h.launch(MachineSpec("i-bp1victim", "victim", "192.168.9.9", "00:16:3e:09:00:09", "z", 1024, "img"))
h.create_disk("d-bp1victim", 1)
h.attach_disk("i-bp1victim", "d-bp1victim")
print(h.slot.number, flush=True)
time.sleep(300)
"""


@pytest.fixture
def state() -> Iterator[Path]:
    folder = Path(os.environ.get("TMPDIR", "/var/tmp")) / f"vace-cleanup-test-{os.getpid()}"
    folder.mkdir()
    make_authority(folder)
    yield folder
    shutil.rmtree(folder)


def traces(slot: Slot, state: Path) -> list[str]:
    """Everything on this computer that names the slot or the state folder."""
    found = []
    for command in (
        ["ip", "netns", "list"],
        ["ip", "-br", "link"],
        ["ip", "route"],
        ["losetup", "--list"],
        ["cat", "/proc/self/mountinfo"],
        ["ls", "/run/wan-vace"],
        ["ps", "-eo", "args"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        marks = (f"{slot.prefix}-", slot.host_link, str(slot.cloud_address), f"{state}/vr")
        for line in done.stdout.splitlines():
            if any(mark in line for mark in (*marks, f"{slot.prefix}.")):
                found.append(f"{' '.join(command)}: {line}")
    return found


def test_killed_rehearsal_is_found_again_and_then_removed_wholly(state: Path) -> None:
    """SIGKILL gives no chance to tidy up; a later run must adopt or remove what is left."""
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(state)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert victim.stdout is not None
    slot = Slot(int(victim.stdout.readline()))
    try:
        # A slot whose process lives is nobody else's.
        with pytest.raises(SlotBusyError):
            PodmanHypervisor(state, slot.number, state / "ca.pem", state / "ca.key")
        assert main(["clean", "--slot", str(slot.number)]) == 1
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        victim.stdout.close()
    assert traces(slot, state)
    again = PodmanHypervisor(state, None, state / "ca.pem", state / "ca.key")
    try:
        assert again.slot == slot
        assert again.is_running("i-bp1victim"), again.console_output("i-bp1victim")
        again.launch(
            MachineSpec("i-bp1victim", "victim", "192.168.9.9", "00:16:3e:09:00:09", "z", 1, "i")
        )
        again.detach_disk("i-bp1victim", "d-bp1victim")
        again.stop("i-bp1victim", force=True)
        assert not again.is_running("i-bp1victim")
        again.start("i-bp1victim")
        again.attach_disk("i-bp1victim", "d-bp1victim")
    finally:
        again.close()
    assert main(["clean", "--slot", str(slot.number)]) == 0
    assert traces(slot, state) == []
    assert sorted(path.name for path in state.iterdir()) == ["ca.key", "ca.pem"]
