"""IPv4 networks and addresses of the emulated cloud: rules for blocks, and who has which address.

Private addresses are unique in the whole emulator, not only in their vSwitch, because the metadata
service recognises a machine by its private address.
"""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Address, IPv4Network

from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.services.lookups import Row
from rehearsal.cloud.state import Cloud, RegionState

# A VPC may use the private ranges and most public ones, never these (VPC help, CreateVpc, 2026).
FORBIDDEN = tuple(
    IPv4Network(text)
    for text in ("100.64.0.0/10", "224.0.0.0/4", "127.0.0.0/8", "169.254.0.0/16", "0.0.0.0/8")
)
VPC_PREFIXES = range(8, 29)
VSWITCH_PREFIXES = range(16, 30)


def parse_block(text: str) -> IPv4Network | None:
    """The network that ``text`` writes in CIDR form without host bits, or None."""
    try:
        return IPv4Network(text, strict=True) if "/" in text else None
    except ValueError:
        return None


def vpc_block(text: str) -> IPv4Network:
    """The block of a VPC; raises InvalidCidrBlock (400)."""
    block = parse_block(text)
    if (
        block is None
        or block.prefixlen not in VPC_PREFIXES
        or any(block.overlaps(other) for other in FORBIDDEN)
    ):
        raise ApiError(
            "InvalidCidrBlock",
            f"Specified CIDR block is not valid. Given: {text!r}. Allowed: a network with a mask "
            "of 8 to 28 bits, best inside 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16, and never "
            "in 100.64.0.0/10, 224.0.0.0/4, 127.0.0.0/8 or 169.254.0.0/16.",
        )
    return block


def vswitch_block(text: str, vpc: Row, neighbours: list[Row]) -> IPv4Network:
    """The block of a vSwitch; raises InvalidCidrBlock and InvalidCidrBlock.Overlapped (400)."""
    block = parse_block(text)
    outer = IPv4Network(vpc["CidrBlock"])
    if block is None or block.prefixlen not in VSWITCH_PREFIXES or not block.subnet_of(outer):
        raise ApiError(
            "InvalidCidrBlock",
            f"Specified CIDR block is not valid in VPC. Given: {text!r}. Allowed: a network with "
            f"a mask of 16 to 29 bits inside {outer} of {vpc['VpcId']}.",
        )
    for other in neighbours:
        if block.overlaps(IPv4Network(other["CidrBlock"])):
            raise ApiError(
                "InvalidCidrBlock.Overlapped",
                f"Specified CIDR block overlapped with other subnets. Given: {block}. "
                f"{other['VSwitchId']} has {other['CidrBlock']}. Choose a free block in {outer}.",
            )
    return block


def usable_hosts(block: IPv4Network) -> range:
    """The addresses of a vSwitch that instances may have, as integers.

    The first address and the last three are reserved by the cloud (VPC help, CreateVSwitch).
    """
    first = int(block.network_address)
    return range(first + 1, first + block.num_addresses - 3)


def take_private(cloud: Cloud, vswitch: Row, wanted: str = "") -> str:
    """A free private address in the vSwitch, or ``wanted`` when that is free.

    Raises InvalidPrivateIpAddress(.Malformed, .Duplicated) and QuotaExceeded.PrivateIpAddress.
    """
    block = IPv4Network(vswitch["CidrBlock"])
    hosts = usable_hosts(block)
    taken = {row["PrivateIp"] for _, _, row in cloud.rows("instances") if row.get("PrivateIp")}
    taken |= {row["Address"] for _, _, row in cloud.rows("load_balancers")}
    taken |= {row["private_ip"] for _, _, row in cloud.rows("clusters")}
    if wanted:
        try:
            address = IPv4Address(wanted)
        except ValueError:
            raise ApiError(
                "InvalidPrivateIpAddress.Malformed",
                f"Specified private IP address is malformed. Given: {wanted!r}.",
            ) from None
        if int(address) not in hosts:
            raise ApiError(
                "InvalidPrivateIpAddress",
                "Specified private IP address is not in the CIDR block of virtual switch. "
                f"Given: {wanted}. Allowed: {IPv4Address(hosts[0])} to {IPv4Address(hosts[-1])}.",
            )
        if wanted in taken:
            raise ApiError(
                "InvalidPrivateIpAddress.Duplicated",
                f'The specified private IP address "{wanted}" is duplicated.',
            )
        return wanted
    for host in hosts:
        if str(IPv4Address(host)) not in taken:
            return str(IPv4Address(host))
    raise ApiError(
        "QuotaExceeded.PrivateIpAddress",
        f"There is not enough private ip in the specified VSwitch. {vswitch['VSwitchId']} "
        f"({block}) has {len(hosts)} addresses and all are in use.",
    )


def free_private_count(state: RegionState, vswitch: Row) -> int:
    """How many addresses of a vSwitch are free."""
    used = sum(
        1
        for row in state.table("instances").values()
        if row["VSwitchId"] == vswitch["VSwitchId"] and row.get("PrivateIp")
    ) + sum(
        1
        for row in state.table("load_balancers").values()
        if row["VSwitchId"] == vswitch["VSwitchId"] and row["AddressType"] == "intranet"
    )
    return len(usable_hosts(IPv4Network(vswitch["CidrBlock"]))) - used


def mac_of(interface_id: str) -> str:
    """The MAC address of a network interface, in the range that Alibaba Cloud uses."""
    digest = hashlib.sha256(interface_id.encode()).digest()
    return "00:16:3e:" + ":".join(f"{byte:02x}" for byte in digest[:3])


def take_public(cloud: Cloud) -> str | None:
    """A free public address, or None when there is none left.

    The addresses are the hypervisor's ``public_addresses`` when it has them (it must route them),
    otherwise those of the ``public_prefix`` setting from the second host on: the first belongs to
    the gateway of that network.
    """
    offered = getattr(cloud.hypervisor, "public_addresses", None)
    if offered is None:
        offered = [str(host) for host in IPv4Network(cloud.settings.public_prefix).hosts()][1:]
    pool = offered() if callable(offered) else offered
    taken = {row["IpAddress"] for _, _, row in cloud.rows("eips")}
    taken |= {row["Address"] for _, _, row in cloud.rows("load_balancers")}
    taken |= {row["public_ip"] for _, _, row in cloud.rows("clusters")}
    return next((str(address) for address in pool if str(address) not in taken), None)
