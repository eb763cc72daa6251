"""The workflows under test, and what a server knows about node classes."""

from __future__ import annotations

from typing import Any

import pytest

from rehearsal.comfyui.settings import Settings
from rehearsal.comfyui.simulation import build
from smoke_tests.workflows import RECIPES, Recipe


@pytest.fixture(params=list(RECIPES))
def recipe(request: pytest.FixtureRequest) -> Recipe:
    """Each workflow in turn."""
    return RECIPES[request.param]


@pytest.fixture(scope="session")
def object_info(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The recorded declarations of all node classes of the pinned versions."""
    base = tmp_path_factory.mktemp("comfyui")
    answer: dict[str, Any] = build(Settings(base=base)).catalogue.everything()
    return answer
