"""Setting a machine up installs what is missing and leaves the rest alone."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rehearsal.toolchain import bootstrap, pins
from rehearsal.toolchain.commands import Commands
from rehearsal.toolchain.errors import CommandError
from rehearsal.toolchain.progress import Progress
from rehearsal.toolchain.store import Store

EMPTY_LOCK = "# nothing is needed\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "images" / "gateway").mkdir(parents=True)
    (folder / "sample_package.py").write_text("VALUE = 3\n")
    (folder / "requirements.lock").write_text(EMPTY_LOCK)
    return folder


def set_up(repository: Path) -> str:
    """Makes the environment and returns what was said."""
    stream = io.StringIO()
    bootstrap.make_environment(
        Commands(),
        Progress(stream, live=False),
        repository,
        store=Store(repository.parent / "cache"),
    )
    return stream.getvalue()


def test_every_listed_package_has_its_reason() -> None:
    """Prevents a list of packages that nobody dares to shorten."""
    listed = bootstrap.listed_packages(bootstrap.PACKAGE_LIST.read_text())
    assert {"podman", "buildah", "mmdebstrap", "nftables"} <= set(listed)
    assert all(listed.values()), listed


def test_only_packages_that_are_fully_installed_count() -> None:
    """Prevents a removed package with leftover configuration from counting as there."""
    status = (
        "podman install ok installed\n"
        "runc deinstall ok config-files\n"
        "nftables:amd64 install ok installed\n"
        "buildah unknown ok not-installed\n"
    )
    wanted = ["podman", "runc", "nftables", "buildah", "mmdebstrap"]
    assert bootstrap.missing_packages(wanted, status) == ["runc", "buildah", "mmdebstrap"]


def test_names_in_a_lock_compare_as_package_indexes_compare_them() -> None:
    """Prevents an uninstall of a package that is merely spelt otherwise."""
    lock = "Types_PyYAML==6.0 \\\n    --hash=sha256:00\npulumi==3.1\n    # via -r requirements.in\n"
    assert bootstrap.locked_names(lock) == {"types-pyyaml", "pulumi"}
    before = {"packages": ["types-pyyaml", "pulumi", "six"]}
    assert bootstrap.no_longer_locked(before, lock) == ["six"]
    assert bootstrap.no_longer_locked({}, lock) == []


def test_an_environment_is_made_once_and_finds_the_repository(repository: Path) -> None:
    """Prevents both a slow second run and imports that only work in one folder."""
    assert ".venv: installed from requirements.lock" in set_up(repository)
    python = repository / ".venv" / "bin" / "python"
    answer = subprocess.run(
        [python, "-c", "import sample_package; print(sample_package.VALUE)"],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert answer.stdout == "3\n"
    assert set_up(repository) == ""

    (repository / "requirements.lock").write_text(EMPTY_LOCK + "# changed\n")
    assert "installed from requirements.lock" in set_up(repository)


def test_an_interrupted_setup_is_finished_by_the_next_run(repository: Path) -> None:
    """Prevents an environment without packages that counts as complete."""
    set_up(repository)
    stamp = repository / ".venv" / "setup.json"
    finished = json.loads(stamp.read_text())
    (repository / "requirements.lock").write_text("absent-package==1 --hash=sha256:00\n")
    with pytest.raises(CommandError):
        set_up(repository)
    assert not stamp.exists()
    (repository / "requirements.lock").write_text(EMPTY_LOCK)
    set_up(repository)
    assert json.loads(stamp.read_text()) == finished


def test_an_environment_of_another_python_is_made_again(repository: Path) -> None:
    """Prevents strange import errors after the system's Python was upgraded."""
    python = repository / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    set_up(repository)
    assert os.path.samefile(python, sys.executable)  # noqa: PTH121  # follows both links


def test_an_old_python_is_refused_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents a syntax error as the first thing that a new user sees."""
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 2))
    assert bootstrap.main(["venv"]) == 1
    assert "Python 3.9.2; 3.11 or newer" in capsys.readouterr().err


def test_the_makefile_lists_every_target_with_a_description() -> None:
    """Prevents targets that nobody finds, and a list that names what is not there."""
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=pins.REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    for target in (
        "setup",
        "toolchain",
        "toolchain-kubernetes",
        "rehearsal",
        "rehearsal-clean",
        "test",
        "test-unit",
        "lint",
        "fmt",
        "lock",
        "clean",
    ):
        assert f"\n  {target} " in listed
