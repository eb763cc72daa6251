"""What the ECS and VPC tests share: a small network, instances in it, and how a refusal looks."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from alibabacloud_ecs20140526 import models as ecs
from alibabacloud_vpc20160428 import models as vpc
from darabonba.exceptions import DaraException

REGION = "cn-hangzhou"
ZONE = "cn-hangzhou-i"
A10 = "ecs.gn7i-c8g1.2xlarge"
UBUNTU = "ubuntu_24_04_x64_20G_alibase_20260615.vhd"


@contextmanager
def refused(code: str, *words: str, status: int | None = None) -> Iterator[None]:
    """The block must be refused with this code, these words, and (if given) this HTTP status."""
    with pytest.raises(DaraException) as caught:
        yield
    error: Any = caught.value
    assert error.code == code, f"{error.code}: {error.message}"
    for part in words:
        assert part in error.message
    if status is not None:
        assert error.status_code == status


def wait_for(probe: Callable[[], Any], within_s: float = 5.0) -> Any:
    """Poll until the probe answers something true; fails with its last answer."""
    deadline = time.monotonic() + within_s
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"not true within {within_s} s: {answer!r}"
        time.sleep(0.01)
    return answer


class World:
    """A VPC with a vSwitch and a security group, and short ways to use them."""

    def __init__(self, cloud: Any, zone: str = ZONE) -> None:
        self.cloud = cloud
        self.zone = zone
        self.ecs = cloud.client("ecs")
        self.vpc = cloud.client("vpc")
        self.vpc_id = self.new_vpc("10.0.0.0/8")
        self.vswitch_id = self.new_vswitch(self.vpc_id, "10.1.1.0/24", zone)
        self.group_id = self.ecs.create_security_group(
            ecs.CreateSecurityGroupRequest(
                region_id=REGION, vpc_id=self.vpc_id, security_group_name="web"
            )
        ).body.security_group_id

    def new_vpc(self, block: str, **fields: Any) -> str:
        request = vpc.CreateVpcRequest(region_id=REGION, cidr_block=block, **fields)
        vpc_id = self.vpc.create_vpc(request).body.vpc_id
        self.pass_time()
        wait_for(lambda: self.vpc_view(vpc_id).status == "Available")
        return str(vpc_id)

    def vpc_view(self, vpc_id: str) -> Any:
        return self.vpc.describe_vpc_attribute(
            vpc.DescribeVpcAttributeRequest(region_id=REGION, vpc_id=vpc_id)
        ).body

    def new_vswitch(self, vpc_id: str, block: str, zone: str = ZONE) -> str:
        request = vpc.CreateVSwitchRequest(
            region_id=REGION, vpc_id=vpc_id, cidr_block=block, zone_id=zone
        )
        vswitch_id = self.vpc.create_vswitch(request).body.v_switch_id
        self.pass_time()
        wait_for(lambda: self.vswitch_view(vswitch_id).status == "Available")
        return str(vswitch_id)

    def vswitch_view(self, vswitch_id: str) -> Any:
        return self.vpc.describe_vswitch_attributes(
            vpc.DescribeVSwitchAttributesRequest(region_id=REGION, v_switch_id=vswitch_id)
        ).body

    def launch_request(self, **fields: Any) -> ecs.RunInstancesRequest:
        disk = ecs.RunInstancesRequestSystemDisk(
            category=fields.pop("category", "cloud_essd"),
            size=str(fields.pop("size", 40)),
            performance_level=fields.pop("performance_level", None),
        )
        return ecs.RunInstancesRequest(
            **{
                "region_id": REGION,
                "instance_type": A10,
                "image_id": UBUNTU,
                "v_switch_id": self.vswitch_id,
                "security_group_id": self.group_id,
                "system_disk": disk,
                **fields,
            }
        )

    def launch(self, *, until: str = "Running", **fields: Any) -> str:
        answer = self.ecs.run_instances(self.launch_request(**fields)).body
        instance_id = str(answer.instance_id_sets.instance_id_set[0])
        self.reaches(instance_id, until)
        return instance_id

    def instance(self, instance_id: str) -> Any:
        """The instance, or None when it is gone."""
        found = self.ecs.describe_instances(
            ecs.DescribeInstancesRequest(region_id=REGION, instance_ids=json.dumps([instance_id]))
        ).body.instances.instance
        return found[0] if found else None

    def pass_time(self) -> None:
        """Let every status change of the cloud's own come to its end."""
        self.cloud.clock.advance(20 * self.cloud.cloud.settings.time_scale)

    def reaches(self, instance_id: str, status: str) -> None:
        """Wait until the instance has this status; empty means until it is gone."""
        if status != "Pending":
            self.pass_time()
        wait_for(lambda: getattr(self.instance(instance_id), "status", "") == status)

    def stop(self, instance_id: str, **fields: Any) -> None:
        self.ecs.stop_instance(ecs.StopInstanceRequest(instance_id=instance_id, **fields))
        self.reaches(instance_id, "Stopped")

    def delete(self, instance_id: str, *, force: bool = True) -> None:
        self.ecs.delete_instance(ecs.DeleteInstanceRequest(instance_id=instance_id, force=force))

    def disks(self, **fields: Any) -> list[Any]:
        return list(
            self.ecs.describe_disks(
                ecs.DescribeDisksRequest(region_id=REGION, **fields)
            ).body.disks.disk
        )

    def disk(self, disk_id: str) -> Any:
        found = self.disks(disk_ids=json.dumps([disk_id]))
        return found[0] if found else None

    def new_disk(self, size: int = 100, **fields: Any) -> str:
        request = ecs.CreateDiskRequest(
            **{
                "region_id": REGION,
                "zone_id": self.zone,
                "disk_category": "cloud_essd",
                "size": size,
                **fields,
            }
        )
        return str(self.ecs.create_disk(request).body.disk_id)


def encoded(text: str) -> str:
    """Base64, as user data and commands travel."""
    return base64.b64encode(text.encode()).decode()
