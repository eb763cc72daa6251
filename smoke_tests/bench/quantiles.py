"""Percentiles that say when there are too few values for them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEVELS = (50, 90, 99)


@dataclass(frozen=True)
class Summary:
    """Some values of one quantity, in its own unit.

    Attributes:
        values: as measured, in order of the runs.
        percentiles: level -> value, or None where `count` values cannot tell it.
    """

    values: tuple[float, ...]
    percentiles: dict[int, float | None]

    @property
    def count(self) -> int:
        """How many values there are."""
        return len(self.values)

    @property
    def median(self) -> float | None:
        """The 50th percentile; None without values."""
        return self.percentiles[50]


def needed(level: int) -> int:
    """Values that a percentile needs: enough that one of them may be expected to lie above it."""
    return math.ceil(100 / (100 - level)) if level > 50 else 1


def summarise(values: Sequence[float]) -> Summary:
    """Percentiles by nearest rank, so that each one is a value which was really measured."""
    ordered = sorted(values)
    found: dict[int, float | None] = {}
    for level in LEVELS:
        rank = max(1, math.ceil(level / 100 * len(ordered)))
        found[level] = ordered[rank - 1] if len(ordered) >= needed(level) else None
    return Summary(tuple(values), found)


def shown(summary: Summary, level: int, *, digits: int = 2) -> str:
    """A percentile for people, or how many values it would need."""
    value = summary.percentiles[level]
    if value is None:
        return f"needs {needed(level)} values" if summary.count else "-"
    return f"{value:.{digits}f}"
