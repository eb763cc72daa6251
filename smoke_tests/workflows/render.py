"""Writes the files of all workflows, or says which are stale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from smoke_tests.workflows.catalogue import RECIPES
from smoke_tests.workflows.definitions import DEFINITIONS
from smoke_tests.workflows.page import page
from smoke_tests.workflows.recipe import FOLDER
from smoke_tests.workflows.ui import ui

COMMAND = "python -m smoke_tests.workflows render"


def _text(graph: dict[str, Any]) -> str:
    return json.dumps(graph, ensure_ascii=False, indent=1) + "\n"


def rendered() -> dict[Path, str]:
    """Every generated file with its content.

    The reference's API JSON is not among them: it is given, byte for byte, and only its UI JSON is
    made here.
    """
    files = {}
    for name, recipe in RECIPES.items():
        graph = DEFINITIONS[name](recipe)
        if name != "reference":
            files[recipe.api_path] = _text(graph.api())
        files[recipe.ui_path] = _text(ui(graph, recipe))
    files[FOLDER / "README.md"] = page(RECIPES.values())
    return files


def stale() -> list[Path]:
    """Generated files that are missing or differ from what would be written now."""
    return [
        path
        for path, text in rendered().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def write() -> list[Path]:
    """Write what is stale; returns it."""
    files, changed = rendered(), stale()
    for path in changed:
        path.write_text(files[path], encoding="utf-8")
    return changed
