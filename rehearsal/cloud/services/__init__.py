"""One module per product (or part of one); importing a module registers its actions."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rehearsal.cloud.state import Cloud


def load_all() -> list[ModuleType]:
    """Import every module of this folder, so that its actions are in the registry."""
    return [
        importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
    ]


def resume_all(cloud: Cloud) -> None:
    """Let services pick up work that the previous process of this state directory left.

    Calls ``resume(cloud)`` of each module that defines it.
    """
    for module in load_all():
        resume = getattr(module, "resume", None)
        if resume is not None:
            resume(cloud)
