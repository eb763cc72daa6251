"""GPU cards of ACS, and whether a pod may be asked for as the config wants. Pure.

ACS rounds a wrong size up and charges for it, refuses a wrong number of GPUs only when the pod is
made, and starts a pod whose driver is too old for the image. Here each is an error at preview that
names the nearest choice. Facts, with their sources and dates: ``infra/catalogue/cards.toml``.
"""

import difflib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from images import profiles, variants
from infra.placement import PlacementError

CUDA_RESOURCE = "nvidia.com/gpu"


class CardError(PlacementError):
    """ACS or the image would refuse such a pod; the message names the nearest valid choice."""


@dataclass(frozen=True)
class Card:
    """One card; ``sizes`` maps a number of vCPU to the GiB of memory that it may have.

    Attributes:
        label: value of the pod label; ``label_sure`` is False where it is inferred.
        resource: name of the resource that a container asks for.
        compute_capability: like 8.9; empty for a chip that is not published.
        counts: numbers of GPUs that a pod may have.
        drivers: versions that ACS offers, its default first.
        regions: where it was seen on offer; empty when nothing is known.
        storage: least and most GiB of ephemeral storage.
    """

    name: str
    label: str
    label_sure: bool
    resource: str
    memory_gib: int
    compute_capability: str
    counts: tuple[int, ...]
    drivers: tuple[str, ...]
    regions: tuple[str, ...]
    storage: tuple[int, int]
    sizes: dict[int, tuple[int, ...]]
    aliases: tuple[str, ...] = ()

    @property
    def cuda(self) -> bool:
        """Whether CUDA programs run on it."""
        return self.resource == CUDA_RESOURCE


@dataclass(frozen=True)
class Pod:
    """What the config asks of ACS for one pod of ComfyUI."""

    card: str
    count: int
    vcpu: int
    memory_gib: int
    ephemeral_gib: int
    driver: str
    region: str
    variant: str
    profile: str
    label: str = ""


@dataclass(frozen=True)
class Answer:
    """What to write on the pod: the label's value, and the driver's version or an empty text."""

    card: Card
    label: str
    driver: str


@cache
def cards() -> tuple[Card, ...]:
    """Return the rows of ``cards.toml`` in file order.

    Raises:
        ValueError: a row names a GPU that ``images/variants.toml`` lacks, or has no size.
    """
    path = Path(__file__).parent / "catalogue" / "cards.toml"
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["cards"]
    return tuple(_card(row) for row in rows)


def _card(row: dict[str, Any]) -> Card:
    known = {each.gpu: each.compute_capability for each in variants.gpus()}
    gpu = row.get("gpu")
    if gpu is not None and gpu not in known:
        raise ValueError(f"cards.toml: {row['name']}: images/variants.toml has no GPU {gpu!r}")
    sizes = {
        each["vcpu"]: tuple(each.get("values") or range(each["from"], each["to"] + 1))
        for each in row["sizes"]
    }
    least, most = row["storage"]
    return Card(
        name=row["name"],
        label=row["label"],
        label_sure=row["label_sure"],
        resource=row["resource"],
        memory_gib=row["memory_gib"],
        compute_capability=known[gpu] if gpu else "",
        counts=tuple(row["counts"]),
        drivers=tuple(row["drivers"]),
        regions=tuple(row["regions"]),
        storage=(least, most),
        sizes=sizes,
        aliases=tuple(row.get("aliases", ())),
    )


def check(pod: Pod) -> Answer:
    """Return label and driver for a pod that ACS makes and the image starts on.

    Raises:
        CardError: all that is wrong, each with the nearest valid choice.
    """
    card = _find(pod.card)
    if not card.cuda:
        raise CardError(
            f'gpuCard: "{card.name}" is a PPU ({card.resource}), which runs no CUDA program, and '
            f"every image of this package needs CUDA. Set gpuCard to "
            f"{_nearest_by_memory(card).name}, the CUDA card with the nearest memory"
        )
    problems = [
        *_region(card, pod),
        *_count(card, pod.count),
        *_size(card, pod.vcpu, pod.memory_gib),
        *_storage(card, pod.ephemeral_gib),
    ]
    driver = ""
    try:
        driver = _driver(card, pod.driver, pod.variant)
    except CardError as error:
        problems.append(str(error))
    if card.compute_capability:
        reason = profiles.refusal(pod.profile, card.compute_capability, f"the {card.name}")
        if reason:
            problems.append(f"speedProfile: {reason}")
    if problems:
        raise CardError("\n".join(problems))
    return Answer(card, pod.label or card.label, driver)


def _find(name: str) -> Card:
    found = next((card for card in cards() if card.name == name), None)
    if found is None:
        names = [card.name for card in cards()]
        upper = {each.upper(): card.name for card in cards() for each in (card.name, *card.aliases)}
        close = difflib.get_close_matches(name.upper(), list(upper), 1, 0.0)
        raise CardError(
            f'gpuCard: "{name}" is not in the table of ACS cards. Known: {", ".join(names)}; the '
            f"nearest is {upper[close[0]]}. Use one of them, set gpuCardLabel as well where "
            "only the label differs, or add a row with source and date to "
            "infra/catalogue/cards.toml"
        )
    return found


def _nearest_by_memory(card: Card) -> Card:
    usable = [each for each in cards() if each.cuda and 1 in each.counts]
    return min(usable, key=lambda each: abs(each.memory_gib - card.memory_gib))


def _nearest(wanted: int, allowed: Sequence[int]) -> int:
    """The nearest, and of two as near the larger, which is enough."""
    return min(allowed, key=lambda each: (abs(each - wanted), -each))


def _region(card: Card, pod: Pod) -> list[str]:
    # A label of one's own says that one knows better than this table.
    if not card.regions or pod.region in card.regions or pod.label:
        return []
    close = difflib.get_close_matches(pod.region, card.regions, 1, 0.0)[0]
    return [
        f'region: "{pod.region}" was not seen to offer the card {card.name}; seen: '
        f"{', '.join(card.regions)} (nearest by name: {close}). ACS publishes no list, so ask "
        f"Alibaba Cloud; if they say yes, set gpuCardLabel to {card.label}, which skips this check"
    ]


def _count(card: Card, count: int) -> list[str]:
    if count not in card.counts:
        return [
            f'gpuCount: "{count}" is refused by ACS for the card {card.name}; allowed: '
            f"{', '.join(map(str, card.counts))}, nearest {_nearest(count, card.counts)}."
            + (
                f" ComfyUI uses one GPU, so set gpuCard to {_nearest_by_memory(card).name}"
                if 1 not in card.counts
                else " Set gpuCount to 1: ComfyUI makes a video on one GPU"
            )
        ]
    if count != 1:
        return [
            f'gpuCount: "{count}" would be paid for, but ComfyUI makes a video on one GPU. '
            + (
                "Set gpuCount to 1, and make another stack for a second service"
                if 1 in card.counts
                else f"{card.name} is sold {card.counts[0]} at a time: set gpuCard to "
                f"{_nearest_by_memory(card).name} and gpuCount to 1"
            )
        ]
    return []


def _size(card: Card, vcpu: int, memory: int) -> list[str]:
    if vcpu not in card.sizes:
        near = _nearest(vcpu, list(card.sizes))
        return [
            f'podVcpu: "{vcpu}" does not exist with the card {card.name}; allowed: '
            f"{', '.join(map(str, card.sizes))}. ACS would round it up and charge for that. "
            f"Nearest: podVcpu {near}, podMemoryGiB {_nearest(memory, card.sizes[near])}"
        ]
    allowed = card.sizes[vcpu]
    if memory not in allowed:
        fitting = next((cpu for cpu, values in card.sizes.items() if memory in values), None)
        other = f", or podVcpu {fitting} for {memory} GiB" if fitting else ""
        return [
            f'podMemoryGiB: "{memory}" does not exist with {vcpu} vCPU and the card {card.name}; '
            f"allowed: {_span(allowed)}. ACS would round it up and charge for that. Nearest: "
            f"podMemoryGiB {_nearest(memory, allowed)}{other}"
        ]
    return []


def _span(values: tuple[int, ...]) -> str:
    if len(values) > 2 and values == tuple(range(values[0], values[-1] + 1)):
        return f"{values[0]} to {values[-1]}"
    return ", ".join(map(str, values))


def _storage(card: Card, gib: int) -> list[str]:
    least, most = card.storage
    if least <= gib <= most:
        return []
    return [
        f'podEphemeralGiB: "{gib}" does not exist with the card {card.name}; allowed: {least} to '
        f"{most}, the image included. Nearest: {min(max(gib, least), most)}"
    ]


def _driver(card: Card, wanted: str, variant_name: str) -> str:
    variant = variants.find(variant_name)
    if wanted == "none":
        if variant.cuda is None:
            return ""
        wanted = card.drivers[0]
        explicit = False
    elif variant.cuda is None:
        raise CardError(
            f'imageVariant: "{variant_name}" has no CUDA, and gpuDriverVersion is "{wanted}". It '
            "is for rehearsals without a GPU. Set imageVariant to the variant that comfyuiImage "
            'was built as, or gpuDriverVersion to "none"'
        )
    else:
        explicit = True
    capability = card.compute_capability
    if capability and capability not in variant.least_driver:
        raise CardError(
            f'imageVariant: "{variant_name}" has no kernels for the card {card.name} (compute '
            f"capability {capability}), only for {', '.join(variant.compute_capabilities)}. Use "
            "another gpuCard, or an image of another variant (`python -m images variants`)"
        )
    # Nothing is known of an unpublished chip: the driver that runs the variant on every GPU.
    least = (
        variant.least_driver[capability]
        if capability
        else max(variant.least_driver.values(), key=variants.version)
    )
    fitting = [each for each in card.drivers if variants.version(each) >= variants.version(least)]
    if not fitting:
        raise CardError(
            f'imageVariant: "{variant_name}" needs driver {least} or newer, and ACS has '
            f"{', '.join(card.drivers)} for the card {card.name}. Use an image of another variant "
            "(`python -m images variants`), or another gpuCard"
        )
    if wanted == "auto":
        return fitting[0]
    if wanted not in card.drivers:
        close = difflib.get_close_matches(wanted, fitting, 1, 0.0)[0]
        raise CardError(
            f'gpuDriverVersion: "{wanted}" is not offered for the card {card.name}; ACS has '
            f"{', '.join(card.drivers)}. Nearest that runs {variant_name}: {close}"
        )
    if wanted not in fitting:
        given = f'"{wanted}"' if explicit else f'"none" means ACS\'s default {wanted}, which'
        raise CardError(
            f"gpuDriverVersion: {given} is too old for image variant {variant_name}, which needs "
            f"{least} or newer. Nearest that ACS has for the card {card.name}: {fitting[0]}. Set "
            "gpuDriverVersion to it or to auto, or use an image of another variant"
        )
    return wanted if explicit else ""
