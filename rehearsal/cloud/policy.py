"""Evaluation of RAM policy documents.

A request is allowed when some statement allows it and none denies it. What the emulator cannot
judge (a condition operator or key that it does not know) never grants anything: in an Allow
statement it does not match, in a Deny statement it does, and the reason is in the decision.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rehearsal.cloud.errors import ApiError

Context = Mapping[str, str | None]
"""Condition keys the emulator knows for a request; None when the request does not carry the key."""

MAX_DOCUMENT_CHARS = 6144  # the documented limit of a custom policy


@dataclass(frozen=True)
class Decision:
    """Whether a request is allowed, and why."""

    allowed: bool
    explicit_deny: bool
    reason: str


class _UndecidableError(Exception):
    """A condition that the emulator cannot judge; the message says which and why."""


def decide(
    documents: Iterable[Mapping[str, Any]], action: str, resource: str, context: Context
) -> Decision:
    """Evaluate policy documents for one action on one resource.

    Args:
        documents: parsed policy documents that apply to the caller.
        action: ``service:Action``.
        resource: ARN ``acs:service:region:account:relative-id``.
        context: condition keys in lower case, see :data:`Context`.
    """
    allowed_by = ""
    notes: list[str] = []
    for document in documents:
        for index, statement in enumerate(_as_list(document.get("Statement")), start=1):
            if not _covers(statement, action, resource):
                continue
            denies = statement.get("Effect") == "Deny"
            try:
                matches = _conditions_hold(statement.get("Condition", {}), context)
            except _UndecidableError as error:
                notes.append(str(error))
                matches = denies
            if not matches:
                continue
            if denies:
                reason = "; ".join([f"statement {index} denies {action} on {resource}", *notes])
                return Decision(False, True, reason)
            allowed_by = f"statement {index} allows {action} on {resource}"
    if allowed_by:
        return Decision(True, False, allowed_by)
    reason = "; ".join([f"no statement allows {action} on {resource}", *notes])
    return Decision(False, False, reason)


def _covers(statement: Mapping[str, Any], action: str, resource: str) -> bool:
    if "NotAction" in statement:
        if _any_like(statement["NotAction"], action, ignore_case=True):
            return False
    elif not _any_like(statement.get("Action"), action, ignore_case=True):
        return False
    if "NotResource" in statement:
        return not _any_like(statement["NotResource"], resource)
    return _any_like(statement.get("Resource"), resource)


def _any_like(patterns: object, value: str, *, ignore_case: bool = False) -> bool:
    return any(_like(str(pattern), value, ignore_case) for pattern in _as_list(patterns))


def _like(pattern: str, value: str, ignore_case: bool = False) -> bool:
    """RAM wildcards: ``*`` is any run of characters and ``?`` one; nothing else is special."""
    expression = fnmatch.translate(pattern.replace("[", "[[]"))
    return re.match(expression, value, re.IGNORECASE if ignore_case else 0) is not None


def _as_list(value: object) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


# ---- conditions


def _conditions_hold(conditions: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    """All operators and all keys must hold; of several values of a key, one is enough."""
    for operator, keys in conditions.items():
        test = _OPERATORS.get(operator)
        if test is None:
            raise _UndecidableError(
                f"condition operator {operator!r} is not known to the emulator (known: "
                f"{', '.join(_OPERATORS)}), so the statement is taken to deny"
            )
        for key, wanted in keys.items():
            if key.lower() not in context:
                raise _UndecidableError(
                    f"condition key {key!r} is not known to the emulator for this action (known: "
                    f"{', '.join(sorted(context))}), so the statement is taken to deny"
                )
            value = context[key.lower()]
            negated = operator in _NEGATED
            if value is None:
                if not negated:
                    return False
                continue
            try:
                results = [test(value, _text(item)) for item in _as_list(wanted)]
            except ValueError as error:
                raise _UndecidableError(f"condition {operator} {key}: {error}") from error
            if not (all(results) if negated else any(results)):
                return False
    return True


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _in_network(address: str, network: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda value, wanted: value == wanted,
    "StringNotEquals": lambda value, wanted: value != wanted,
    "StringEqualsIgnoreCase": lambda value, wanted: value.lower() == wanted.lower(),
    "StringNotEqualsIgnoreCase": lambda value, wanted: value.lower() != wanted.lower(),
    "StringLike": lambda value, wanted: _like(wanted, value),
    "StringNotLike": lambda value, wanted: not _like(wanted, value),
    "NumericEquals": lambda value, wanted: float(value) == float(wanted),
    "NumericNotEquals": lambda value, wanted: float(value) != float(wanted),
    "NumericLessThan": lambda value, wanted: float(value) < float(wanted),
    "NumericLessThanEquals": lambda value, wanted: float(value) <= float(wanted),
    "NumericGreaterThan": lambda value, wanted: float(value) > float(wanted),
    "NumericGreaterThanEquals": lambda value, wanted: float(value) >= float(wanted),
    "DateEquals": lambda value, wanted: _time(value) == _time(wanted),
    "DateNotEquals": lambda value, wanted: _time(value) != _time(wanted),
    "DateLessThan": lambda value, wanted: _time(value) < _time(wanted),
    "DateLessThanEquals": lambda value, wanted: _time(value) <= _time(wanted),
    "DateGreaterThan": lambda value, wanted: _time(value) > _time(wanted),
    "DateGreaterThanEquals": lambda value, wanted: _time(value) >= _time(wanted),
    "Bool": lambda value, wanted: value.lower() == wanted.lower(),
    "IpAddress": _in_network,
    "NotIpAddress": lambda value, wanted: not _in_network(value, wanted),
}
_NEGATED = {name for name in _OPERATORS if "Not" in name}


# ---- syntax


def parse_document(text: str, parameter: str = "PolicyDocument") -> dict[str, Any]:
    """Parse and check an access policy; raises ApiError MalformedPolicyDocument (400).

    The code and the words about Action are those in terraform-provider-alicloud's issue tracker
    (pull request 9949).
    """
    if len(text) > MAX_DOCUMENT_CHARS:
        raise ApiError(
            f"InvalidParameter.{parameter}.Length",
            f"The length of {parameter} is {len(text)}; at most {MAX_DOCUMENT_CHARS} characters "
            "are allowed. Shorten it or split it into two policies.",
            400,
        )
    document = _json_object(text, parameter)
    for statement in _statements(document, parameter):
        where = f"A statement of {parameter}"
        _need_effect(statement, where)
        for name, opposite in (("Action", "NotAction"), ("Resource", "NotResource")):
            if name not in statement and opposite not in statement:
                raise _malformed(f"Add an {name} or {opposite} element to the policy statement")
            if name in statement and opposite in statement:
                raise _malformed(f"{where} has both {name} and {opposite}; use one of them")
            items = _as_list(statement.get(name, statement.get(opposite)))
            if not items or not all(isinstance(item, str) and item for item in items):
                raise _malformed(f"{where}: {name} must be a string or a list of strings")
        for item in _as_list(statement.get("Action", statement.get("NotAction"))):
            if item != "*" and ":" not in item:
                raise _malformed(f"{where}: action {item!r} is not of the form service:Action")
        if "Principal" in statement:
            raise _malformed(f"{where} has a Principal, which only trust policies may have")
        _need_conditions(statement, where)
    return document


def parse_trust_document(text: str) -> dict[str, Any]:
    """Parse and check an AssumeRolePolicyDocument."""
    parameter = "AssumeRolePolicyDocument"
    document = _json_object(text, parameter)
    for statement in _statements(document, parameter):
        where = f"A statement of {parameter}"
        _need_effect(statement, where)
        if _as_list(statement.get("Action")) != ["sts:AssumeRole"]:
            raise _malformed(f"{where} must have the action sts:AssumeRole", parameter)
        principal = statement.get("Principal")
        kinds = {"Service", "RAM", "Federated"}
        if not isinstance(principal, dict) or not principal or set(principal) - kinds:
            raise _malformed(
                f"{where} needs a Principal with one of {', '.join(sorted(kinds))}", parameter
            )
        _need_conditions(statement, where)
    return document


def trusts(document: Mapping[str, Any], kind: str, principal: str) -> bool:
    """Whether a trust policy lets a principal of this kind (Service or RAM) assume the role."""
    allowed = False
    for statement in _as_list(document.get("Statement")):
        named = _as_list(statement.get("Principal", {}).get(kind))
        matches = any(_like(str(item), principal) for item in named)
        if matches and statement.get("Effect") == "Deny":
            return False
        # A condition that cannot be judged here does not open the role.
        allowed = allowed or (matches and not statement.get("Condition"))
    return allowed


def trusts_token(
    document: Mapping[str, Any], provider_arn: str, contexts: Iterable[Context]
) -> bool:
    """Whether a trust policy lets the holder of an OIDC token assume the role.

    ``contexts`` has oidc:iss, oidc:sub and oidc:aud of the token, once for each of its audiences;
    one that satisfies the conditions is enough. What cannot be judged opens nothing.
    """
    allowed = False
    known = list(contexts)
    for statement in _as_list(document.get("Statement")):
        named = _as_list(statement.get("Principal", {}).get("Federated"))
        if not any(_like(str(item), provider_arn) for item in named):
            continue
        denies = statement.get("Effect") == "Deny"
        for context in known:
            try:
                matches = _conditions_hold(statement.get("Condition", {}), context)
            except _UndecidableError:
                matches = denies
            if matches and denies:
                return False
            allowed = allowed or matches
    return allowed


def _json_object(text: str, parameter: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise _malformed(f"It is not JSON ({error})", parameter) from None
    if not isinstance(document, dict):
        raise _malformed("It is not a JSON object", parameter)
    unknown = set(document) - {"Version", "Statement"}
    if unknown:
        raise _malformed(f"Unknown elements {', '.join(sorted(unknown))}", parameter)
    if document.get("Version") != "1":
        raise _malformed(f'Version is {document.get("Version")!r}; it must be "1"', parameter)
    return document


def _statements(document: Mapping[str, Any], parameter: str) -> list[dict[str, Any]]:
    statements = document.get("Statement")
    if not isinstance(statements, list) or not statements:
        raise _malformed("Statement must be a list with at least one statement", parameter)
    if not all(isinstance(statement, dict) for statement in statements):
        raise _malformed("Each statement must be an object", parameter)
    return statements


def _need_effect(statement: Mapping[str, Any], where: str) -> None:
    if statement.get("Effect") not in ("Allow", "Deny"):
        raise _malformed(f"{where}: Effect is {statement.get('Effect')!r}; use Allow or Deny")


def _need_conditions(statement: Mapping[str, Any], where: str) -> None:
    conditions = statement.get("Condition", {})
    if not isinstance(conditions, dict) or not all(
        isinstance(keys, dict) for keys in conditions.values()
    ):
        raise _malformed(f"{where}: Condition must map operators to keys and values")


def _malformed(what: str, parameter: str = "") -> ApiError:
    prefix = f"The {parameter} is invalid. " if parameter else ""
    return ApiError("MalformedPolicyDocument", f"{prefix}{what}.", 400)
