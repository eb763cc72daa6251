"""Pure parts of the machines: addresses, firewall text, DNS messages, the command runner."""

from __future__ import annotations

import struct
import subprocess

import pytest

from rehearsal.cloud.hypervisor import FirewallRule
from rehearsal.machine.assistant import runner
from rehearsal.machine.dns import answer, resolve
from rehearsal.machine.machine import console_text
from rehearsal.machine.ruleset import Endpoint, match, render
from rehearsal.machine.slots import SLOTS, Slot


def test_slots_share_no_name_and_no_address() -> None:
    """Two rehearsals beside each other must never meet."""
    slots = [Slot(number) for number in range(SLOTS)]
    addresses = [address for slot in slots for address in slot.public_addresses]
    assert len(set(addresses)) == 16 * 13
    assert slots[1].public_addresses[0] == "203.0.113.18"
    assert slots[1].public_addresses[-1] == "203.0.113.30"
    assert str(slots[15].operator_address) == "198.18.15.1"
    for name in ("host_link", "cloud_namespace", "lock_file"):
        assert len({str(getattr(slot, name)) for slot in slots}) == SLOTS


def test_a_slot_out_of_range_says_what_is_allowed() -> None:
    """A wrong slot would route another network's addresses into the rehearsal."""
    with pytest.raises(ValueError, match="slot 16 was given; slots are 0 to 15"):
        Slot(16)


def rule(**changes: object) -> FirewallRule:
    values: dict[str, object] = {
        "direction": "ingress",
        "protocol": "tcp",
        "port_low": 443,
        "port_high": 443,
        "cidr": "198.51.100.7/32",
        "policy": "accept",
        "priority": 1,
    }
    return FirewallRule(**{**values, **changes})  # type: ignore[arg-type]


def test_rules_become_nftables_expressions() -> None:
    """Each field of a rule narrows what it matches; a lost field would open too much."""
    assert match(rule()) == "ip saddr 198.51.100.7/32 tcp dport 443-443"
    assert match(rule(cidr="0.0.0.0/0")) == "tcp dport 443-443"
    assert match(rule(direction="egress", protocol="udp")) == (
        "ip daddr 198.51.100.7/32 udp dport 443-443"
    )
    anything = rule(protocol="all", port_low=-1, port_high=-1, cidr="0.0.0.0/0")
    assert match(anything) == ""
    assert match(rule(protocol="icmp", port_low=-1, port_high=-1, cidr="0.0.0.0/0")) == (
        "ip protocol icmp"
    )
    assert match(rule(protocol="tcp", port_low=-1, port_high=-1, cidr="0.0.0.0/0")) == (
        "ip protocol tcp"
    )
    assert match(rule(cidr="2001:db8::/32")) is None
    with pytest.raises(ValueError, match="allowed are tcp, udp"):
        match(rule(protocol="sctp"))


def test_lower_priority_wins_and_drop_wins_at_the_same_priority() -> None:
    """nftables takes the first match, so the order of lines is the meaning of priorities."""
    rules = (
        rule(priority=2, cidr="192.0.2.2/32"),
        rule(priority=1, cidr="192.0.2.1/32"),
        rule(priority=1, cidr="192.0.2.3/32", policy="drop"),
    )
    text = render(Slot(0), [Endpoint(1, "192.168.0.10", rules)], {})
    order = [line.split()[2] for line in text.splitlines() if "ip saddr 192.0.2" in line]
    assert order == ["192.0.2.3/32", "192.0.2.1/32", "192.0.2.2/32"]


def test_ingress_ends_with_drop_and_egress_does_not() -> None:
    """The default of a security group: closed from outside, open to outside."""
    text = render(Slot(0), [Endpoint(1, "192.168.0.10")], {})
    lines = [line.strip() for line in text.splitlines()]
    assert lines[lines.index("chain ingress_1 {") + 1] == "drop"
    assert lines[lines.index("chain egress_1 {") + 1] == "return"


@pytest.mark.machine
def test_nft_accepts_the_whole_table() -> None:
    """A syntax error would leave the previous rules in force without anybody noticing."""
    machine = Endpoint(1, "192.168.0.10", (rule(), rule(direction="egress", policy="drop")))
    text = render(Slot(3), [machine, Endpoint(2, "192.168.0.11")], {"203.0.113.50": machine})
    command = ["unshare", "--net", "--", "nft", "-f", "-"]
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    assert done.stderr == ""


def query(name: str, kind: int = 1, flags: int = 0x0100, questions: int = 1) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    head = struct.pack("!6H", 0x1234, flags, questions, 0, 0, 0)
    return head + labels + b"\0" + struct.pack("!2H", kind, 1)


def test_names_of_the_cloud_have_addresses_and_no_other_name_exists() -> None:
    """A name that is forwarded could leave the rehearsal; one that is silent costs seconds."""
    assert resolve("OOS.cn-hangzhou.aliyuncs.com.") == "100.100.100.200"
    assert resolve("bucket.oss-cn-hangzhou-internal.aliyuncs.com") == "100.100.100.200"
    assert resolve("registry.vace.internal") == "100.100.100.210"
    assert resolve("notaliyuncs.com") is None
    assert resolve("example.com") is None


@pytest.mark.parametrize(
    ("message", "code", "answers"),
    [
        (query("sts.aliyuncs.com"), 0, 1),
        (query("sts.aliyuncs.com", kind=28), 0, 0),
        (query("example.com"), 3, 0),
        (query("sts.aliyuncs.com", questions=2), 1, 0),
        (query("sts.aliyuncs.com", flags=0x2800), 4, 0),
        (query("sts.aliyuncs.com")[:20], 1, 0),
    ],
)
def test_dns_answers_have_the_right_code(message: bytes, code: int, answers: int) -> None:
    """Resolvers retry for seconds on an answer that they cannot read."""
    reply = answer(message)
    assert reply is not None
    identity, flags, _, count, *_ = struct.unpack_from("!6H", reply)
    assert (identity, flags & 0x8000, flags & 0xF, count) == (0x1234, 0x8000, code, answers)
    if answers:
        assert reply[-4:] == bytes([100, 100, 100, 200])


def test_dns_never_answers_an_answer() -> None:
    """Two servers that answer each other's answers never stop."""
    assert answer(query("sts.aliyuncs.com", flags=0x8180)) is None
    assert answer(b"\x12") is None


def test_runner_quotes_what_the_caller_chose() -> None:
    """A working directory with a quote in it must not become a command."""
    assert "cd -- '/a'\"'\"'; reboot #'" in runner("sh", "/a'; reboot #", 5)


def test_console_log_becomes_plain_text() -> None:
    """The console has colours and lines in parts, which nobody wants to read in an API's answer."""
    log = "t stdout P \x1b[0;32mOK\nt stdout F \x1b[0m done\r\nnot a log line\n"
    assert console_text(log) == "OK done\n"
