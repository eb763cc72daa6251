"""``python -m images check``: is everything that is derived from the pins up to date?"""

from __future__ import annotations

import argparse

from images import lock as lock_module
from images import render
from images.lock import LOCK, PINS
from images.pins import load as load_pins


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``check``."""
    parser = subparsers.add_parser(
        "check",
        help="compare lock and Containerfiles with the pins, without a network",
        description="Status 2, and the command that fixes it, when something is not up to date.",
    )
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Check pins, lock and rendered files, in this order."""
    pins = load_pins(PINS)
    lock = lock_module.load(LOCK)
    lock_module.check_fresh(lock, PINS)
    wanted = render.render(lock, pins)
    render.check_rendered(wanted)
    print(
        f"{LOCK.name} (sha256 {lock.sha256}) matches {PINS.name}; {len(wanted)} Containerfiles do"
    )
    return 0
