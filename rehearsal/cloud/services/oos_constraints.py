"""Constraints on the values of OOS parameters (AllowedValues, AllowedPattern, length)."""

from __future__ import annotations

import json
import re
from typing import Any

from rehearsal.cloud.errors import ApiError, invalid_parameter

_KEYS = {"AllowedValues", "AllowedPattern", "MinLength", "MaxLength"}


def parse_constraints(text: str) -> dict[str, Any]:
    """The constraints as a dict; raises InvalidParameter.Constraints."""
    try:
        constraints = json.loads(text)
    except ValueError:
        constraints = None
    if not isinstance(constraints, dict) or set(constraints) - _KEYS:
        raise invalid_parameter(
            "Constraints", text, f"a JSON object with keys among {', '.join(sorted(_KEYS))}"
        )
    return constraints


def check_constraints(constraints: dict[str, Any], value: str) -> None:
    """Raises InvalidParameter.Value when the value breaks a constraint (which is named)."""
    broken = []
    if "AllowedValues" in constraints and value not in constraints["AllowedValues"]:
        broken.append("AllowedValues")
    pattern = constraints.get("AllowedPattern")
    if pattern is not None and not re.fullmatch(str(pattern), value):
        broken.append("AllowedPattern")
    if len(value) < int(constraints.get("MinLength", 0)):
        broken.append("MinLength")
    if len(value) > int(constraints.get("MaxLength", len(value))):
        broken.append("MaxLength")
    if broken:
        raise ApiError(
            "InvalidParameter.Value",
            f"The specified parameter Value breaks the parameter's constraints: "
            f"{', '.join(broken)}.",
            400,
        )
