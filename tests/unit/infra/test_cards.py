"""GPU cards of ACS: what ACS would refuse or round up is an error that names the nearest choice."""

from typing import Any

import pytest

from images import variants
from infra import cards

GOOD: dict[str, Any] = {
    "card": "L20",
    "count": 1,
    "vcpu": 8,
    "memory_gib": 64,
    "ephemeral_gib": 60,
    "driver": "auto",
    "region": "cn-hangzhou",
    "variant": "cu130",
    "profile": "safe",
}


def check(**changes: Any) -> cards.Answer:
    return cards.check(cards.Pod(**{**GOOD, **changes}))


def refusal(**changes: Any) -> str:
    with pytest.raises(cards.CardError) as caught:
        check(**changes)
    return str(caught.value)


def test_automatic_drivers_run_the_image_and_not_just_the_card() -> None:
    """Prevents a CUDA 13 image on ACS's old default driver, which starts and then fails."""
    assert check().driver == "580.95.05-open"
    assert check(variant="cu128").driver == "550.90.07"
    assert check(card="T4", memory_gib=32, variant="cu128").driver == "535.161.08"


def test_a_chip_that_is_not_published_gets_a_driver_for_every_gpu() -> None:
    assert check(card="G49E").driver == "580.95.05-open"


@pytest.mark.parametrize(
    ("changes", "nearest"),
    [
        ({"vcpu": 9}, "podVcpu 10, podMemoryGiB 64"),
        ({"vcpu": 20}, "podVcpu 16, podMemoryGiB 64"),
        ({"memory_gib": 65}, "podMemoryGiB 64, or podVcpu 10"),
        ({"card": "A10"}, "Nearest: podMemoryGiB 32"),
        ({"card": "G59", "vcpu": 22, "memory_gib": 100}, "podMemoryGiB 128"),
        ({"count": 3}, "nearest 4"),
        ({"count": 0}, "nearest 1"),
        ({"count": 2}, "Set gpuCount to 1"),
        ({"card": "L20X", "vcpu": 184, "memory_gib": 1800}, "set gpuCard to GU8TEF"),
        ({"card": "P16EN"}, "Set gpuCard to GU8TF"),
        ({"card": "H20"}, "nearest is GU8TF"),
        ({"card": "l20"}, "nearest is L20"),
        ({"driver": "550.90.07"}, "580.95.05-open"),
        ({"driver": "none"}, "580.95.05-open"),
        ({"driver": "580.95"}, "580.95.05-open"),
        ({"ephemeral_gib": 10}, "Nearest: 30"),
        ({"ephemeral_gib": 900}, "Nearest: 256"),
        ({"card": "GU8TF", "region": "cn-shenzhen"}, "cn-hangzhou"),
        ({"card": "A10", "memory_gib": 32, "profile": "fast"}, "allowed there: safe, balanced"),
        ({"variant": "cpu"}, 'gpuDriverVersion to "none"'),
    ],
    ids=str,
)
def test_what_acs_or_the_image_would_refuse_names_the_nearest_choice(
    changes: dict[str, Any], nearest: str
) -> None:
    assert nearest in refusal(**changes)


def test_all_mistakes_of_a_pod_are_reported_at_once() -> None:
    text = refusal(count=3, vcpu=9, ephemeral_gib=10, driver="550.90.07")
    for key in ("gpuCount", "podVcpu", "podEphemeralGiB", "gpuDriverVersion"):
        assert f"{key}:" in text


def test_a_label_of_ones_own_replaces_the_tables_and_skips_its_regions() -> None:
    """The documents disagree on spelling and regions: somebody who knows better must not wait."""
    answer = check(card="GU8TF", region="cn-shenzhen", label="H20")
    assert answer.label == "H20"
    assert answer.card.resource == "nvidia.com/gpu"


def test_rehearsals_without_a_gpu_set_no_driver_label() -> None:
    assert check(variant="cpu", driver="none").driver == ""


def test_drivers_agree_with_the_table_of_the_images() -> None:
    """Two tables of the same facts must not drift apart; kernel-module suffixes are ACS's alone."""
    for gpu in variants.gpus():
        for place in gpu.where:
            if not place.startswith("acs "):
                continue
            name = place.removeprefix("acs ").split()[0]
            card = next(each for each in cards.cards() if each.name == name)
            assert tuple(each.removesuffix("-open") for each in card.drivers) == gpu.drivers
            assert card.compute_capability == gpu.compute_capability


def test_labels_are_legal_and_sizes_grow() -> None:
    for card in cards.cards():
        assert "(" not in card.label, card.name
        assert card.sizes, card.name
        assert all(values == tuple(sorted(values)) for values in card.sizes.values())
