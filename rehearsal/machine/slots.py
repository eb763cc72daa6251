"""Names and addresses of one rehearsal, so that sixteen can live beside each other (pure).

Public addresses are from TEST-NET-3 (RFC 5737) and the operator's from the benchmark network
(RFC 2544): neither can belong to anything that this computer talks to.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

SLOTS = 16
RUN_FOLDER = Path("/run/wan-vace")
"""Locks, records and sockets of slots; a tmpfs, so a reboot of the computer forgets them."""

METADATA_ADDRESS = "100.100.100.200"
"""Metadata service and OpenAPI, as on ECS."""
REGISTRY_ADDRESS = "100.100.100.210"
DNS_ADDRESSES = ("100.100.2.136", "100.100.2.138")
"""Alibaba Cloud's own resolvers, as on ECS."""
GATEWAY_ADDRESS = "169.254.0.1"
"""Next hop of every machine; lives on the cloud's end of each machine's cable."""


@dataclass(frozen=True)
class Slot:
    """One of the places where a rehearsal can live; ``number`` is 0 to 15."""

    number: int

    def __post_init__(self) -> None:
        if not 0 <= self.number < SLOTS:
            raise ValueError(
                f"slot {self.number} was given; slots are 0 to {SLOTS - 1}, because their public "
                "addresses share 203.0.113.0/24. Choose one of those."
            )

    @property
    def prefix(self) -> str:
        """Start of every name that belongs to the slot."""
        return f"vr{self.number}"

    @property
    def cloud_namespace(self) -> str:
        """Network namespace with metadata service, DNS, registry and firewall."""
        return f"{self.prefix}-cloud"

    def machine_name(self, index: int) -> str:
        """Name of a machine's network namespace and container; ``index`` counts from 1."""
        return f"{self.prefix}-{index}"

    @property
    def host_link(self) -> str:
        """The only network interface in the computer's own namespace."""
        return f"{self.prefix}h"

    @property
    def operator_address(self) -> IPv4Address:
        """Address that machines see when this computer connects to their public address."""
        return IPv4Address(f"198.18.{self.number}.1")

    @property
    def cloud_address(self) -> IPv4Address:
        """The other end of the operator's /30."""
        return IPv4Address(f"198.18.{self.number}.2")

    @property
    def public_network(self) -> IPv4Network:
        """The /28 that is routed from this computer into the slot."""
        return IPv4Network(f"203.0.113.{self.number * 16}/28")

    @property
    def public_addresses(self) -> list[str]:
        """The thirteen addresses that may be given to machines."""
        first = self.public_network.network_address
        return [str(first + offset) for offset in range(2, 15)]

    @property
    def lock_file(self) -> Path:
        """Held (flock) by the process whose rehearsal uses the slot."""
        return RUN_FOLDER / f"{self.prefix}.lock"

    @property
    def record_file(self) -> Path:
        """Says which state folder the slot's leftovers belong to."""
        return RUN_FOLDER / f"{self.prefix}.json"

    @property
    def run_folder(self) -> Path:
        """Podman's run root."""
        return RUN_FOLDER / self.prefix

    def folder(self, state: Path) -> Path:
        """Everything that the slot keeps on disk, below a rehearsal's state folder."""
        return state / self.prefix


def machine_link(index: int) -> str:
    """Name of the cloud's end of a machine's cable."""
    return f"m{index}"
