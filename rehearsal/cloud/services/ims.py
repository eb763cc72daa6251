"""IMS 2019-08-15: OIDC identity providers, whose tokens a role may trust."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

import re
from typing import Any

from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.lookups import Row
from rehearsal.cloud.state import Cloud

IMS = ("ims", "2019-08-15")
PROVIDERS = "ims_oidc_providers"

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
_FINGERPRINT = re.compile(r"^[0-9a-fA-F]{40,128}$")
_MAX_CLIENT_IDS, _MAX_FINGERPRINTS, _MAX_PROVIDERS = 50, 5, 100
_LIMIT_HOURS = range(1, 169)


def provider_arn(account: str, name: str) -> str:
    """How a role's trust policy names the provider."""
    return f"acs:ram::{account}:oidc-provider/{name}"


def _resource(request: Request) -> str:
    name = request.get("OIDCProviderName") or "*"
    return f"acs:ram:*:{request.caller.account}:oidc-provider/{name}"


def new_provider(
    cloud: Cloud,
    account: str,
    name: str,
    *,
    issuer: str,
    client_ids: list[str],
    description: str = "",
    managed_by: str = "",
) -> Row:
    """The row of a provider; ``managed_by`` is the cluster that made it (RRSA)."""
    return {
        "OIDCProviderName": name,
        "Arn": provider_arn(account, name),
        "IssuerUrl": issuer,
        "ClientIds": list(client_ids),
        "Fingerprints": [],
        "Description": description,
        "IssuanceLimitTime": 12,
        "ManagedBy": managed_by,
        "CreateDate": cloud.timestamp(),
        "UpdateDate": cloud.timestamp(),
    }


@action(*IMS, ram="ram:CreateOIDCProvider", resource=_resource)
def CreateOIDCProvider(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Tell RAM of an issuer of OIDC tokens."""
    account = request.caller.account
    table = cloud.account(account).table(PROVIDERS)
    name = request.required("OIDCProviderName")
    if not _NAME.match(name):
        raise invalid_parameter(
            "OIDCProviderName", name, "1 to 128 letters, digits, periods, hyphens, underscores"
        )
    if name in table:
        raise ApiError(
            "EntityAlreadyExists.OIDCProvider",
            f"The OIDC provider {name} exists already. Choose another name, or import it.",
            409,
        )
    if len(table) >= _MAX_PROVIDERS:
        raise ApiError(
            "LimitExceeded.OIDCProvider",
            f"An account may have {_MAX_PROVIDERS} OIDC providers. Delete one.",
            409,
        )
    issuer = request.required("IssuerUrl")
    if not issuer.startswith("https://") or "?" in issuer or "#" in issuer:
        raise invalid_parameter("IssuerUrl", issuer, "an https URL without query and fragment")
    row = new_provider(
        cloud,
        account,
        name,
        issuer=issuer,
        client_ids=_list(request, "ClientIds", _MAX_CLIENT_IDS),
        description=request.get("Description"),
    )
    row["Fingerprints"] = [
        _fingerprint(one) for one in _list(request, "Fingerprints", _MAX_FINGERPRINTS)
    ]
    row["IssuanceLimitTime"] = _hours(request, 12)
    table[name] = row
    return {"OIDCProvider": _view(row)}


@action(*IMS, ram="ram:GetOIDCProvider", read_only=True, resource=_resource)
def GetOIDCProvider(request: Request, cloud: Cloud) -> dict[str, Any]:
    """One OIDC provider."""
    return {"OIDCProvider": _view(_find(request, cloud))}


@action(*IMS, ram="ram:ListOIDCProviders", read_only=True, resource=_resource)
def ListOIDCProviders(request: Request, cloud: Cloud) -> dict[str, Any]:
    """The OIDC providers of the account."""
    rows = cloud.account(request.caller.account).table(PROVIDERS).values()
    return {"OIDCProviders": {"OIDCProvider": [_view(row) for row in rows]}, "IsTruncated": False}


@action(*IMS, ram="ram:UpdateOIDCProvider", resource=_resource)
def UpdateOIDCProvider(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Change an OIDC provider's description, audiences or token age."""
    row = _find(request, cloud)
    if "NewDescription" in request.params:
        row["Description"] = request.get("NewDescription")
    if request.get("ClientIds"):
        row["ClientIds"] = _list(request, "ClientIds", _MAX_CLIENT_IDS)
    row["IssuanceLimitTime"] = _hours(request, row["IssuanceLimitTime"])
    row["UpdateDate"] = cloud.timestamp()
    return {"OIDCProvider": _view(row)}


@action(*IMS, ram="ram:DeleteOIDCProvider", resource=_resource)
def DeleteOIDCProvider(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Forget an OIDC provider."""
    row = _find(request, cloud)
    del cloud.account(request.caller.account).table(PROVIDERS)[row["OIDCProviderName"]]
    return {}


@action(*IMS, ram="ram:AddFingerprintToOIDCProvider", resource=_resource)
def AddFingerprintToOIDCProvider(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Add a certificate fingerprint of the issuer."""
    row = _find(request, cloud)
    one = _fingerprint(request.required("Fingerprint"))
    if one not in row["Fingerprints"]:
        if len(row["Fingerprints"]) >= _MAX_FINGERPRINTS:
            raise ApiError(
                "LimitExceeded.Fingerprint",
                f"An OIDC provider may have {_MAX_FINGERPRINTS} fingerprints. Remove one first.",
                409,
            )
        row["Fingerprints"].append(one)
    return {"OIDCProvider": _view(row)}


@action(*IMS, ram="ram:RemoveFingerprintFromOIDCProvider", resource=_resource)
def RemoveFingerprintFromOIDCProvider(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Remove a certificate fingerprint of the issuer."""
    row = _find(request, cloud)
    one = request.required("Fingerprint")
    row["Fingerprints"] = [item for item in row["Fingerprints"] if item != one]
    return {"OIDCProvider": _view(row)}


def _find(request: Request, cloud: Cloud) -> Row:
    name = request.required("OIDCProviderName")
    row = cloud.account(request.caller.account).table(PROVIDERS).get(name)
    if row is None:
        raise ApiError(
            "EntityNotExist.OIDCProvider", f"The OIDC provider does not exist: {name}.", 404
        )
    return row


def _list(request: Request, name: str, maximum: int) -> list[str]:
    items = [item for item in request.get(name).split(",") if item]
    if len(items) > maximum:
        raise invalid_parameter(name, len(items), f"up to {maximum} entries")
    return items


def _fingerprint(text: str) -> str:
    if not _FINGERPRINT.match(text):
        raise invalid_parameter("Fingerprint", text, "40 to 128 hexadecimal digits")
    return text


def _hours(request: Request, default: int) -> int:
    hours = request.integer("IssuanceLimitTime", default)
    if hours is None or hours not in _LIMIT_HOURS:
        raise invalid_parameter(
            "IssuanceLimitTime", hours, f"{_LIMIT_HOURS[0]} to {_LIMIT_HOURS[-1]} hours"
        )
    return hours


def _view(row: Row) -> dict[str, Any]:
    return {
        **{name: value for name, value in row.items() if name != "ManagedBy"},
        "ClientIds": ",".join(row["ClientIds"]),
        "Fingerprints": ",".join(row["Fingerprints"]),
        "GmtCreate": row["CreateDate"],
        "GmtModified": row["UpdateDate"],
    }
