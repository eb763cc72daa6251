"""``python -m rehearsal.machine check | list | clean [--slot N | --all]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rehearsal.machine.cleanup import clean_slot, used_slots
from rehearsal.machine.errors import MachineError
from rehearsal.machine.prerequisites import find_missing
from rehearsal.machine.slots import Slot


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.command == "check":
        return _check()
    if options.command == "list":
        for slot in used_slots():
            print(f"slot {slot.number}\t{slot.public_network}\t{slot.record_file}")
        return 0
    slots = used_slots() if options.all else [Slot(options.slot)]
    failures = 0
    for slot in slots:
        try:
            found = clean_slot(slot)
        except MachineError as error:
            failures += 1
            print(f"error: {error}", file=sys.stderr)
        else:
            print(f"slot {slot.number}: removed {', '.join(found) or 'nothing, it was clean'}")
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rehearsal.machine", description="The rehearsal's machines."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="say whether this computer can run machines")
    commands.add_parser("list", help="show slots that are in use or have left something")
    clean = commands.add_parser("clean", help="remove what rehearsals have left")
    which = clean.add_mutually_exclusive_group(required=True)
    which.add_argument("--slot", type=int, metavar="N", help="0 to 15")
    which.add_argument("--all", action="store_true", help="every slot that no process holds")
    return parser


def _check() -> int:
    missing = find_missing(Path.cwd())
    for each in missing:
        print(f"missing: {each.what}\n  {each.remedy}")
    if not missing:
        print("this computer can run machines")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
