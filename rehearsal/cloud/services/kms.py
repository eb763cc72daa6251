"""KMS secrets: create, read, new versions, delete. Keys and rotation are not emulated."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

import json
import re
from typing import Any

from rehearsal.cloud.errors import ApiError, invalid_parameter, missing_parameter
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.state import Cloud

VERSION = "2016-01-20"
TABLE = "kms_secrets"
MAX_DATA_CHARS = 30720  # KMS documents 30,720 bytes for a generic secret
_GENERIC = "Generic"
CURRENT, PREVIOUS = "ACSCurrent", "ACSPrevious"

_NAME = re.compile(r"^[A-Za-z0-9_/+=.@-]{1,64}$")

Row = dict[str, Any]


def secret_arn(request: Request) -> str:
    """The RAM resource of the secret that a request names."""
    name = request.get("SecretName") or "*"
    return f"acs:kms:{request.region}:{request.caller.account}:secret/{name}"


def _table(request: Request, cloud: Cloud) -> dict[str, Row]:
    return cloud.region(request.caller.account, request.region).table(TABLE)


def _not_found() -> ApiError:
    return ApiError("Forbidden.ResourceNotFound", "The specified Resource is not found.", 404)


def _find(request: Request, cloud: Cloud) -> Row:
    row = _table(request, cloud).get(request.required("SecretName"))
    if row is None:
        raise _not_found()
    return row


def _data(request: Request) -> str:
    data = request.required("SecretData")
    if len(data.encode()) > MAX_DATA_CHARS:
        raise ApiError(
            "InvalidParameter",
            f"The specified parameter SecretData has {len(data.encode())} bytes; at most "
            f"{MAX_DATA_CHARS} are allowed.",
            400,
        )
    return data


def _data_type(request: Request) -> str:
    kind = request.get("SecretDataType", "text") or "text"
    if kind not in ("text", "binary"):
        raise invalid_parameter("SecretDataType", kind, "text or binary")
    return kind


def _tags(request: Request) -> dict[str, str]:
    text = request.get("Tags")
    if not text:
        return {}
    try:
        items = json.loads(text)
        return {str(item["TagKey"]): str(item["TagValue"]) for item in items}
    except (ValueError, TypeError, KeyError):
        raise invalid_parameter(
            "Tags", text, 'a JSON list of {"TagKey": ..., "TagValue": ...}'
        ) from None


@action("kms", VERSION, resource=secret_arn, secret_params=("SecretData",))
def CreateSecret(request: Request, cloud: Cloud) -> Row:
    """Create a generic secret with its first version."""
    name = request.required("SecretName")
    if not _NAME.match(name):
        raise invalid_parameter("SecretName", name, "1 to 64 letters, digits and _/+=.@-")
    kind = request.get("SecretType") or _GENERIC
    if kind != _GENERIC or request.boolean("EnableAutomaticRotation"):
        raise ApiError(
            "UnsupportedOperation",
            "This action is not supported. emulator: only Generic secrets without automatic "
            "rotation are emulated.",
            400,
        )
    version, data = request.required("VersionId"), _data(request)
    table = _table(request, cloud)
    if name in table:
        raise ApiError("Rejected.ResourceExist", "The specified resource already exists.", 409)
    now = cloud.timestamp()
    table[name] = {
        "SecretName": name,
        "Arn": secret_arn(request),
        "SecretType": _GENERIC,
        "Description": request.get("Description"),
        "EncryptionKeyId": request.get("EncryptionKeyId"),
        "DKMSInstanceId": request.get("DKMSInstanceId"),
        "CreateTime": now,
        "UpdateTime": now,
        "Tags": _tags(request),
        "Stages": {CURRENT: version},
        "Versions": {
            version: {
                "Data": cloud.vault.seal(data),
                "DataType": _data_type(request),
                "CreateTime": now,
            }
        },
    }
    return {
        "Arn": secret_arn(request),
        "SecretName": name,
        "SecretType": _GENERIC,
        "VersionId": version,
        "AutomaticRotation": "Disabled",
    }


@action("kms", VERSION, resource=secret_arn, read_only=True)
def DescribeSecret(request: Request, cloud: Cloud) -> Row:
    """Read a secret without its value."""
    row = _find(request, cloud)
    answer = {
        "SecretName": row["SecretName"],
        "Arn": row["Arn"],
        "SecretType": row["SecretType"],
        "Description": row["Description"],
        "CreateTime": row["CreateTime"],
        "UpdateTime": row["UpdateTime"],
        "AutomaticRotation": "Disabled",
    }
    for optional in ("EncryptionKeyId", "DKMSInstanceId"):
        if row[optional]:
            answer[optional] = row[optional]
    if request.boolean("FetchTags"):
        tags = [{"TagKey": key, "TagValue": value} for key, value in row["Tags"].items()]
        answer["Tags"] = {"Tag": tags}
    return answer


@action("kms", VERSION, resource=secret_arn, read_only=True)
def GetSecretValue(request: Request, cloud: Cloud) -> Row:
    """Read a secret's value: the current version unless VersionId or VersionStage says which."""
    row = _find(request, cloud)
    version = request.get("VersionId")
    if not version:
        version = row["Stages"].get(request.get("VersionStage") or CURRENT, "")
    stored = row["Versions"].get(version)
    if stored is None:
        raise _not_found()
    return {
        "SecretName": row["SecretName"],
        "SecretType": row["SecretType"],
        "SecretData": cloud.vault.open(stored["Data"]),
        "SecretDataType": stored["DataType"],
        "VersionId": version,
        "VersionStages": {"VersionStage": [s for s, v in row["Stages"].items() if v == version]},
        "CreateTime": stored["CreateTime"],
        "AutomaticRotation": "Disabled",
    }


@action("kms", VERSION, resource=secret_arn, secret_params=("SecretData",))
def PutSecretValue(request: Request, cloud: Cloud) -> Row:
    """Add a version, which becomes the current one; the last current one becomes the previous."""
    row = _find(request, cloud)
    version, data = request.required("VersionId"), _data(request)
    if version in row["Versions"]:
        raise ApiError("Rejected.ResourceExist", "The specified resource already exists.", 409)
    now = cloud.timestamp()
    row["Versions"][version] = {
        "Data": cloud.vault.seal(data),
        "DataType": _data_type(request),
        "CreateTime": now,
    }
    row["Stages"] = {CURRENT: version, PREVIOUS: row["Stages"][CURRENT]}
    row["UpdateTime"] = now
    return {
        "SecretName": row["SecretName"],
        "VersionId": version,
        "VersionStages": {"VersionStage": [CURRENT]},
    }


@action("kms", VERSION, resource=secret_arn)
def UpdateSecret(request: Request, cloud: Cloud) -> Row:
    """Change a secret's description."""
    row = _find(request, cloud)
    row.update(Description=request.get("Description"), UpdateTime=cloud.timestamp())
    return {"SecretName": row["SecretName"]}


@action("kms", VERSION, resource=secret_arn)
def DeleteSecret(request: Request, cloud: Cloud) -> Row:
    """Delete a secret at once; a deletion with a recovery window is not emulated."""
    row = _find(request, cloud)
    if not request.boolean("ForceDeleteWithoutRecovery"):
        raise ApiError(
            "UnsupportedOperation",
            "This action is not supported. emulator: a recovery window is not emulated; send "
            "ForceDeleteWithoutRecovery=true.",
            400,
        )
    del _table(request, cloud)[row["SecretName"]]
    return {"SecretName": row["SecretName"], "PlannedDeleteTime": cloud.timestamp()}


# ---- tags


def _tagged(request: Request, cloud: Cloud) -> dict[str, Row]:
    kind = request.required("ResourceType")
    if kind != "secret":
        raise invalid_parameter("ResourceType", kind, "secret")
    names = request.repeated("ResourceId")
    if not names:
        raise missing_parameter("ResourceId.1")
    table = _table(request, cloud)
    if any(name not in table for name in names):
        raise _not_found()
    return {name: table[name] for name in names}


@action("kms", VERSION)
def TagResources(request: Request, cloud: Cloud) -> Row:
    """Add tags to secrets."""
    tags = request.tags()
    if not tags:
        raise missing_parameter("Tag.1.Key")
    for row in _tagged(request, cloud).values():
        row["Tags"].update(tags)
    return {}


@action("kms", VERSION)
def UntagResources(request: Request, cloud: Cloud) -> Row:
    """Remove tags from secrets."""
    keys = request.repeated("TagKey")
    everything = request.boolean("All")
    if not keys and not everything:
        raise missing_parameter("TagKey.1")
    for row in _tagged(request, cloud).values():
        for key in list(row["Tags"]) if everything else keys:
            row["Tags"].pop(key, None)
    return {}


@action("kms", VERSION, read_only=True)
def ListTagResources(request: Request, cloud: Cloud) -> Row:
    """List the tags of secrets."""
    found = [
        {"ResourceType": "secret", "ResourceId": name, "TagKey": key, "TagValue": value}
        for name, row in _tagged(request, cloud).items()
        for key, value in row["Tags"].items()
    ]
    return {"TagResources": {"TagResource": found}}
