"""Choice of machine and zone: by price and stock, before anything is created."""

from dataclasses import replace
from datetime import date

import pytest

from infra.catalogue import InstanceType, Price, instance_types
from infra.placement import Choice, PlacementError, Wish, candidates, hold, propose

REGION = "cn-hangzhou"
WISH = Wish(REGION, "auto", "auto", 16, False, None)


def row(name: str, memory: int, capability: tuple[int, int], cny: float | None) -> InstanceType:
    prices = {REGION: Price(cny, "test", date(2026, 1, 1))} if cny else {}
    return InstanceType(f"ecs.{name}", 8, 32, name, memory, capability, "570-server", prices)


ROWS = (
    row("dear", 48, (8, 9), 14.0),
    row("unpriced", 16, (7, 5), None),
    row("cheap", 24, (8, 6), 9.0),
)


def stock(**zones: list[str]) -> dict[str, list[str]]:
    return {f"ecs.{kind}": found for kind, found in zones.items()}


def test_the_cheapest_that_fits_comes_first_and_unknown_prices_last() -> None:
    assert [r.gpu for r in candidates(ROWS, WISH)] == ["cheap", "dear", "unpriced"]


def test_fp8_is_required_when_the_wish_says_so() -> None:
    assert [r.gpu for r in candidates(ROWS, replace(WISH, require_fp8=True))] == ["dear"]


def test_a_price_limit_excludes_what_is_dearer_or_unknown() -> None:
    """Prevents an unpriced machine from slipping under a budget."""
    wish = replace(WISH, max_price_per_hour=10.0)
    assert [r.gpu for r in candidates(ROWS, wish)] == ["cheap"]


def test_an_impossible_wish_lists_what_there_is_with_prices() -> None:
    with pytest.raises(PlacementError, match=r"(?s)at least 500 GiB.*9\.00 CNY/hour"):
        candidates(ROWS, replace(WISH, min_gpu_memory_gib=500))


def test_an_unknown_instance_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(PlacementError, match=r"(?s)ecs\.nope.*ecs\.cheap"):
        candidates(ROWS, replace(WISH, instance_type="ecs.nope"))


def test_sold_out_in_one_zone_takes_the_next() -> None:
    found = propose(ROWS, WISH, stock(cheap=[f"{REGION}-j", f"{REGION}-k"]))
    assert (found.instance_type, found.zone, found.problem) == ("ecs.cheap", f"{REGION}-j", "")


def test_sold_out_everywhere_takes_the_next_dearer_type() -> None:
    found = propose(ROWS, WISH, stock(dear=[f"{REGION}-h"]))
    assert (found.instance_type, found.zone) == ("ecs.dear", f"{REGION}-h")


def test_a_named_zone_without_stock_lists_alternatives_with_prices() -> None:
    wish = replace(WISH, zone=f"{REGION}-b")
    found = propose(ROWS, wish, stock(cheap=[f"{REGION}-j"], dear=[f"{REGION}-h"]))
    assert not found.zone
    assert f"out of stock in {REGION}-b" in found.problem
    assert f"{REGION}-j: ecs.cheap" in found.problem
    assert "14.00 CNY/hour" in found.problem
    assert "Nothing was created" in found.problem


def test_a_named_type_without_stock_offers_other_types() -> None:
    wish = replace(WISH, instance_type="ecs.dear")
    found = propose(ROWS, wish, stock(cheap=[f"{REGION}-j"]))
    assert f"{REGION}-j: ecs.cheap" in found.problem


def test_nothing_anywhere_says_so() -> None:
    assert "another region" in propose(ROWS, WISH, stock()).problem


HERE = Choice(REGION, f"{REGION}-h", "ecs.dear")


def test_a_changed_limit_does_not_move_a_node_that_still_fits() -> None:
    """Prevents a raised budget from deleting a data disk because stock is elsewhere today."""
    proposal = propose(ROWS, replace(WISH, max_price_per_hour=20.0), stock(cheap=[f"{REGION}-j"]))
    held = hold(HERE, REGION, "auto", proposal)
    assert (held.instance_type, held.zone, held.problem) == ("ecs.dear", f"{REGION}-h", "")


def test_a_type_that_no_longer_fits_is_replaced_in_its_own_zone() -> None:
    wish = replace(WISH, max_price_per_hour=10.0)
    proposal = propose(ROWS, wish, stock(cheap=[f"{REGION}-g", f"{REGION}-h"]))
    held = hold(HERE, REGION, "auto", proposal)
    assert (held.instance_type, held.zone) == ("ecs.cheap", f"{REGION}-h")


@pytest.mark.parametrize(
    ("region", "zone"), [(REGION, f"{REGION}-j"), ("cn-beijing", "auto")], ids=["zone", "region"]
)
def test_a_deployment_refuses_to_leave_its_zone(region: str, zone: str) -> None:
    proposal = propose(ROWS, WISH, stock(cheap=[f"{REGION}-j"]))
    problem = hold(HERE, region, zone, proposal).problem
    assert "data disk" in problem
    assert "pulumi destroy" in problem


def test_no_fitting_type_in_the_zone_says_how_to_keep_the_old_one() -> None:
    wish = replace(WISH, max_price_per_hour=10.0)
    proposal = propose(ROWS, wish, stock(cheap=[f"{REGION}-j"]))
    assert "Keep ecs.dear" in hold(HERE, REGION, "auto", proposal).problem


def test_every_row_of_the_catalogue_is_possible() -> None:
    rows = instance_types()
    assert len({r.type for r in rows}) == len(rows)
    assert all(r.memory_gib >= 24 for r in rows), "too little for 9 GB of weights"
    for r in rows:
        for price in r.prices.values():
            assert 1 < price.cny_per_hour < 200
            assert price.date <= date(2026, 11, 23)
            assert price.source


def test_fp8_is_derived_from_the_compute_capability() -> None:
    by_type = {r.type: r for r in instance_types()}
    assert not by_type["ecs.gn7i-c8g1.2xlarge"].fp8
    assert by_type["ecs.gn8is.2xlarge"].fp8
    assert by_type["ecs.gn9gc.4xlarge"].fp8
