import pytest
from tests.rehearsal.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.machine, pytest.mark.timeout(280)]


def test_zz(node: Stack, video) -> None:
    urn = next(
        r["urn"] for r in node.workspace.resources() if r["type"] == "alicloud:ecs/ecsDisk:EcsDisk"
    )
    try:
        print(node.pulumi("up", "--yes", "--skip-preview", "--replace", urn))
    except AssertionError as e:
        print("FAILED", e)
    print(node.status())
    print(node.api("ecs", "DescribeDisks")["Disks"]["Disk"])
    print(node.pulumi("preview", "--expect-no-changes"))
    name, _, _ = node.images.comfyui.partition("@")
    node.workspace.configure({"comfyuiImage": f"{name}@sha256:{'0' * 64}"})
    print(node.fails("up", "--yes", "--skip-preview"))
    print(node.status())
    node.workspace.configure({"comfyuiImage": node.images.comfyui})
    node.up()
    print(node.status())
    print(
        node.on_node(
            "vace-node status; journalctl --list-boots; ls -la /dev/shm /root /var/lib/vace; "
        )
    )
