"""All workflows in the order in which pages list them; the reference comes first."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from smoke_tests.workflows.recipe import Recipe
from smoke_tests.workflows.recipes_edit import EDITS
from smoke_tests.workflows.recipes_make import MAKERS

#: By name.
RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {recipe.name: recipe for recipe in (*MAKERS, *EDITS)}
)
