"""Who can open which port: the security group, as packets meet it."""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.rehearsal.neighbours import neighbours
from tests.rehearsal.stack import SILENCE_S, Stack, get

pytestmark = [pytest.mark.engine, pytest.mark.machine, pytest.mark.timeout(180)]

COLLEAGUE = "10.80.3.7"
"""In the VPC (vpcCidr is 10.80.0.0/16 unless configured)."""
STRANGER = "198.51.100.7"
"""On the internet (TEST-NET-2, RFC 5737)."""


def opens(address: str, port: int) -> bool:
    """Whether a TCP connection can be made."""
    try:
        socket.create_connection((address, port), timeout=SILENCE_S).close()
    except OSError:
        return False
    return True


def test_only_named_networks_reach_only_the_named_ports(node: Stack) -> None:
    """Prevents a service, or ComfyUI's bare port, that is open to more than the config says.

    One `up` takes the operator away and lets the VPC in over plain HTTP; the next one turns both
    around and names a stranger, which shows that the stranger was refused by the rules and not by
    the network.
    """
    public, private, token = node.outputs["publicIp"], node.private_ip, node.outputs["apiToken"]
    https, plain = f"https://{public}/system_stats", f"http://{private}:8188/system_stats"
    closed_ports = [22, 80, 8188, 9464]

    def by_stranger() -> int | None:
        return stranger.call(lambda: get(https, token=token, ca=node.ca))

    def by_colleague(credential: str) -> int | None:
        return colleague.call(lambda: get(plain, token=credential))

    with neighbours(node.slot, COLLEAGUE, STRANGER) as (colleague, stranger):
        assert node.status() == 200
        assert by_stranger() is None
        assert by_colleague(token) is None
        with ThreadPoolExecutor() as pool:
            answers = pool.map(lambda port: opens(public, port), closed_ports)
            assert not any(answers), "a port besides 443 is open"

        node.workspace.unset("allowedCidrs")
        node.workspace.configure({"plainHttp": True})
        node.up()
        assert node.status() is None, "443 is open for a network that was taken away"
        assert by_colleague(token) == 200
        assert by_colleague("") == 401
        assert not opens(public, 8188), "plain HTTP is open on the public address"
        assert stranger.call(lambda: opens(private, 8188)) is False

        node.workspace.configure(
            {"plainHttp": False, "allowedCidrs": [node.operator_cidr, f"{STRANGER}/32"]}
        )
        node.up()
        assert node.status() == 200
        assert by_stranger() == 200
        assert by_colleague(token) is None

    node.workspace.unset("allowedCidrs")
    node.workspace.configure({"allowedCidrs": [node.operator_cidr]})
    node.up()
