"""Tags of RAM roles and policies; this product answers them as a flat list."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from typing import Any

from rehearsal.cloud.errors import ApiError, invalid_parameter, missing_parameter
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.ram_policies import find_policy
from rehearsal.cloud.services.ram_roles import VERSION, find_role, inline_tags
from rehearsal.cloud.state import Cloud

Row = dict[str, Any]

_FINDERS = {"role": find_role, "policy": find_policy}


def _rows(request: Request, cloud: Cloud) -> list[tuple[str, Row]]:
    kind = request.required("ResourceType")
    if kind not in _FINDERS:
        raise invalid_parameter("ResourceType", kind, " or ".join(_FINDERS))
    names = request.repeated("ResourceNames")
    if not names:
        raise missing_parameter("ResourceNames")
    return [(name, _FINDERS[kind](cloud, request.caller.account, name)) for name in names]


@action("ram", VERSION)
def TagResources(request: Request, cloud: Cloud) -> Row:
    """Add tags to roles or policies."""
    tags = inline_tags(request)
    if not tags:
        raise missing_parameter("Tag")
    rows = _rows(request, cloud)
    for name, row in rows:
        if len({**row["Tags"], **tags}) > 20:
            raise ApiError(
                "LimitExceeded.Tag", f"{name} would have more than 20 tags, the limit.", 409
            )
    for _, row in rows:
        row["Tags"].update(tags)
    return {}


@action("ram", VERSION)
def UntagResources(request: Request, cloud: Cloud) -> Row:
    """Remove tags from roles or policies."""
    keys = request.repeated("TagKeys") or request.repeated("TagKey")
    everything = request.boolean("All")
    if not keys and not everything:
        raise missing_parameter("TagKeys")
    for _, row in _rows(request, cloud):
        for key in list(row["Tags"]) if everything else keys:
            row["Tags"].pop(key, None)
    return {}


@action("ram", VERSION, read_only=True)
def ListTagResources(request: Request, cloud: Cloud) -> Row:
    """List the tags of roles or policies."""
    kind = request.required("ResourceType")
    found = [
        {"ResourceType": kind, "ResourceName": name, "TagKey": key, "TagValue": value}
        for name, row in _rows(request, cloud)
        for key, value in row["Tags"].items()
    ]
    return {"TagResources": found}
