"""Another data disk under a running node, and the first one back."""

import json
from io import BytesIO

import pytest

from infra.dynamic import readiness
from tests.rehearsal.conftest import Video
from tests.rehearsal.polling import eventually
from tests.rehearsal.stack import Stack
from tests.rehearsal.test_restart import content_of

pytestmark = [pytest.mark.engine, pytest.mark.machine, pytest.mark.timeout(240)]

PARAMETER = "wan-vace-rehearsal-node"


def disk(node: Stack, disk_id: str) -> dict[str, str]:
    """What the cloud says of a disk; empty when there is none."""
    rows = node.api("ecs", "DescribeDisks", DiskIds=json.dumps([disk_id]))["Disks"]["Disk"]
    return dict(rows[0]) if rows else {}


def settings(node: Stack) -> dict[str, str]:
    """The node's settings, as it reads them."""
    answer = node.api("oos", "GetParameter", Name=PARAMETER)
    return dict(json.loads(answer["Parameter"]["Value"]))


def swap(node: Stack, old: str, new: str) -> None:
    """Exchange the disks in the order of `pulumi up`: the old one goes while it is in use."""
    instance = node.outputs["instanceId"]
    node.api("ecs", "DetachDisk", DiskId=old, InstanceId=instance)
    eventually("the disk is free", lambda: disk(node, old)["Status"] == "Available")
    node.api("ecs", "AttachDisk", DiskId=new, InstanceId=instance, DeleteWithInstance="false")
    eventually("the disk is in use", lambda: disk(node, new)["Status"] == "In_use")
    wanted = {**settings(node), "data_disk_id": new}
    node.api("oos", "UpdateParameter", Name=PARAMETER, Value=json.dumps(wanted, sort_keys=True))
    # What `pulumi up` runs on the node when its settings have changed.
    node.on_node(readiness.script(90), timeout_s=120)


def test_another_disk_is_taken_and_the_first_one_comes_back_whole(
    node: Stack, video: Video
) -> None:
    """Prevents results on the wrong disk, an overwritten disk, and a node that stays down."""
    first = settings(node)["data_disk_id"]
    zone = disk(node, first)["ZoneId"]
    second = node.api(
        "ecs", "CreateDisk", ZoneId=zone, Size="20", DiskCategory="cloud_essd", Encrypted="true"
    )["DiskId"]
    eventually("the second disk exists", lambda: disk(node, second).get("Status") == "Available")

    swap(node, first, second)
    assert node.status() == 200
    query = "&".join(f"{key}={value}" for key, value in video.file.query().items())
    assert node.status(f"/view?{query}") == 404, "the empty disk has the old results"
    with node.client() as client:
        client.upload(BytesIO(b"on the second disk"), "second.png")

    swap(node, second, first)
    assert content_of(node, video.file) == video.sha256
    assert node.status("/view?filename=second.png&type=input") == 404
    node.api("ecs", "DeleteDisk", DiskId=second)
    eventually("the second disk is gone", lambda: not disk(node, second))
