"""RAM policy evaluation: what allows, what denies, and what cannot be judged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.policy import (
    Decision,
    decide,
    parse_document,
    parse_trust_document,
    trusts,
)

CONTEXT = {"acs:sourceip": "192.0.2.10", "acs:securetransport": "true", "oss:prefix": None}
BUCKET = "acs:oss:*:123:results/outputs/1.mp4"


def statement(effect: str = "Allow", **changes: Any) -> dict[str, Any]:
    """A statement that covers oss:GetObject on BUCKET, with changes."""
    return {"Effect": effect, "Action": "oss:GetObject", "Resource": "*", **changes}


def judged(*statements: dict[str, Any], action: str = "oss:GetObject") -> Decision:
    """The decision on ``action`` on BUCKET."""
    return decide([{"Version": "1", "Statement": list(statements)}], action, BUCKET, CONTEXT)


def test_nothing_is_allowed_without_a_statement() -> None:
    """Prevents a role without policies from working in the rehearsal."""
    assert not judged().allowed
    assert not decide([], "oss:GetObject", BUCKET, CONTEXT).allowed


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({"Action": "oss:*"}, True),
        ({"Action": ["oss:PutObject", "OSS:getobject"]}, True),
        ({"Action": "oss:PutObject"}, False),
        ({"Action": "oss:GetObject?"}, False),
        ({"Resource": "acs:oss:*:*:results/outputs/*"}, True),
        ({"Resource": "acs:oss:*:123:results/inputs/*"}, False),
        ({"Resource": "acs:oss:*:123:Results/outputs/*"}, False),
        ({"Resource": "acs:oss:*:123:[r]esults/outputs/*"}, False),
    ],
)
def test_wildcards_cover_what_they_say(changes: dict[str, Any], allowed: bool) -> None:
    """Prevents a policy that is too narrow from looking right, or a too wide one from being so."""
    assert judged(statement(**changes)).allowed is allowed


def test_not_action_and_not_resource_cover_the_rest() -> None:
    """Prevents these two from being read as nothing."""
    other = {"Effect": "Allow", "NotAction": "oss:Delete*", "Resource": "*"}
    assert judged(other).allowed
    assert not judged(other, action="oss:DeleteObject").allowed
    elsewhere = {"Effect": "Allow", "Action": "*", "NotResource": "acs:oss:*:*:results/*"}
    assert not judged(elsewhere).allowed


def test_a_deny_wins_over_every_allow() -> None:
    """Prevents the order of statements from deciding."""
    for order in ((statement(), statement("Deny")), (statement("Deny"), statement())):
        decision = judged(*order)
        assert not decision.allowed
        assert decision.explicit_deny


@pytest.mark.parametrize(
    ("condition", "allowed"),
    [
        ({"IpAddress": {"acs:SourceIp": ["10.0.0.0/8", "192.0.2.0/24"]}}, True),
        ({"IpAddress": {"acs:SourceIp": "10.0.0.0/8"}}, False),
        ({"NotIpAddress": {"acs:SourceIp": "192.0.2.10"}}, False),
        ({"Bool": {"acs:SecureTransport": "true"}}, True),
        ({"Bool": {"acs:SecureTransport": False}}, False),
        ({"StringLike": {"acs:SourceIp": "192.0.*"}}, True),
        ({"StringEquals": {"oss:Prefix": "outputs/"}}, False),
        ({"StringNotEquals": {"oss:Prefix": "outputs/"}}, True),
        (
            {
                "IpAddress": {"acs:SourceIp": "192.0.2.0/24"},
                "Bool": {"acs:SecureTransport": "false"},
            },
            False,
        ),
    ],
)
def test_conditions_narrow_an_allow(condition: dict[str, Any], allowed: bool) -> None:
    """Prevents conditions from being ignored."""
    assert judged(statement(Condition=condition)).allowed is allowed


@pytest.mark.parametrize(
    "condition",
    [
        {"StringEqualsIfExists": {"acs:SourceIp": "192.0.2.10"}},
        {"StringEquals": {"ecs:tag/owner": "me"}},
        {"IpAddress": {"acs:SourceIp": "not a network"}},
    ],
)
def test_what_cannot_be_judged_denies_and_says_so(condition: dict[str, Any]) -> None:
    """Prevents a condition that the emulator does not understand from granting anything."""
    allowing = judged(statement(Condition=condition))
    assert not allowing.allowed
    assert "condition" in allowing.reason
    denying = judged(statement(), statement("Deny", Condition=condition))
    assert not denying.allowed
    assert denying.explicit_deny


@pytest.mark.parametrize(
    "document",
    [
        "not json",
        "[]",
        '{"Version":"2012-10-17","Statement":[]}',
        '{"Version":"1","Statement":[]}',
        '{"Version":"1","Statement":[{"Effect":"Allow","Action":"*"}]}',
        '{"Version":"1","Statement":[{"Effect":"ALLOW","Action":"*","Resource":"*"}]}',
        '{"Version":"1","Statement":[{"Effect":"Allow","Action":"GetObject","Resource":"*"}]}',
        '{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*",'
        '"Principal":{"Service":["ecs.aliyuncs.com"]}}]}',
    ],
)
def test_a_malformed_document_is_refused(document: str) -> None:
    """Prevents a policy that the real RAM refuses from being created."""
    with pytest.raises(ApiError) as refusal:
        parse_document(document)
    assert (refusal.value.code, refusal.value.http_status) == ("MalformedPolicyDocument", 400)


def test_a_trust_document_needs_a_principal_and_trusts_only_it() -> None:
    """Prevents a role that an instance cannot assume from being attached to one."""
    document = {
        "Version": "1",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "sts:AssumeRole",
                "Principal": {"Service": ["ecs.aliyuncs.com"]},
            }
        ],
    }
    parsed = parse_trust_document(json.dumps(document))
    assert trusts(parsed, "Service", "ecs.aliyuncs.com")
    assert not trusts(parsed, "Service", "fc.aliyuncs.com")
    assert not trusts(parsed, "RAM", "ecs.aliyuncs.com")
    del document["Statement"][0]["Principal"]  # type: ignore[attr-defined]
    with pytest.raises(ApiError):
        parse_trust_document(json.dumps(document))
