"""OOS Parameter Store: plain parameters and secret ("encryption") parameters.

Secret values lie encrypted in the state file and are only in an answer to GetSecretParameter with
WithDecryption=true, which asks for kms:GetSecretValue as well, as the real service does.
"""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rehearsal.cloud.errors import ApiError, invalid_parameter, missing_parameter
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.oos_constraints import check_constraints, parse_constraints
from rehearsal.cloud.state import Cloud

VERSION = "2019-06-01"
MAX_VALUE_CHARS = 4096
MAX_NAME_CHARS = 180
MAX_TAGS = 20

_RESERVED = ("ALIYUN", "ACS", "ALIBABA", "ALICLOUD", "OOS")

Row = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One of the two sorts of parameters; ``resource`` is its word in ARNs and tag calls."""

    table: str
    resource: str
    types: tuple[str, ...]
    name_pattern: re.Pattern[str]
    name_words: str

    def arn(self, request: Request, name: str = "") -> str:
        """The RAM resource of a parameter (of the one that the request names)."""
        name = name or request.get("Name") or "*"
        return f"acs:oos:{request.region}:{request.caller.account}:{self.resource}/{name}"


PLAIN = Kind(
    "oos_parameters",
    "parameter",
    ("String", "StringList"),
    re.compile(r"^[A-Za-z0-9_/-]{2,180}$"),
    "2 to 180 letters, digits, hyphens, underscores and slashes",
)
SECRET = Kind(
    "oos_secret_parameters",
    "secretparameter",
    ("Secret",),
    re.compile(r"^[A-Za-z0-9_-]{2,180}$"),
    "2 to 180 letters, digits, hyphens and underscores",
)
_KINDS = {kind.resource: kind for kind in (PLAIN, SECRET)}


def _table(request: Request, cloud: Cloud, kind: Kind) -> dict[str, Row]:
    return cloud.region(request.caller.account, request.region).table(kind.table)


def _find(request: Request, cloud: Cloud, kind: Kind) -> Row:
    name = request.required("Name")
    row = _table(request, cloud, kind).get(name)
    if row is None:
        raise ApiError(
            "EntityNotExists.Parameter", f"The parameter {name} does not exist in the region.", 404
        )
    return row


def _check_name(kind: Kind, name: str) -> None:
    if not kind.name_pattern.match(name):
        raise invalid_parameter("Name", name, kind.name_words)
    # The documentation writes these in capitals; refusing any case is the safe reading of it.
    if name.upper().startswith(_RESERVED):
        raise invalid_parameter("Name", name, f"a name that starts with none of {_RESERVED}")


def _value(request: Request) -> str:
    value = request.required("Value")
    if len(value) > MAX_VALUE_CHARS:
        raise ApiError(
            "InvalidParameter.Value",
            f"The specified parameter Value has {len(value)} characters; at most "
            f"{MAX_VALUE_CHARS} are allowed.",
            400,
        )
    return value


def _tags(request: Request) -> dict[str, str]:
    """Tags sent as a JSON object, or flattened as ``Tags.<key>``."""
    text = request.get("Tags")
    tags: dict[str, str] = {
        name[5:]: value for name, value in request.params.items() if name.startswith("Tags.")
    }
    if text:
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise invalid_parameter("Tags", text, "a JSON object of keys and values")
        tags = {str(key): str(value) for key, value in parsed.items()}
    for key in tags:
        if not 1 <= len(key) <= 128 or key.lower().startswith(("aliyun", "acs:")):
            raise invalid_parameter(
                "Tags", key, "keys of 1 to 128 characters, not starting with aliyun or acs:"
            )
    _check_tag_count(len(tags))
    return tags


def _check_tag_count(count: int) -> None:
    if count > MAX_TAGS:
        raise invalid_parameter("Tags", f"{count} tags", f"at most {MAX_TAGS} on one parameter")


def _described(request: Request) -> str:
    text = request.get("Description")
    if len(text) > 200:
        raise invalid_parameter("Description", f"{len(text)} characters", "at most 200")
    return text


def _who(request: Request) -> str:
    return f"{request.caller.kind}({request.caller.account})"


def _answer(row: Row) -> Row:
    """A parameter without its value; what was never set is left out, as a diff would show it."""
    answer = {
        "Id": row["Id"],
        "Name": row["Name"],
        "Type": row["Type"],
        "ParameterVersion": row["ParameterVersion"],
        "ShareType": "Private",
        "ResourceGroupId": row["ResourceGroupId"],
        "CreatedBy": row["CreatedBy"],
        "CreatedDate": row["CreatedDate"],
        "UpdatedBy": row["UpdatedBy"],
        "UpdatedDate": row["UpdatedDate"],
        "Tags": row["Tags"],
    }
    for optional in ("Description", "Constraints", "KeyId", "DKMSInstanceId"):
        if row.get(optional):
            answer[optional] = row[optional]
    return answer


def _create(request: Request, cloud: Cloud, kind: Kind) -> Row:
    name = request.required("Name")
    _check_name(kind, name)
    parameter_type = request.get("Type") or kind.types[-1]
    if parameter_type not in kind.types:
        raise invalid_parameter("Type", parameter_type, " or ".join(kind.types))
    value = _value(request)
    constraints = request.get("Constraints")
    if constraints:
        check_constraints(parse_constraints(constraints), value)
    table = _table(request, cloud, kind)
    if name in table:
        raise ApiError(
            "EntityAlreadyExists.Parameter", f"The parameter {name} already exists.", 409
        )
    now, who = cloud.timestamp(), _who(request)
    table[name] = {
        "Id": f"p-{secrets.token_hex(10)}",
        "Name": name,
        "Type": parameter_type,
        "ParameterVersion": 1,
        "Versions": {"1": _stored(cloud, kind, value)},
        "Description": _described(request),
        "Constraints": constraints,
        "KeyId": request.get("KeyId"),
        "DKMSInstanceId": request.get("DKMSInstanceId"),
        "ResourceGroupId": request.get("ResourceGroupId") or "rg-acfmrehearsal0",
        "Tags": _tags(request),
        "CreatedBy": who,
        "CreatedDate": now,
        "UpdatedBy": who,
        "UpdatedDate": now,
    }
    return {"Parameter": _answer(table[name])}


def _update(request: Request, cloud: Cloud, kind: Kind) -> Row:
    row = _find(request, cloud, kind)
    value = _value(request)
    if row["Constraints"]:
        check_constraints(parse_constraints(row["Constraints"]), value)
    changes: Row = {"UpdatedBy": _who(request), "UpdatedDate": cloud.timestamp()}
    if "Description" in request.params:
        changes["Description"] = _described(request)
    if request.get("ResourceGroupId"):
        changes["ResourceGroupId"] = request.get("ResourceGroupId")
    if any(name == "Tags" or name.startswith("Tags.") for name in request.params):
        changes["Tags"] = _tags(request)
    row.update(changes)
    row["ParameterVersion"] += 1
    row["Versions"][str(row["ParameterVersion"])] = _stored(cloud, kind, value)
    return {"Parameter": _answer(row)}


def _delete(request: Request, cloud: Cloud, kind: Kind) -> Row:
    row = _find(request, cloud, kind)
    del _table(request, cloud, kind)[row["Name"]]
    return {}


def _list(request: Request, cloud: Cloud, kind: Kind) -> Row:
    wanted = _tags(request)
    name = request.get("Name")
    rows = [
        row
        for _, row in sorted(_table(request, cloud, kind).items())
        if (not name or row["Name"] == name) and wanted.items() <= row["Tags"].items()
    ]
    limit = request.integer("MaxResults", 50) or 50
    if not 1 <= limit <= 100:
        raise invalid_parameter("MaxResults", limit, "1 to 100")
    start = request.integer("NextToken", 0) or 0
    page = rows[start : start + limit]
    answer: Row = {
        "Parameters": [_answer(row) for row in page],
        "TotalCount": len(rows),
        "MaxResults": limit,
    }
    if start + limit < len(rows):
        answer["NextToken"] = str(start + limit)
    return answer


def _stored(cloud: Cloud, kind: Kind, value: str) -> str:
    return cloud.vault.seal(value) if kind is SECRET else value


def _version(request: Request, row: Row) -> str:
    wanted = request.integer("ParameterVersion", row["ParameterVersion"])
    stored: str | None = row["Versions"].get(str(wanted))
    if stored is None:
        raise ApiError(
            "EntityNotExists.ParameterVersion",
            f"The parameter {row['Name']} has no version {wanted}; its versions are 1 to "
            f"{row['ParameterVersion']}.",
            404,
        )
    return stored


# ---- plain parameters


@action("oos", VERSION, resource=PLAIN.arn)
def CreateParameter(request: Request, cloud: Cloud) -> Row:
    """Create a plain parameter."""
    return _create(request, cloud, PLAIN)


@action("oos", VERSION, resource=PLAIN.arn, read_only=True)
def GetParameter(request: Request, cloud: Cloud) -> Row:
    """Read a plain parameter with its value."""
    row = _find(request, cloud, PLAIN)
    return {"Parameter": {**_answer(row), "Value": _version(request, row)}}


@action("oos", VERSION, resource=PLAIN.arn)
def UpdateParameter(request: Request, cloud: Cloud) -> Row:
    """Give a plain parameter a new value, which becomes its newest version."""
    return _update(request, cloud, PLAIN)


@action("oos", VERSION, resource=PLAIN.arn)
def DeleteParameter(request: Request, cloud: Cloud) -> Row:
    """Delete a plain parameter with all versions."""
    return _delete(request, cloud, PLAIN)


@action("oos", VERSION, resource=PLAIN.arn, read_only=True)
def ListParameters(request: Request, cloud: Cloud) -> Row:
    """List plain parameters, without values."""
    return _list(request, cloud, PLAIN)


# ---- secret parameters


def _kms_arn(request: Request) -> str:
    return f"acs:kms:{request.region}:{request.caller.account}:secret/{request.get('Name')}"


@action("oos", VERSION, resource=SECRET.arn, secret_params=("Value",))
def CreateSecretParameter(request: Request, cloud: Cloud) -> Row:
    """Create a secret parameter; the caller also needs kms:CreateSecret."""
    request.authorize("kms:CreateSecret", _kms_arn(request))
    return _create(request, cloud, SECRET)


@action("oos", VERSION, resource=SECRET.arn, read_only=True)
def GetSecretParameter(request: Request, cloud: Cloud) -> Row:
    """Read a secret parameter; with WithDecryption=true also its value (kms:GetSecretValue)."""
    row = _find(request, cloud, SECRET)
    answer = _answer(row)
    if request.boolean("WithDecryption"):
        request.authorize("kms:GetSecretValue", _kms_arn(request))
        answer["Value"] = cloud.vault.open(_version(request, row))
    return {"Parameter": answer}


@action("oos", VERSION, resource=SECRET.arn, secret_params=("Value",))
def UpdateSecretParameter(request: Request, cloud: Cloud) -> Row:
    """Give a secret parameter a new value, which becomes its newest version."""
    return _update(request, cloud, SECRET)


@action("oos", VERSION, resource=SECRET.arn)
def DeleteSecretParameter(request: Request, cloud: Cloud) -> Row:
    """Delete a secret parameter with all versions."""
    return _delete(request, cloud, SECRET)


@action("oos", VERSION, resource=SECRET.arn, read_only=True)
def ListSecretParameters(request: Request, cloud: Cloud) -> Row:
    """List secret parameters, without values."""
    return _list(request, cloud, SECRET)


# ---- tags


def _tagged(request: Request, cloud: Cloud) -> tuple[Kind, dict[str, Row]]:
    resource = request.required("ResourceType")
    kind = _KINDS.get(resource.lower())
    if kind is None:
        raise invalid_parameter("ResourceType", resource, " or ".join(_KINDS))
    names = request.repeated("ResourceIds")
    if not names:
        raise missing_parameter("ResourceIds")
    table = _table(request, cloud, kind)
    missing = [name for name in names if name not in table]
    if missing:
        raise ApiError(
            "InvalidResourceId.NotFound",
            f"The specified ResourceIds are not found in our records: {', '.join(missing)}.",
            404,
        )
    return kind, {name: table[name] for name in names}


def _tag_resource(names_parameter: str) -> Callable[[Request], str]:
    def resource(request: Request) -> str:
        kind = _KINDS.get(request.get("ResourceType").lower(), PLAIN)
        names = request.repeated(names_parameter)
        return kind.arn(request, names[0] if len(names) == 1 else "*")

    return resource


@action("oos", VERSION, resource=_tag_resource("ResourceIds"))
def TagResources(request: Request, cloud: Cloud) -> Row:
    """Add tags to parameters."""
    tags = _tags(request)
    if not tags:
        raise missing_parameter("Tags")
    _, rows = _tagged(request, cloud)
    for row in rows.values():
        _check_tag_count(len({**row["Tags"], **tags}))
    for row in rows.values():
        row["Tags"].update(tags)
    return {}


@action("oos", VERSION, resource=_tag_resource("ResourceIds"))
def UntagResources(request: Request, cloud: Cloud) -> Row:
    """Remove tags from parameters."""
    keys = request.repeated("TagKeys")
    everything = request.boolean("All")
    if not keys and not everything:
        raise missing_parameter("TagKeys")
    _, rows = _tagged(request, cloud)
    for row in rows.values():
        for key in list(row["Tags"]) if everything else keys:
            row["Tags"].pop(key, None)
    return {}


@action("oos", VERSION, resource=_tag_resource("ResourceIds"), read_only=True)
def ListTagResources(request: Request, cloud: Cloud) -> Row:
    """List the tags of parameters."""
    kind, rows = _tagged(request, cloud)
    found = [
        {"ResourceType": kind.resource, "ResourceId": name, "TagKey": key, "TagValue": value}
        for name, row in rows.items()
        for key, value in row["Tags"].items()
    ]
    return {"TagResources": {"TagResource": found}}
