"""The cloud's network of one slot: a namespace that routes between machines and the operator.

::

    this computer          vr<slot>-cloud                           vr<slot>-<n>
    vr<slot>h ───────────── operator   lo: metadata, DNS, registry
    198.18.<slot>.1         198.18.<slot>.2      m<n> ──────────── eth0 (private address)
    route to 203.0.113.x/28 nftables: NAT, security groups

Each machine has a cable of its own, no bridge, so packets between machines pass the firewall even
when their addresses are of one subnet.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from rehearsal.machine import namespaces
from rehearsal.machine.ruleset import OPERATOR_LINK, Endpoint, render
from rehearsal.machine.slots import (
    DNS_ADDRESSES,
    GATEWAY_ADDRESS,
    METADATA_ADDRESS,
    REGISTRY_ADDRESS,
    Slot,
    machine_link,
)
from rehearsal.machine.tools import run, succeeds


class CloudNetwork:
    """Creates the slot's namespaces and keeps their firewall. Not thread-safe by itself."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._cloud = slot.cloud_namespace

    def ensure(self) -> None:
        """Make the cloud namespace and the cable to this computer if they do not exist."""
        if namespaces.exists(self._cloud):
            if succeeds("ip", "link", "show", self._slot.host_link):
                return
            # Half of it: a run was killed while it made this.
            namespaces.remove(self._cloud)
        namespaces.create(self._cloud)
        namespaces.call(self._cloud, _become_router)
        for address in (METADATA_ADDRESS, REGISTRY_ADDRESS, *DNS_ADDRESSES):
            run("ip", "-n", self._cloud, "address", "add", f"{address}/32", "dev", "lo")
        public = str(self._slot.public_network)
        # A public address without a machine is silent, as on the internet.
        run("ip", "-n", self._cloud, "route", "add", "blackhole", public)
        host = self._slot.host_link
        peer = ("peer", "name", OPERATOR_LINK, "netns", self._cloud)
        run("ip", "link", "add", host, "type", "veth", *peer)
        cloud_address = str(self._slot.cloud_address)
        run("ip", "-n", self._cloud, "address", "add", f"{cloud_address}/30", "dev", OPERATOR_LINK)
        run("ip", "-n", self._cloud, "link", "set", OPERATOR_LINK, "up")
        run("ip", "address", "add", f"{self._slot.operator_address}/30", "dev", host)
        run("ip", "link", "set", host, "up")
        run("ip", "route", "add", public, "via", cloud_address, "dev", host)

    def add_machine(self, index: int, private_ip: str, mac: str) -> None:
        """Make a machine's namespace anew, with its only interface configured."""
        self.remove_machine(index)
        name, link = self._slot.machine_name(index), machine_link(index)
        namespaces.create(name)
        peer = ("peer", "name", "eth0", "address", mac, "netns", name)
        run("ip", "-n", self._cloud, "link", "add", link, "type", "veth", *peer)
        run("ip", "-n", self._cloud, "address", "add", f"{GATEWAY_ADDRESS}/32", "dev", link)
        run("ip", "-n", self._cloud, "link", "set", link, "up")
        run("ip", "-n", self._cloud, "route", "add", f"{private_ip}/32", "dev", link)
        run("ip", "-n", name, "address", "add", f"{private_ip}/32", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        run("ip", "-n", name, "route", "add", GATEWAY_ADDRESS, "dev", "eth0")
        run("ip", "-n", name, "route", "add", "default", "via", GATEWAY_ADDRESS, "dev", "eth0")

    def has_machine(self, index: int) -> bool:
        """Whether the machine's namespace exists."""
        return namespaces.exists(self._slot.machine_name(index))

    def remove_machine(self, index: int) -> None:
        """Remove a machine's namespace and cable."""
        namespaces.remove(self._slot.machine_name(index))
        link = machine_link(index)
        # The kernel removes the cable with the namespace, but not before its last user is gone.
        if succeeds("ip", "-n", self._cloud, "link", "show", link):
            succeeds("ip", "-n", self._cloud, "link", "delete", link)

    def apply(self, machines: Sequence[Endpoint], addresses: Mapping[str, Endpoint]) -> None:
        """Replace the whole firewall at once."""
        text = render(self._slot, machines, addresses)
        path = namespaces.FOLDER / self._cloud
        run("nsenter", f"--net={path}", "--", "nft", "-f", "-", stdin=text)

    def listen(self, address: str, port: int) -> socket.socket:
        """A listening TCP socket inside the cloud namespace."""

        def make() -> socket.socket:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen(128)
            return listener

        return namespaces.call(self._cloud, make)

    def datagrams(self, address: str, port: int) -> socket.socket:
        """A bound UDP socket inside the cloud namespace."""

        def make() -> socket.socket:
            receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            receiver.bind((address, port))
            return receiver

        return namespaces.call(self._cloud, make)

    def remove(self) -> None:
        """Remove every namespace of the slot, and with them all interfaces and routes."""
        for name in namespaces.names(f"{self._slot.prefix}-"):
            namespaces.remove(name)
        # The kernel removes the cable with the namespace, sometimes a moment later: deleting it may
        # find it gone. What counts is that it is gone afterwards.
        host = self._slot.host_link
        if succeeds("ip", "link", "show", host) and not succeeds("ip", "link", "delete", host):
            run("sh", "-c", '! ip link show "$1" 2>/dev/null', "sh", host)


def _become_router() -> None:
    # /proc/sys/net shows the namespace of the thread that opens it.
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    ipv6 = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
    if ipv6.exists():
        ipv6.write_text("1")
