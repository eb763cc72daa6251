"""Walk an API graph against its links, and write values where they come from.

A node id says nothing, a link everything: what feeds `control_video` is the control video, whatever
its number. Nothing here knows what an input means for a user; that is `workflow`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from smoke_tests.comfy_client.errors import WorkflowError

Graph = dict[str, dict[str, Any]]

# Inputs of the same meaning under the names that nodes give them. A constant that feeds inputs of
# one family only is changed at its source; one that feeds two families is not.
FAMILIES: Mapping[str, frozenset[str]] = {
    "seed": frozenset({"seed", "noise_seed"}),
    "steps": frozenset({"steps"}),
    "cfg": frozenset({"cfg"}),
    "strength": frozenset({"strength"}),
    "width": frozenset({"width"}),
    "height": frozenset({"height"}),
    "frames": frozenset(
        {"length", "frames", "num_frames", "frame_load_cap", "amount", "batch_size"}
    ),
    "fps": frozenset({"frame_rate", "fps", "force_rate"}),
}


class Place(NamedTuple):
    """One input of one node."""

    node_id: str
    name: str


class GraphWalk:
    """Reads and writes one graph, which it does not copy.

    Args:
        graph: {node id: {"class_type": ..., "inputs": {...}}}.
        source: the graph's name in messages.
    """

    def __init__(self, graph: Graph, source: str) -> None:
        self.graph = graph
        self.source = source

    def inputs(self, node_id: str) -> dict[str, Any]:
        """A node's inputs, links and literals."""
        inputs: dict[str, Any] = self.graph[node_id]["inputs"]
        return inputs

    def class_type(self, node_id: str) -> str:
        """A node's class."""
        return str(self.graph[node_id]["class_type"])

    def link(self, place: Place) -> str | None:
        """The node that an input is linked to, or None for a literal and for no such input.

        Raises:
            WorkflowError: the link leads to a node that is not in the graph.
        """
        value = self.inputs(place.node_id).get(place.name)
        if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)):
            return None
        if value[0] not in self.graph:
            raise WorkflowError(
                f"{self.source}: input {place.name!r} of node {self.named([place.node_id])} is "
                f"linked to node {value[0]!r}, which is not in the graph."
            )
        return value[0]

    def upstream(self, *starts: str) -> Iterator[str]:
        """The given nodes and all that they depend on, nearest first, each once."""
        queue = deque(starts)
        seen = set(queue)
        while queue:
            node_id = queue.popleft()
            yield node_id
            for name in self.inputs(node_id):
                source = self.link(Place(node_id, name))
                if source is not None and source not in seen:
                    seen.add(source)
                    queue.append(source)

    def behind(self, place: Place) -> list[str]:
        """All nodes that one input depends on, nearest first; empty for a literal."""
        source = self.link(place)
        return [] if source is None else list(self.upstream(source))

    def origin(self, place: Place) -> Place:
        """Follow a link to the constant it comes from, such as INTConstant.value.

        Raises:
            WorkflowError: the value is computed, so that there is no constant.
        """
        start, seen = place, set[str]()
        while (source := self.link(place)) is not None and source not in seen:
            seen.add(source)
            inputs = self.inputs(source)
            literals = [key for key, value in inputs.items() if not isinstance(value, list)]
            if len(inputs) != 1 or len(literals) != 1:
                raise WorkflowError(
                    f"{self.source}: input {start.name!r} of node {self.named([start.node_id])} "
                    f"comes from node {self.named([source])}, which is not a plain constant."
                )
            place = Place(source, literals[0])
        return place

    def value(self, place: Place) -> Any:
        """The literal behind an input; WorkflowError when it is computed."""
        node_id, name = self.origin(place)
        return self.inputs(node_id)[name]

    def consumers(self, node_id: str) -> list[Place]:
        """Every input that is linked to a node."""
        return [
            Place(other, name)
            for other in self.graph
            for name in self.inputs(other)
            if self.link(Place(other, name)) == node_id
        ]

    def write(self, place: Place, value: Any, family: str = "") -> None:
        """Set an input, at the constant it comes from where that harms nothing else.

        A constant that also feeds inputs of another meaning keeps its value for those. A computed
        value is no constant to change: the link to it is replaced.
        """
        source = self.link(place)
        try:
            origin = self.origin(place)
        except WorkflowError:
            origin = place
        fed = self.consumers(source) if source is not None else []
        alike = FAMILIES.get(family, frozenset()) | {place.name}
        others = frozenset[str]().union(*FAMILIES.values()) - alike
        if len(fed) == 1 or (family and not others & {each.name for each in fed}):
            self.inputs(origin.node_id)[origin.name] = value
            return
        self.inputs(place.node_id)[place.name] = value
        for each in fed:
            if family and origin != place and each.name in alike:
                self.inputs(each.node_id)[each.name] = value

    def named(self, node_ids: list[str]) -> str:
        """Node ids with their classes, for messages."""
        return ", ".join(f"{node_id} ({self.class_type(node_id)})" for node_id in node_ids)
