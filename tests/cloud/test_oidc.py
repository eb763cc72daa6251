"""OIDC: identity providers, and temporary keys for the holder of a token."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from alibabacloud_ram20150501 import models as ram
from alibabacloud_sts20150401 import models as sts
from alibabacloud_tea_openapi.client import Client as OpenApiClient
from alibabacloud_tea_openapi.models import Config, OpenApiRequest, Params
from alibabacloud_tea_util.models import RuntimeOptions
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from rehearsal.cloud import oidc

from .conftest import RunningCloud
from .ecs_world import refused

ISSUER = "https://issuer.example.com/c1"
ACCOUNT = "1234567890123456"
PROVIDER = f"acs:ram::{ACCOUNT}:oidc-provider/films"
ROLE = f"acs:ram::{ACCOUNT}:role/reader"
SUBJECT = "system:serviceaccount:films:reader"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Signs tokens as a cluster does."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def jwks(self) -> dict[str, Any]:
        numbers = self.key.public_key().public_numbers()
        size = (numbers.n.bit_length() + 7) // 8
        return {
            "keys": [
                {
                    "kty": "RSA",
                    "kid": "one",
                    "n": encoded(numbers.n.to_bytes(size)),
                    "e": encoded(numbers.e.to_bytes(3)),
                }
            ]
        }

    def token(self, now: float, **changes: Any) -> str:
        claims = {
            "iss": ISSUER,
            "aud": ["sts.aliyuncs.com"],
            "sub": SUBJECT,
            "iat": int(now),
            "exp": int(now) + 3600,
            **changes,
        }
        header = {"alg": "RS256", "kid": "one"}
        text = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
        signature = self.key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{encoded(signature)}"


def ims(cloud: RunningCloud, action: str, **query: str) -> dict[str, Any]:
    """Call IMS, for which there is no SDK here, through the general client."""
    client = OpenApiClient(
        Config(
            access_key_id=cloud.key.access_key_id,
            access_key_secret=cloud.key.secret,
            endpoint=cloud.endpoint,
            ca=str(cloud.ca),
        )
    )
    params = Params(
        action=action,
        version="2019-08-15",
        protocol="HTTPS",
        pathname="/",
        method="POST",
        auth_type="AK",
        style="RPC",
        req_body_type="formData",
        body_type="json",
    )
    answer = client.call_api(params, OpenApiRequest(query=query), RuntimeOptions())
    body: dict[str, Any] = answer["body"]
    return body


@pytest.fixture
def issuer(cloud: RunningCloud) -> Issuer:
    """An issuer that the account knows, and a role that trusts one of its subjects."""
    ims(
        cloud,
        "CreateOIDCProvider",
        OIDCProviderName="films",
        IssuerUrl=ISSUER,
        ClientIds="sts.aliyuncs.com",
        Fingerprints="902ef2deeb3c5b13ea4c3d5193629309e231ae55",
    )
    trust = {
        "Version": "1",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "sts:AssumeRole",
                "Principal": {"Federated": [PROVIDER]},
                "Condition": {
                    "StringEquals": {
                        "oidc:iss": ISSUER,
                        "oidc:aud": "sts.aliyuncs.com",
                        "oidc:sub": SUBJECT,
                    }
                },
            }
        ],
    }
    cloud.client("ram").create_role(
        ram.CreateRoleRequest(role_name="reader", assume_role_policy_document=json.dumps(trust))
    )
    return Issuer()


@pytest.fixture
def assume(cloud: RunningCloud) -> Callable[[str], Any]:
    """Exchange a token for keys, as a pod does: without any key of its own."""

    def exchange(token: str) -> Any:
        request = sts.AssumeRoleWithOIDCRequest(
            oidcprovider_arn=PROVIDER,
            role_arn=ROLE,
            oidctoken=token,
            role_session_name="pod",
        )
        return cloud.client("sts").assume_role_with_oidc(request).body

    return exchange


def test_a_trusted_token_gives_keys_that_sign(
    cloud: RunningCloud, issuer: Issuer, assume: Callable[[str], Any]
) -> None:
    """Prevents RRSA from failing in a rehearsal where the real cloud accepts it."""
    answer = assume(issuer.token(cloud.clock()))
    assert answer.oidctoken_info.subject == SUBJECT
    assert answer.assumed_role_user.arn.endswith("assumed-role/reader/pod")
    keys = answer.credentials
    client = cloud.client("sts")
    client = type(client)(
        Config(
            access_key_id=keys.access_key_id,
            access_key_secret=keys.access_key_secret,
            security_token=keys.security_token,
            endpoint=cloud.endpoint,
            protocol="https",
            ca=str(cloud.ca),
        )
    )
    assert client.get_caller_identity().body.identity_type == "AssumedRoleUser"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": "https://other.example.com"}, "AuthenticationFail.OIDCToken.IssuerNotMatch"),
        ({"aud": "somebody"}, "AuthenticationFail.OIDCToken.AudienceNotMatch"),
        ({"exp": 1}, "AuthenticationFail.OIDCToken.Expired"),
        ({"iat": 1}, "AuthenticationFail.OIDCToken.IssuanceTimeExceeded"),
        ({"sub": "system:serviceaccount:films:other"}, "AuthenticationFail.NoPermission"),
    ],
)
def test_a_token_that_is_not_trusted_gives_nothing(
    cloud: RunningCloud,
    issuer: Issuer,
    assume: Callable[[str], Any],
    changes: dict[str, Any],
    code: str,
) -> None:
    """Prevents a role from being open to any pod of any cluster."""
    with refused(code):
        assume(issuer.token(cloud.clock(), **changes))


def test_what_is_no_token_is_refused_without_being_repeated(
    cloud: RunningCloud, issuer: Issuer, assume: Callable[[str], Any]
) -> None:
    """Prevents a token from standing in an error message or in the journal."""
    with refused("AuthenticationFail.OIDCToken.Invalid"):
        assume("not-a-token-at-all")
    assert "not-a-token-at-all" not in (cloud.state_dir / "calls.jsonl").read_text()


def test_a_signature_is_checked_against_the_issuers_keys() -> None:
    """Prevents a forged token from being taken for a cluster's own."""
    right, wrong = Issuer(), Issuer()
    token = oidc.parse(right.token(1.0))
    oidc.check_signature(token, right.jwks())
    with pytest.raises(oidc.TokenError, match="none of its issuer's keys"):
        oidc.check_signature(token, wrong.jwks())


def test_a_clusters_token_must_be_signed_by_it(
    cloud: RunningCloud, issuer: Issuer, assume: Callable[[str], Any]
) -> None:
    """Prevents claims alone from opening a role where the engine knows the keys."""
    providers = cloud.cloud.account(ACCOUNT).table("ims_oidc_providers")
    providers["films"]["ManagedBy"] = "c1"
    other = Issuer()
    cloud.clusters.oidc_keys = lambda _cluster_id: other.jwks()  # type: ignore[attr-defined]
    assume(other.token(cloud.clock()))
    with refused("AuthenticationFail.OIDCToken.Invalid"):
        assume(issuer.token(cloud.clock()))


def test_providers_are_changed_and_forgotten(cloud: RunningCloud, issuer: Issuer) -> None:
    """Prevents the provider's resource from not finding what it wrote."""
    ims(cloud, "UpdateOIDCProvider", OIDCProviderName="films", ClientIds="a,b")
    print_ = "0" * 40
    ims(cloud, "AddFingerprintToOIDCProvider", OIDCProviderName="films", Fingerprint=print_)
    found = ims(cloud, "GetOIDCProvider", OIDCProviderName="films")["OIDCProvider"]
    assert found["ClientIds"] == "a,b"
    assert print_ in found["Fingerprints"].split(",")
    assert found["Arn"] == PROVIDER
    ims(cloud, "DeleteOIDCProvider", OIDCProviderName="films")
    with refused("EntityNotExist.OIDCProvider", status=404):
        ims(cloud, "GetOIDCProvider", OIDCProviderName="films")
