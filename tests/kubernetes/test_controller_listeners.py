"""Listeners of the rehearsal's load balancers, without a cluster."""

from __future__ import annotations

import pytest

from rehearsal.kubernetes.controller.listeners import (
    PREFIX,
    AnnotationError,
    Listener,
    backends,
    render,
    settings,
)

TWO = (("10.0.0.1", 8443), ("10.0.0.2", 8443))


def test_a_listener_takes_turns_between_its_pods() -> None:
    """Prevents one of two gateways from never being asked."""
    text = render([Listener("203.0.113.5", 443, "tcp", TWO)])
    assert (
        "ip daddr 203.0.113.5 tcp dport 443 dnat ip addr . port to numgen inc mod 2 map "
        "{ 0 : 10.0.0.1 . 8443, 1 : 10.0.0.2 . 8443 }"
    ) in text
    assert "ct status dnat ip saddr 10.0.0.2 ip daddr 10.0.0.2 masquerade" in text


def test_an_access_list_keeps_all_others_out() -> None:
    """Prevents an access list that is stored and not enforced; an empty one admits nobody."""
    some = render([Listener("203.0.113.5", 443, "tcp", TWO, ("198.18.0.0/30",))])
    none = render([Listener("203.0.113.5", 443, "tcp", TWO, ())])
    assert "tcp dport 443 ip saddr != { 198.18.0.0/30 } drop" in some
    assert "tcp dport 443 drop" in none


def test_a_listener_without_pods_refuses_connections() -> None:
    """Prevents callers from waiting for ever while no pod is ready."""
    text = render([Listener("203.0.113.5", 443, "tcp", ())])
    assert "tcp dport 443 reject with tcp reset" in text
    assert "dnat" not in text.split("chain prerouting")[1].replace("dstnat", "")


def test_only_ready_pods_are_backends_unless_all_are_published() -> None:
    """Prevents requests to a pod that still loads its model."""
    piece = {
        "ports": [{"name": "https", "port": 8443}, {"name": "metrics", "port": 9464}],
        "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": True}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": False}},
        ],
    }
    assert backends([piece], "https", unready=False) == TWO[:1]
    assert backends([piece], "https", unready=True) == TWO


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("idle-timeout", "61", "1 to 60"),
        ("established-timeout", "9", "10 to 900"),
        ("address-type", "public", "internet and intranet"),
        ("acl-type", "grey", "white and black"),
        ("acl-status", "on", "name one, or turn it off"),
    ],
)
def test_a_value_that_the_cloud_refuses_is_named(name: str, value: str, allowed: str) -> None:
    """Prevents an annotation that only the real cloud refuses."""
    with pytest.raises(AnnotationError, match=allowed):
        settings({PREFIX + name: value})


def test_an_existing_load_balancer_keeps_its_listeners_unless_told() -> None:
    """Prevents the rehearsal from being kinder than the real controller."""
    assert not settings({PREFIX + "id": "lb-1"}).override
    assert settings({PREFIX + "id": "lb-1", PREFIX + "force-override-listeners": "true"}).override
