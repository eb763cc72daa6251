"""What the ECS and VPC services share: finding rows, paging, filters, tags, names, quotas."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rehearsal.cloud import catalogue
from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.registry import Request
from rehearsal.cloud.state import Cloud, RegionState
from rehearsal.cloud.transitions import GONE, Transition, begin, settled

CS = ("cs", "2015-12-15")
ECS = ("ecs", "2014-05-26")
SLB = ("slb", "2014-05-15")
VPC = ("vpc", "2016-04-28")

Row = dict[str, Any]

# Defaults of the Quota Center for a new account (VPC and EIP: "Quotas and limits", 2026; vCPUs per
# zone differ by account, estimate). A row of the region table "quotas" ({"Limit": n}) overrides.
DEFAULT_QUOTAS = {
    "vpcs": 10,
    "eips": 20,
    "vswitches_per_vpc": 150,
    "security_groups": 500,
    "rules_per_security_group": 200,
    "vcpus_per_zone": 400,
    # ACS: "Limits" (2026), for the whole account there.
    "clusters": 3,
    # CLB and NAT: "Quotas and limits" (2026).
    "load_balancers": 60,
    "listeners_per_load_balancer": 50,
    "acls": 50,
    "entries_per_acl": 300,
    "nat_gateways": 5,
    "snat_entries_per_table": 40,
}


def here(request: Request, cloud: Cloud) -> RegionState:
    """The tables of the caller's account in the request's region.

    Raises InvalidRegionId.NotFound (404) for a region that the catalogue does not have.
    """
    if request.region not in catalogue.REGIONS:
        raise ApiError(
            "InvalidRegionId.NotFound",
            f"The RegionId provided does not exist in our records. Given: {request.region!r}. "
            f"The emulator has: {', '.join(catalogue.REGIONS)}.",
            404,
        )
    return cloud.region(request.caller.account, request.region)


def status_of(row: Row, cloud: Cloud) -> str:
    """The row's status now; empty when it is gone."""
    return settled(row, cloud.clock())


def change(row: Row, cloud: Cloud, *steps: Transition) -> None:
    """Start a change of status, with durations scaled by the emulator's settings."""
    begin(row, cloud.clock(), *steps, scale=cloud.settings.time_scale)


def live_rows(state: RegionState, table: str, cloud: Cloud) -> list[Row]:
    """The rows of a table that are not gone, oldest first; gone rows are dropped on the way."""
    rows = state.table(table)
    for key in [key for key, row in rows.items() if row.get("_steps") and _is_gone(row, cloud)]:
        del rows[key]
    return list(rows.values())


def find(
    state: RegionState, table: str, key: str, cloud: Cloud, refusal: Callable[[], ApiError]
) -> Row:
    """The row with this key; raises ``refusal()`` when there is none or it is gone."""
    row = state.table(table).get(key)
    if row is None or _is_gone(row, cloud):
        raise refusal()
    return row


def _is_gone(row: Row, cloud: Cloud) -> bool:
    return bool(row.get("_steps")) and settled(row, cloud.clock()) == GONE


def quota(state: RegionState, name: str) -> int:
    """The limit of this name in this account and region."""
    override = state.table("quotas").get(name)
    return int(override["Limit"]) if override else DEFAULT_QUOTAS[name]


# --- paging -------------------------------------------------------------------------------------


def page(
    request: Request,
    rows: Sequence[Any],
    *,
    default: int = 10,
    maximum: int = 100,
    by_token: bool = False,
) -> tuple[list[Any], dict[str, Any]]:
    """The requested page of ``rows``, and the fields that describe it.

    NextToken and MaxResults are used when the request has either or the action knows no other
    paging (``by_token``), PageNumber and PageSize otherwise. Raises InvalidParameter.* for sizes
    outside 1..maximum and for unknown tokens.
    """
    if by_token or request.get("NextToken") or request.get("MaxResults"):
        size = _in_range(request, "MaxResults", default, maximum)
        start = _decode_token(request.get("NextToken"))
        chosen = list(rows[start : start + size])
        token = encode_token(start + size) if start + size < len(rows) else ""
        return chosen, {
            "TotalCount": len(rows),
            "NextToken": token,
            "PageNumber": 1,
            "PageSize": size,
        }
    size = _in_range(request, "PageSize", default, maximum)
    number = _in_range(request, "PageNumber", 1, None)
    chosen = list(rows[(number - 1) * size : number * size])
    return chosen, {
        "TotalCount": len(rows),
        "PageNumber": number,
        "PageSize": size,
        "NextToken": "",
    }


def encode_token(offset: int) -> str:
    """A paging token that clients must treat as opaque."""
    return base64.urlsafe_b64encode(f"next:{offset}".encode()).decode()


def _decode_token(token: str) -> int:
    if not token:
        return 0
    try:
        label, _, offset = base64.urlsafe_b64decode(token).decode().partition(":")
        if label == "next":
            return int(offset)
    except (binascii.Error, UnicodeDecodeError, ValueError):
        pass
    raise invalid_parameter("NextToken", token, "a token from the answer before this one")


def _in_range(request: Request, name: str, default: int, maximum: int | None) -> int:
    value = request.integer(name, default)
    if value is None or value < 1 or (maximum is not None and value > maximum):
        allowed = f"1 to {maximum}" if maximum else "1 or more"
        raise invalid_parameter(name, value, allowed)
    return value


# --- filters ------------------------------------------------------------------------------------


def matching(rows: Iterable[Row], request: Request, **fields: str) -> list[Row]:
    """The rows whose field equals the request's parameter, for each ``Parameter="field"`` given.

    A parameter that was not sent filters nothing. ``*`` in a value matches any text.
    """
    chosen = list(rows)
    for parameter, field in fields.items():
        wanted = request.get(parameter)
        if wanted:
            chosen = [r for r in chosen if fnmatch.fnmatchcase(str(r.get(field, "")), wanted)]
    return chosen


def among(rows: Iterable[Row], wanted: Sequence[str], field: str) -> list[Row]:
    """The rows whose ``field`` is one of ``wanted``; all rows when ``wanted`` is empty."""
    return [row for row in rows if not wanted or row.get(field) in wanted]


def with_tags(rows: Iterable[Row], request: Request) -> list[Row]:
    """The rows that have all tags of the request; an empty tag value matches any value."""
    tags = request.tags()
    return [
        row
        for row in rows
        if all(
            key in row["Tags"] and value in ("", row["Tags"][key]) for key, value in tags.items()
        )
    ]


def arn(product: str, kind: str, parameter: str = "") -> Callable[[Request], str]:
    """Gives the RAM resource of a request: ``acs:ecs:cn-hangzhou:<account>:instance/i-...``."""

    def name(request: Request) -> str:
        resource_id = request.get(parameter) if parameter else ""
        return (
            f"acs:{product}:{request.region}:{request.caller.account}:{kind}/{resource_id or '*'}"
        )

    return name


# --- tags, names, times -------------------------------------------------------------------------


def tag_list(tags: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    """Tags as answers carry them: Key/Value for the VPC products, TagKey/TagValue for ECS."""
    return {
        "Tag": [
            {"Key": key, "Value": value, "TagKey": key, "TagValue": value}
            for key, value in tags.items()
        ]
    }


def new_tags(request: Request) -> dict[str, str]:
    """The request's tags, checked; raises InvalidTagKey.Malformed and InvalidTagValue.Malformed."""
    tags = request.tags()
    check_tags(tags)
    return tags


def check_tags(tags: dict[str, str]) -> None:
    """Refuse tags that the real services refuse."""
    if len(tags) > 20:
        raise ApiError(
            "NumberExceed.Tags",
            f"The Tags parameter's number is exceed. Given: {len(tags)}. Allowed: 20 in one call.",
        )
    for key, value in tags.items():
        reserved = key.lower().startswith(("aliyun", "acs:"))
        if not 1 <= len(key) <= 128 or reserved or "http://" in key or "https://" in key:
            raise ApiError(
                "InvalidTagKey.Malformed",
                f"The specified Tag.n.Key is not valid. Given: {key!r}. Allowed: 1 to 128 "
                "characters, not starting with aliyun or acs:, without http:// and https://.",
            )
        if len(value) > 128 or "http://" in value or "https://" in value:
            raise ApiError(
                "InvalidTagValue.Malformed",
                f"The specified Tag.n.Value is not valid. Given: {value!r}. Allowed: up to 128 "
                "characters, without http:// and https://.",
            )


_NAME = re.compile(r"[^\W\d_][\w:.\-]{1,127}", re.UNICODE)


def check_name(name: str, *, code: str, parameter: str) -> str:
    """Return a resource name, or refuse it with the product's code. Empty means unset."""
    if name and (not _NAME.fullmatch(name) or name.startswith(("http://", "https://"))):
        raise ApiError(
            code,
            f'The specified parameter "{parameter}" is not valid. Given: {name!r}. Allowed: 2 to '
            "128 characters: a letter first, then letters, digits and : _ . -",
        )
    return name


def check_description(text: str, *, code: str = "InvalidDescription.Malformed") -> str:
    """Return a description, or refuse it. Empty means unset."""
    if text and (not 2 <= len(text) <= 256 or text.startswith(("http://", "https://"))):
        raise ApiError(
            code,
            'The specified parameter "Description" is not valid. '
            f"Given: {len(text)} characters. Allowed: 2 to 256, not starting with http:// or "
            "https://.",
        )
    return text


def minute_stamp(at: float) -> str:
    """A moment as ECS writes it in instances: ``2026-01-31T08:00Z``, without seconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%MZ")


def refuse_unsupported(request: Request, *names: str) -> None:
    """Refuse parameters that the real API has and the emulator does not act on."""
    given = sorted(
        key for key, value in request.params.items() if value and key.startswith(tuple(names))
    )
    if given:
        raise ApiError(
            "UnsupportedParameter",
            f"The emulator does not act on {', '.join(given)} of {request.action}, and ignoring "
            "it would make the rehearsal prove less than it seems. Leave it out, or teach the "
            "emulator.",
        )
