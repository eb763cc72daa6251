"""What the load balancer (CLB) actions share: rows, finding them, checking addresses."""

from __future__ import annotations

from ipaddress import IPv4Network

from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.registry import Request
from rehearsal.cloud.services.lookups import Row, change, find
from rehearsal.cloud.services.vpc import DEFAULT_RESOURCE_GROUP
from rehearsal.cloud.state import Cloud, RegionState
from rehearsal.cloud.transitions import Transition

BALANCERS = "load_balancers"
ACLS = "slb_acls"
CREATING = Transition("creating", "active", 2.0)


def balancer_arn(request: Request) -> str:
    """The RAM resource of the load balancer that a request names."""
    balancer_id = request.get("LoadBalancerId") or "*"
    return f"acs:slb:{request.region}:{request.caller.account}:loadbalancer/{balancer_id}"


def acl_arn(request: Request) -> str:
    """The RAM resource of the access control list that a request names."""
    return f"acs:slb:{request.region}:{request.caller.account}:acl/{request.get('AclId') or '*'}"


def find_balancer(state: RegionState, balancer_id: str, cloud: Cloud) -> Row:
    """The load balancer's row; raises InvalidLoadBalancerId.NotFound (404)."""
    return find(
        state,
        BALANCERS,
        balancer_id,
        cloud,
        lambda: ApiError(
            "InvalidLoadBalancerId.NotFound",
            f"The specified LoadBalancerId does not exist. Given: {balancer_id!r} in {state.name}.",
            404,
        ),
    )


def find_acl(state: RegionState, acl_id: str, cloud: Cloud) -> Row:
    """The access control list's row; raises AclNotExist."""
    return find(
        state,
        ACLS,
        acl_id,
        cloud,
        lambda: ApiError(
            "AclNotExist",
            f"The specified Acl does not exist. Given: {acl_id!r} in {state.name}.",
        ),
    )


def not_managed(row: Row) -> None:
    """Refuse to change a balancer that belongs to a cluster's API server."""
    if row["ManagedBy"]:
        raise ApiError(
            "OperationDenied.ServiceManaged",
            f"The load balancer {row['LoadBalancerId']} is managed by cluster {row['ManagedBy']}. "
            "Delete the cluster, and it goes with it.",
            403,
        )


def block_of(text: str) -> IPv4Network:
    """The network of an access control entry; raises InvalidParam.AclEntry."""
    try:
        return IPv4Network(text, strict=True)
    except ValueError:
        raise ApiError(
            "InvalidParam.AclEntry",
            f"The specified entry is not valid. Given: {text!r}. Allowed: an IPv4 address or a "
            "network without host bits, for example 203.0.113.0/24. Correct it.",
        ) from None


def add(
    cloud: Cloud,
    state: RegionState,
    *,
    name: str,
    address: str,
    address_type: str,
    vpc_id: str,
    vswitch_id: str,
    tags: dict[str, str],
    managed_by: str = "",
) -> str:
    """Put a load balancer with the usual settings into the table; returns its id.

    ``managed_by`` is the cluster whose API server it serves.
    """
    balancer_id = cloud.new_id("lb", state.name)
    row: Row = {
        "LoadBalancerId": balancer_id,
        "LoadBalancerName": name,
        "Address": address,
        "AddressType": address_type,
        "VpcId": vpc_id,
        "VSwitchId": vswitch_id,
        "Bandwidth": 1,
        "InternetChargeType": "paybytraffic",
        "LoadBalancerSpec": "",
        "InstanceChargeType": "PayByCLCU",
        "MasterZoneId": "",
        "SlaveZoneId": "",
        "DeleteProtection": "off",
        "ModificationProtectionStatus": "NonProtection",
        "ModificationProtectionReason": "",
        "ResourceGroupId": DEFAULT_RESOURCE_GROUP,
        "Stopped": False,
        "ManagedBy": managed_by,
        "Listeners": {},
        "VServerGroups": {},
        "CreateTime": cloud.timestamp(),
        "Tags": dict(tags),
    }
    change(row, cloud, CREATING)
    state.table(BALANCERS)[balancer_id] = row
    return balancer_id
