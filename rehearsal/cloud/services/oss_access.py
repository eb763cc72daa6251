"""Who may do what in object storage: RAM policies, bucket policies and ACLs."""

from __future__ import annotations

import json
from typing import Any

from rehearsal.cloud.authorization import judge, request_context
from rehearsal.cloud.credentials import Credential
from rehearsal.cloud.oss_call import OssCall
from rehearsal.cloud.oss_errors import access_denied
from rehearsal.cloud.policy import Context, decide

PUBLIC_READ = frozenset({"public-read", "public-read-write"})


def authorise(call: OssCall, action: str) -> None:
    """Let a call pass or refuse it.

    A signed call of the bucket's account passes when RAM or the bucket policy allows it and neither
    denies it. Calls of other accounts and anonymous ones need the bucket policy or a public ACL.

    Args:
        call: the call; its bucket's row is loaded if there is one.
        action: RAM action without service, for example ``PutObject``.

    Raises:
        OssError: AccessDenied, saying which action on which resource and why.
    """
    resource = _resource(call)
    context = _context(call)
    name = f"oss:{action}"
    allowed, denied, reason = _bucket_policy(call, name, resource, context)
    credential = call.credential
    if not denied and credential is not None and _same_account(call, credential):
        decision = judge(call.cloud, credential, name, resource, context)
        allowed = allowed or decision.allowed
        denied = decision.explicit_deny
        reason = reason or decision.reason
    if denied or not (allowed or _public(call, action)):
        who = "anonymous" if credential is None else credential.caller.arn
        what = "object" if call.key else "bucket"
        raise access_denied(
            f"You have no right to access this {what} because of bucket acl or policy. "
            f"Action: {name} Resource: {resource} Caller: {who} Reason: {reason or 'not allowed'}."
        )


def _resource(call: OssCall) -> str:
    account = call.account or (call.credential.caller.account if call.credential else "*")
    name = f"{call.bucket}/{call.key}" if call.key else call.bucket or "*"
    return f"acs:oss:oss-{call.region}:{account}:{name}"


def _context(call: OssCall) -> Context:
    request = call.request
    context = request_context(call.cloud, source_ip=request.source_ip, secure=request.secure)
    context |= {
        "oss:prefix": request.query.get("prefix"),
        "oss:delimiter": request.query.get("delimiter"),
    }
    return context


def _same_account(call: OssCall, credential: Credential) -> bool:
    return not call.account or credential.caller.account == call.account


def _public(call: OssCall, action: str) -> bool:
    """Whether the ACL lets everybody do it: reading or writing of objects, never of settings."""
    if not call.row:
        return False
    acl = call.row["Acl"]
    if call.key and action in ("GetObject", "PutObject"):
        current = call.store.current(call.key)
        if current is not None and current.acl != "default":
            acl = current.acl
    if action in ("GetObject", "ListObjects"):
        return acl in PUBLIC_READ
    return action == "PutObject" and acl == "public-read-write"


def _bucket_policy(
    call: OssCall, action: str, resource: str, context: Context
) -> tuple[bool, bool, str]:
    """Whether the bucket policy allows, whether it denies, and why it denies."""
    text = call.row.get("Settings", {}).get("policy") if call.row else None
    if not text:
        return False, False, ""
    statements = [
        statement
        for statement in json.loads(text).get("Statement", [])
        if _is_meant(statement, call.credential)
    ]
    decision = decide([{"Statement": statements}], action, resource, context)
    reason = f"bucket policy: {decision.reason}" if decision.explicit_deny else ""
    return decision.allowed, decision.explicit_deny, reason


def _is_meant(statement: dict[str, Any], credential: Credential | None) -> bool:
    principals = statement.get("Principal", [])
    if isinstance(principals, str):
        principals = [principals]
    if "*" in principals:
        return True
    if credential is None:
        return False
    caller = credential.caller
    return (
        caller.arn in principals
        or caller.account in principals
        or any(str(one).endswith(f"/{caller.name}") for one in principals)
    )
