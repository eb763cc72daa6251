"""The documents of the emulator say what its code does."""

from __future__ import annotations

import re
from pathlib import Path

import rehearsal.cloud
from rehearsal.cloud import coverage, registry
from rehearsal.cloud.__main__ import main
from rehearsal.cloud.faults import KINDS

from .conftest import ControlError, RunningCloud

README = Path(rehearsal.cloud.__file__).with_name("README.md").read_text()


def test_coverage_md_is_current() -> None:
    """Prevents a table that promises actions which do not exist, or hides ones that do."""
    fix = "run: python -m rehearsal.cloud coverage"
    assert coverage.is_current(), fix
    assert main(["coverage", "--check"]) == 0


def test_every_action_is_described() -> None:
    """Prevents empty rows in the table."""
    assert [a.name for a in registry.registered() if not a.summary.endswith(".")] == []


def test_the_readme_names_the_control_interface_as_it_is(cloud: RunningCloud) -> None:
    """Prevents a documented path from missing, and a path from being undocumented."""
    documented = set(re.findall(r"`(GET|POST|DELETE) (/[a-z]+)`", README))
    try:
        cloud.control("GET", "/none")
    except ControlError as refusal:
        known = set(re.findall(r"(GET|POST|DELETE) (/[a-z]+)", refusal.answer["error"]))
    assert documented == known - {("GET", "/none")}
    assert all(f"`{kind}`" in README for kind in KINDS)


def test_the_readme_names_every_file() -> None:
    """Prevents a map that leads nowhere."""
    folder = Path(rehearsal.cloud.__file__).parent
    named = set(re.findall(r"`([a-z_]+\.py)`", README))
    assert named - {path.name for path in folder.glob("*.py")} == set()
