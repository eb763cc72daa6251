"""Choice of instance type and zone by catalogue, price and stock. Pure: imports no Pulumi."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.catalogue import InstanceType

Stock = Mapping[str, Sequence[str]]
"""For each instance type, the zones of the region that have it in stock."""


class PlacementError(Exception):
    """No instance type of the catalogue fits what the config asks for."""


@dataclass(frozen=True)
class Wish:
    """What the config asks for; ``auto`` leaves the choice to the catalogue."""

    region: str
    zone: str
    instance_type: str
    min_gpu_memory_gib: int
    require_fp8: bool
    max_price_per_hour: float | None


@dataclass(frozen=True)
class Proposal:
    """Where a node would be created now; ``problem`` says why nowhere, and what to do.

    ``options`` are all types that satisfy the wish, best first, each with its zones in stock.
    """

    instance_type: str = ""
    zone: str = ""
    problem: str = ""
    options: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Choice:
    """What an existing deployment uses."""

    region: str
    zone: str
    instance_type: str


def hold(choice: Choice, wish_region: str, wish_zone: str, proposal: Proposal) -> Proposal:
    """Return what an existing deployment should use under a new wish.

    It keeps its instance type while that satisfies the wish, in stock or not, and always its
    zone: the data disk cannot move, and replacing it would delete inputs and results.
    """
    if wish_region != choice.region or wish_zone not in ("auto", choice.zone):
        wanted = wish_region if wish_region != choice.region else wish_zone
        return Proposal(
            problem=f"the deployment is in {choice.zone} and cannot move to {wanted}, because its "
            "data disk stays in its zone and would be deleted with all inputs and results. Set "
            f"region to {choice.region} and zone to {choice.zone} or auto; or run `pulumi destroy` "
            "first (finished results stay in the bucket)"
        )
    types = [kind for kind, _ in proposal.options]
    if choice.instance_type in types:
        return Proposal(choice.instance_type, choice.zone, options=proposal.options)
    for kind, zones in proposal.options:
        if choice.zone in zones:
            return Proposal(kind, choice.zone, options=proposal.options)
    return Proposal(
        problem=f"the deployment is in {choice.zone}, where none of {', '.join(types)} is in stock "
        f"now. Keep {choice.instance_type} by widening the limits or naming it as instanceType, or "
        "try again later"
    )


def candidates(catalogue: Sequence[InstanceType], wish: Wish) -> list[InstanceType]:
    """Return the rows that satisfy the wish, cheapest first; rows of unknown price come last.

    Raises:
        PlacementError: no row satisfies the wish; the message lists what the catalogue has.
    """
    if wish.instance_type != "auto":
        row = next((row for row in catalogue if row.type == wish.instance_type), None)
        if row is None:
            raise PlacementError(
                f'instanceType: "{wish.instance_type}" is not in the catalogue. Known types:\n'
                + _listing(catalogue, wish.region)
                + "\nUse one of them, or add a row with source and date to "
                "infra/catalogue/instances.toml"
            )
        return [row]

    def fits(row: InstanceType) -> bool:
        price = row.price(wish.region)
        return (
            row.gpu_memory_gib >= wish.min_gpu_memory_gib
            and (row.fp8 or not wish.require_fp8)
            and (
                wish.max_price_per_hour is None
                or (price is not None and price.cny_per_hour <= wish.max_price_per_hour)
            )
        )

    def order(row: InstanceType) -> tuple[bool, float, int, int]:
        price = row.price(wish.region)
        return (
            price is None,
            price.cny_per_hour if price else 0.0,
            row.gpu_memory_gib,
            row.vcpu,
        )

    found = sorted(filter(fits, catalogue), key=order)
    if not found:
        limit = wish.max_price_per_hour
        raise PlacementError(
            f"instanceType: auto finds nothing with at least {wish.min_gpu_memory_gib} GiB of GPU "
            f"memory, FP8 {'required' if wish.require_fp8 else 'not required'}, "
            f"{f'at most {limit:.2f} CNY/hour' if limit else 'any price'} in {wish.region}. "
            "The catalogue has:\n" + _listing(catalogue, wish.region) + "\nLower "
            "minGpuMemoryGiB, raise maxPricePerHour, or name an instanceType"
        )
    return found


def propose(catalogue: Sequence[InstanceType], wish: Wish, stock: Stock) -> Proposal:
    """Return the first candidate that is in stock in a zone that the wish allows.

    Out of stock is not raised but returned as ``problem``, because it matters only to a node
    that does not exist yet.

    Raises:
        PlacementError: the catalogue has nothing that fits, see :func:`candidates`.
    """
    rows = candidates(catalogue, wish)
    options = tuple((row.type, tuple(sorted(stock.get(row.type, ())))) for row in rows)
    elsewhere: list[str] = []
    for row in rows:
        zones = sorted(stock.get(row.type, ()))
        if wish.zone == "auto" and zones:
            return Proposal(row.type, zones[0], options=options)
        if wish.zone in zones:
            return Proposal(row.type, wish.zone, options=options)
        elsewhere += [f"  - {zone}: {row.describe(wish.region)}" for zone in zones]
    place = wish.region if wish.zone == "auto" else wish.zone
    tried = ", ".join(row.type for row in rows)
    if not elsewhere:
        others = [row for row in catalogue if row not in rows]
        elsewhere = [
            f"  - {zone}: {row.describe(wish.region)}"
            for row in others
            for zone in sorted(stock.get(row.type, ()))
        ]
    advice = (
        "In stock now:\n"
        + "\n".join(elsewhere)
        + "\nSet zone and instanceType to one of these, or to auto with other limits"
        if elsewhere
        else f"Nothing else of the catalogue is in stock in {wish.region} either. Try another "
        "region, or again later"
    )
    return Proposal(
        problem=f"out of stock in {place}: {tried}. Nothing was created. {advice}", options=options
    )


def _listing(rows: Sequence[InstanceType], region: str) -> str:
    return "\n".join(f"  - {row.describe(region)}" for row in rows)
