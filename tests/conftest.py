"""For all tests: a machine that cannot run the costly ones must not look as if they had passed."""

import os
from functools import cache
from pathlib import Path

import pytest

from rehearsal.machine.prerequisites import find_missing

OPT_OUT = "WAN_VACE_SKIP_MACHINES"


@cache
def missing() -> str:
    """What this computer lacks for machines, with the remedies; empty when nothing."""
    return "; ".join(f"{each.what}: {each.remedy}" for each in find_missing(Path.cwd()))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a machine test that cannot run; skip it only where somebody said so."""
    if item.get_closest_marker("machine") is None or not missing():
        return
    if os.environ.get(OPT_OUT):
        pytest.skip(f"{OPT_OUT} is set; this computer cannot run machines: {missing()}")
    pytest.fail(
        f"this computer cannot run machines: {missing()}. Set {OPT_OUT}=1 to leave them out",
        pytrace=False,
    )
