"""Load-balancer listeners: their settings from annotations, and their nftables rules (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PREFIX = "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-"
_RANGES = {
    "idle-timeout": (1, 60),
    "established-timeout": (10, 900),
    "request-timeout": (1, 180),
    "health-check-interval": (1, 50),
    "health-check-connect-timeout": (1, 300),
    "healthy-threshold": (2, 10),
    "unhealthy-threshold": (2, 10),
}
_CHOICES = {
    "address-type": ("internet", "intranet"),
    "acl-status": ("on", "off"),
    "acl-type": ("white", "black"),
    "force-override-listeners": ("true", "false"),
}


class AnnotationError(ValueError):
    """An annotation that the cloud refuses; the text is the event's sentence."""


@dataclass(frozen=True)
class Settings:
    """What the annotations of a Service ask for."""

    load_balancer: str
    override: bool
    internet: bool
    acl: str
    acl_allows: bool


@dataclass(frozen=True)
class Listener:
    """One public port: backends are (pod IP, port); ``sources`` None admits everybody."""

    address: str
    port: int
    protocol: str
    backends: tuple[tuple[str, int], ...]
    sources: tuple[str, ...] | None = None
    sources_allowed: bool = True


def settings(annotations: Mapping[str, str]) -> Settings:
    """Raises AnnotationError for a value that the cloud would refuse."""
    for name, (low, high) in _RANGES.items():
        value = annotations.get(PREFIX + name)
        if value is not None and not (value.isdecimal() and low <= int(value) <= high):
            raise AnnotationError(
                f"annotation {PREFIX}{name} is {value!r}; allowed are {low} to {high}, because the "
                "load balancer takes no other value: correct the annotation"
            )
    for name, choices in _CHOICES.items():
        value = annotations.get(PREFIX + name)
        if value is not None and value not in choices:
            raise AnnotationError(
                f"annotation {PREFIX}{name} is {value!r}; allowed are {' and '.join(choices)}, "
                "because the load balancer knows no other: correct the annotation"
            )
    acl = annotations.get(PREFIX + "acl-id", "")
    enabled = annotations.get(PREFIX + "acl-status") == "on"
    if enabled and not acl:
        raise AnnotationError(
            f"annotation {PREFIX}acl-status is 'on' without {PREFIX}acl-id; an access list is "
            "needed, because nothing else says who may connect: name one, or turn it off"
        )
    return Settings(
        load_balancer=annotations.get(PREFIX + "id", ""),
        override=annotations.get(PREFIX + "force-override-listeners") == "true",
        internet=annotations.get(PREFIX + "address-type", "internet") == "internet",
        acl=acl if enabled else "",
        acl_allows=annotations.get(PREFIX + "acl-type", "white") == "white",
    )


def backends(
    slices: Sequence[Mapping[str, Any]], port_name: str, *, unready: bool
) -> tuple[tuple[str, int], ...]:
    """Addresses of the ready endpoints (of all, if ``unready``) behind a Service's port.

    EndpointSlices already hold the target port's number, also where the Service names it.
    """
    found = set()
    for piece in slices:
        numbers = [p["port"] for p in piece.get("ports") or () if p.get("name", "") == port_name]
        for endpoint in piece.get("endpoints") or ():
            # A missing condition means ready, as the API defines it.
            if unready or endpoint.get("conditions", {}).get("ready", True) is not False:
                found |= {(ip, number) for ip in endpoint["addresses"] for number in numbers}
    return tuple(sorted(found))


def render(listeners: Sequence[Listener]) -> str:
    """The whole table, to be loaded at once with ``nft -f``."""
    ordered = sorted(listeners, key=lambda one: (one.address, one.protocol, one.port))
    guards, targets, hairpins = [], [], set()
    for one in ordered:
        match = f"ip daddr {one.address} {one.protocol} dport {one.port}"
        if one.sources is not None:
            if one.sources:
                operator = "!= " if one.sources_allowed else ""
                guards.append(f"{match} ip saddr {operator}{{ {', '.join(one.sources)} }} drop")
            elif one.sources_allowed:
                guards.append(f"{match} drop")
        if not one.backends:
            answer = "reject with tcp reset" if one.protocol == "tcp" else "drop"
            guards.append(f"{match} {answer}")
            continue
        entries = ", ".join(f"{n} : {ip} . {port}" for n, (ip, port) in enumerate(one.backends))
        targets.append(
            f"{match} dnat ip addr . port to numgen inc mod {len(one.backends)} map {{ {entries} }}"
        )
        # A pod that is sent back to itself would drop a packet with its own source address.
        hairpins |= {f"ct status dnat ip saddr {ip} ip daddr {ip} masquerade"
                     for ip, _ in one.backends}  # fmt: skip
    chains = {
        "guard": ("filter hook prerouting priority raw + 1", guards),
        "prerouting": ("nat hook prerouting priority dstnat - 5", targets),
        "output": ("nat hook output priority -105", targets),
        "postrouting": ("nat hook postrouting priority srcnat - 5", sorted(hairpins)),
    }
    lines = ["table ip vace_balancer", "delete table ip vace_balancer", "table ip vace_balancer {"]
    for name, (hook, rules) in chains.items():
        lines += [f" chain {name} {{", f"  type {hook}; policy accept;"]
        lines += [*(f"  {rule}" for rule in rules), " }"]
    return "\n".join([*lines, "}", ""])
