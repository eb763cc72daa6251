"""The life of an instance after its launch, and how it looks from outside."""

from __future__ import annotations

import base64
import json
import threading
from typing import Any

import pytest
from alibabacloud_ecs20140526 import models as ecs

from .ecs_world import A10, REGION, ZONE, World, encoded, refused, wait_for


@pytest.fixture
def world(cloud: Any) -> World:
    return World(cloud)


def start(world: World, instance_id: str) -> None:
    world.ecs.start_instance(ecs.StartInstanceRequest(instance_id=instance_id))


def test_stop_and_start_follow_the_machine(cloud: Any) -> None:
    """Running may only be said of a machine that runs, Stopped only of one that stopped."""
    world = World(cloud)
    instance_id = world.launch()
    with refused("IncorrectInstanceStatus", "The current status of the resource", status=403):
        start(world, instance_id)
    world.stop(instance_id, stopped_mode="StopCharging")
    assert not cloud.hypervisor.is_running(instance_id)
    assert world.instance(instance_id).stopped_mode == "StopCharging"
    with refused("IncorrectInstanceStatus", "is Stopped; allowed: Running", status=403):
        world.ecs.stop_instance(ecs.StopInstanceRequest(instance_id=instance_id))
    start(world, instance_id)
    world.reaches(instance_id, "Running")
    assert cloud.hypervisor.is_running(instance_id)
    assert world.instance(instance_id).stopped_mode == "Not-applicable"
    world.stop(instance_id, stopped_mode="Not-applicable")  # as the provider sends it
    assert world.instance(instance_id).stopped_mode == "KeepCharging"
    start(world, instance_id)
    world.reaches(instance_id, "Running")
    world.ecs.reboot_instance(ecs.RebootInstanceRequest(instance_id=instance_id))
    assert world.instance(instance_id).status in ("Stopping", "Starting", "Running")
    world.reaches(instance_id, "Running")


def test_an_instance_stays_stopping_while_its_machine_still_works(
    cloud: Any, monkeypatch: Any
) -> None:
    """A slow shutdown must not be reported as finished when the cloud's own time is over."""
    world = World(cloud)
    instance_id = world.launch()
    gate = threading.Event()
    real = cloud.hypervisor.stop

    def slow(name: str, *, force: bool) -> None:
        gate.wait(10)
        real(name, force=force)

    monkeypatch.setattr(cloud.hypervisor, "stop", slow)
    world.ecs.stop_instance(ecs.StopInstanceRequest(instance_id=instance_id))
    cloud.clock.advance(600)
    assert world.instance(instance_id).status == "Stopping"
    gate.set()
    world.reaches(instance_id, "Stopped")


def test_a_machine_that_refuses_to_stop_is_still_running(cloud: Any, monkeypatch: Any) -> None:
    """After failed work the status says what is true, so that a client can try again."""
    world = World(cloud)
    instance_id = world.launch()

    def broken(name: str, *, force: bool) -> None:
        raise RuntimeError(f"{name} hangs")

    monkeypatch.setattr(cloud.hypervisor, "stop", broken)
    world.ecs.stop_instance(ecs.StopInstanceRequest(instance_id=instance_id))
    world.reaches(instance_id, "Running")


def test_a_machine_that_powers_itself_off_is_stopped(cloud: Any) -> None:
    """`poweroff` inside shows as Stopped, as on the real cloud."""
    world = World(cloud)
    instance_id = world.launch()
    cloud.hypervisor.stop(instance_id, force=True)
    assert world.instance(instance_id).status == "Stopped"
    start(world, instance_id)
    world.reaches(instance_id, "Running")


def test_starting_after_economical_mode_can_fail_for_stock(cloud: Any) -> None:
    """StopCharging gives the GPU back; the next start may find none."""
    world = World(cloud)
    instance_id = world.launch()
    world.stop(instance_id, stopped_mode="StopCharging")
    cloud.cloud.stock_overrides[f"{ZONE}/{A10}"] = False
    with refused("OperationDenied.NoStock", "sold out in the specified zone", status=403):
        start(world, instance_id)


def test_release_needs_force_or_a_stopped_instance(cloud: Any) -> None:
    """A destroy without Force must not take a running instance away."""
    world = World(cloud)
    instance_id = world.launch()
    with refused("IncorrectInstanceStatus", "is Running; allowed: Stopped", status=403):
        world.delete(instance_id, force=False)
    world.stop(instance_id)
    world.delete(instance_id, force=False)
    wait_for(lambda: world.instance(instance_id) is None)
    assert (cloud.hypervisor.machines, world.disks()) == ({}, [])
    with refused("InvalidInstanceId.NotFound", "The specified InstanceId does not exist."):
        world.delete(instance_id)


def test_an_instance_being_made_cannot_be_released(cloud: Any) -> None:
    """The provider waits on this code; any other would fail its delete."""
    world = World(cloud)
    cloud.cloud.settings.time_scale = 100.0
    instance_id = world.launch(until="Pending")
    with refused("IncorrectInstanceStatus.Initializing", "does not support this operation"):
        world.delete(instance_id)


def test_deletion_protection_holds_even_against_force(world: World) -> None:
    """`pulumi destroy` sends Force; only switching the protection off may help."""
    instance_id = world.launch(deletion_protection=True)
    with refused(
        "InvalidOperation.DeletionProtection",
        "not permitted due to deletion protection",
        status=403,
    ):
        world.delete(instance_id)
    world.ecs.modify_instance_attribute(
        ecs.ModifyInstanceAttributeRequest(instance_id=instance_id, deletion_protection=False)
    )
    world.delete(instance_id)
    wait_for(lambda: world.instance(instance_id) is None)


def test_protection_cannot_be_switched_on_for_spot(world: World) -> None:
    """The provider retries this code for minutes; the rule must be found in rehearsal."""
    instance_id = world.launch(spot_strategy="SpotAsPriceGo")
    with refused("InvalidChargeType.ValueNotSupported", "only valid for postPaid", status=403):
        world.ecs.modify_instance_attribute(
            ecs.ModifyInstanceAttributeRequest(instance_id=instance_id, deletion_protection=True)
        )


def test_attributes_can_be_changed_in_place(world: World) -> None:
    """In-place updates must show in the reads of the next refresh."""
    instance_id = world.launch(user_data=encoded("one"))
    data = encoded("#cloud-config\ntwo: 2\n")
    world.ecs.modify_instance_attribute(
        ecs.ModifyInstanceAttributeRequest(
            instance_id=instance_id, instance_name="renamed", description="a node", user_data=data
        )
    )
    world.ecs.modify_instance_metadata_options(
        ecs.ModifyInstanceMetadataOptionsRequest(
            region_id=REGION,
            instance_id=instance_id,
            http_endpoint="enabled",
            http_tokens="required",
        )
    )
    view = world.instance(instance_id)
    assert (view.instance_name, view.description) == ("renamed", "a node")
    assert view.metadata_options.http_tokens == "required"
    stored = world.ecs.describe_user_data(
        ecs.DescribeUserDataRequest(region_id=REGION, instance_id=instance_id)
    ).body
    assert stored.user_data == data
    with refused("InvalidUserData.Base64FormatInvalid", "UserData is not valid", status=403):
        world.ecs.modify_instance_attribute(
            ecs.ModifyInstanceAttributeRequest(instance_id=instance_id, user_data="<plain>")
        )


def test_the_type_changes_only_while_stopped_and_in_stock(world: World) -> None:
    """A resize of a running instance is refused, and a sold-out type too."""
    instance_id = world.launch()
    bigger = ecs.ModifyInstanceSpecRequest(
        instance_id=instance_id, instance_type="ecs.gn7i-c16g1.4xlarge"
    )
    with refused("IncorrectInstanceStatus", "allowed: Stopped", status=403):
        world.ecs.modify_instance_spec(bigger)
    world.stop(instance_id)
    sold_out = ecs.ModifyInstanceSpecRequest(
        instance_id=instance_id, instance_type="ecs.gn7i-c32g1.8xlarge"
    )
    with refused("OperationDenied.NoStock", "sold out", status=403):
        world.ecs.modify_instance_spec(sold_out)
    world.ecs.modify_instance_spec(bigger)
    view = world.instance(instance_id)
    assert (view.instance_type, view.cpu, view.memory) == (bigger.instance_type, 16, 60 * 1024)


def test_the_plural_actions_do_all_or_what_they_can(world: World) -> None:
    """AllTogether refuses everything for one wrong instance; SuccessFirst reports each."""
    one, two = world.launch(), world.launch()
    world.stop(two)
    with refused("IncorrectInstanceStatus", two, status=403):
        world.ecs.stop_instances(ecs.StopInstancesRequest(region_id=REGION, instance_id=[one, two]))
    assert world.instance(one).status == "Running"
    answers = world.ecs.stop_instances(
        ecs.StopInstancesRequest(
            region_id=REGION, instance_id=[one, two], batch_optimization="SuccessFirst"
        )
    ).body.instance_responses.instance_response
    assert [(a.instance_id, a.code) for a in answers] == [
        (one, "200"),
        (two, "IncorrectInstanceStatus"),
    ]
    world.reaches(one, "Stopped")
    world.ecs.start_instances(ecs.StartInstancesRequest(region_id=REGION, instance_id=[one, two]))
    for instance_id in (one, two):
        world.reaches(instance_id, "Running")
    world.ecs.reboot_instances(ecs.RebootInstancesRequest(region_id=REGION, instance_id=[one]))
    world.reaches(one, "Running")


def test_lists_have_filters_tags_pages_and_tokens(world: World) -> None:
    """Both kinds of paging must give every instance exactly once."""
    tag = [ecs.RunInstancesRequestTag(key="stack", value="a")]
    request = world.launch_request(amount=5, instance_type="ecs.g7.large", tag=tag)
    ids = set(world.ecs.run_instances(request).body.instance_id_sets.instance_id_set)
    other = world.launch(instance_name="other")
    by_page: list[str] = []
    for number in (1, 2):
        body = world.ecs.describe_instances(
            ecs.DescribeInstancesRequest(region_id=REGION, page_size=4, page_number=number)
        ).body
        assert body.total_count == 6
        by_page += [item.instance_id for item in body.instances.instance]
    by_token: list[str] = []
    token = None
    while token != "":
        body = world.ecs.describe_instances(
            ecs.DescribeInstancesRequest(region_id=REGION, max_results=4, next_token=token)
        ).body
        by_token += [item.instance_id for item in body.instances.instance]
        token = body.next_token
    assert sorted(by_page) == sorted(by_token) == sorted(ids | {other})

    def found(**fields: Any) -> set[str]:
        query = ecs.DescribeInstancesRequest(region_id=REGION, **fields)
        return {i.instance_id for i in world.ecs.describe_instances(query).body.instances.instance}

    assert found(tag=[ecs.DescribeInstancesRequestTag(key="stack", value="a")]) == ids
    assert found(instance_name="oth*") == {other}
    assert found(instance_type_family="ecs.gn7i") == {other}
    assert found(vpc_id="vpc-other") == set()
    assert found(security_group_id=world.group_id, instance_type="ecs.g7.large") == ids
    with refused("InvalidParameter.NextToken", "a token from the answer before"):
        found(max_results=2, next_token="made-up")
    with refused("InvalidParameter.PageSize", "1 to 100"):
        found(page_size=101)


def test_tags_of_instances_and_disks_can_be_changed(world: World) -> None:
    """The provider's tag updates use the ECS product, and refresh reads them back."""
    instance_id = world.launch()
    disk_id = world.disks(instance_id=instance_id)[0].disk_id
    for kind, name in (("instance", instance_id), ("disk", disk_id)):
        world.ecs.tag_resources(
            ecs.TagResourcesRequest(
                region_id=REGION,
                resource_type=kind,
                resource_id=[name],
                tag=[
                    ecs.TagResourcesRequestTag(key=k, value=v) for k, v in (("a", "1"), ("b", "2"))
                ],
            )
        )
    world.ecs.untag_resources(
        ecs.UntagResourcesRequest(
            region_id=REGION, resource_type="instance", resource_id=[instance_id], tag_key=["a"]
        )
    )
    assert [t.tag_key for t in world.instance(instance_id).tags.tag] == ["b"]
    assert [t.tag_key for t in world.disk(disk_id).tags.tag] == ["a", "b"]
    described = world.ecs.describe_tags(
        ecs.DescribeTagsRequest(region_id=REGION, resource_type="disk", resource_id=disk_id)
    ).body.tags.tag
    assert [(t.tag_key, t.tag_value) for t in described] == [("a", "1"), ("b", "2")]
    listed = world.ecs.list_tag_resources(
        ecs.ListTagResourcesRequest(
            region_id=REGION, resource_type="instance", resource_id=[instance_id]
        )
    ).body.tag_resources.tag_resource
    assert [(t.tag_key, t.tag_value) for t in listed] == [("b", "2")]


def test_the_reads_of_a_refresh_all_answer(world: World) -> None:
    """The provider makes these calls for every instance; one error fails the whole refresh."""
    instance_id = world.launch()
    ids = json.dumps([instance_id])
    view = world.instance(instance_id)
    interface_id = view.network_interfaces.network_interface[0].network_interface_id
    interfaces = world.ecs.describe_network_interfaces(
        ecs.DescribeNetworkInterfacesRequest(region_id=REGION, network_interface_id=[interface_id])
    ).body.network_interface_sets.network_interface_set
    assert interfaces[0].private_ip_sets.private_ip_set[0].primary is True
    assert interfaces[0].instance_id == instance_id
    one = world.ecs.describe_network_interface_attribute(
        ecs.DescribeNetworkInterfaceAttributeRequest(
            region_id=REGION, network_interface_id=interface_id
        )
    ).body
    assert one.mac_address == interfaces[0].mac_address
    maintenance = world.ecs.describe_instance_maintenance_attributes(
        ecs.DescribeInstanceMaintenanceAttributesRequest(
            region_id=REGION, instance_id=[instance_id]
        )
    ).body.maintenance_attributes.maintenance_attribute
    assert maintenance[0].action_on_maintenance.value == "AutoRecover"
    attribute = world.ecs.describe_instance_attribute(
        ecs.DescribeInstanceAttributeRequest(instance_id=instance_id)
    ).body
    assert (attribute.instance_id, attribute.enable_jumbo_frame) == (instance_id, False)
    pools = world.ecs.describe_instance_attachment_attributes(
        ecs.DescribeInstanceAttachmentAttributesRequest(region_id=REGION, instance_ids=ids)
    ).body.instances.instance
    assert pools[0].private_pool_options_match_criteria == "Open"
    renewals = world.ecs.describe_instance_auto_renew_attribute(
        ecs.DescribeInstanceAutoRenewAttributeRequest(region_id=REGION, instance_id=instance_id)
    ).body.instance_renew_attributes.instance_renew_attribute
    assert renewals == []
    statuses = world.ecs.describe_instance_status(
        ecs.DescribeInstanceStatusRequest(region_id=REGION, instance_id=[instance_id])
    ).body.instance_statuses.instance_status
    assert [(s.instance_id, s.status) for s in statuses] == [(instance_id, "Running")]


def test_the_console_output_is_base64(cloud: Any, monkeypatch: Any) -> None:
    """A failed boot is diagnosed from the console."""
    world = World(cloud)
    instance_id = world.launch()
    monkeypatch.setattr(cloud.hypervisor, "console_output", lambda _: "login: ")
    body = world.ecs.get_instance_console_output(
        ecs.GetInstanceConsoleOutputRequest(region_id=REGION, instance_id=instance_id)
    ).body
    assert base64.b64decode(body.console_output) == b"login: "


def test_a_release_is_finished_by_the_next_process(cloud: Any) -> None:
    """An emulator that was stopped in the middle of a release must not keep the instance."""
    world = World(cloud)
    instance_id = world.launch()
    cloud.cloud.settings.time_scale = 100.0
    world.delete(instance_id)
    cloud.restart()
    body = (
        cloud.client("ecs").describe_instances(ecs.DescribeInstancesRequest(region_id=REGION)).body
    )
    assert body.total_count == 0
    assert cloud.hypervisor.machines == {}
