"""Which process owns which slot: a lock that dies with the process, and a record that does not."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import IO

from rehearsal.machine.cleanup import clean_held_slot, recorded_state
from rehearsal.machine.errors import SlotBusyError
from rehearsal.machine.slots import RUN_FOLDER, SLOTS, Slot


def take_slot(state: Path, number: int | None) -> tuple[Slot, IO[str]]:
    """Lock a slot for this process: the given one, the folder's former one, or a free one.

    Leftovers of a rehearsal that died with another state folder are removed. Returns the slot and
    the open lock file, whose closing gives the slot back. Raises SlotBusyError.
    """
    RUN_FOLDER.mkdir(parents=True, exist_ok=True)
    candidates = [Slot(number)] if number is not None else [Slot(n) for n in range(SLOTS)]
    candidates.sort(key=lambda slot: recorded_state(slot) != state)
    for slot in candidates:
        lock_file = _try_lock(slot)
        if lock_file is None:
            continue
        if recorded_state(slot) != state:
            clean_held_slot(slot)
        record = {"state_dir": str(state), "pid": os.getpid()}
        slot.record_file.write_text(json.dumps(record) + "\n")
        return slot, lock_file
    which = f"slot {number}" if number is not None else f"each of the {SLOTS} slots"
    raise SlotBusyError(
        f"{which} is in use by a rehearsal that is alive (state folder "
        f"{recorded_state(candidates[0])}); end that one, or use another slot"
    )


def _try_lock(slot: Slot) -> IO[str] | None:
    while True:
        lock_file = slot.lock_file.open("a")
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock_file.close()
            return None
        # A cleaner may have deleted the file between opening and locking it.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock_file.fileno()), slot.lock_file.stat()):
                return lock_file
        lock_file.close()
