"""RAM policies, their versions, and which roles they are attached to."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

import json
import re
from typing import Any

from rehearsal.cloud.authorization import SYSTEM_POLICIES
from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.policy import parse_document
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.ram_roles import (
    ATTACHMENTS,
    VERSION,
    check_name,
    find_role,
    inline_tags,
    role_arn,
)
from rehearsal.cloud.state import Cloud

POLICIES = "ram_policies"
_NAME = re.compile(r"^[A-Za-z0-9-]+$")
_MAX_VERSIONS = 5
_ROTATE = "DeleteOldestNonDefaultVersionWhenLimitExceeded"

Row = dict[str, Any]


def _policy_arn(request: Request) -> str:
    return f"acs:ram:*:{request.caller.account}:policy/{request.get('PolicyName')}"


def policy_not_found(name: str, kind: str = "Custom") -> ApiError:
    """EntityNotExist.Policy."""
    words = f"The policy does not exist : {name} ({kind}) ."
    return ApiError("EntityNotExist.Policy", words, 404)


def find_policy(cloud: Cloud, account: str, name: str) -> Row:
    """A custom policy's row; raises EntityNotExist.Policy."""
    row = cloud.account(account).table(POLICIES).get(name)
    if row is None:
        raise policy_not_found(name)
    return row


def _kind(request: Request) -> str:
    kind = request.required("PolicyType")
    if kind not in ("Custom", "System"):
        raise invalid_parameter("PolicyType", kind, "Custom or System")
    return kind


def _attached(cloud: Cloud, account: str, kind: str, name: str) -> list[Row]:
    rows = cloud.account(account).table(ATTACHMENTS).values()
    return [r for r in rows if r["PolicyType"] == kind and r["PolicyName"] == name]


def _answer(row: Row, attachments: int) -> Row:
    return {
        "PolicyName": row["PolicyName"],
        "PolicyType": "Custom",
        "Description": row["Description"],
        "DefaultVersion": row["DefaultVersion"],
        "CreateDate": row["CreateDate"],
        "UpdateDate": row["UpdateDate"],
        "AttachmentCount": attachments,
    }


def _version(row: Row, version: str, *, with_document: bool = True) -> Row:
    stored = row["Versions"].get(version)
    if stored is None:
        raise ApiError(
            "EntityNotExist.Policy.Version",
            f"The policy version does not exist : {version} .",
            404,
        )
    answer = {
        "VersionId": version,
        "IsDefaultVersion": version == row["DefaultVersion"],
        "CreateDate": stored["CreateDate"],
    }
    if with_document:
        answer["PolicyDocument"] = stored["Document"]
    return answer


@action("ram", VERSION, resource=_policy_arn)
def CreatePolicy(request: Request, cloud: Cloud) -> Row:
    """Create a custom policy with its first version."""
    name = request.required("PolicyName")
    check_name("PolicyName", name, _NAME, 128, "letters, digits and hyphens")
    document = request.required("PolicyDocument")
    parse_document(document)
    table = cloud.account(request.caller.account).table(POLICIES)
    if name in table or name in SYSTEM_POLICIES:
        raise ApiError("EntityAlreadyExists.Policy", f"The policy already exists : {name} .", 409)
    now = cloud.timestamp()
    table[name] = {
        "PolicyName": name,
        "Description": request.get("Description"),
        "DefaultVersion": "v1",
        "NextVersion": 2,
        "Versions": {"v1": {"Document": document, "CreateDate": now}},
        "CreateDate": now,
        "UpdateDate": now,
        "Tags": inline_tags(request),
    }
    return {"Policy": _answer(table[name], 0)}


@action("ram", VERSION, resource=_policy_arn, read_only=True)
def GetPolicy(request: Request, cloud: Cloud) -> Row:
    """Read a policy and its default version."""
    name = request.required("PolicyName")
    if _kind(request) == "System":
        return _system_policy(name)
    row = find_policy(cloud, request.caller.account, name)
    attachments = _attached(cloud, request.caller.account, "Custom", name)
    return {
        "Policy": _answer(row, len(attachments)),
        "DefaultPolicyVersion": _version(row, row["DefaultVersion"]),
    }


def _system_policy(name: str) -> Row:
    if name not in SYSTEM_POLICIES:
        raise policy_not_found(name, "System")
    created = "2015-04-28T09:59:09Z"
    return {
        "Policy": {
            "PolicyName": name,
            "PolicyType": "System",
            "Description": "",
            "DefaultVersion": "v1",
            "CreateDate": created,
            "UpdateDate": created,
            "AttachmentCount": 0,
        },
        "DefaultPolicyVersion": {
            "VersionId": "v1",
            "IsDefaultVersion": True,
            "CreateDate": created,
            "PolicyDocument": json.dumps(SYSTEM_POLICIES[name]),
        },
    }


@action("ram", VERSION, resource=_policy_arn)
def UpdatePolicyDescription(request: Request, cloud: Cloud) -> Row:
    """Change a policy's description."""
    row = find_policy(cloud, request.caller.account, request.required("PolicyName"))
    row.update(Description=request.get("NewDescription"), UpdateDate=cloud.timestamp())
    attachments = _attached(cloud, request.caller.account, "Custom", row["PolicyName"])
    return {"Policy": _answer(row, len(attachments))}


@action("ram", VERSION, resource=_policy_arn)
def DeletePolicy(request: Request, cloud: Cloud) -> Row:
    """Delete a custom policy; CascadingDelete also drops its attachments and other versions."""
    name = request.required("PolicyName")
    row = find_policy(cloud, request.caller.account, name)
    attachments = _attached(cloud, request.caller.account, "Custom", name)
    if not request.boolean("CascadingDelete"):
        if attachments:
            roles = ", ".join(item["RoleName"] for item in attachments)
            raise ApiError(
                "DeleteConflict.Role.Policy",
                f"The policy can not be deleted while it is attached to roles: {roles}.",
                409,
            )
        if len(row["Versions"]) > 1:
            raise ApiError(
                "DeleteConflict.Policy.Version",
                "The policy can not be deleted while it has versions besides the default one: "
                f"{', '.join(row['Versions'])}.",
                409,
            )
    state = cloud.account(request.caller.account)
    for item in attachments:
        del state.table(ATTACHMENTS)[_attachment_key(item["RoleName"], "Custom", name)]
    del state.table(POLICIES)[name]
    return {}


# ---- versions


@action("ram", VERSION, resource=_policy_arn)
def CreatePolicyVersion(request: Request, cloud: Cloud) -> Row:
    """Add a version to a policy, which keeps at most five."""
    row = find_policy(cloud, request.caller.account, request.required("PolicyName"))
    document = request.required("PolicyDocument")
    parse_document(document)
    strategy = request.get("RotateStrategy", "None")
    if strategy not in ("None", _ROTATE):
        raise invalid_parameter("RotateStrategy", strategy, f"None or {_ROTATE}")
    versions = row["Versions"]
    if len(versions) >= _MAX_VERSIONS:
        if strategy == "None":
            raise ApiError(
                "LimitExceeded.Policy.Version",
                f"The count of versions of the policy beyond the current limits: {_MAX_VERSIONS}.",
                409,
            )
        del versions[next(name for name in versions if name != row["DefaultVersion"])]
    version = f"v{row['NextVersion']}"
    versions[version] = {"Document": document, "CreateDate": cloud.timestamp()}
    row["NextVersion"] += 1
    row["UpdateDate"] = cloud.timestamp()
    if request.boolean("SetAsDefault"):
        row["DefaultVersion"] = version
    return {"PolicyVersion": _version(row, version)}


@action("ram", VERSION, resource=_policy_arn, read_only=True)
def GetPolicyVersion(request: Request, cloud: Cloud) -> Row:
    """Read one version of a custom policy."""
    row = find_policy(cloud, request.caller.account, request.required("PolicyName"))
    return {"PolicyVersion": _version(row, request.required("VersionId"))}


@action("ram", VERSION, resource=_policy_arn, read_only=True)
def ListPolicyVersions(request: Request, cloud: Cloud) -> Row:
    """List the versions of a custom policy."""
    row = find_policy(cloud, request.caller.account, request.required("PolicyName"))
    versions = [_version(row, version) for version in row["Versions"]]
    return {"PolicyVersions": {"PolicyVersion": versions}}


@action("ram", VERSION, resource=_policy_arn)
def SetDefaultPolicyVersion(request: Request, cloud: Cloud) -> Row:
    """Choose the version of a policy that is in force."""
    row = find_policy(cloud, request.caller.account, request.required("PolicyName"))
    version = request.required("VersionId")
    _version(row, version)
    row.update(DefaultVersion=version, UpdateDate=cloud.timestamp())
    return {}


@action("ram", VERSION, resource=_policy_arn)
def DeletePolicyVersion(request: Request, cloud: Cloud) -> Row:
    """Delete a version that is not the default."""
    row = find_policy(cloud, request.caller.account, request.required("PolicyName"))
    version = request.required("VersionId")
    _version(row, version)
    if version == row["DefaultVersion"]:
        raise ApiError(
            "DeleteConflict.PolicyVersion.Default",
            f"The default version can not be deleted : {version} .",
            409,
        )
    del row["Versions"][version]
    return {}


# ---- attachments


def _attachment_key(role: str, kind: str, policy: str) -> str:
    return f"{role}/{kind}/{policy}"


@action("ram", VERSION, resource=role_arn)
def AttachPolicyToRole(request: Request, cloud: Cloud) -> Row:
    """Give a role the permissions of a policy."""
    account = request.caller.account
    kind, name = _kind(request), request.required("PolicyName")
    role = request.required("RoleName")
    find_role(cloud, account, role)
    if kind == "System" and name not in SYSTEM_POLICIES:
        raise policy_not_found(name, kind)
    if kind == "Custom":
        find_policy(cloud, account, name)
    table = cloud.account(account).table(ATTACHMENTS)
    key = _attachment_key(role, kind, name)
    if key in table:
        raise ApiError(
            "EntityAlreadyExists.Role.Policy",
            f"The policy has been attached to the role : {name} , {role} .",
            409,
        )
    table[key] = {
        "RoleName": role,
        "PolicyType": kind,
        "PolicyName": name,
        "AttachDate": cloud.timestamp(),
    }
    return {}


@action("ram", VERSION, resource=role_arn)
def DetachPolicyFromRole(request: Request, cloud: Cloud) -> Row:
    """Take the permissions of a policy away from a role."""
    account = request.caller.account
    kind, name = _kind(request), request.required("PolicyName")
    role = request.required("RoleName")
    find_role(cloud, account, role)
    key = _attachment_key(role, kind, name)
    if cloud.account(account).table(ATTACHMENTS).pop(key, None) is None:
        raise ApiError(
            "EntityNotExist.Role.Policy",
            f"The policy is not attached to the role : {name} , {role} .",
            404,
        )
    return {}


@action("ram", VERSION, resource=role_arn, read_only=True)
def ListPoliciesForRole(request: Request, cloud: Cloud) -> Row:
    """List the policies attached to a role."""
    account = request.caller.account
    role = request.required("RoleName")
    find_role(cloud, account, role)
    policies = []
    for item in cloud.account(account).table(ATTACHMENTS).values():
        if item["RoleName"] != role:
            continue
        custom = item["PolicyType"] == "Custom"
        row = find_policy(cloud, account, item["PolicyName"]) if custom else {}
        policies.append(
            {
                "PolicyName": item["PolicyName"],
                "PolicyType": item["PolicyType"],
                "Description": row.get("Description", ""),
                "DefaultVersion": row.get("DefaultVersion", "v1"),
                "AttachDate": item["AttachDate"],
            }
        )
    return {"Policies": {"Policy": policies}}


@action("ram", VERSION, resource=_policy_arn, read_only=True)
def ListEntitiesForPolicy(request: Request, cloud: Cloud) -> Row:
    """List who a policy is attached to (in this cloud only roles have policies)."""
    account = request.caller.account
    kind, name = _kind(request), request.required("PolicyName")
    if kind == "Custom":
        find_policy(cloud, account, name)
    roles = []
    for item in _attached(cloud, account, kind, name):
        role = find_role(cloud, account, item["RoleName"])
        entry = {key: role[key] for key in ("RoleName", "RoleId", "Arn", "Description")}
        roles.append({**entry, "AttachDate": item["AttachDate"]})
    return {"Users": {"User": []}, "Groups": {"Group": []}, "Roles": {"Role": roles}}
