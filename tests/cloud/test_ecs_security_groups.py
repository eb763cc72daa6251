"""Security groups: rules, members, and what the machines' firewalls are told."""

from __future__ import annotations

from typing import Any

import pytest
from alibabacloud_ecs20140526 import models as ecs

from rehearsal.cloud.hypervisor import FirewallRule

from .ecs_world import REGION, World, refused


@pytest.fixture
def world(cloud: Any) -> World:
    return World(cloud)


def rule(**fields: str) -> ecs.AuthorizeSecurityGroupRequestPermissions:
    return ecs.AuthorizeSecurityGroupRequestPermissions(
        **{"ip_protocol": "tcp", "port_range": "443/443", "source_cidr_ip": "0.0.0.0/0", **fields}
    )


def allow(world: World, group_id: str, **fields: str) -> None:
    world.ecs.authorize_security_group(
        ecs.AuthorizeSecurityGroupRequest(
            region_id=REGION, security_group_id=group_id, permissions=[rule(**fields)]
        )
    )


def rules(world: World, group_id: str, direction: str = "ingress") -> list[Any]:
    return list(
        world.ecs.describe_security_group_attribute(
            ecs.DescribeSecurityGroupAttributeRequest(
                region_id=REGION,
                security_group_id=group_id,
                direction=direction,
                nic_type="intranet",
            )
        ).body.permissions.permission
    )


def new_group(world: World, **fields: Any) -> str:
    request = ecs.CreateSecurityGroupRequest(region_id=REGION, vpc_id=world.vpc_id, **fields)
    return str(world.ecs.create_security_group(request).body.security_group_id)


def test_rules_come_back_as_the_provider_looks_for_them(world: World) -> None:
    """The provider finds a rule by protocol, ports, block, policy and priority as text."""
    allow(world, world.group_id, priority="2", description="public")
    found = rules(world, world.group_id)
    assert [
        (r.ip_protocol, r.port_range, r.source_cidr_ip, r.policy, r.priority, r.nic_type)
        for r in found
    ] == [("TCP", "443/443", "0.0.0.0/0", "Accept", "2", "intranet")]
    assert found[0].security_group_rule_id.startswith("sgr-")
    assert rules(world, world.group_id, "egress") == []


def test_the_same_rule_twice_is_one_rule(world: World) -> None:
    """A repeated call after a lost answer must not fail nor double the rule."""
    allow(world, world.group_id)
    allow(world, world.group_id)
    assert len(rules(world, world.group_id)) == 1


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"ip_protocol": "sctp"}, "InvalidIpProtocol.ValueNotSupported", "case insensitive TCP"),
        ({"port_range": "443"}, "InvalidIpPortRange.Malformed", '"PortRange" is not valid'),
        ({"port_range": "-1/-1"}, "InvalidIpPortRange.Malformed", "443/443 or 8000/8100"),
        ({"ip_protocol": "icmp"}, "OperationDenied", "IpProtocol and PortRange do not match"),
        ({"source_cidr_ip": "10.0.0.300/8"}, "InvalidSourceCidrIp.Malformed", '"SourceCidrIp"'),
        ({"source_cidr_ip": ""}, "MissingParameter", "cannot be both blank"),
        ({"policy": "maybe"}, "InvalidPolicy.Malformed", '"Policy" is not valid'),
        ({"priority": "0"}, "InvalidPriority.ValueNotSupported", "1 to 100"),
        ({"nic_type": "internet"}, "InvalidNicType.ValueNotSupported", "NicType does not exist"),
        ({"source_cidr_ip": "", "source_group_id": "sg-none"},
         "InvalidSourceGroupId.NotFound", "does not exist in our records"),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_refused(
    world: World, fields: dict[str, str], code: str, words: str
) -> None:
    """Each mistake has its own code."""
    with refused(code, words):
        allow(world, world.group_id, **fields)


def test_firewalls_follow_rules_members_and_starts(cloud: Any) -> None:
    """A machine must never run with other rules than its groups have."""
    world = World(cloud)
    instance_id = world.launch()
    assert cloud.hypervisor.rules[instance_id] == []
    allow(world, world.group_id, source_cidr_ip="198.18.0.0/24", priority="10")
    accept = FirewallRule("ingress", "tcp", 443, 443, "198.18.0.0/24", "accept", 10)
    assert cloud.hypervisor.rules[instance_id] == [accept]
    world.ecs.authorize_security_group_egress(
        ecs.AuthorizeSecurityGroupEgressRequest(
            region_id=REGION,
            security_group_id=world.group_id,
            permissions=[
                ecs.AuthorizeSecurityGroupEgressRequestPermissions(
                    ip_protocol="all",
                    port_range="-1/-1",
                    dest_cidr_ip="0.0.0.0/0",
                    policy="drop",
                    priority="100",
                )
            ],
        )
    )
    drop = FirewallRule("egress", "all", -1, -1, "0.0.0.0/0", "drop", 100)
    assert cloud.hypervisor.rules[instance_id] == [accept, drop]
    world.stop(instance_id)
    cloud.hypervisor.rules.clear()
    world.ecs.start_instance(ecs.StartInstanceRequest(instance_id=instance_id))
    world.reaches(instance_id, "Running")
    assert cloud.hypervisor.rules[instance_id] == [accept, drop]
    revoke = ecs.RevokeSecurityGroupRequest(
        region_id=REGION,
        security_group_id=world.group_id,
        permissions=[
            ecs.RevokeSecurityGroupRequestPermissions(
                ip_protocol="tcp",
                port_range="443/443",
                source_cidr_ip="198.18.0.0/24",
                priority="10",
                policy="accept",
                nic_type="intranet",
            )
        ],
    )
    world.ecs.revoke_security_group(revoke)
    assert cloud.hypervisor.rules[instance_id] == [drop]
    world.ecs.revoke_security_group(revoke)  # a repeated delete ends well


def test_members_of_a_basic_group_reach_each_other_until_told_otherwise(cloud: Any) -> None:
    """InnerAccessPolicy and rules that name a group become rules for addresses."""
    world = World(cloud)
    one = world.launch(private_ip_address="10.1.1.1")
    two = world.launch(private_ip_address="10.1.1.2")
    inner = FirewallRule("ingress", "all", -1, -1, "10.1.1.2/32", "accept", 101)
    assert cloud.hypervisor.rules[one] == [inner]
    world.ecs.modify_security_group_policy(
        ecs.ModifySecurityGroupPolicyRequest(
            region_id=REGION, security_group_id=world.group_id, inner_access_policy="Drop"
        )
    )
    assert cloud.hypervisor.rules[one] == cloud.hypervisor.rules[two] == []
    clients = new_group(world, security_group_name="clients")
    allow(world, world.group_id, source_cidr_ip="", source_group_id=clients)
    assert cloud.hypervisor.rules[one] == []
    three = world.launch(security_group_id=clients, private_ip_address="10.1.1.3")
    assert cloud.hypervisor.rules[one] == [
        FirewallRule("ingress", "tcp", 443, 443, "10.1.1.3/32", "accept", 1)
    ]
    with refused("DependencyViolation", "has been authorized in another one", status=403):
        world.delete(three)
        cloud.clock.advance(60)
        world.reaches(three, "")
        world.ecs.delete_security_group(
            ecs.DeleteSecurityGroupRequest(region_id=REGION, security_group_id=clients)
        )


def test_instances_join_and_leave_groups(cloud: Any) -> None:
    """The provider changes groups one by one; the last one cannot be left."""
    world = World(cloud)
    instance_id = world.launch()
    other = new_group(world)
    allow(world, other, port_range="22/22")
    pair = {"security_group_id": other, "instance_id": instance_id}
    world.ecs.join_security_group(ecs.JoinSecurityGroupRequest(region_id=REGION, **pair))
    assert set(world.instance(instance_id).security_group_ids.security_group_id) == {
        world.group_id,
        other,
    }
    assert [r.port_low for r in cloud.hypervisor.rules[instance_id]] == [22]
    with refused("InvalidInstanceId.AlreadyExists", "already exists in the specified", status=403):
        world.ecs.join_security_group(ecs.JoinSecurityGroupRequest(region_id=REGION, **pair))
    world.ecs.leave_security_group(ecs.LeaveSecurityGroupRequest(region_id=REGION, **pair))
    assert cloud.hypervisor.rules[instance_id] == []
    pair["security_group_id"] = world.group_id
    with refused("InstanceLastSecurityGroup", "is the last security group", status=403):
        world.ecs.leave_security_group(ecs.LeaveSecurityGroupRequest(region_id=REGION, **pair))


def test_a_rules_description_can_be_changed(world: World) -> None:
    """The provider sends the same change twice and names the rule by its attributes."""
    allow(world, world.group_id, description="old")
    change = ecs.ModifySecurityGroupRuleRequest(
        region_id=REGION,
        security_group_id=world.group_id,
        ip_protocol="tcp",
        port_range="443/443",
        source_cidr_ip="0.0.0.0/0",
        policy="accept",
        priority="1",
        nic_type="intranet",
        description="new",
    )
    for _ in range(2):
        world.ecs.modify_security_group_rule(change)
    assert [r.description for r in rules(world, world.group_id)] == ["new"]
    change.port_range = "80/80"
    with refused("InvalidSecurityGroupRule.RuleNotExist", "rule does not exist", status=404):
        world.ecs.modify_security_group_rule(change)


def test_groups_are_listed_and_renamed(world: World) -> None:
    """The provider reads a group from the list, with its tags."""
    world.ecs.modify_security_group_attribute(
        ecs.ModifySecurityGroupAttributeRequest(
            region_id=REGION,
            security_group_id=world.group_id,
            security_group_name="edge",
            description="front door",
        )
    )
    body = world.ecs.describe_security_groups(
        ecs.DescribeSecurityGroupsRequest(region_id=REGION, security_group_id=world.group_id)
    ).body
    found = body.security_groups.security_group[0]
    assert (found.security_group_name, found.description, found.vpc_id) == (
        "edge",
        "front door",
        world.vpc_id,
    )
    with refused("InvalidSecurityGroupId.NotFound", "SecurityGroupId does not exist", status=404):
        rules(world, "sg-none")


def test_an_advanced_group_keeps_its_members_apart(world: World) -> None:
    """Enterprise groups have no inner access, and it cannot be switched on."""
    group_id = new_group(world, security_group_type="enterprise")
    with refused("InvalidOperation.SecurityGroupType", "enterprise group", status=403):
        world.ecs.modify_security_group_policy(
            ecs.ModifySecurityGroupPolicyRequest(
                region_id=REGION, security_group_id=group_id, inner_access_policy="Accept"
            )
        )
