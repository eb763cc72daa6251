"""STS: who am I, and temporary keys for a role."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from rehearsal.cloud.credentials import Credential
from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.policy import parse_document, trusts
from rehearsal.cloud.registry import Caller, Request, action
from rehearsal.cloud.services.ram_roles import ROLES
from rehearsal.cloud.state import Cloud

VERSION = "2015-04-01"
_SESSION_NAME = re.compile(r"^[\w.@-]{2,64}$", re.ASCII)
_ROLE_ARN = re.compile(r"^acs:ram::(?P<account>\d+):role/(?P<role>[\w.-]+)$", re.ASCII)
_MIN_S = 900

Row = dict[str, Any]


def user_id(caller: Caller) -> str:
    """A stable id for a user: RAM gives each user an 18 digit number."""
    digest = hashlib.sha256(f"{caller.account}/{caller.name}".encode()).hexdigest()
    return "2" + str(int(digest, 16))[:17]


@action("sts", VERSION, read_only=True, public=True)
def GetCallerIdentity(request: Request, cloud: Cloud) -> Row:
    """Tell the caller who it is; needs no permission."""
    caller = request.caller
    answer: Row = {"AccountId": caller.account, "Arn": caller.arn}
    if caller.kind == "root":
        return {
            **answer,
            "IdentityType": "Account",
            "UserId": caller.account,
            "PrincipalId": caller.account,
        }
    if caller.kind == "user":
        number = user_id(caller)
        return {**answer, "IdentityType": "RAMUser", "UserId": number, "PrincipalId": number}
    role = cloud.account(caller.account).table(ROLES)[caller.name]
    return {
        **answer,
        "IdentityType": "AssumedRoleUser",
        "RoleId": role["RoleId"],
        "PrincipalId": f"{role['RoleId']}:{caller.session}",
    }


def _role_resource(request: Request) -> str:
    return request.get("RoleArn").replace("acs:ram::", "acs:ram:*:", 1) or "*"


@action("sts", VERSION, resource=_role_resource)
def AssumeRole(request: Request, cloud: Cloud) -> Row:
    """Give temporary keys of a role to somebody whom the role trusts."""
    caller = request.caller
    if caller.kind == "root":
        raise ApiError(
            "NoPermission",
            "Roles may not be assumed by root accounts. Use the key of a RAM user or role.",
            403,
        )
    arn = request.required("RoleArn")
    session = session_name(request)
    role = find_role_by_arn(cloud, arn)
    account = arn.split(":")[3]
    trust = json.loads(role["AssumeRolePolicyDocument"])
    principals = (caller.arn, f"acs:ram::{caller.account}:root")
    if caller.kind == "role":
        principals = (f"acs:ram::{caller.account}:role/{caller.name.lower()}", principals[1])
    if not any(trusts(trust, "RAM", principal) for principal in principals):
        raise ApiError(
            "NoPermission",
            "You are not authorized to do this action. You should be authorized by RAM. The trust "
            f"policy of {arn} does not name {caller.arn}.",
            403,
        )
    seconds = duration(request, role)
    policy = request.get("Policy")
    credential = cloud.credentials.create_session(
        account, role["RoleName"], session, seconds, parse_document(policy) if policy else None
    )
    return session_answer(cloud, credential, role, session)


def session_name(request: Request) -> str:
    """The RoleSessionName of a request; raises InvalidParameter.RoleSessionName."""
    session = request.required("RoleSessionName")
    if not _SESSION_NAME.match(session):
        raise invalid_parameter(
            "RoleSessionName",
            session,
            "2 to 64 letters, digits, periods, at signs, hyphens and underscores",
        )
    return session


def duration(request: Request, role: Row) -> int:
    """The DurationSeconds of a request for this role; raises InvalidParameter.DurationSeconds."""
    seconds = request.integer("DurationSeconds", 3600) or 3600
    if not _MIN_S <= seconds <= role["MaxSessionDuration"]:
        raise invalid_parameter(
            "DurationSeconds", seconds, f"{_MIN_S} to {role['MaxSessionDuration']} for this role"
        )
    return seconds


def session_answer(cloud: Cloud, credential: Credential, role: Row, session: str) -> Row:
    """Temporary keys as the AssumeRole actions answer them."""
    return {
        "Credentials": {
            "AccessKeyId": credential.access_key_id,
            "AccessKeySecret": credential.secret,
            "SecurityToken": credential.security_token,
            "Expiration": cloud.timestamp(credential.expiry),
        },
        "AssumedRoleUser": {
            "Arn": credential.caller.arn,
            "AssumedRoleId": f"{role['RoleId']}:{session}",
        },
    }


def find_role_by_arn(cloud: Cloud, arn: str) -> Row:
    """The role of this ARN in any case; raises EntityNotExist.Role."""
    match = _ROLE_ARN.match(arn)
    if match is None:
        raise invalid_parameter("RoleArn", arn, "acs:ram::<account>:role/<role name>")
    for name, row in cloud.account(match["account"]).table(ROLES).items():
        if name.lower() == match["role"].lower():
            return row
    raise ApiError("EntityNotExist.Role", f"The specified Role not exists : {arn} .", 404)
