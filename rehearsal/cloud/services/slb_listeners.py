"""SLB 2014-05-15: listeners and server groups, as a cluster's cloud controller makes them."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from typing import Any

from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.lookups import SLB, Row, here, live_rows, page, quota
from rehearsal.cloud.services.slb_common import (
    BALANCERS,
    balancer_arn,
    find_acl,
    find_balancer,
    not_managed,
)
from rehearsal.cloud.state import Cloud, RegionState

_PORTS = range(1, 65536)
# Settings of a TCP or UDP listener that are kept and given back as they were sent.
_KEPT = (
    "Scheduler",
    "PersistenceTimeout",
    "EstablishedTimeout",
    "IdleTimeout",
    "HealthCheckType",
    "HealthCheckConnectPort",
    "HealthCheckURI",
    "HealthCheckHttpCode",
    "HealthyThreshold",
    "UnhealthyThreshold",
    "HealthCheckConnectTimeout",
    "HealthCheckInterval",
    "ConnectionDrain",
    "ConnectionDrainTimeout",
)
_ESTABLISHED_S = range(10, 901)


def _balancer(request: Request, cloud: Cloud, *, change: bool = False) -> tuple[RegionState, Row]:
    state = here(request, cloud)
    row = find_balancer(state, request.required("LoadBalancerId"), cloud)
    if change:
        not_managed(row)
    return state, row


def _port(request: Request, name: str = "ListenerPort") -> int:
    request.required(name)
    port = request.integer(name) or 0
    if port not in _PORTS:
        raise invalid_parameter(name, port, "1 to 65535")
    return port


def _listener(request: Request, row: Row, protocol: str = "") -> Row:
    port = _port(request)
    wanted = protocol or request.get("ListenerProtocol").lower()
    for listener in row["Listeners"].values():
        found: Row = listener
        if found["ListenerPort"] == port and wanted in ("", found["ListenerProtocol"]):
            return found
    raise ApiError(
        "InvalidParameter",
        f"The specified listener does not exist. Given: port {port} of {row['LoadBalancerId']}, "
        f"which has: {', '.join(row['Listeners']) or 'none'}.",
        404,
    )


def _take_settings(
    request: Request, row: Row, listener: Row, state: RegionState, cloud: Cloud
) -> None:
    if request.get("EstablishedTimeout"):
        seconds = request.integer("EstablishedTimeout") or 0
        if seconds not in _ESTABLISHED_S:
            raise invalid_parameter("EstablishedTimeout", seconds, "10 to 900 seconds")
    group = request.get("VServerGroupId")
    if group and group not in row["VServerGroups"]:
        raise _no_group(group, row)
    if request.get("AclId"):
        find_acl(state, request.get("AclId"), cloud)
    if request.get("AclStatus", "off") not in ("", "on", "off"):
        raise invalid_parameter("AclStatus", request.get("AclStatus"), "on, off")
    if request.get("AclType", "white") not in ("", "white", "black"):
        raise invalid_parameter("AclType", request.get("AclType"), "white, black")
    fields = ("VServerGroupId", "AclId", "AclStatus", "AclType", "Description", *_KEPT)
    updated = {name: request.get(name) for name in fields if name in request.params}
    status = updated.get("AclStatus", listener["AclStatus"])
    if status == "on" and not updated.get("AclId", listener["AclId"]):
        raise invalid_parameter("AclId", "", "an access control list, because AclStatus is on")
    listener.update(updated)


def _create(request: Request, cloud: Cloud, protocol: str) -> dict[str, Any]:
    state, row = _balancer(request, cloud, change=True)
    port = _port(request)
    key = f"{protocol}:{port}"
    if key in row["Listeners"]:
        raise ApiError(
            "ListenerAlreadyExists",
            f"There is already a listener with the port {port} ({protocol}) on "
            f"{row['LoadBalancerId']}. Change that one, or choose another port.",
        )
    if len(row["Listeners"]) >= quota(state, "listeners_per_load_balancer"):
        raise ApiError(
            "QuotaExceeded.Listener",
            f"The quota of listeners of {row['LoadBalancerId']} is exceeded: "
            f"{quota(state, 'listeners_per_load_balancer')}.",
        )
    if not request.get("VServerGroupId"):
        _port(request, "BackendServerPort")
    listener: Row = {
        "ListenerPort": port,
        "ListenerProtocol": protocol,
        "BackendServerPort": request.integer("BackendServerPort", 0),
        "Bandwidth": request.integer("Bandwidth", -1),
        "VServerGroupId": "",
        "AclId": "",
        "AclStatus": "off",
        "AclType": "",
        "Description": "",
        "Scheduler": "rr",
        "Status": "stopped",
    }
    _take_settings(request, row, listener, state, cloud)
    row["Listeners"][key] = listener
    return {}


@action(*SLB, resource=balancer_arn)
def CreateLoadBalancerTCPListener(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Add a TCP listener, stopped."""
    return _create(request, cloud, "tcp")


@action(*SLB, resource=balancer_arn)
def CreateLoadBalancerUDPListener(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Add a UDP listener, stopped."""
    return _create(request, cloud, "udp")


@action(*SLB, resource=balancer_arn)
def SetLoadBalancerTCPListenerAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Change a TCP listener."""
    state, row = _balancer(request, cloud, change=True)
    _take_settings(request, row, _listener(request, row, "tcp"), state, cloud)
    return {}


@action(*SLB, resource=balancer_arn)
def SetLoadBalancerUDPListenerAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Change a UDP listener."""
    state, row = _balancer(request, cloud, change=True)
    _take_settings(request, row, _listener(request, row, "udp"), state, cloud)
    return {}


@action(*SLB, read_only=True, resource=balancer_arn)
def DescribeLoadBalancerTCPListenerAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """One TCP listener in detail."""
    _, row = _balancer(request, cloud)
    return dict(_listener(request, row, "tcp"))


@action(*SLB, read_only=True, resource=balancer_arn)
def DescribeLoadBalancerUDPListenerAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """One UDP listener in detail."""
    _, row = _balancer(request, cloud)
    return dict(_listener(request, row, "udp"))


@action(*SLB, read_only=True, resource=balancer_arn)
def DescribeLoadBalancerListeners(request: Request, cloud: Cloud) -> dict[str, Any]:
    """The listeners of some or all load balancers."""
    state = here(request, cloud)
    wanted = request.repeated("LoadBalancerId")
    found = [
        {**listener, "LoadBalancerId": row["LoadBalancerId"]}
        for row in live_rows(state, BALANCERS, cloud)
        if not wanted or row["LoadBalancerId"] in wanted
        for listener in row["Listeners"].values()
    ]
    chosen, paging = page(request, found, default=20, by_token=True)
    return {
        "Listeners": chosen,
        "MaxResults": paging["PageSize"],
        "NextToken": paging["NextToken"],
        "TotalCount": paging["TotalCount"],
    }


@action(*SLB, resource=balancer_arn)
def StartLoadBalancerListener(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Let a listener forward."""
    _, row = _balancer(request, cloud, change=True)
    _listener(request, row)["Status"] = "running"
    return {}


@action(*SLB, resource=balancer_arn)
def StopLoadBalancerListener(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Let a listener refuse connections."""
    _, row = _balancer(request, cloud, change=True)
    _listener(request, row)["Status"] = "stopped"
    return {}


@action(*SLB, resource=balancer_arn)
def DeleteLoadBalancerListener(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Remove a listener."""
    _, row = _balancer(request, cloud, change=True)
    listener = _listener(request, row)
    del row["Listeners"][f"{listener['ListenerProtocol']}:{listener['ListenerPort']}"]
    return {}


# ---- server groups


def _no_group(group_id: str, row: Row) -> ApiError:
    return ApiError(
        "InvalidParameter.VServerGroupId",
        f"The specified VServerGroupId does not exist. Given: {group_id!r} of "
        f"{row['LoadBalancerId']}.",
        404,
    )


def _group(request: Request, cloud: Cloud) -> tuple[Row, Row]:
    group_id = request.required("VServerGroupId")
    for row in live_rows(here(request, cloud), BALANCERS, cloud):
        if group_id in row["VServerGroups"]:
            return row, row["VServerGroups"][group_id]
    raise _no_group(group_id, {"LoadBalancerId": "any load balancer"})


def _servers(request: Request) -> dict[str, Row]:
    servers: dict[str, Row] = {}
    for item in request.structs("BackendServers"):
        port = int(item.get("Port", "0") or 0)
        weight = int(item.get("Weight", "100") or 0)
        if port not in _PORTS or not 0 <= weight <= 100 or not item.get("ServerId"):
            raise invalid_parameter(
                "BackendServers", item, "ServerId, Port 1 to 65535, Weight 0 to 100"
            )
        servers[f"{item['ServerId']}:{item.get('ServerIp', '')}:{port}"] = {
            "ServerId": item["ServerId"],
            "ServerIp": item.get("ServerIp", ""),
            "Port": port,
            "Weight": weight,
            "Type": item.get("Type", "ecs"),
            "Description": item.get("Description", ""),
        }
    return servers


def _group_view(row: Row, group: Row) -> dict[str, Any]:
    return {
        "LoadBalancerId": row["LoadBalancerId"],
        "VServerGroupId": group["VServerGroupId"],
        "VServerGroupName": group["VServerGroupName"],
        "BackendServers": {"BackendServer": list(group["Servers"].values())},
    }


@action(*SLB, resource=balancer_arn)
def CreateVServerGroup(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Make a group of backends for listeners."""
    _, row = _balancer(request, cloud, change=True)
    group_id = cloud.new_id("rsp", request.region)
    group: Row = {
        "VServerGroupId": group_id,
        "VServerGroupName": request.get("VServerGroupName") or group_id,
        "Servers": _servers(request),
    }
    row["VServerGroups"][group_id] = group
    return _group_view(row, group)


@action(*SLB, read_only=True, resource=balancer_arn)
def DescribeVServerGroups(request: Request, cloud: Cloud) -> dict[str, Any]:
    """The server groups of a load balancer."""
    _, row = _balancer(request, cloud)
    return {
        "VServerGroups": {
            "VServerGroup": [
                {
                    "VServerGroupId": group["VServerGroupId"],
                    "VServerGroupName": group["VServerGroupName"],
                    "ServerCount": len(group["Servers"]),
                }
                for group in row["VServerGroups"].values()
            ]
        }
    }


@action(*SLB, read_only=True)
def DescribeVServerGroupAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """One server group with its backends."""
    return _group_view(*_group(request, cloud))


@action(*SLB)
def SetVServerGroupAttribute(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Rename a server group, or change the weights of backends that it has."""
    row, group = _group(request, cloud)
    if request.get("VServerGroupName"):
        group["VServerGroupName"] = request.get("VServerGroupName")
    for key, server in _servers(request).items():
        if key not in group["Servers"]:
            raise invalid_parameter("BackendServers", key, ", ".join(group["Servers"]) or "none")
        group["Servers"][key] = server
    return _group_view(row, group)


@action(*SLB)
def AddVServerGroupBackendServers(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Add backends to a server group."""
    row, group = _group(request, cloud)
    group["Servers"].update(_servers(request))
    return _group_view(row, group)


@action(*SLB)
def RemoveVServerGroupBackendServers(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Take backends off a server group."""
    row, group = _group(request, cloud)
    for key in _servers(request):
        group["Servers"].pop(key, None)
    return _group_view(row, group)


@action(*SLB)
def DeleteVServerGroup(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Delete a server group that no listener uses."""
    row, group = _group(request, cloud)
    users = [
        key
        for key, listener in row["Listeners"].items()
        if listener["VServerGroupId"] == group["VServerGroupId"]
    ]
    if users:
        raise ApiError(
            "RspoolVipExist",
            f"The server group {group['VServerGroupId']} is used by the listeners "
            f"{', '.join(users)}; delete them first.",
        )
    del row["VServerGroups"][group["VServerGroupId"]]
    return {}
