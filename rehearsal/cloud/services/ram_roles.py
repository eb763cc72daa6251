"""RAM roles: who may assume them, and for how long.

Role names are compared as written; the ARN has them in lower case, as the real service shows it.
"""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

import re
import secrets
from typing import Any

from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.policy import parse_trust_document
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.state import Cloud

VERSION = "2015-05-01"
ROLES = "ram_roles"
ATTACHMENTS = "ram_attachments"

_NAME = re.compile(r"^[A-Za-z0-9.-]+$")
_MIN_SESSION_S, _MAX_SESSION_S = 3600, 43200

Row = dict[str, Any]


def check_name(parameter: str, name: str, pattern: re.Pattern[str], limit: int, what: str) -> None:
    """Raises InvalidParameter.<parameter>.Length or .InvalidChars for a name that RAM refuses."""
    if len(name) > limit:
        raise ApiError(
            f"InvalidParameter.{parameter}.Length",
            f"The parameter - {parameter} is too long: it has {len(name)} characters and at most "
            f"{limit} are allowed.",
            400,
        )
    if not pattern.match(name):
        raise ApiError(
            f"InvalidParameter.{parameter}.InvalidChars",
            f"The parameter - {parameter} has invalid chars: {name!r}. Allowed: {what}.",
            400,
        )


def role_arn(request: Request) -> str:
    """The RAM resource of the role that a request names."""
    return f"acs:ram:*:{request.caller.account}:role/{request.get('RoleName')}"


def role_not_found(name: str) -> ApiError:
    """EntityNotExist.Role."""
    return ApiError("EntityNotExist.Role", f"The role does not exist : {name} .", 404)


def find_role(cloud: Cloud, account: str, name: str) -> Row:
    """The role's row; raises EntityNotExist.Role."""
    row = cloud.account(account).table(ROLES).get(name)
    if row is None:
        raise role_not_found(name)
    return row


def inline_tags(request: Request, parameter: str = "Tag") -> dict[str, str]:
    """Tags sent as Tag.N.Key/Value or as a JSON list of {Key, Value} (RAM takes both)."""
    tags = {}
    for item in request.structs(parameter):
        key = item.get("Key", "")
        if not key or len(key) > 128 or key.lower().startswith(("aliyun", "acs:")):
            raise invalid_parameter(
                f"{parameter}.Key", key, "1 to 128 characters, not starting with aliyun or acs:"
            )
        tags[key] = item.get("Value", "")
    if len(tags) > 20:
        raise ApiError("InvalidParameter.Tag", "A resource can have at most 20 tags.", 400)
    return tags


def _answer(row: Row, *, with_document: bool = True) -> Row:
    fields = ("RoleName", "RoleId", "Arn", "Description", "CreateDate", "UpdateDate")
    answer = {name: row[name] for name in fields}
    answer["MaxSessionDuration"] = row["MaxSessionDuration"]
    if with_document:
        answer["AssumeRolePolicyDocument"] = row["AssumeRolePolicyDocument"]
    return answer


def _session_duration(request: Request, parameter: str) -> int | None:
    seconds = request.integer(parameter)
    if seconds is not None and not _MIN_SESSION_S <= seconds <= _MAX_SESSION_S:
        raise invalid_parameter(parameter, seconds, f"{_MIN_SESSION_S} to {_MAX_SESSION_S} seconds")
    return seconds


def _description(request: Request, parameter: str) -> str:
    text = request.get(parameter)
    if len(text) > 1024:
        raise ApiError(
            f"InvalidParameter.{parameter}.Length",
            f"The parameter - {parameter} has {len(text)} characters; at most 1024 are allowed.",
            400,
        )
    return text


@action("ram", VERSION, resource=role_arn)
def CreateRole(request: Request, cloud: Cloud) -> Row:
    """Create a role with a trust policy."""
    name = request.required("RoleName")
    check_name("RoleName", name, _NAME, 64, "letters, digits, periods and hyphens")
    document = request.required("AssumeRolePolicyDocument")
    parse_trust_document(document)
    table = cloud.account(request.caller.account).table(ROLES)
    if any(existing.lower() == name.lower() for existing in table):
        raise ApiError("EntityAlreadyExists.Role", f"The role already exists : {name} .", 409)
    now = cloud.timestamp()
    row = {
        "RoleName": name,
        "RoleId": "3" + "".join(secrets.choice("0123456789") for _ in range(17)),
        "Arn": f"acs:ram::{request.caller.account}:role/{name.lower()}",
        "AssumeRolePolicyDocument": document,
        "Description": _description(request, "Description"),
        "MaxSessionDuration": _session_duration(request, "MaxSessionDuration") or _MIN_SESSION_S,
        "CreateDate": now,
        "UpdateDate": now,
        "Tags": inline_tags(request),
    }
    table[name] = row
    return {"Role": _answer(row)}


@action("ram", VERSION, resource=role_arn, read_only=True)
def GetRole(request: Request, cloud: Cloud) -> Row:
    """Read a role."""
    row = find_role(cloud, request.caller.account, request.required("RoleName"))
    return {"Role": _answer(row)}


@action("ram", VERSION, read_only=True)
def ListRoles(request: Request, cloud: Cloud) -> Row:
    """List all roles of the account (one page)."""
    rows = cloud.account(request.caller.account).table(ROLES).values()
    return {
        "IsTruncated": False,
        "Roles": {"Role": [_answer(row, with_document=False) for row in rows]},
    }


@action("ram", VERSION, resource=role_arn)
def UpdateRole(request: Request, cloud: Cloud) -> Row:
    """Change a role's trust policy, description or longest session."""
    row = find_role(cloud, request.caller.account, request.required("RoleName"))
    changes: Row = {}
    document = request.get("NewAssumeRolePolicyDocument")
    if document:
        parse_trust_document(document)
        changes["AssumeRolePolicyDocument"] = document
    if "NewDescription" in request.params:
        changes["Description"] = _description(request, "NewDescription")
    duration = _session_duration(request, "NewMaxSessionDuration")
    if duration is not None:
        changes["MaxSessionDuration"] = duration
    row.update(changes, UpdateDate=cloud.timestamp())
    return {"Role": _answer(row)}


@action("ram", VERSION, resource=role_arn)
def DeleteRole(request: Request, cloud: Cloud) -> Row:
    """Delete a role that has no policies attached."""
    name = request.required("RoleName")
    find_role(cloud, request.caller.account, name)
    state = cloud.account(request.caller.account)
    attached = [r["PolicyName"] for r in state.table(ATTACHMENTS).values() if r["RoleName"] == name]
    if attached:
        raise ApiError(
            "DeleteConflict.Role.Policy",
            "The role can not be deleted while it has attached policies. Attached: "
            f"{', '.join(attached)}. Detach them first.",
            409,
        )
    del state.table(ROLES)[name]
    cloud.credentials.end_sessions(request.caller.account, name)
    return {}
