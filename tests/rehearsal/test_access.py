"""Who can open which port: the security group, as packets meet it."""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.rehearsal.neighbours import Neighbour, neighbours
from tests.rehearsal.stack import PARTNER, SILENCE_S, Stack, get

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

    One `up` takes everybody away and lets the VPC in over plain HTTP; the next one turns both
    around. The partner comes by the same way as the stranger: only the rules tell them apart.
    """
    public, private, token = node.outputs["publicIp"], node.private_ip, node.outputs["apiToken"]
    https, plain = f"https://{public}/system_stats", f"http://{private}:8188/system_stats"
    closed_ports = [22, 80, 8188, 9464]

    def over_https(caller: Neighbour) -> int | None:
        return caller.call(lambda: get(https, token=token, ca=node.ca))

    def over_http(caller: Neighbour, credential: str) -> int | None:
        return caller.call(lambda: get(plain, token=credential))

    def check_the_usual() -> None:
        assert node.status() == 200
        assert over_https(partner) == 200
        assert over_https(stranger) is None
        assert over_http(colleague, token) is None

    with neighbours(node.slot, COLLEAGUE, PARTNER, STRANGER) as (colleague, partner, stranger):
        check_the_usual()
        with ThreadPoolExecutor() as pool:
            answers = pool.map(lambda port: opens(public, port), closed_ports)
            assert not any(answers), "a port besides 443 is open"

        node.workspace.configure({"plainHttp": True, "allowedCidrs": []})
        node.up()
        assert node.status() is None, "443 is open for a network that was taken away"
        assert over_https(partner) is None
        assert over_http(colleague, token) == 200
        assert over_http(colleague, "") == 401
        assert not opens(public, 8188), "plain HTTP is open on the public address"
        assert over_http(partner, token) is None

        node.workspace.configure({"plainHttp": False, "allowedCidrs": node.allowed_cidrs})
        node.up()
        check_the_usual()
