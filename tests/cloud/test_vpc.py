"""VPCs and vSwitches through Alibaba's own SDK."""

from __future__ import annotations

from typing import Any

import pytest
from alibabacloud_ecs20140526 import models as ecs
from alibabacloud_vpc20160428 import models as vpc

from .ecs_world import REGION, ZONE, World, refused


def test_a_vpc_is_pending_before_it_is_available(cloud: Any) -> None:
    """A client that uses a VPC at once must meet the real cloud's delay."""
    cloud.cloud.settings.time_scale = 10.0
    client = cloud.client("vpc")
    created = client.create_vpc(
        vpc.CreateVpcRequest(region_id=REGION, cidr_block="192.168.0.0/16", vpc_name="lab")
    ).body
    attribute = vpc.DescribeVpcAttributeRequest(region_id=REGION, vpc_id=created.vpc_id)
    assert client.describe_vpc_attribute(attribute).body.status == "Pending"
    with refused("IncorrectVpcStatus", "Current VPC status does not support this operation"):
        client.create_vswitch(
            vpc.CreateVSwitchRequest(
                region_id=REGION,
                vpc_id=created.vpc_id,
                cidr_block="192.168.1.0/24",
                zone_id=ZONE,
            )
        )
    cloud.clock.advance(60)
    view = client.describe_vpc_attribute(attribute).body
    assert (view.status, view.vpc_name, view.cidr_block) == ("Available", "lab", "192.168.0.0/16")
    assert view.vrouter_id == created.vrouter_id


@pytest.mark.parametrize(
    "block", ["10.0.0.1/8", "100.64.0.0/16", "10.0.0.0/29", "10.0.0.0/7", "ten", "169.254.0.0/24"]
)
def test_a_vpc_block_that_the_cloud_forbids_is_refused(cloud: Any, block: str) -> None:
    """Blocks of the metadata service, with host bits or of a wrong size must not pass."""
    with refused("InvalidCidrBlock", "Specified CIDR block is not valid", block, status=400):
        cloud.client("vpc").create_vpc(vpc.CreateVpcRequest(region_id=REGION, cidr_block=block))


def test_the_vpc_quota_is_enforced(cloud: Any) -> None:
    """A stack that makes too many VPCs fails in rehearsal as it would for real."""
    account = cloud.cloud.settings.account
    cloud.cloud.region(account, REGION).table("quotas")["vpcs"] = {"Limit": 1}
    world = World(cloud)
    with refused("QuotaExceeded.Vpc", "VPC quota exceeded.", status=400):
        world.new_vpc("172.16.0.0/12")


def test_a_vswitch_must_lie_inside_its_vpc_and_beside_the_others(cloud: Any) -> None:
    """Wrong and overlapping blocks have two different codes, and clients tell them apart."""
    world = World(cloud)
    with refused("InvalidCidrBlock", "Specified CIDR block is not valid in VPC", status=400):
        world.new_vswitch(world.vpc_id, "192.168.1.0/24")
    with refused(
        "InvalidCidrBlock.Overlapped", "Specified CIDR block overlapped with other subnets."
    ):
        world.new_vswitch(world.vpc_id, "10.1.1.128/25")
    with refused("InvalidZoneId.NotFound", "cn-hangzhou-z", status=404):
        world.new_vswitch(world.vpc_id, "10.1.2.0/24", "cn-hangzhou-z")
    with refused("InvalidVpcId.NotFound", "Specified VPC does not exist.", status=404):
        world.new_vswitch("vpc-none", "10.1.2.0/24")


def test_a_missing_vswitch_is_an_empty_answer_and_not_an_error(cloud: Any) -> None:
    """The provider takes the empty id for "gone"; a 404 would fail its delete."""
    world = World(cloud)
    assert world.vswitch_view("vsw-none").v_switch_id == ""


def test_things_that_hold_others_cannot_be_deleted(cloud: Any) -> None:
    """A destroy in the wrong order must fail as it does on the real cloud."""
    world = World(cloud)
    instance_id = world.launch()
    delete_vpc = vpc.DeleteVpcRequest(region_id=REGION, vpc_id=world.vpc_id)
    delete_vswitch = vpc.DeleteVSwitchRequest(region_id=REGION, v_switch_id=world.vswitch_id)
    delete_group = ecs.DeleteSecurityGroupRequest(
        region_id=REGION, security_group_id=world.group_id
    )
    with refused("DependencyViolation.VSwitch", "Specified object has dependent resources"):
        world.vpc.delete_vpc(delete_vpc)
    with refused("DependencyViolation", "Specified object has dependent resources", instance_id):
        world.vpc.delete_vswitch(delete_vswitch)
    with refused(
        "DependencyViolation", "There is still instance(s) in the specified security group."
    ):
        world.ecs.delete_security_group(delete_group)
    world.delete(instance_id)
    world.reaches(instance_id, "")
    world.vpc.delete_vswitch(delete_vswitch)
    with refused("DependencyViolation.SecurityGroup", "dependent resources SecurityGroup"):
        world.vpc.delete_vpc(delete_vpc)
    world.ecs.delete_security_group(delete_group)
    world.vpc.delete_vpc(delete_vpc)
    with refused("InvalidVpcId.NotFound", "Specified VPC does not exist.", status=404):
        world.vpc_view(world.vpc_id)


def test_names_and_tags_can_be_changed_and_listed(cloud: Any) -> None:
    """In-place updates of the provider must be visible in the next read, or refresh shows drift."""
    world = World(cloud)
    world.vpc.modify_vpc_attribute(
        vpc.ModifyVpcAttributeRequest(
            region_id=REGION, vpc_id=world.vpc_id, vpc_name="renamed", description="a network"
        )
    )
    tag = vpc.TagResourcesRequestTag(key="owner", value="video")
    world.vpc.tag_resources(
        vpc.TagResourcesRequest(
            region_id=REGION, resource_type="VPC", resource_id=[world.vpc_id], tag=[tag]
        )
    )
    view = world.vpc_view(world.vpc_id)
    assert (view.vpc_name, view.description) == ("renamed", "a network")
    assert [(t.key, t.value) for t in view.tags.tag] == [("owner", "video")]
    listed = world.vpc.list_tag_resources(
        vpc.ListTagResourcesRequest(
            region_id=REGION, resource_type="VPC", resource_id=[world.vpc_id]
        )
    ).body.tag_resources.tag_resource
    assert [(t.tag_key, t.tag_value) for t in listed] == [("owner", "video")]
    world.vpc.un_tag_resources(
        vpc.UnTagResourcesRequest(
            region_id=REGION, resource_type="VPC", resource_id=[world.vpc_id], tag_key=["owner"]
        )
    )
    assert world.vpc_view(world.vpc_id).tags.tag == []
    with refused("InvalidResourceId.NotFound", "not found in our records", status=404):
        world.vpc.tag_resources(
            vpc.TagResourcesRequest(
                region_id=REGION, resource_type="VSWITCH", resource_id=["vsw-none"], tag=[tag]
            )
        )


def test_lists_have_pages_and_filters(cloud: Any) -> None:
    """A client that stops after the first page must be caught by the rehearsal."""
    world = World(cloud)
    for index in range(2, 14):
        world.new_vswitch(world.vpc_id, f"10.1.{index}.0/24")
    seen: list[str] = []
    for number in (1, 2, 3):
        body = world.vpc.describe_vswitches(
            vpc.DescribeVSwitchesRequest(
                region_id=REGION, vpc_id=world.vpc_id, page_size=5, page_number=number
            )
        ).body
        assert body.total_count == 13
        seen += [item.v_switch_id for item in body.v_switches.v_switch]
    assert len(set(seen)) == 13
    other = world.vpc.describe_vpcs(vpc.DescribeVpcsRequest(region_id=REGION, vpc_name="nothing"))
    assert other.body.vpcs.vpc == []


def test_each_vpc_has_its_system_route_table(cloud: Any) -> None:
    """The provider reads the route table of every VPC on refresh."""
    world = World(cloud)
    tables = world.vpc.describe_route_table_list(
        vpc.DescribeRouteTableListRequest(region_id=REGION, vpc_id=world.vpc_id)
    ).body.router_table_list.router_table_list_type
    assert [t.route_table_type for t in tables] == ["System"]
    assert tables[0].v_switch_ids.v_switch_id == [world.vswitch_id]


def test_a_region_that_does_not_exist_is_refused(cloud: Any) -> None:
    """A typing mistake in the region must not create an invisible second cloud."""
    with refused("InvalidRegionId.NotFound", "cn-nowhere", status=404):
        cloud.client("vpc").describe_vpcs(vpc.DescribeVpcsRequest(region_id="cn-nowhere"))
