"""What a cluster may be made of: the rules for CreateCluster's body."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

from rehearsal.cloud import account_traits
from rehearsal.cloud.errors import ApiError, missing_parameter
from rehearsal.cloud.registry import Request
from rehearsal.cloud.services.addresses import parse_block
from rehearsal.cloud.services.cs_common import CLUSTER_SPECS, CLUSTERS, VERSIONS, refused
from rehearsal.cloud.services.lookups import Row, check_tags, live_rows, quota
from rehearsal.cloud.state import Cloud, RegionState

DEFAULT_SERVICE_CIDR = "172.19.0.0/20"
_SERVICE_RANGES = tuple(
    IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
_SERVICE_PREFIXES = range(16, 25)
_MAX_VSWITCHES = 5

# Fields of the body that the emulator acts on or that make no difference to an ACS cluster, with
# the value that the latter must have to make none (None: any).
_UNDERSTOOD = frozenset(
    {
        "name",
        "region_id",
        "cluster_type",
        "profile",
        "cluster_spec",
        "kubernetes_version",
        "vpcid",
        "vswitch_ids",
        "pod_vswitch_ids",
        "service_cidr",
        "endpoint_public_access",
        "deletion_protection",
        "security_group_id",
        "is_enterprise_security_group",
        "resource_group_id",
        "tags",
        "addons",
        "proxy_mode",
        "node_cidr_mask",
        "cluster_domain",
        "ip_stack",
        "timezone",
        "enable_rrsa",
        "rrsa_config",
        "snat_entry",
        "controlplane_log_components",
        "controlplane_log_ttl",
        "controlplane_log_project",
        "audit_log_config",
        "maintenance_window",
        "operation_policy",
        "load_balancer_spec",
        "custom_san",
    }
)


def check(request: Request, state: RegionState, cloud: Cloud) -> tuple[dict[str, Any], list[Row]]:
    """The body of CreateCluster and the vSwitches that it names; raises ApiError."""
    body = request.body
    if not isinstance(body, dict):
        raise missing_parameter("body")
    given = {key: value for key, value in body.items() if value not in (None, "", [], {})}
    _check_understood(given)
    _check_account(request, cloud)
    name = str(given.get("name", ""))
    if not 1 <= len(name) <= 63 or name[0] in "-_":
        raise refused(
            "InvalidClusterName",
            f"The cluster name is not valid: {name!r}.",
            "1 to 63 letters, digits, hyphens and underscores, not starting with - or _",
            "Give another name.",
        )
    switches = _check_network(given, state, cloud)
    _check_service_cidr(given, state, switches[0], cloud)
    _check_tags(given)
    used = len(live_rows(state, CLUSTERS, cloud))
    limit = quota(state, "clusters")
    if used >= limit:
        raise ApiError(
            "ErrorQuotaExceeded",
            f"The number of ACS clusters of the account is {used} and its quota is {limit}. Delete "
            "a cluster that is not used, or ask the Quota Center for more (Total ACS Clusters).",
            403,
        )
    return given, switches


def _check_understood(given: dict[str, Any]) -> None:
    unknown = sorted(set(given) - _UNDERSTOOD)
    if given.get("snat_entry") is True:
        unknown.append("snat_entry=true (make a NAT gateway of your own)")
    if unknown:
        raise ApiError(
            "UnsupportedParameter",
            f"The emulator does not act on {', '.join(unknown)} of CreateCluster, and ignoring it "
            "would make the rehearsal prove less than it seems. Leave it out, or teach the "
            "emulator.",
        )
    choices = {
        "cluster_type": (given.get("cluster_type"), ("ManagedKubernetes",)),
        "profile": (given.get("profile"), ("Acs",)),
        "cluster_spec": (given.get("cluster_spec", "ack.pro.small"), CLUSTER_SPECS),
        "kubernetes_version": (given.get("kubernetes_version", VERSIONS[0]), VERSIONS),
        "ip_stack": (given.get("ip_stack", "ipv4"), ("ipv4",)),
        "proxy_mode": (given.get("proxy_mode", "ipvs"), ("ipvs", "iptables")),
    }
    for name, (value, allowed) in choices.items():
        if value not in allowed:
            raise refused(
                "InvalidParameter",
                f"The specified parameter {name} is not valid: {value!r}.",
                ", ".join(allowed) + (" (the emulator has ACS only)" if name == "profile" else ""),
                "Give one of these.",
            )


def _check_account(request: Request, cloud: Cloud) -> None:
    account = request.caller.account
    for service in ("cs", "acs"):
        if account_traits.is_closed(cloud, account, service):
            raise ApiError(
                "ErrorServiceNotOpen",
                f"The service {service.upper()} has not been activated for account {account}. "
                "Activate it in the console of Container Compute Service, then try again.",
                403,
            )
    missing = account_traits.missing_roles(cloud, account)
    if missing:
        raise ApiError(
            "ErrorRoleNotAuthorized",
            f"The account has not granted the service roles {', '.join(missing)}. ACS needs them "
            "once in an account: open its console and confirm the authorization, then try again.",
            403,
        )


def _check_network(given: dict[str, Any], state: RegionState, cloud: Cloud) -> list[Row]:
    wanted = given.get("vswitch_ids") or given.get("pod_vswitch_ids") or []
    if not isinstance(wanted, list) or not 1 <= len(wanted) <= _MAX_VSWITCHES:
        raise refused(
            "InvalidVSwitchIds",
            f"vswitch_ids has {len(wanted)} entries.",
            f"1 to {_MAX_VSWITCHES}",
            "Name the vSwitches that pods are to get their addresses from.",
        )
    table = {row["VSwitchId"]: row for row in live_rows(state, "vswitches", cloud)}
    missing = [one for one in wanted if one not in table]
    if missing:
        raise ApiError(
            "InvalidVSwitchId.NotFound",
            f"Specified virtual switch does not exist. Given: {', '.join(missing)} in "
            f"{state.name}. Create it first, or correct vswitch_ids.",
            404,
        )
    switches = [table[one] for one in wanted]
    vpc_id = str(given.get("vpcid") or switches[0]["VpcId"])
    networks = sorted({row["VpcId"] for row in switches} | {vpc_id})
    if len(networks) != 1:
        raise refused(
            "InvalidVSwitchIds",
            f"The vSwitches {', '.join(wanted)} and vpcid {vpc_id} are in "
            f"{len(networks)} VPCs: {', '.join(networks)}.",
            "vSwitches of one VPC, which vpcid names",
            "Choose vSwitches of one VPC.",
        )
    return switches


def _check_service_cidr(
    given: dict[str, Any], state: RegionState, vswitch: Row, cloud: Cloud
) -> None:
    text = str(given.get("service_cidr", DEFAULT_SERVICE_CIDR))
    block = parse_block(text)
    if (
        block is None
        or block.prefixlen not in _SERVICE_PREFIXES
        or not any(block.subnet_of(outer) for outer in _SERVICE_RANGES)
    ):
        raise refused(
            "InvalidServiceCidr",
            f"The service CIDR is not valid: {text!r}.",
            "a network of /16 to /24 in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16",
            "It cannot be changed later, so choose it with room.",
        )
    vpc = next(row for row in live_rows(state, "vpcs", cloud) if row["VpcId"] == vswitch["VpcId"])
    if block.overlaps(IPv4Network(vpc["CidrBlock"])):
        raise refused(
            "InvalidServiceCidr.Conflict",
            f"The service CIDR {block} overlaps with {vpc['CidrBlock']} of {vpc['VpcId']}.",
            f"a network outside {vpc['CidrBlock']}",
            "Choose another service_cidr.",
        )


def _check_tags(given: dict[str, Any]) -> None:
    tags = {str(item.get("key", "")): str(item.get("value", "")) for item in given.get("tags", [])}
    check_tags(tags)


def vswitches_of(row: Row, wanted: list[str], state: RegionState, cloud: Cloud) -> list[str]:
    """The ids of ``wanted``, which must be vSwitches of the cluster's VPC; raises ApiError."""
    given = {"vswitch_ids": wanted, "vpcid": row["vpc_id"]}
    return [switch["VSwitchId"] for switch in _check_network(given, state, cloud)]
