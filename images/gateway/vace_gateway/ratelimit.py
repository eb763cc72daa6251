"""Token buckets per client address, in bounded memory."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

MAX_CLIENTS: Final = 10_000


class FailureLimit:
    """Counts failed logins per client address.

    Only failures take from a bucket, and a right token never asks it: an attacker behind the same
    address can't lock the owner out.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        # address -> (content, time of that content); least recently used first
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def failed(self, client: str) -> int:
        """Record a failure; 0 when it was within the limit, else seconds for Retry-After."""
        key = _group(client)
        now = self._clock()
        content, since = self._buckets.pop(key, (self._capacity, now))
        content = min(self._capacity, content + (now - since) * self._per_second)
        within = content >= 1
        self._buckets[key] = (content - 1 if within else content, now)
        while len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return 0 if within else math.ceil((1 - content) / self._per_second)

    def __len__(self) -> int:
        return len(self._buckets)


def _group(client: str) -> str:
    """IPv4 addresses stand alone; an IPv6 customer owns a whole /64."""
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if address.version == 6:
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)
