"""RunInstances: what can be launched, what is refused, and with which words."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from alibabacloud_ecs20140526 import models as ecs
from alibabacloud_ram20150501 import models as ram

from rehearsal.cloud.hypervisor import MachineSpec

from .ecs_world import A10, REGION, UBUNTU, World, encoded, refused, wait_for


@pytest.fixture
def world(cloud: Any) -> World:
    return World(cloud)


def test_an_instance_comes_up_step_by_step_with_everything_the_node_needs(cloud: Any) -> None:
    """The metadata service and the provider read these fields; one missing breaks the boot."""
    world = World(cloud)
    cloud.cloud.settings.time_scale = 10.0
    instance_id = world.launch(
        until="Pending",
        instance_name="vace-node",
        host_name="vace",
        user_data=encoded("#cloud-config\n"),
        http_tokens="required",
        tag=[ecs.RunInstancesRequestTag(key="owner", value="video")],
    )
    cloud.clock.advance(50)
    assert world.instance(instance_id).status == "Starting"
    cloud.clock.advance(60)
    view = world.instance(instance_id)
    assert view.status == "Running"
    assert (view.instance_name, view.host_name, view.image_id) == ("vace-node", "vace", UBUNTU)
    assert view.metadata_options.http_tokens == "required"
    assert (view.cpu, view.memory, view.gpuspec) == (8, 30 * 1024, "NVIDIA A10")
    assert [(t.tag_key, t.tag_value) for t in view.tags.tag] == [("owner", "video")]
    address = view.vpc_attributes.private_ip_address.ip_address[0]
    assert address == "10.1.1.1"
    row = cloud.cloud.region(cloud.cloud.settings.account, REGION).table("instances")[instance_id]
    assert cloud.hypervisor.machines[instance_id] == MachineSpec(
        instance_id, "vace", address, row["Mac"], world.zone, 30 * 1024, UBUNTU
    )
    assert cloud.cloud.instance_by_private_ip(address)["InstanceId"] == instance_id
    system = world.disks(instance_id=instance_id, disk_type="system")
    assert [(d.category, d.performance_level, d.size, d.status) for d in system] == [
        ("cloud_essd", "PL1", 40, "In_use")
    ]


def test_private_addresses_are_unique_and_skip_the_reserved_ones(world: World) -> None:
    """Two machines with one address would get each other's metadata."""
    small = world.new_vswitch(world.vpc_id, "10.9.0.0/29")
    launched = [world.launch(v_switch_id=small) for _ in range(4)]
    addresses = {
        world.instance(i).vpc_attributes.private_ip_address.ip_address[0] for i in launched
    }
    assert addresses == {"10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4"}
    assert world.vswitch_view(small).available_ip_address_count == 0
    with refused(
        "QuotaExceeded.PrivateIpAddress",
        "There is not enough private ip in the specified VSwitch.",
        status=400,
    ):
        world.launch(v_switch_id=small)


def test_a_private_address_can_be_chosen_once(world: World) -> None:
    """A program that fixes its address must hear when it is taken or outside."""
    world.launch(private_ip_address="10.1.1.77")
    with refused("InvalidPrivateIpAddress.Duplicated", '"10.1.1.77" is duplicated'):
        world.launch(private_ip_address="10.1.1.77")
    with refused("InvalidPrivateIpAddress", "not in the CIDR block of virtual switch"):
        world.launch(private_ip_address="10.1.2.1")


WRONG: list[tuple[dict[str, Any], str, str, int]] = [
    ({"instance_type": "ecs.gn99.large"}, "InvalidInstanceType.ValueNotSupported",
     "The specified InstanceType does not exist or beyond the permitted range.", 400),
    ({"image_id": "no-such-image"}, "InvalidImageId.NotFound",
     "The specified ImageId does not exist.", 404),
    ({"image_id": "ubuntu_24_04_arm64_20G_alibase_20260620.vhd"},
     "InvalidInstanceType.NotSupported", "not supported by the image architecture", 400),
    ({"image_family": "acs:ubuntu_24_04_x64"}, "UnexpectedImageFamily.ImageIdSupplied",
     "ImageFamily must be null when image id is set", 400),
    ({"image_id": None, "image_family": "acs:ubuntu-24-04-x64"},
     "InvalidImageFamily.MissingAvailableImage",
     "There is no available image related to the specified image family.", 403),
    ({"v_switch_id": "vsw-none"}, "InvalidVSwitchId.NotFound",
     "Specified virtual switch does not exist.", 404),
    ({"v_switch_id": None}, "MissingParameter", '"VSwitchId"', 400),
    ({"security_group_id": "sg-none"}, "InvalidSecurityGroupId.NotFound",
     "The specified SecurityGroupId does not exist.", 404),
    ({"zone_id": "cn-hangzhou-j"}, "InvalidParameter.Mismatch",
     "Specified virtual switch is not in the specified zone.", 400),
    ({"category": None}, "InvalidDiskCategory.NotSupported",
     "The specified disk category is not support the specified instance type.", 403),
    ({"category": "cloud_efficiency"}, "InvalidDiskCategory.NotSupported",
     "It takes: cloud_essd, cloud_auto", 403),
    ({"category": "cloud_gold"}, "InvalidSystemDiskCategory.ValueNotSupported",
     '"SystemDisk.Category" is not valid', 400),
    ({"size": 19}, "InvalidSystemDiskSize.LessThanImageSize",
     "The specified parameter SystemDisk.Size is less than the image size.", 404),
    ({"performance_level": "PL2"}, "InvalidSystemDiskSize.LessThanMinSize",
     "less than the min size", 404),
    ({"size": 2049}, "InvalidSystemDiskSize.MoreThanMaxSize", "exceeds the maximum size", 404),
    ({"performance_level": "PL9"}, "InvalidPerformanceLevel.Malformed", "PL0, PL1, PL2, PL3", 400),
    ({"user_data": "not base64!"}, "InvalidUserData.Base64FormatInvalid",
     "The specified UserData is not valid.", 403),
    ({"user_data": base64.b64encode(bytes(32 * 1024 + 1)).decode()},
     "InvalidUserData.SizeExceeded", 'The specified parameter "UserData" exceeds the size.', 400),
    ({"user_data": "YQ==", "image_id": "fedora_coreos_43_x64_20G_alibase_20260601.vhd"},
     "ImageNotSupportCloudInit", "The specified image does not support cloud-init.", 400),
    ({"deletion_protection": True, "spot_strategy": "SpotAsPriceGo"},
     "InvalidChargeType.ValueNotSupported",
     "Deletion protection is only valid for postPaid instance, not for prePaid or spot instance.",
     403),
    ({"spot_strategy": "SpotWithPriceLimit", "spot_price_limit": 0.01},
     "OperationDenied.NoStock", "The requested resource is sold out in the specified zone;", 403),
    ({"spot_strategy": "SpotWithPriceLimit", "spot_price_limit": 5.12345},
     "InvalidSpotPriceLimit", "The specified SpotPriceLimitis not valid.", 400),
    ({"spot_strategy": "Cheap"}, "InvalidSpotStrategy",
     "The specified SpotStrategy is not valid.", 400),
    ({"ram_role_name": "nobody"}, "InvalidRamRole.NotFound",
     "The specified RAMRoleName does not exist.", 404),
    ({"http_tokens": "always"}, "InvalidHttpTokens.NotSupported",
     "The specified HttpTokens not supported", 400),
    ({"instance_name": "1-starts-with-a-digit"}, "InvalidInstanceName.Malformed",
     '"InstanceName" is not valid', 400),
    ({"host_name": "-dash"}, "InvalidHostName.Malformed", '"HostName" is not valid', 400),
    ({"instance_charge_type": "PrePaid"}, "OperationDenied.PrepayNotAvailable",
     "Prepay instance is not available now.", 403),
    ({"key_pair_name": "mine"}, "InvalidKeyPairName.NotFound", "KeyPairName does not exist", 404),
    ({"internet_max_bandwidth_out": 5}, "UnsupportedParameter", "InternetMaxBandwidthOut", 400),
    ({"tag": [ecs.RunInstancesRequestTag(key="acs:mine", value="x")]}, "InvalidTagKey.Malformed",
     "The specified Tag.n.Key is not valid.", 400),
]  # fmt: skip


def test_every_wrong_launch_is_refused_with_the_clouds_own_words(cloud: Any) -> None:
    """Programs branch on these codes and people search for these words."""
    world = World(cloud)
    for fields, code, words, status in WRONG:
        with refused(code, words, status=status):
            world.ecs.run_instances(world.launch_request(**fields))
    assert cloud.hypervisor.machines == {}
    assert world.disks() == []


def test_a_group_of_another_vpc_is_refused(world: World) -> None:
    """Two stacks in one account must not be mixed by mistake."""
    other = world.new_vpc("172.16.0.0/16")
    group = world.ecs.create_security_group(
        ecs.CreateSecurityGroupRequest(region_id=REGION, vpc_id=other)
    ).body.security_group_id
    with refused(
        "OperationDenied.InconsistentNetwork",
        "The specified security group and vswitch are not in the same vpc.",
        status=403,
    ):
        world.launch(security_group_id=group)


def test_a_dry_run_checks_everything_and_launches_nothing(cloud: Any) -> None:
    """DryRunOperation is the success of a dry run; stock is part of the check."""
    world = World(cloud)
    with refused("DryRunOperation", "Request validation has been passed with DryRun flag set."):
        world.launch(dry_run=True)
    cloud.cloud.stock_overrides[f"{world.zone}/{A10}"] = False
    with refused("OperationDenied.NoStock", "sold out", status=403):
        world.launch(dry_run=True)
    assert cloud.hypervisor.machines == {}


def test_the_vcpu_quota_is_enforced(cloud: Any) -> None:
    """GPU families often start with a small quota; the code is not retryable."""
    account = cloud.cloud.settings.account
    cloud.cloud.region(account, REGION).table("quotas")["vcpus_per_zone"] = {"Limit": 15}
    world = World(cloud)
    world.launch()
    with refused(
        "QuotaExceed.ElasticQuota",
        "The number of vCPUs assigned to the ECS instances has exceeded the quota in the zone",
        status=403,
    ):
        world.launch()


def test_data_disks_come_with_the_instance(cloud: Any) -> None:
    """Inline data disks are made, attached, and by default released with the instance."""
    world = World(cloud)
    disk = ecs.RunInstancesRequestDataDisk(size=100, category="cloud_essd", encrypted="true")
    instance_id = world.launch(data_disk=[disk])
    found = world.disks(instance_id=instance_id, disk_type="data")
    assert [(d.size, d.device, d.encrypted, d.delete_with_instance) for d in found] == [
        (100, "/dev/xvdb", True, True)
    ]
    assert cloud.hypervisor.disks == {found[0].disk_id: 100}
    tiny = ecs.RunInstancesRequestDataDisk(size=10, category="cloud_essd")
    with refused("InvalidDataDiskSize.ValueNotSupported", "beyond the permitted range"):
        world.launch(data_disk=[tiny])


def test_a_machine_that_cannot_be_made_leaves_nothing_behind(cloud: Any, monkeypatch: Any) -> None:
    """A broken rehearsal must say so at once instead of leaving the provider to wait."""
    world = World(cloud)

    def broken(spec: MachineSpec) -> None:
        raise RuntimeError(f"no memory for {spec.hostname}")

    monkeypatch.setattr(cloud.hypervisor, "launch", broken)
    with refused("Rehearsal.MachineFailure", "no memory for", "emulator's log"):
        world.launch(host_name="vace")
    body = world.ecs.describe_instances(ecs.DescribeInstancesRequest(region_id=REGION)).body
    assert (body.total_count, world.disks()) == (0, [])


def test_several_instances_get_numbered_names(world: World) -> None:
    """Amount launches all or none, and UniqueSuffix keeps their names apart."""
    request = world.launch_request(amount=3, instance_name="node", unique_suffix=True)
    ids = world.ecs.run_instances(request).body.instance_id_sets.instance_id_set
    names = {world.instance(instance_id).instance_name for instance_id in ids}
    assert names == {"node001", "node002", "node003"}


def test_the_same_client_token_launches_once(world: World) -> None:
    """The provider repeats RunInstances after a lost answer; two GPUs would be billed."""
    request = world.launch_request(client_token="one-token")
    first = world.ecs.run_instances(request).body.instance_id_sets.instance_id_set
    again = world.ecs.run_instances(request).body.instance_id_sets.instance_id_set
    assert first == again


def test_a_role_must_trust_ecs(cloud: Any) -> None:
    """An instance with a role that it cannot assume boots without credentials."""
    world = World(cloud)
    client = cloud.client("ram")
    for name, service in (("node", "ecs.aliyuncs.com"), ("lambda", "fc.aliyuncs.com")):
        document = {
            "Version": "1",
            "Statement": [
                {
                    "Action": "sts:AssumeRole",
                    "Effect": "Allow",
                    "Principal": {"Service": [service]},
                }
            ],
        }
        client.create_role(
            ram.CreateRoleRequest(role_name=name, assume_role_policy_document=json.dumps(document))
        )
    with refused(
        "InvalidRamRole.NotEcsRole", "The specified ram role is not authorized for ecs", status=401
    ):
        world.launch(ram_role_name="lambda")
    instance_id = world.launch(ram_role_name="node")
    ids = json.dumps([instance_id])
    query = ecs.DescribeInstanceRamRoleRequest(region_id=REGION, instance_ids=ids)

    def roles() -> list[str]:
        found = world.ecs.describe_instance_ram_role(query).body.instance_ram_role_sets
        return [item.ram_role_name for item in found.instance_ram_role_set]

    assert roles() == ["node"]
    world.ecs.detach_instance_ram_role(
        ecs.DetachInstanceRamRoleRequest(region_id=REGION, instance_ids=ids, ram_role_name="node")
    )
    assert roles() == []
    attach = ecs.AttachInstanceRamRoleRequest(
        region_id=REGION, instance_ids=ids, ram_role_name="node"
    )
    answer = world.ecs.attach_instance_ram_role(attach).body
    results = answer.attach_instance_ram_role_results.attach_instance_ram_role_result
    assert (answer.ram_role_name, results[0].instance_id, answer.fail_count) == (
        "node",
        instance_id,
        0,
    )
    attach.ram_role_name = "lambda"
    with refused("InvalidRamRole.NotEcsRole", "check your role policy", status=404):
        world.ecs.attach_instance_ram_role(attach)


def test_passing_a_role_needs_permission(cloud: Any) -> None:
    """A user who may launch may still not hand out any role."""
    world = World(cloud)
    document = {
        "Version": "1",
        "Statement": [
            {
                "Action": "sts:AssumeRole",
                "Effect": "Allow",
                "Principal": {"Service": ["ecs.aliyuncs.com"]},
            }
        ],
    }
    cloud.client("ram").create_role(
        ram.CreateRoleRequest(role_name="node", assume_role_policy_document=json.dumps(document))
    )
    key = cloud.user_key(
        {
            "Version": "1",
            "Statement": [{"Action": ["ecs:*", "vpc:*"], "Resource": "*", "Effect": "Allow"}],
        }
    )
    world.ecs = cloud.client("ecs", key=key)
    world.launch()
    with refused("InvalidUser.PassRoleForbidden", "privilege to pass a RAM role", status=403):
        world.launch(ram_role_name="node")


def test_only_the_given_form_of_a_network_interface_is_taken(world: World) -> None:
    """Programs that send the vSwitch inside NetworkInterface.1 get the same instance."""
    interface = ecs.RunInstancesRequestNetworkInterface(
        v_switch_id=world.vswitch_id, security_group_ids=[world.group_id], instance_type="Primary"
    )
    instance_id = world.launch(
        v_switch_id=None, security_group_id=None, network_interface=[interface]
    )
    assert world.instance(instance_id).security_group_ids.security_group_id == [world.group_id]
    wait_for(lambda: world.instance(instance_id).vpc_attributes.v_switch_id == world.vswitch_id)
