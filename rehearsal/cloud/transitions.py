"""Statuses that change with time.

Nothing runs in the background for a status: a row remembers when its change began and which steps
follow, and the status is computed when somebody asks. A stopped emulator therefore resumes with
the right statuses, and a test can choose how long a second lasts (``settings.time_scale``).
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Row = MutableMapping[str, Any]

GONE = ""
"""The status of a row whose last transition deletes it."""


@dataclass(frozen=True)
class Transition:
    """``status_from`` lasts ``seconds`` (before scaling) and then becomes ``status_to``.

    ``status_to`` is :data:`GONE` when the resource disappears at the end.
    """

    status_from: str
    status_to: str
    seconds: float


def begin(row: Row, now: float, *steps: Transition, scale: float = 1.0) -> None:
    """Start ``steps`` one after the other at ``now`` (seconds since the epoch).

    Sets ``Status``, ``_since`` and ``_steps`` of the row. Raises ValueError when the steps do not
    join (each must start where the one before ended).
    """
    if not steps:
        raise ValueError("no transition was given: pass at least one Transition")
    for before, after in pairwise(steps):
        if before.status_to != after.status_from:
            raise ValueError(
                f"transitions do not join: {before.status_to!r} is followed by "
                f"{after.status_from!r}; each must start where the one before ended"
            )
    row["Status"] = steps[0].status_from
    row["_since"] = now
    row["_steps"] = [[step.status_to, step.seconds * scale] for step in steps]


def settled(row: Row, now: float) -> str:
    """The row's status at ``now``; :data:`GONE` when it has disappeared by then."""
    status = str(row.get("Status", ""))
    at = float(row.get("_since", now))
    for status_to, seconds in row.get("_steps", []):
        at += seconds
        if now < at:
            return status
        status = status_to
    return status


def is_gone(row: Row, now: float) -> bool:
    """Whether the row's last transition has deleted it by ``now``."""
    return bool(row.get("_steps")) and settled(row, now) == GONE


def settle(row: Row, now: float) -> str:
    """Like :func:`settled`, and writes a finished change into the row."""
    status = settled(row, now)
    steps = row.get("_steps", [])
    if steps and status == steps[-1][0] and now >= float(row["_since"]) + sum(s for _, s in steps):
        row["Status"] = status
        row.pop("_steps")
        row.pop("_since")
    return status


def sweep(table: MutableMapping[str, dict[str, Any]], now: float) -> list[str]:
    """Remove the rows that are :data:`GONE` by ``now``; returns their keys."""
    gone = [key for key, row in table.items() if is_gone(row, now)]
    for key in gone:
        del table[key]
    return gone
