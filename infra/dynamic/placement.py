"""Placement: the zone and instance type of a node, chosen once and kept.

Stock changes by the hour. Without a memory, the next ``pulumi up`` would move a running node to
whatever is in stock then. This resource remembers the choice, see :func:`infra.placement.hold`.
"""

import uuid
from typing import Any

import pulumi
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

from infra.placement import Choice, Proposal, Wish, hold


class _PlacementProvider(ResourceProvider):
    serialize_as_secret_always = False

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        """Decide what holds, at preview already, and refuse what cannot be."""
        options = tuple((kind, tuple(zones)) for kind, zones in news["options"])
        found = Proposal(news["instance_type"], news["zone"], news["problem"], options)
        if _olds.get("zone"):
            choice = Choice(_olds["region"], _olds["zone"], _olds["instance_type"])
            found = hold(choice, news["region"], news["wanted_zone"], found)
        failures = [CheckFailure("instanceType", found.problem)] if found.problem else []
        decided = {"region": news["region"], "wanted_zone": news["wanted_zone"]}
        decided |= {"zone": found.zone, "instance_type": found.instance_type}
        return CheckResult(decided, failures)

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(id_=uuid.uuid4().hex[:12], outs=props)

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        keys = ("region", "zone", "instance_type")
        return DiffResult(changes=any(_olds.get(key) != _news.get(key) for key in keys))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(outs=_news)


class Placement(Resource, module="wanvace", name="Placement"):
    """Zone and instance type of the node.

    Attributes:
        zone, instance_type: the choice that holds; in the preview of a new stack, the proposal.
    """

    zone: pulumi.Output[str]
    instance_type: pulumi.Output[str]

    def __init__(
        self, name: str, *, wish: Wish, proposal: Proposal, opts: pulumi.ResourceOptions
    ) -> None:
        super().__init__(
            _PlacementProvider(),
            name,
            {
                "region": wish.region,
                "wanted_zone": wish.zone,
                "zone": proposal.zone,
                "instance_type": proposal.instance_type,
                "problem": proposal.problem,
                "options": [[kind, list(zones)] for kind, zones in proposal.options],
            },
            opts,
        )
        # A dynamic provider has no preview of create; without this a first preview could check
        # nothing that depends on the zone.
        self.zone = known_or(self.zone, proposal.zone)
        self.instance_type = known_or(self.instance_type, proposal.instance_type)


def known_or(output: pulumi.Output[str], fallback: str) -> pulumi.Output[str]:
    """Return ``output``, or ``fallback`` while its value is unknown during a preview."""

    async def value() -> str:
        return (await output.future() or fallback) if await output.is_known() else fallback

    async def always() -> bool:
        return True

    return pulumi.Output(output.resources(), value(), always())
