"""SLB 2014-05-15: access control lists of load balancers."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

import json
from typing import Any

from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.lookups import (
    SLB,
    Row,
    here,
    live_rows,
    matching,
    new_tags,
    page,
    quota,
    tag_list,
    with_tags,
)
from rehearsal.cloud.services.slb_common import ACLS, BALANCERS, acl_arn, block_of, find_acl
from rehearsal.cloud.services.vpc import DEFAULT_RESOURCE_GROUP
from rehearsal.cloud.state import Cloud, RegionState

_MAX_IN_ONE_CALL = 50


@action(*SLB, resource=acl_arn)
def CreateAccessControlList(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Create an empty access control list."""
    state = here(request, cloud)
    name = request.required("AclName")
    if len(name) > 80:
        raise invalid_parameter("AclName", name, "1 to 80 characters")
    if request.get("AddressIPVersion", "ipv4") not in ("", "ipv4"):
        raise invalid_parameter("AddressIPVersion", request.get("AddressIPVersion"), "ipv4")
    rows = live_rows(state, ACLS, cloud)
    if len(rows) >= quota(state, "acls"):
        raise ApiError(
            "AclNumberOverLimit",
            f"The number of access control lists is over the limit of {quota(state, 'acls')} in "
            f"{state.name}. Delete one that is not used.",
        )
    acl_id = cloud.new_id("acl", state.name)
    state.table(ACLS)[acl_id] = {
        "AclId": acl_id,
        "AclName": name,
        "ResourceGroupId": request.get("ResourceGroupId") or DEFAULT_RESOURCE_GROUP,
        "Entries": {},
        "CreateTime": cloud.timestamp(),
        "Tags": new_tags(request),
    }
    return {"AclId": acl_id}


@action(*SLB, read_only=True, resource=acl_arn)
def DescribeAccessControlListAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """One access control list with its entries and the listeners that use it."""
    state = here(request, cloud)
    row = find_acl(state, request.required("AclId"), cloud)
    return {
        **_view(row),
        "AclEntrys": {
            "AclEntry": [
                {"AclEntryIP": entry, "AclEntryComment": comment}
                for entry, comment in row["Entries"].items()
            ]
        },
        "RelatedListeners": {"RelatedListener": _users(state, row["AclId"])},
        "TotalAclEntry": len(row["Entries"]),
    }


@action(*SLB, read_only=True, resource=acl_arn)
def DescribeAccessControlLists(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Access control lists of a region."""
    state = here(request, cloud)
    rows = matching(live_rows(state, ACLS, cloud), request, AclName="AclName")
    chosen, paging = page(request, with_tags(rows, request), maximum=50)
    return {
        "Acls": {"Acl": [_view(row) for row in chosen]},
        "Count": len(chosen),
        **paging,
    }


@action(*SLB, resource=acl_arn)
def SetAccessControlListAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Rename an access control list."""
    row = find_acl(here(request, cloud), request.required("AclId"), cloud)
    row["AclName"] = request.required("AclName")
    return {"AclId": row["AclId"], "AclName": row["AclName"]}


@action(*SLB, resource=acl_arn)
def AddAccessControlListEntry(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Add networks to an access control list."""
    state = here(request, cloud)
    row = find_acl(state, request.required("AclId"), cloud)
    entries = _entries(request)
    for entry, comment in entries.items():
        block_of(entry)
        if entry in row["Entries"]:
            raise ApiError(
                "DuplicateAclEntry",
                f"The entry {entry} is in {row['AclId']} already. Leave it out.",
            )
        if len(comment) > 100:
            raise invalid_parameter("AclEntrys", comment, "comments of at most 100 characters")
    limit = quota(state, "entries_per_acl")
    if len(row["Entries"]) + len(entries) > limit:
        raise ApiError(
            "AclEntryOverLimit",
            f"The number of entries of {row['AclId']} would be over the limit of {limit}. Join "
            "networks, or use another list.",
        )
    row["Entries"].update(entries)
    return {}


@action(*SLB, resource=acl_arn)
def RemoveAccessControlListEntry(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Take networks off an access control list."""
    row = find_acl(here(request, cloud), request.required("AclId"), cloud)
    entries = _entries(request)
    missing = [entry for entry in entries if entry not in row["Entries"]]
    if missing:
        raise ApiError(
            "AclEntryEmpty",
            f"The entries {', '.join(missing)} are not in {row['AclId']}.",
        )
    for entry in entries:
        del row["Entries"][entry]
    return {}


@action(*SLB, resource=acl_arn)
def DeleteAccessControlList(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Delete an access control list that no listener uses."""
    state = here(request, cloud)
    row = find_acl(state, request.required("AclId"), cloud)
    users = _users(state, row["AclId"])
    if users:
        names = ", ".join(f"{item['LoadBalancerId']}:{item['ListenerPort']}" for item in users)
        raise ApiError(
            "AclInUsed",
            f"The specified Acl is in use. {row['AclId']} is used by the listeners {names}; take "
            "it off them first.",
        )
    del state.table(ACLS)[row["AclId"]]
    return {}


def _entries(request: Request) -> dict[str, str]:
    text = request.required("AclEntrys")
    try:
        items = json.loads(text)
    except ValueError:
        items = None
    if not isinstance(items, list):
        raise invalid_parameter("AclEntrys", text, 'a JSON list as [{"entry":"10.0.0.0/8"}]')
    # The provider puts an empty item before the one that it means.
    named = [item for item in items if item]
    if not named or len(named) > _MAX_IN_ONE_CALL:
        raise invalid_parameter("AclEntrys", text, f"1 to {_MAX_IN_ONE_CALL} entries in one call")
    if not all(isinstance(item, dict) and isinstance(item.get("entry"), str) for item in named):
        raise invalid_parameter("AclEntrys", text, "objects with entry and comment")
    return {item["entry"]: str(item.get("comment") or "") for item in named}


def _users(state: RegionState, acl_id: str) -> list[dict[str, Any]]:
    return [
        {
            "LoadBalancerId": row["LoadBalancerId"],
            "ListenerPort": listener["ListenerPort"],
            "Protocol": listener["ListenerProtocol"],
            "AclType": listener["AclType"],
        }
        for row in state.table(BALANCERS).values()
        for listener in row["Listeners"].values()
        if listener["AclId"] == acl_id
    ]


def _view(row: Row) -> dict[str, Any]:
    return {
        "AclId": row["AclId"],
        "AclName": row["AclName"],
        "AddressIPVersion": "ipv4",
        "ResourceGroupId": row["ResourceGroupId"],
        "CreateTime": row["CreateTime"],
        "Tags": tag_list(row["Tags"]),
    }
