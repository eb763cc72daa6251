"""``python -m smoke_tests.workflows``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smoke_tests.workflows import RECIPES, __main__, graph, render


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process."""
    monkeypatch.setattr("sys.argv", ["workflows", *arguments])
    return __main__.main()


def test_list_names_every_workflow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents a list that leaves one out."""
    assert command(monkeypatch, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(RECIPES)


def test_check_names_a_stale_file_and_the_command_that_fixes_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Prevents a definition that is changed without its files."""
    assert command(monkeypatch, "check") == 0
    monkeypatch.setattr(render, "rendered", lambda: {tmp_path / "style.ui.json": "{}"})
    assert command(monkeypatch, "check") == 1
    said = capsys.readouterr().err
    assert "style.ui.json" in said
    assert "python -m smoke_tests.workflows render" in said


def test_render_writes_what_is_stale_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Prevents files that are touched on each run."""
    fresh, old = tmp_path / "fresh.json", tmp_path / "old.json"
    fresh.write_text("1")
    old.write_text("1")
    monkeypatch.setattr(render, "rendered", lambda: {fresh: "1", old: "2"})
    assert command(monkeypatch, "render") == 0
    assert capsys.readouterr().out == "wrote old.json\n"
    assert old.read_text() == "2"


def test_classes_says_which_class_a_server_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Prevents an extract of a server without the node packs, which no workflow would fit."""
    before = graph.CLASSES_FILE.read_bytes()
    answer = tmp_path / "object_info.json"
    answer.write_text(json.dumps({}))
    assert command(monkeypatch, "classes", str(answer)) == 1
    assert "it has no class" in capsys.readouterr().err
    assert graph.CLASSES_FILE.read_bytes() == before
