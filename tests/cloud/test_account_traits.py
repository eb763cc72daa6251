"""What an account lacks, set through the control interface."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import ControlError, RunningCloud


def test_an_account_starts_with_everything(cloud: RunningCloud) -> None:
    """Prevents a rehearsal from failing for something that nobody took away."""
    traits = cloud.control("GET", "/account")
    assert not any(traits.values())
    assert set(traits) >= {"gpu_cards_out_of_stock", "gpu_cards_without_permission"}


def test_what_is_taken_away_stays_away_across_a_restart(cloud: RunningCloud) -> None:
    """Prevents a fault from ending with the process, and counting as a resource."""
    cloud.control("POST", "/account", {"gpu_cards_out_of_stock": ["L20"], "quotas": {"vpcs": 0}})
    cloud.restart()
    traits = cloud.control("GET", "/account")
    assert traits["gpu_cards_out_of_stock"] == ["L20"]
    assert traits["quotas"] == {"vpcs": 0}
    assert cloud.control("GET", "/status")["empty"]
    cloud.control("POST", "/account", {"gpu_cards_out_of_stock": [], "quotas": {"vpcs": None}})
    assert not any(cloud.control("GET", "/account").values())


@pytest.mark.parametrize(
    "body",
    [
        {"gpu_cards": ["L20"]},
        {"gpu_cards_out_of_stock": "L20"},
        {"gpu_cards_out_of_stock": [1]},
        {"closed_services": ["ecs"]},
        {"quotas": {"vpcs": -1}},
    ],
)
def test_a_trait_that_nobody_knows_is_refused(cloud: RunningCloud, body: dict[str, Any]) -> None:
    """Prevents a misspelt fault from making a test pass for nothing."""
    with pytest.raises(ControlError) as raised:
        cloud.control("POST", "/account", body)
    assert raised.value.status == 400
    assert "allowed" in raised.value.answer["error"] or "must" in raised.value.answer["error"]
