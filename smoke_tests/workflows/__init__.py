"""The workflows that the service ships: the reference, and one for each kind of editing.

Each is defined once in Python and written twice: as API JSON for programs and as UI JSON for the
browser interface (``python -m smoke_tests.workflows render``).
"""

from smoke_tests.workflows.catalogue import RECIPES
from smoke_tests.workflows.recipe import Fit, Kept, Language, Prompt, Recipe, Role

__all__ = ["RECIPES", "Fit", "Kept", "Language", "Prompt", "Recipe", "Role"]
