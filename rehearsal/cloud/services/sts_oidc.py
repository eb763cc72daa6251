"""STS 2015-04-01: temporary keys of a role for the holder of an OIDC token (RRSA)."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

import json
from typing import Any

from rehearsal.cloud import oidc
from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.policy import parse_document, trusts_token
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services import ims, sts
from rehearsal.cloud.services.lookups import Row
from rehearsal.cloud.state import Cloud

_CLOCK_LEEWAY_S = 60


@action(
    "sts", sts.VERSION, public=True, anonymous=True, serialised=False, secret_params=("OIDCToken",)
)
def AssumeRoleWithOIDC(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Give temporary keys of a role to the holder of an OIDC token; needs no signature."""
    with cloud.lock:
        role = sts.find_role_by_arn(cloud, request.required("RoleArn"))
        provider = _provider(cloud, request.required("OIDCProviderArn"))
        session = sts.session_name(request)
    account = provider["Arn"].split(":")[3]
    token = _token(request.required("OIDCToken"))
    _check_claims(token, provider, cloud)
    _check_signer(token, provider, cloud)
    contexts = [
        {
            "oidc:iss": str(token.claims.get("iss", "")),
            "oidc:sub": str(token.claims.get("sub", "")),
            "oidc:aud": audience,
        }
        for audience in token.audiences
    ]
    trust = json.loads(role["AssumeRolePolicyDocument"])
    if not trusts_token(trust, provider["Arn"], contexts):
        raise ApiError(
            "AuthenticationFail.NoPermission",
            f"This operation is forbidden by permission system. The trust policy of {role['Arn']} "
            f"does not let {token.claims.get('sub')!r} of {token.claims.get('iss')!r} for "
            f"{', '.join(token.audiences)} assume it through {provider['Arn']}. Compare its "
            "conditions oidc:iss, oidc:aud and oidc:sub.",
            403,
        )
    seconds = sts.duration(request, role)
    policy = request.get("Policy")
    credential = cloud.credentials.create_session(
        account, role["RoleName"], session, seconds, parse_document(policy) if policy else None
    )
    return {
        "OIDCTokenInfo": {
            "Subject": token.claims.get("sub", ""),
            "Issuer": token.claims.get("iss", ""),
            "ClientIds": ",".join(token.audiences),
        },
        **sts.session_answer(cloud, credential, role, session),
    }


def _provider(cloud: Cloud, arn: str) -> Row:
    parts = arn.split(":")
    if len(parts) != 5 or not parts[4].startswith("oidc-provider/"):
        raise invalid_parameter("OIDCProviderArn", arn, "acs:ram::<account>:oidc-provider/<name>")
    row = cloud.account(parts[3]).table(ims.PROVIDERS).get(parts[4].partition("/")[2])
    if row is None:
        raise ApiError(
            "EntityNotExist.OIDCProvider", f"The OIDC provider does not exist: {arn}.", 404
        )
    return row


def _token(text: str) -> oidc.Token:
    try:
        return oidc.parse(text)
    except oidc.TokenError as error:
        raise _failed("Invalid", str(error)) from None


def _check_claims(token: oidc.Token, provider: Row, cloud: Cloud) -> None:
    issuer = token.claims.get("iss")
    if issuer != provider["IssuerUrl"]:
        raise _failed("IssuerNotMatch", f"its issuer is {issuer!r}, not {provider['IssuerUrl']!r}")
    if not set(token.audiences) & set(provider["ClientIds"]):
        raise _failed(
            "AudienceNotMatch",
            f"it is for {', '.join(token.audiences)}; the provider allows "
            f"{', '.join(provider['ClientIds'])}",
        )
    now = cloud.clock()
    expiry, issued = token.claims.get("exp", 0), token.claims.get("iat", 0)
    if not isinstance(expiry, int | float) or now >= expiry + _CLOCK_LEEWAY_S:
        raise _failed("Expired", f"it expired at {expiry!r} seconds since the epoch")
    limit_s = provider["IssuanceLimitTime"] * 3600
    if not isinstance(issued, int | float) or now - issued > limit_s:
        raise _failed(
            "IssuanceTimeExceeded", f"it was issued more than {limit_s // 3600} hours ago"
        )


def _check_signer(token: oidc.Token, provider: Row, cloud: Cloud) -> None:
    """Check the signature where the emulator can know the issuer's keys: a running cluster's."""
    key_set = getattr(cloud.clusters, "oidc_keys", None)
    if not provider["ManagedBy"] or key_set is None:
        return
    try:
        oidc.check_signature(token, key_set(provider["ManagedBy"]))
    except oidc.TokenError as error:
        raise _failed("Invalid", str(error)) from None
    except LookupError as error:
        raise _failed("Invalid", f"its cluster does not run ({error})") from error


def _failed(reason: str, why: str) -> ApiError:
    return ApiError(
        f"AuthenticationFail.OIDCToken.{reason}",
        f"The OIDC token is not accepted: {why}. Get a fresh token from its issuer for the "
        "audience that the provider allows.",
        403 if reason != "Invalid" else 400,
    )
