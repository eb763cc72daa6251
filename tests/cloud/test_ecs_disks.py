"""Disks: made, attached, grown, changed, detached, deleted."""

from __future__ import annotations

from typing import Any

import pytest
from alibabacloud_ecs20140526 import models as ecs

from .ecs_world import REGION, World, refused, wait_for


@pytest.fixture
def world(cloud: Any) -> World:
    return World(cloud)


def attach(world: World, disk_id: str, instance_id: str, **fields: Any) -> None:
    world.ecs.attach_disk(ecs.AttachDiskRequest(disk_id=disk_id, instance_id=instance_id, **fields))


def detach(world: World, disk_id: str, instance_id: str) -> None:
    world.ecs.detach_disk(ecs.DetachDiskRequest(disk_id=disk_id, instance_id=instance_id))


def reaches(world: World, disk_id: str, status: str) -> None:
    wait_for(lambda: world.disk(disk_id).status == status)


def test_a_disk_is_attached_and_detached_step_by_step(cloud: Any) -> None:
    """The provider waits for In_use and Available, and reads the device."""
    world = World(cloud)
    instance_id = world.launch()
    disk_id = world.new_disk(100, disk_name="weights", encrypted=True)
    fresh = world.disk(disk_id)
    assert (fresh.status, fresh.disk_name, fresh.encrypted) == ("Available", "weights", True)
    assert (fresh.delete_with_instance, fresh.delete_auto_snapshot) == (False, False)
    cloud.cloud.settings.time_scale = 10.0
    attach(world, disk_id, instance_id)
    assert world.disk(disk_id).status == "Attaching"
    cloud.clock.advance(60)
    attached = world.disk(disk_id)
    assert (attached.status, attached.instance_id, attached.device) == (
        "In_use",
        instance_id,
        "/dev/xvdb",
    )
    assert cloud.hypervisor.attachments[instance_id] == [disk_id]
    with refused("IncorrectDiskStatus", "The operation is not supported in this status."):
        world.ecs.delete_disk(ecs.DeleteDiskRequest(disk_id=disk_id))
    detach(world, disk_id, instance_id)
    leaving = world.disk(disk_id)
    assert (leaving.status, leaving.instance_id) == ("Detaching", instance_id)
    cloud.clock.advance(60)
    free = world.disk(disk_id)
    assert (free.status, free.instance_id, free.device) == ("Available", "", "")
    with refused("InvalidDisk.AlreadyDetached", "The specified disk has been detached."):
        detach(world, disk_id, instance_id)
    world.ecs.delete_disk(ecs.DeleteDiskRequest(disk_id=disk_id))
    assert (world.disk(disk_id), cloud.hypervisor.disks) == (None, {})


def test_attachments_that_cannot_be_are_refused(world: World) -> None:
    """Zone, status and owner of both sides are checked, each with its own code."""
    one, two = world.launch(), world.launch()
    disk_id = world.new_disk()
    elsewhere = world.new_disk(zone_id="cn-hangzhou-j")
    with refused("ResourcesNotInSameZone", "are not in the same zone", status=403):
        attach(world, elsewhere, one)
    with refused("InvalidDiskId.NotFound", "The specified disk does not exist.", status=404):
        attach(world, "d-none", one)
    with refused("InvalidInstanceId.NotFound", "The specified InstanceId does not exist."):
        attach(world, disk_id, "i-none")
    attach(world, disk_id, one)
    reaches(world, disk_id, "In_use")
    with refused("IncorrectDiskStatus", one, status=403):
        attach(world, disk_id, two)
    with refused("DependencyViolation", "not attached on the specified instance", status=403):
        detach(world, disk_id, two)
    system = world.disks(instance_id=one, disk_type="system")[0].disk_id
    with refused("DiskTypeViolation", "is a system disk", status=403):
        detach(world, system, one)


def test_a_type_takes_only_so_many_disks(world: World) -> None:
    """gn9gc takes one data disk; the second attachment fails."""
    vswitch = world.new_vswitch(world.vpc_id, "10.2.0.0/24", "cn-hangzhou-k")
    instance_id = world.launch(instance_type="ecs.gn9gc.8xlarge", v_switch_id=vswitch)
    first = world.new_disk(zone_id="cn-hangzhou-k")
    second = world.new_disk(zone_id="cn-hangzhou-k")
    attach(world, first, instance_id)
    with refused("InstanceDiskLimitExceeded", "reach its limits", status=403):
        attach(world, second, instance_id)


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"size": 19}, "InvalidDiskSize.NotSupported", "20 to 65536"),
        ({"size": 460, "performance_level": "PL2"}, "InvalidDiskSize.NotSupported", "461 to"),
        ({"size": None}, "MissingParameter", '"SnapshotId" or "Size" should be specified'),
        ({"disk_category": "tape"}, "InvalidDiskCategory.ValueNotSupported", '"DiskCategory"'),
        ({"zone_id": "cn-nowhere-a"}, "InvalidZoneId.NotFound", "cn-nowhere-a"),
        ({"snapshot_id": "s-1"}, "InvalidSnapshotId.NotFound", "SnapshotId does not exist"),
        ({"kmskey_id": "k"}, "InvalidParameter.EncryptedIllegal", "Encrypted must be true"),
        ({"disk_name": "9lives"}, "InvalidDiskName.Malformed", '"DiskName" is not valid'),
    ],
)
def test_a_disk_that_cannot_be_is_refused(
    world: World, fields: dict[str, Any], code: str, words: str
) -> None:
    """Size limits depend on category and performance level."""
    with refused(code, words):
        world.new_disk(**fields)


def test_disks_only_grow_and_machines_see_it(cloud: Any) -> None:
    """An online resize reaches the machine; shrinking would lose data."""
    world = World(cloud)
    instance_id = world.launch()
    disk_id = world.new_disk(100)
    attach(world, disk_id, instance_id)
    reaches(world, disk_id, "In_use")
    request = ecs.ResizeDiskRequest(disk_id=disk_id, new_size=200, type="online")
    world.ecs.resize_disk(request)
    assert (world.disk(disk_id).size, cloud.hypervisor.disks[disk_id]) == (200, 200)
    request.new_size = 150
    with refused("InvalidDiskSize.TooSmall", "less than the original disk size", status=403):
        world.ecs.resize_disk(request)
    request.new_size = 65537
    with refused("InvalidDiskSize.TooLarge", "beyond the permitted range", status=403):
        world.ecs.resize_disk(request)


def test_performance_level_needs_a_large_enough_disk(world: World) -> None:
    """PL2 starts at 461 GiB; the order of resize and change matters."""
    disk_id = world.new_disk(100)
    request = ecs.ModifyDiskSpecRequest(disk_id=disk_id, performance_level="PL2")
    with refused("OperationDenied.PerformanceLevelNotMatch", "needs 461 GiB", status=403):
        world.ecs.modify_disk_spec(request)
    world.ecs.resize_disk(ecs.ResizeDiskRequest(disk_id=disk_id, new_size=500))
    world.ecs.modify_disk_spec(request)
    assert world.disk(disk_id).performance_level == "PL2"


def test_attributes_can_be_changed(world: World) -> None:
    """The provider corrects DeleteWithInstance right after it made a disk."""
    disk_id = world.new_disk()
    world.ecs.modify_disk_attribute(
        ecs.ModifyDiskAttributeRequest(
            disk_id=disk_id, disk_name="renamed", description="weights", delete_with_instance=True
        )
    )
    view = world.disk(disk_id)
    assert (view.disk_name, view.description, view.delete_with_instance) == (
        "renamed",
        "weights",
        True,
    )


def test_releasing_an_instance_keeps_or_deletes_its_disks(cloud: Any) -> None:
    """The data disk holds results: it may only go with the instance when it was told to."""
    world = World(cloud)
    instance_id = world.launch()
    kept, doomed = world.new_disk(), world.new_disk()
    attach(world, kept, instance_id)
    attach(world, doomed, instance_id, delete_with_instance=True)
    for disk_id in (kept, doomed):
        reaches(world, disk_id, "In_use")
    world.delete(instance_id)
    wait_for(lambda: world.instance(instance_id) is None)
    reaches(world, kept, "Available")
    assert [d.disk_id for d in world.disks()] == [kept]
    assert list(cloud.hypervisor.disks) == [kept]
    successor = world.launch()
    attach(world, kept, successor)
    reaches(world, kept, "In_use")


def test_a_failed_attachment_leaves_the_disk_available(cloud: Any, monkeypatch: Any) -> None:
    """A disk must not stay Attaching for ever when the machine room fails."""
    world = World(cloud)
    instance_id = world.launch()
    disk_id = world.new_disk()

    def broken(machine: str, disk: str) -> str:
        raise RuntimeError(f"no loop device for {disk} in {machine}")

    monkeypatch.setattr(cloud.hypervisor, "attach_disk", broken)
    with refused("Rehearsal.MachineFailure", "no loop device"):
        attach(world, disk_id, instance_id)
    view = world.disk(disk_id)
    assert (view.status, view.instance_id) == ("Available", "")


def test_disk_lists_have_filters(world: World) -> None:
    """The provider asks for the system disk of one instance and must get only that."""
    one, two = world.launch(), world.launch()
    disk_id = world.new_disk()
    attach(world, disk_id, one)
    assert len(world.disks(instance_id=one)) == 2
    assert [d.type for d in world.disks(instance_id=one, disk_type="system")] == ["system"]
    assert [d.disk_id for d in world.disks(disk_type="data")] == [disk_id]
    assert len(world.disks(instance_id=two)) == 1
    assert world.disks(status="Available") == []
    body = world.ecs.describe_disks(
        ecs.DescribeDisksRequest(region_id=REGION, page_size=2, page_number=2)
    ).body
    assert (body.total_count, len(body.disks.disk)) == (3, 1)
