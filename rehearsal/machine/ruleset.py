"""Renders the cloud's nftables rules: public addresses and security groups (pure).

Every packet between two machines, or between a machine and the operator, is forwarded by the
cloud namespace, so the rules of the sender (egress) and of the receiver (ingress) both apply.
Public addresses are translated before that: rules see private destination addresses, and the
sender's own address as the source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_network

from rehearsal.cloud.hypervisor import FirewallRule
from rehearsal.machine.slots import Slot, machine_link

OPERATOR_LINK = "operator"
"""The cloud's end of the cable to this computer."""
_PROTOCOLS = ("tcp", "udp", "icmp", "gre", "all")


@dataclass(frozen=True)
class Endpoint:
    """A machine as the firewall sees it."""

    index: int
    private_ip: str
    rules: Sequence[FirewallRule] = field(default_factory=tuple)


def render(slot: Slot, machines: Sequence[Endpoint], addresses: Mapping[str, Endpoint]) -> str:
    """The whole table, to be loaded at once with ``nft -f``; ``addresses`` maps public IPs."""
    return "\n".join(
        [
            # Declaring it first makes the deletion succeed when the table does not exist yet.
            "table ip vace",
            "delete table ip vace",
            "table ip vace {",
            *_chain("prerouting", "type nat hook prerouting priority dstnat", _inward(addresses)),
            *_chain(
                "postrouting", "type nat hook postrouting priority srcnat", _outward(addresses)
            ),
            # Nothing of the cloud itself is offered to the operator's side of the network.
            *_chain("input", "type filter hook input priority filter", [_operator_is("drop")]),
            *_forwarding(slot, machines, addresses),
            "}",
            "",
        ]
    )


def match(rule: FirewallRule) -> str | None:
    """The nftables expression for what a rule applies to; empty matches everything.

    None for an IPv6 rule: machines have IPv4 addresses only. Raises ValueError for a protocol or
    network that is neither.
    """
    network = ip_network(rule.cidr, strict=False)
    if not isinstance(network, IPv4Network):
        return None
    if rule.protocol not in _PROTOCOLS:
        raise ValueError(
            f"protocol {rule.protocol!r} was given for a firewall rule; "
            f"allowed are {', '.join(_PROTOCOLS)}"
        )
    parts = []
    if network.prefixlen:
        parts.append(f"ip {'saddr' if rule.direction == 'ingress' else 'daddr'} {network}")
    if rule.protocol in ("tcp", "udp") and rule.port_low > 0:
        parts.append(f"{rule.protocol} dport {rule.port_low}-{rule.port_high}")
    elif rule.protocol != "all":
        parts.append(f"ip protocol {rule.protocol}")
    return " ".join(parts)


def _chain(name: str, hook: str, rules: Sequence[str]) -> list[str]:
    head = [f"  {hook}; policy accept;"] if hook else []
    return [f" chain {name} {{", *head, *(f"  {rule}" for rule in rules), " }"]


def _operator_is(verdict: str) -> str:
    return f'iifname "{OPERATOR_LINK}" {verdict}'


def _inward(addresses: Mapping[str, Endpoint]) -> list[str]:
    return [
        f"ip daddr {public} dnat to {machine.private_ip}"
        for public, machine in sorted(addresses.items())
    ]


def _outward(addresses: Mapping[str, Endpoint]) -> list[str]:
    rules = []
    for public, machine in sorted(addresses.items()):
        source = f"ip saddr {machine.private_ip}"
        rules.append(f'{source} oifname "{OPERATOR_LINK}" snat to {public}')
        # A machine that calls a public address of this cloud is seen under its own public one;
        # without this, an answer to itself would never leave the machine.
        rules.append(f"{source} ct status dnat snat to {public}")
    return rules


def _forwarding(
    slot: Slot, machines: Sequence[Endpoint], addresses: Mapping[str, Endpoint]
) -> list[str]:
    public = f"ct original ip daddr {slot.public_network}"
    in_use = ", ".join(sorted(addresses))
    lines = []
    for machine in machines:
        lines += _chain(f"egress_{machine.index}", "", _verdicts(machine, "egress"))
        lines += _chain(f"ingress_{machine.index}", "", _verdicts(machine, "ingress"))
    rules = [
        # Connections through an address that was taken away end, although they are established.
        f"{public} ct original ip daddr != {{ {in_use} }} drop" if in_use else f"{public} drop",
        "ct state established,related accept",
    ]
    for machine in machines:
        rules.append(f'iifname "{machine_link(machine.index)}" jump egress_{machine.index}')
    for machine in machines:
        rules.append(f'oifname "{machine_link(machine.index)}" jump ingress_{machine.index}')
    return lines + _chain("forward", "type filter hook forward priority filter", rules)


def _verdicts(machine: Endpoint, direction: str) -> list[str]:
    # Lower priority numbers win; at the same number, drop wins (as security groups define it).
    chosen = sorted(
        (rule for rule in machine.rules if rule.direction == direction),
        key=lambda rule: (rule.priority, rule.policy != "drop"),
    )
    # A packet that may leave still has to pass the receiver's rules.
    accept = "accept" if direction == "ingress" else "return"
    lines = []
    for rule in chosen:
        expression = match(rule)
        if expression is not None:
            lines.append(f"{expression} {accept if rule.policy == 'accept' else 'drop'}".strip())
    return [*lines, "drop" if direction == "ingress" else "return"]
