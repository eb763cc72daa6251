"""How much a run tests: quick, reference (the default) or full."""

from __future__ import annotations

from typing import Literal

Level = Literal["quick", "reference", "full"]
LEVELS: tuple[Level, ...] = ("quick", "reference", "full")
DEFAULT_LEVEL: Level = "reference"

# Cheap and telling first: when the service is down, nothing else needs to be said. The tiny graph
# runs only where the reference workflow, which shows more, does not.
FILES: dict[str, tuple[Level, ...]] = {
    "test_health": LEVELS,
    "test_auth": LEVELS,
    "test_door": LEVELS,
    "test_models": LEVELS,
    "test_tiny_graph": ("quick",),
    "test_reference_workflow": ("reference", "full"),
    "test_traps": ("reference", "full"),
    "test_service": ("full",),
    "test_workflows": ("full",),
}


def level(name: str) -> Level:
    """The level of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in LEVELS:
        raise ValueError(
            f"--level is {name!r}; allowed are {', '.join(LEVELS)}, as the suite knows no other "
            "amount of testing. Choose one, or leave the option out for the reference workflow."
        )
    return name


def place(file_stem: str) -> int:
    """Where a test file comes in the order of a run; files that are not listed come last."""
    return list(FILES).index(file_stem) if file_stem in FILES else len(FILES)


def belongs(file_stem: str, chosen: Level) -> bool:
    """Whether a test file is part of a run of that level."""
    return chosen in FILES.get(file_stem, LEVELS)
