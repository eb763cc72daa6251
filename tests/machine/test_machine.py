"""Real machines: they boot from user data, answer through the firewall, and keep their disks."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from rehearsal.cloud.hypervisor import FirewallRule
from tests.machine.conftest import WEB, Cloud, fetch, wait_until

pytestmark = [pytest.mark.machine, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def hypervisor(cloud: Cloud) -> Any:
    return cloud.hypervisor


@pytest.fixture(scope="module")
def first(cloud: Cloud, hypervisor: Any) -> Any:
    """A machine that has booted and is reachable at the slot's first public address."""
    spec = cloud.boot(10)
    hypervisor.associate_address(spec.instance_id, hypervisor.public_addresses[0])
    wait_until("the unit from user data answers", lambda: fetch(url(hypervisor)), 60)
    return spec


def url(hypervisor: Any, port: int = 8080) -> str:
    return f"http://{hypervisor.public_addresses[0]}:{port}/index.html"


def test_user_data_becomes_a_service_at_the_public_address(hypervisor: Any, first: Any) -> None:
    """Without this, a deployment could look finished while its node never ran its user data."""
    assert "served by a unit from user data" in fetch(url(hypervisor))


def test_cloud_init_reports_a_boot_without_errors(cloud: Cloud, first: Any) -> None:
    """A real image boots with status done and no errors; tools on the node may rely on that."""
    status = cloud.run(first, "cloud-init status --wait --long").output.decode()
    assert "status: done" in status
    assert "DataSourceAliYun" in status
    assert "errors: []" in status
    assert "EphemeralIPNetwork" not in status
    assert "invalid contents" not in status


def test_only_what_the_rules_allow_gets_through(hypervisor: Any, first: Any) -> None:
    """A security group that is not enforced hides an open or closed port until production."""
    ident = first.instance_id
    try:
        for rules in (
            [],
            [FirewallRule("ingress", "tcp", 8080, 8080, "192.0.2.0/24", "accept", 1)],
            [FirewallRule("ingress", "tcp", 8081, 8081, "0.0.0.0/0", "accept", 1)],
            [WEB, FirewallRule("ingress", "all", -1, -1, "0.0.0.0/0", "drop", 1)],
        ):
            hypervisor.apply_rules(ident, rules)
            assert fetch(url(hypervisor), timeout_s=0.5) == "", f"reachable with {rules}"
    finally:
        hypervisor.apply_rules(ident, [WEB])
    assert fetch(url(hypervisor))


def test_an_address_that_is_taken_away_is_silent(hypervisor: Any, first: Any) -> None:
    """A released address must not keep serving the machine that had it."""
    hypervisor.disassociate_address(hypervisor.public_addresses[0])
    try:
        assert fetch(url(hypervisor), timeout_s=0.5) == ""
    finally:
        hypervisor.associate_address(first.instance_id, hypervisor.public_addresses[0])
    assert fetch(url(hypervisor))


def test_a_machine_reaches_itself_at_its_public_address(cloud: Cloud, first: Any) -> None:
    """A readiness check on the node may use the public address, as it can on ECS."""
    address = cloud.hypervisor.public_addresses[0]  # type: ignore[attr-defined]
    rules = [WEB, FirewallRule("ingress", "tcp", 8080, 8080, "192.168.7.10/32", "accept", 1)]
    cloud.hypervisor.apply_rules(first.instance_id, rules)  # type: ignore[attr-defined]
    text = cloud.output(first, f"curl -sS -m 3 http://{address}:8080/index.html")
    assert "user data" in text


def test_names_of_the_cloud_resolve_and_others_do_not(cloud: Cloud, first: Any) -> None:
    """A node that could look up other names would wait for them, or leave the rehearsal."""
    script = "getent hosts oos.cn-hangzhou.aliyuncs.com; getent hosts registry.vace.internal"
    assert cloud.output(first, script).split()[::2] == ["100.100.100.200", "100.100.100.210"]
    assert cloud.run(first, "getent hosts example.com").exit_code == 2


def test_programs_in_the_machine_trust_the_emulated_cloud(cloud: Cloud, first: Any) -> None:
    """curl, Python and podman read three different trust stores."""
    target = "https://registry.vace.internal/v2/"
    assert cloud.output(first, f"curl -sS {target}") == "{}"
    python = f'import urllib.request as u; print(u.urlopen("{target}").status)'
    assert cloud.output(first, f"python3 -c '{python}'") == "200"
    assert "vace" in cloud.output(
        first,
        "update-ca-certificates >/dev/null 2>&1; ls /etc/ssl/certs | grep -q rehearsed; echo vace",
    )


def test_only_root_reaches_the_metadata_service_when_nftables_says_so(
    cloud: Cloud, first: Any
) -> None:
    """The node's own rule keeps role credentials from its containers; the kernel must obey it."""
    cloud.output(
        first,
        "nft add table ip guard && nft 'add chain ip guard out "
        "{ type filter hook output priority 0; }' && nft add rule ip guard out "
        "ip daddr 100.100.100.200 meta skuid != 0 reject",
    )
    probe = "curl -s -o /dev/null -m 3 -X PUT http://100.100.100.200/latest/api/token"
    assert cloud.run(first, probe).exit_code == 0
    assert cloud.run(first, f"setpriv --reuid 10001 --clear-groups {probe}").exit_code != 0


def test_commands_report_output_exit_code_and_timeout(cloud: Cloud, first: Any) -> None:
    """Cloud Assistant is how a deployment learns that its node is ready."""
    result = cloud.run(first, "echo out; echo err >&2; exit 7")
    assert (result.exit_code, result.output, result.timed_out) == (7, b"out\nerr\n", False)
    late = cloud.run(first, "echo begun; sleep 60", timeout_s=1)
    assert late.timed_out
    assert late.output == b"begun\n"
    python = cloud.hypervisor.run_command(  # type: ignore[attr-defined]
        first.instance_id,
        b"import os; print(os.getuid(), os.getcwd())",
        interpreter="python3",
        working_dir="/tmp",
        timeout_s=10,
        user="nobody",
    )
    assert python.output == b"65534 /tmp\n"


def test_nothing_of_a_script_is_in_an_argument_list(cloud: Cloud, first: Any) -> None:
    """Scripts may carry secrets, and every process can read every argument list."""
    marker = "s3cr3t-marker"
    script = (
        f"x={marker}; cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c s3cr3t-marke[r] || true"
    )
    assert cloud.output(first, script) == "0"


def test_the_console_has_the_boot(hypervisor: Any, first: Any) -> None:
    """GetInstanceConsoleOutput is what an operator reads when nothing else answers."""
    assert "cloud-init" in hypervisor.console_output(first.instance_id)


def test_two_machines_have_separate_process_trees(cloud: Cloud, first: Any) -> None:
    """A cgroup tree that was shared with the host would let systemd reorganise the host."""
    assert cloud.output(first, "test -e /sys/fs/cgroup/cgroup.type && echo own") == "own"


def test_disk_keeps_its_content_across_reboot_and_moves_to_another_machine(
    cloud: Cloud, hypervisor: Any, first: Any
) -> None:
    """The data disk holds every result: it must survive its machine."""
    disk = "d-bp1testdisk0001"
    link = "/dev/disk/by-id/virtio-bp1testdisk0001"
    hypervisor.create_disk(disk, 2)
    assert hypervisor.attach_disk(first.instance_id, disk) == "/dev/xvdb"
    cloud.output(
        first,
        f"mkfs.ext4 -q {link} && mkdir -p /data && mount {link} /data && "
        "echo kept > /data/file && umount /data && readlink -f " + link,
    )
    hypervisor.reboot(first.instance_id, force=False)
    assert cloud.output(first, f"mount {link} /data && cat /data/file") == "kept"
    # Not while it is mounted: ext4 allows that only with CAP_SYS_RESOURCE.
    hypervisor.resize_disk(disk, 3)
    grow = f"umount /data && e2fsck -fp {link} && resize2fs {link} && mount {link} /data"
    cloud.output(first, f"({grow}) >/dev/null 2>&1")
    assert int(cloud.output(first, "df --output=size -B1M /data | tail -1")) > 2500
    # Pulled out while it is mounted: what was written is on the disk, later access fails.
    cloud.output(first, "echo late > /data/late")
    hypervisor.detach_disk(first.instance_id, disk)
    assert cloud.run(first, f"test -e {link}").exit_code == 1
    assert cloud.run(first, "ls /data && echo x > /data/x").exit_code != 0
    second = cloud.boot(11)
    assert hypervisor.attach_disk(second.instance_id, disk) == "/dev/xvdb"
    text = cloud.output(second, f"mkdir /data; mount {link} /data; cat /data/file /data/late")
    assert text.split() == ["kept", "late"]
    hypervisor.destroy(second.instance_id)
    hypervisor.delete_disk(disk)


def test_disks_may_come_and_go_while_a_machine_boots(cloud: Cloud, hypervisor: Any) -> None:
    """The provider attaches a disk right after RunInstances; a boot must not end over it."""
    spec = cloud.boot(31)
    disks = [f"d-bp1testboot{number}" for number in range(4)]
    for disk in disks:
        hypervisor.create_disk(disk, 1)
    for _ in range(8):
        hypervisor.stop(spec.instance_id, force=True)
        hypervisor.start(spec.instance_id)
        for disk in disks:
            hypervisor.attach_disk(spec.instance_id, disk)
        found = cloud.output(spec, "ls /dev/disk/by-id; ls /dev/vd?")
        assert found.split() == [
            *[f"virtio-{disk.removeprefix('d-')}" for disk in disks],
            *[f"/dev/vd{letter}" for letter in "bcde"],
        ]
        for disk in disks:
            hypervisor.detach_disk(spec.instance_id, disk)
    hypervisor.destroy(spec.instance_id)


def test_stopped_machine_starts_with_what_it_had(cloud: Cloud, hypervisor: Any, first: Any) -> None:
    """StopInstance and StartInstance keep the system disk."""
    cloud.output(first, "echo here > /root/mark; sync")
    hypervisor.stop(first.instance_id, force=False)
    assert not hypervisor.is_running(first.instance_id)
    assert fetch(url(hypervisor), timeout_s=0.5) == ""
    hypervisor.start(first.instance_id)
    assert hypervisor.is_running(first.instance_id)
    assert cloud.output(first, "cat /root/mark") == "here"
    wait_until("the service answers again", lambda: fetch(url(hypervisor)))


def test_a_reboot_from_inside_comes_back(cloud: Cloud, hypervisor: Any, first: Any) -> None:
    """Driver packages ask for a reboot; on ECS the machine comes back by itself."""
    before = cloud.output(first, "cat /proc/sys/kernel/random/boot_id /proc/1/stat | md5sum")
    cloud.run(first, "systemctl --no-block reboot")

    def rebooted() -> bool:
        result = cloud.run(first, "cat /proc/sys/kernel/random/boot_id /proc/1/stat | md5sum")
        return result.exit_code == 0 and result.output.decode().strip() != before

    wait_until("the machine is up again", rebooted)
    wait_until("the service answers again", lambda: fetch(url(hypervisor)))


def test_this_computer_gets_one_interface_and_one_route(hypervisor: Any, first: Any) -> None:
    """Whoever rehearses must not find their own network changed."""
    slot = hypervisor.slot
    links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True)
    ours = [line.split("@")[0] for line in links.stdout.splitlines() if slot.prefix in line]
    assert ours == [slot.host_link]
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True)
    via = [line for line in routes.stdout.splitlines() if f"via {slot.cloud_address}" in line]
    assert len(via) == 1
