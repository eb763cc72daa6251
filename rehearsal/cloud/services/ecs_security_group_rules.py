"""ECS 2014-05-26: security group rules, and the firewall that they make of each machine."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Any, Literal

from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.hypervisor import FirewallRule
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.ecs_common import instance_status, live_instances
from rehearsal.cloud.services.lookups import (
    ECS,
    Row,
    arn,
    check_description,
    find,
    here,
    quota,
)
from rehearsal.cloud.state import Cloud, RegionState

Direction = Literal["ingress", "egress"]
PROTOCOLS = ("TCP", "UDP", "ICMP", "ICMPv6", "GRE", "ALL")
# For each direction: prefix of the parameters that name the other side.
PEER: dict[Direction, str] = {"ingress": "Source", "egress": "Dest"}
# Traffic inside a basic security group is accepted, after every rule (priorities are 1 to 100).
INNER_PRIORITY = 101


def find_group(state: RegionState, group_id: str, cloud: Cloud) -> Row:
    """The security group's row; raises InvalidSecurityGroupId.NotFound (404)."""
    return find(
        state,
        "security_groups",
        group_id,
        cloud,
        lambda: ApiError(
            "InvalidSecurityGroupId.NotFound",
            f"The specified SecurityGroupId does not exist. Given: {group_id!r} in {state.name}.",
            404,
        ),
    )


# --- reading a rule from a request --------------------------------------------------------------


def _rules(request: Request, direction: Direction) -> list[Row]:
    """The rules of a request: ``Permissions.N.*``, or the flat parameters of the older form."""
    items = request.structs("Permissions")
    return [_rule(item, direction) for item in items or [request.params]]


def _rule(item: dict[str, str], direction: Direction) -> Row:
    peer = PEER[direction]
    protocol = _protocol(item.get("IpProtocol", ""))
    return {
        "Direction": direction,
        "IpProtocol": protocol,
        "PortRange": _port_range(protocol, item.get("PortRange", "")),
        "NicType": _nic_type(item.get("NicType") or "intranet"),
        "Policy": _policy(item.get("Policy") or "accept"),
        "Priority": _priority(item.get("Priority") or "1"),
        "Description": check_description(
            item.get("Description", ""), code="InvalidSecurityGroupDiscription.Malformed"
        ),
        **_peer(item, peer, direction),
    }


def _protocol(given: str) -> str:
    for name in PROTOCOLS:
        if given.upper() == name.upper():
            return name
    raise ApiError(
        "InvalidIpProtocol.ValueNotSupported",
        "The parameter IpProtocol must be specified with case insensitive TCP, UDP, ICMP, GRE or "
        f"All. Given: {given!r}.",
    )


def _port_range(protocol: str, given: str) -> str:
    if protocol not in ("TCP", "UDP"):
        if given not in ("", "-1/-1"):
            raise ApiError(
                "OperationDenied",
                "The specified IpProtocol does not exist or IpProtocol and PortRange do not "
                f"match. Given: {given!r} for {protocol}. Allowed: -1/-1.",
            )
        return "-1/-1"
    low, slash, high = given.partition("/")
    numbers = low.isdigit() and high.isdigit() and slash
    if not numbers or not 1 <= int(low) <= int(high) <= 65535:
        raise ApiError(
            "InvalidIpPortRange.Malformed",
            f'The specified parameter "PortRange" is not valid. Given: {given!r}. Allowed: two '
            "ports from 1 to 65535, such as 443/443 or 8000/8100.",
        )
    return f"{int(low)}/{int(high)}"


def _nic_type(given: str) -> str:
    if given != "intranet":
        raise ApiError(
            "InvalidNicType.ValueNotSupported",
            f"The specified NicType does not exist. Given: {given!r}. Groups in a VPC have: "
            "intranet.",
        )
    return given


def _policy(given: str) -> str:
    if given.lower() not in ("accept", "drop"):
        raise ApiError(
            "InvalidPolicy.Malformed",
            f'The specified parameter "Policy" is not valid. Given: {given!r}. Allowed: accept, '
            "drop.",
        )
    return given.capitalize()


def _priority(given: str) -> str:
    if not given.isdigit() or not 1 <= int(given) <= 100:
        raise ApiError(
            "InvalidPriority.ValueNotSupported",
            f"The specified Priority is invalid. Given: {given!r}. Allowed: 1 to 100; 1 is the "
            "strongest.",
        )
    return str(int(given))


def _peer(item: dict[str, str], peer: str, direction: Direction) -> Row:
    """The other side: a block, an IPv6 block or a group, under the names that answers use."""
    if item.get(f"{peer}PrefixListId"):
        raise ApiError(
            "UnsupportedParameter",
            f"The emulator has no prefix lists. Given: {peer}PrefixListId. Use {peer}CidrIp.",
        )
    found: Row = {
        **dict.fromkeys(("SourceCidrIp", "DestCidrIp", "Ipv6SourceCidrIp", "Ipv6DestCidrIp"), ""),
        **dict.fromkeys(("SourceGroupId", "DestGroupId"), ""),
    }
    block, block6, group = (
        item.get(f"{peer}CidrIp", ""),
        item.get(f"Ipv6{peer}CidrIp", ""),
        item.get(f"{peer}GroupId", ""),
    )
    if not (block or block6 or group):
        raise ApiError(
            "MissingParameter",
            f'The input parameter "{peer}GroupId" or "{peer}CidrIp" cannot be both blank.',
            403,
        )
    try:
        if block:
            IPv4Network(block, strict=False)
        if block6:
            IPv6Network(block6, strict=False)
    except ValueError:
        raise ApiError(
            f"Invalid{peer}CidrIp.Malformed",
            f'The specified parameter "{peer}CidrIp" is not valid. Given: {block or block6!r}. '
            f"Allowed: a network such as 203.0.113.0/24 ({direction}).",
        ) from None
    found[f"{peer}CidrIp"], found[f"Ipv6{peer}CidrIp"] = block, block6
    found[f"{peer}GroupId"] = group
    return found


_IDENTITY = (
    *("Direction", "IpProtocol", "PortRange", "NicType", "Policy", "Priority"),
    *("SourceCidrIp", "DestCidrIp", "Ipv6SourceCidrIp", "Ipv6DestCidrIp"),
    *("SourceGroupId", "DestGroupId"),
)


def _same(one: Row, other: Row) -> bool:
    return all(one[field] == other[field] for field in _IDENTITY)


# --- actions ------------------------------------------------------------------------------------


def _authorize(request: Request, cloud: Cloud, direction: Direction) -> dict[str, Any]:
    state = here(request, cloud)
    group = find_group(state, request.required("SecurityGroupId"), cloud)
    for rule in _rules(request, direction):
        _check_peer_group(state, group, rule, direction)
        # An identical rule is not added twice, and that is no error (AuthorizeSecurityGroup help).
        if any(_same(rule, other) for other in group["Rules"]):
            continue
        limit = quota(state, "rules_per_security_group")
        if len(group["Rules"]) >= limit:
            raise ApiError(
                "AuthorizationLimitExceed",
                "The limit of authorization records in the security group reaches. "
                f"{group['SecurityGroupId']} allows {limit}.",
                403,
            )
        rule["SecurityGroupRuleId"] = cloud.new_id("sgr", state.name)
        rule["CreateTime"] = cloud.timestamp()
        group["Rules"].append(rule)
    enforce(state, cloud, {group["SecurityGroupId"]})
    return {}


def _check_peer_group(state: RegionState, group: Row, rule: Row, direction: Direction) -> None:
    peer_id = rule[f"{PEER[direction]}GroupId"]
    if not peer_id:
        return
    other = state.table("security_groups").get(peer_id)
    if other is None:
        raise ApiError(
            f"Invalid{PEER[direction]}GroupId.NotFound",
            f"The {PEER[direction]}GroupId provided does not exist in our records. "
            f"Given: {peer_id!r}.",
            404,
        )
    if other["VpcId"] != group["VpcId"]:
        raise ApiError(
            f"Invalid{PEER[direction]}GroupId.Mismatch",
            "Specified security group and source group are not in the same VPC. "
            f"{group['SecurityGroupId']} is in {group['VpcId']}, {peer_id} in {other['VpcId']}.",
        )


def _revoke(request: Request, cloud: Cloud, direction: Direction) -> dict[str, Any]:
    state = here(request, cloud)
    group = find_group(state, request.required("SecurityGroupId"), cloud)
    ids = request.repeated("SecurityGroupRuleId")
    if ids:
        unknown = set(ids) - {rule["SecurityGroupRuleId"] for rule in group["Rules"]}
        if unknown:
            raise ApiError(
                "InvalidSecurityGroupRuleId.NotFound",
                "The specified SecurityGroupRuleId is not exists. "
                f"Given: {', '.join(sorted(unknown))}.",
                404,
            )
        group["Rules"] = [r for r in group["Rules"] if r["SecurityGroupRuleId"] not in ids]
    else:
        # A rule that is not there is no error either: the answer is the same (RevokeSecurityGroup
        # help), so that a repeated delete ends well.
        doomed = _rules(request, direction)
        group["Rules"] = [r for r in group["Rules"] if not any(_same(r, rule) for rule in doomed)]
    enforce(state, cloud, {group["SecurityGroupId"]})
    return {}


def _modify(request: Request, cloud: Cloud, direction: Direction) -> dict[str, Any]:
    state = here(request, cloud)
    group = find_group(state, request.required("SecurityGroupId"), cloud)
    rule_id = request.get("SecurityGroupRuleId")
    wanted = None if rule_id else _rule(request.params, direction)
    for rule in group["Rules"]:
        if rule["SecurityGroupRuleId"] == rule_id or (wanted and _same(rule, wanted)):
            fields = {**rule, **{k: v for k, v in request.params.items() if v and k in rule}}
            changed = _rule(fields, direction)
            changed["Description"] = check_description(
                request.get("Description", rule["Description"]),
                code="InvalidSecurityGroupDiscription.Malformed",
            )
            _check_peer_group(state, group, changed, direction)
            rule.update(changed)
            enforce(state, cloud, {group["SecurityGroupId"]})
            return {}
    raise ApiError(
        "InvalidSecurityGroupRule.RuleNotExist",
        "The specified rule does not exist. "
        f"Given: {rule_id or request.get('PortRange')} of {group['SecurityGroupId']}.",
        404,
    )


_GROUP = arn("ecs", "securitygroup", "SecurityGroupId")


@action(*ECS, resource=_GROUP)
def AuthorizeSecurityGroup(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Add ingress rules to a security group."""
    return _authorize(request, cloud, "ingress")


@action(*ECS, resource=_GROUP)
def AuthorizeSecurityGroupEgress(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Add egress rules to a security group."""
    return _authorize(request, cloud, "egress")


@action(*ECS, resource=_GROUP)
def RevokeSecurityGroup(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Remove ingress rules from a security group."""
    return _revoke(request, cloud, "ingress")


@action(*ECS, resource=_GROUP)
def RevokeSecurityGroupEgress(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Remove egress rules from a security group."""
    return _revoke(request, cloud, "egress")


@action(*ECS, resource=_GROUP)
def ModifySecurityGroupRule(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Change an ingress rule, named by its id or by its attributes."""
    return _modify(request, cloud, "ingress")


@action(*ECS, resource=_GROUP)
def ModifySecurityGroupEgressRule(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Change an egress rule, named by its id or by its attributes."""
    return _modify(request, cloud, "egress")


# --- enforcement --------------------------------------------------------------------------------


def enforce(state: RegionState, cloud: Cloud, group_ids: set[str], *, launched: str = "") -> None:
    """Give the firewall of every instance that these groups concern its current rules.

    Concerned are the members of the groups, and the members of groups whose rules name them. A
    Pending machine may not exist yet and is left out, unless it is ``launched``: just made.
    """
    groups = state.table("security_groups")
    concerned = group_ids | {
        key
        for key, group in groups.items()
        if any({r["SourceGroupId"], r["DestGroupId"]} & group_ids for r in group["Rules"])
    }
    for row in live_instances(state, cloud):
        instance_id = row["InstanceId"]
        if not concerned & set(row["SecurityGroupIds"]):
            continue
        if instance_id == launched or instance_status(row, cloud) != "Pending":
            cloud.hypervisor.apply_rules(instance_id, firewall(state, cloud, row))


def firewall(state: RegionState, cloud: Cloud, instance: Row) -> list[FirewallRule]:
    """The flattened rules of an instance; groups are replaced by their members' addresses."""
    found: list[FirewallRule] = []
    for group_id in instance["SecurityGroupIds"]:
        group = state.table("security_groups")[group_id]
        for rule in group["Rules"]:
            found += _flatten(state, cloud, rule)
        if group["InnerAccessPolicy"] == "Accept":
            found += [
                FirewallRule("ingress", "all", -1, -1, f"{address}/32", "accept", INNER_PRIORITY)
                for address in _members(state, cloud, group_id)
                if address != instance["PrivateIp"]
            ]
    return found


def _members(state: RegionState, cloud: Cloud, group_id: str) -> list[str]:
    return [
        row["PrivateIp"]
        for row in live_instances(state, cloud)
        if group_id in row["SecurityGroupIds"]
    ]


def _flatten(state: RegionState, cloud: Cloud, rule: Row) -> list[FirewallRule]:
    protocol = rule["IpProtocol"].lower()
    if protocol in ("gre", "icmpv6"):
        return []  # machines of the rehearsal have neither
    peer = PEER[rule["Direction"]]
    blocks = (
        [str(IPv4Network(rule[f"{peer}CidrIp"], strict=False))] if rule[f"{peer}CidrIp"] else []
    )
    if rule[f"{peer}GroupId"]:
        blocks += [f"{address}/32" for address in _members(state, cloud, rule[f"{peer}GroupId"])]
    low, high = (int(part) for part in rule["PortRange"].split("/"))
    policy: Literal["accept", "drop"] = "accept" if rule["Policy"] == "Accept" else "drop"
    return [
        FirewallRule(rule["Direction"], protocol, low, high, block, policy, int(rule["Priority"]))
        for block in blocks
    ]
