"""Other computers: namespaces on the rehearsal's network with addresses of their own.

Their packets are forwarded by the cloud as those of machines are, so the security group decides
about them; a call from the cloud's own namespace would go around it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rehearsal.machine import namespaces
from rehearsal.machine.network import CloudNetwork
from rehearsal.machine.slots import Slot

T = TypeVar("T")
FIRST_INDEX = 50
"""Machines are counted from 1; these numbers stay free in a rehearsal."""


class Neighbour:
    """A computer with the address ``address``."""

    def __init__(self, slot: Slot, index: int, address: str) -> None:
        self.address = address
        self._name = slot.machine_name(index)

    def call(self, function: Callable[[], T]) -> T:
        """Return what ``function`` returns when this computer's network is used."""
        return namespaces.call(self._name, function)


@contextmanager
def neighbours(slot: Slot, *addresses: str) -> Iterator[list[Neighbour]]:
    """Connect computers with these addresses to the cloud's network for a while."""
    network = CloudNetwork(slot)
    indices = range(FIRST_INDEX, FIRST_INDEX + len(addresses))
    try:
        for index, address in zip(indices, addresses, strict=True):
            network.add_machine(index, address, f"00:16:3e:fe:00:{index:02x}")
        yield [Neighbour(slot, i, a) for i, a in zip(indices, addresses, strict=True)]
    finally:
        for index in indices:
            network.remove_machine(index)
