"""Elastic IP addresses through Alibaba's own SDK."""

from __future__ import annotations

from typing import Any

from alibabacloud_vpc20160428 import models as vpc

from .ecs_world import REGION, World, refused, wait_for


def allocate(world: World, **fields: Any) -> Any:
    request = vpc.AllocateEipAddressRequest(region_id=REGION, **fields)
    return world.vpc.allocate_eip_address(request).body


def view(world: World, allocation_id: str) -> Any:
    found = world.vpc.describe_eip_addresses(
        vpc.DescribeEipAddressesRequest(region_id=REGION, allocation_id=allocation_id)
    ).body.eip_addresses.eip_address
    return found[0] if found else None


def associate(world: World, allocation_id: str, instance_id: str) -> None:
    world.vpc.associate_eip_address(
        vpc.AssociateEipAddressRequest(
            region_id=REGION,
            allocation_id=allocation_id,
            instance_id=instance_id,
            instance_type="EcsInstance",
        )
    )


def unassociate(world: World, allocation_id: str, instance_id: str) -> None:
    world.vpc.unassociate_eip_address(
        vpc.UnassociateEipAddressRequest(
            region_id=REGION, allocation_id=allocation_id, instance_id=instance_id
        )
    )


def release(world: World, allocation_id: str) -> None:
    world.vpc.release_eip_address(
        vpc.ReleaseEipAddressRequest(region_id=REGION, allocation_id=allocation_id)
    )


def test_an_address_is_bound_and_freed_step_by_step(cloud: Any) -> None:
    """The provider reads the association at once and waits for its end: both need the statuses."""
    world = World(cloud)
    instance_id = world.launch()
    eip = allocate(world, bandwidth="20", internet_charge_type="PayByTraffic", name="front")
    assert eip.eip_address.startswith("203.0.113.")
    cloud.cloud.settings.time_scale = 10.0
    associate(world, eip.allocation_id, instance_id)
    bound = view(world, eip.allocation_id)
    assert (bound.status, bound.instance_id) == ("Associating", instance_id)
    assert bound.private_ip_address == ""
    assert cloud.hypervisor.addresses == {eip.eip_address: instance_id}
    with refused("IncorrectEipStatus", "Current elastic IP status does not support this operation"):
        release(world, eip.allocation_id)
    cloud.clock.advance(60)
    assert view(world, eip.allocation_id).status == "InUse"
    assert world.instance(instance_id).eip_address.ip_address == eip.eip_address
    unassociate(world, eip.allocation_id, instance_id)
    leaving = view(world, eip.allocation_id)
    assert (leaving.status, leaving.instance_id) == ("Unassociating", instance_id)
    assert cloud.hypervisor.addresses == {}
    cloud.clock.advance(60)
    free = view(world, eip.allocation_id)
    assert (free.status, free.instance_id, free.instance_type) == ("Available", "", "")
    release(world, eip.allocation_id)
    cloud.clock.advance(60)
    assert view(world, eip.allocation_id) is None


def test_an_instance_has_at_most_one_address(cloud: Any) -> None:
    """Binding a second address must fail, not replace the first silently."""
    world = World(cloud)
    instance_id = world.launch()
    first, second = allocate(world), allocate(world)
    associate(world, first.allocation_id, instance_id)
    wait_for(lambda: view(world, first.allocation_id).status == "InUse")
    with refused("InvalidAssociation.Duplicated", "Specified instance already is associated."):
        associate(world, second.allocation_id, instance_id)
    with refused("IncorrectEipStatus", "is InUse"):
        associate(world, first.allocation_id, instance_id)
    with refused("InvalidInstanId.NotFound", "Specified instance does not exist.", status=404):
        associate(world, second.allocation_id, "i-none")
    with refused(
        "InvalidAllocationId.NotFound", "Specified allocation ID is not found", status=404
    ):
        associate(world, "eip-none", instance_id)
    with refused("InvalidInstanceId.NotFound", "Specified instance does not exist."):
        unassociate(world, first.allocation_id, "i-other")


def test_releasing_an_instance_frees_its_address(cloud: Any) -> None:
    """The address must survive its instance and be usable again."""
    world = World(cloud)
    instance_id = world.launch()
    eip = allocate(world)
    associate(world, eip.allocation_id, instance_id)
    wait_for(lambda: view(world, eip.allocation_id).status == "InUse")
    world.delete(instance_id)
    free = view(world, eip.allocation_id)
    assert (free.status, free.instance_id) == ("Available", "")
    assert cloud.hypervisor.addresses == {}


def test_bandwidth_and_name_can_be_changed(cloud: Any) -> None:
    """An in-place update must show in the next read; a wrong bandwidth must not."""
    world = World(cloud)
    eip = allocate(world, internet_charge_type="PayByTraffic")
    change = vpc.ModifyEipAddressAttributeRequest(
        region_id=REGION, allocation_id=eip.allocation_id, bandwidth="50", name="wide"
    )
    world.vpc.modify_eip_address_attribute(change)
    changed = view(world, eip.allocation_id)
    assert (changed.bandwidth, changed.name) == ("50", "wide")
    change.bandwidth = "201"
    with refused("InvalidParameter", 'Specified value of "Bandwidth" is not valid', "1 to 200"):
        world.vpc.modify_eip_address_attribute(change)


def test_addresses_are_limited_by_quota_and_by_supply(cloud: Any) -> None:
    """Running out of addresses has two causes with two codes."""
    world = World(cloud)
    for _ in range(13):
        allocate(world)
    with refused("ReserveIpFail", "Reserve eip failed."):
        allocate(world)
    account = cloud.cloud.settings.account
    cloud.cloud.region(account, REGION).table("quotas")["eips"] = {"Limit": 13}
    with refused("QuotaExceeded.Eip", "Elastic IP address quota exceeded", status=400):
        allocate(world)
    body = world.vpc.describe_eip_addresses(
        vpc.DescribeEipAddressesRequest(region_id=REGION, page_size=10, page_number=2)
    ).body
    assert (body.total_count, len(body.eip_addresses.eip_address)) == (13, 3)


def test_addresses_come_from_the_hypervisor_when_it_has_some(cloud: Any) -> None:
    """Only addresses that are routed to the machines can be opened from the host."""
    cloud.hypervisor.public_addresses = ["203.0.113.77"]
    world = World(cloud)
    assert allocate(world).eip_address == "203.0.113.77"
    with refused("ReserveIpFail", "no public address left"):
        allocate(world)
