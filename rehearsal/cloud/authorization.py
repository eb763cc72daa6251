"""Which policies apply to a caller, and what a refusal looks like."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rehearsal.cloud.credentials import Credential
from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.policy import Context, Decision, decide

if TYPE_CHECKING:
    from rehearsal.cloud.state import Cloud

# Policies that every account has; only those that a test of this project may want to attach.
SYSTEM_POLICIES: dict[str, dict[str, Any]] = {
    "AdministratorAccess": {
        "Version": "1",
        "Statement": [{"Action": "*", "Resource": "*", "Effect": "Allow"}],
    },
    "AliyunOSSFullAccess": {
        "Version": "1",
        "Statement": [{"Action": "oss:*", "Resource": "*", "Effect": "Allow"}],
    },
    "AliyunOSSReadOnlyAccess": {
        "Version": "1",
        "Statement": [{"Action": ["oss:Get*", "oss:List*"], "Resource": "*", "Effect": "Allow"}],
    },
    "AliyunECSReadOnlyAccess": {
        "Version": "1",
        "Statement": [{"Action": "ecs:Describe*", "Resource": "*", "Effect": "Allow"}],
    },
}

_REFUSALS = {
    "ram": ("NoPermission", "You are not authorized to do this action."),
    "sts": ("NoPermission", "You are not authorized to do this action."),
    "cs": ("StatusForbidden", "The current user is not authorized to do this action."),
    "ims": ("NoPermission", "You are not authorized to do this action."),
    "kms": ("Forbidden.NoPermission", "This operation is forbidden by permission system."),
}
_REFUSAL = (
    "Forbidden.RAM",
    "User not authorized to operate on the specified resource, or this API doesn't support RAM.",
)


def request_context(cloud: Cloud, *, source_ip: str, secure: bool) -> dict[str, str | None]:
    """The condition keys that the emulator knows for every request."""
    return {
        "acs:sourceip": source_ip or None,
        "acs:securetransport": "true" if secure else "false",
        "acs:currenttime": cloud.timestamp(),
    }


def judge(
    cloud: Cloud, credential: Credential, action: str, resource: str, context: Context
) -> Decision:
    """Whether the credential may do ``action`` on ``resource``.

    Root may do everything. A user's key may do what its policy allows, and nothing without one. A
    role session may do what the role's policies allow and, if the session was given a policy of
    its own, only what that allows as well.
    """
    caller = credential.caller
    if caller.kind == "root":
        return Decision(True, False, "root may do everything")
    if caller.kind == "user":
        return decide([credential.policy] if credential.policy else [], action, resource, context)
    decision = decide(role_documents(cloud, caller.account, caller.name), action, resource, context)
    if decision.allowed and credential.policy is not None:
        return decide([credential.policy], action, resource, context)
    return decision


def role_documents(cloud: Cloud, account: str, role: str) -> list[dict[str, Any]]:
    """The documents of the policies attached to a role."""
    state = cloud.account(account)
    documents = []
    with cloud.lock:
        for row in state.table("ram_attachments").values():
            if row["RoleName"] != role:
                continue
            if row["PolicyType"] == "System":
                documents.append(SYSTEM_POLICIES[row["PolicyName"]])
                continue
            policy = state.table("ram_policies")[row["PolicyName"]]
            documents.append(json.loads(policy["Versions"][policy["DefaultVersion"]]["Document"]))
    return documents


def refusal(
    product: str, credential: Credential, action: str, resource: str, decision: Decision
) -> ApiError:
    """The error of a product for a caller who may not do something."""
    code, words = _REFUSALS.get(product, _REFUSAL)
    caller = credential.caller
    kinds = {"root": "Account", "user": "SubUser", "role": "AssumedRoleUser"}
    return ApiError(
        code,
        f"{words} Resource: {resource} Action: {action} Caller: {caller.arn} "
        f"Reason: {decision.reason}.",
        403,
        details={
            "AccessDeniedDetail": {
                "AuthAction": action,
                "AuthPrincipalType": kinds[caller.kind],
                "AuthPrincipalDisplayName": f"{caller.name}:{caller.session}".rstrip(":"),
                "AuthPrincipalOwnerId": caller.account,
                "NoPermissionType": "ExplicitDeny" if decision.explicit_deny else "ImplicitDeny",
                "PolicyType": "AccountLevelIdentityBasedPolicy",
            }
        },
    )
