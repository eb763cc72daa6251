"""Building a graph once, for both of its files.

A `Graph` collects nodes in the order in which they are added; links are `Out` values, so a graph
cannot be built with a link to a node that is not there. What a node class is, its inputs, widgets
and outputs, comes from ``node_classes.json``, an extract of a real server's /object_info.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CLASSES_FILE = Path(__file__).with_name("node_classes.json")
#: Types that the browser interface draws as a widget; all others can only be linked.
WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


class GraphError(ValueError):
    """A graph that cannot be: an unknown class or input, or a link of the wrong type."""


@dataclass(frozen=True)
class Input:
    """A declared input of a node class.

    Attributes:
        type: such as ``IMAGE``; ``COMBO`` for a choice.
        widget: whether a person can type its value (it can be linked all the same).
        options: the declaration's settings (default, min, max, tooltip ...).
    """

    name: str
    type: str
    required: bool
    widget: bool
    options: dict[str, Any]


@dataclass(frozen=True)
class NodeClass:
    """A node class: inputs in the order of its declaration, outputs as (name, type)."""

    name: str
    display_name: str
    inputs: tuple[Input, ...]
    outputs: tuple[tuple[str, str], ...]

    def input(self, name: str) -> Input:
        """One input by name, those of VHS_VideoCombine's chosen format included.

        Raises:
            GraphError: there is none.
        """
        for one in self.inputs:
            if one.name == name:
                return one
        raise GraphError(
            f"{self.name} has no input {name!r}. It has "
            f"{', '.join(one.name for one in self.inputs)}. Use one of these."
        )


def _input(name: str, declaration: list[Any], required: bool) -> Input:
    kind = declaration[0]
    options = declaration[1] if len(declaration) > 1 else {}
    if isinstance(kind, list):
        kind, options = "COMBO", {"options": kind, **options}
    return Input(
        name, kind, required, kind in WIDGET_TYPES and not options.get("forceInput"), options
    )


def _format_inputs(definition: dict[str, Any]) -> list[Input]:
    """The inputs that VHS_VideoCombine grows once a format is chosen (ours is h264-mp4)."""
    declaration = definition["input"]["required"].get("format")
    formats = declaration[1].get("formats", {}) if declaration and len(declaration) > 1 else {}
    return [_input(one[0], one[1:], True) for one in formats.get("video/h264-mp4", [])]


@functools.cache
def node_classes() -> dict[str, NodeClass]:
    """The node classes that the workflows use, by name."""
    recorded = json.loads(CLASSES_FILE.read_text(encoding="utf-8"))
    return {name: _node_class(name, definition) for name, definition in recorded.items()}


def _node_class(name: str, definition: dict[str, Any]) -> NodeClass:
    inputs = []
    for section in ("required", "optional"):
        declared = definition["input"].get(section, {})
        order = definition.get("input_order", {}).get(section, list(declared))
        inputs += [_input(key, declared[key], section == "required") for key in order]
    outputs = tuple(zip(definition["output_name"], definition["output"], strict=True))
    shown = definition.get("display_name") or name
    return NodeClass(name, shown, (*inputs, *_format_inputs(definition)), outputs)


@dataclass(frozen=True)
class Out:
    """An output of a node, to be given to another as its input."""

    node: Node
    slot: int

    @property
    def type(self) -> str:
        """Such as ``IMAGE``."""
        return self.node.kind.outputs[self.slot][1]


@dataclass(eq=False)
class Node:
    """A node of a graph. ``node[0]`` is its first output, ``node["MASK"]`` one by name.

    Attributes:
        values: each input's value or the `Out` that it is linked to.
        group: name of the group that the browser interface draws it in.
    """

    id: int
    kind: NodeClass
    title: str
    group: str
    values: dict[str, Any] = field(repr=False)

    def __getitem__(self, slot: int | str) -> Out:
        names = [name for name, _ in self.kind.outputs]
        if isinstance(slot, str):
            if slot not in names:
                raise GraphError(f"{self.kind.name} has no output {slot!r}; it has {names}.")
            slot = names.index(slot)
        if not 0 <= slot < len(names):
            raise GraphError(f"{self.kind.name} has no output number {slot}; it has {names}.")
        return Out(self, slot)

    @property
    def links(self) -> dict[str, Out]:
        """The linked inputs."""
        return {name: value for name, value in self.values.items() if isinstance(value, Out)}


class Graph:
    """Nodes and links of one workflow.

    Attributes:
        nodes: in the order of adding; a node comes after those that it is linked to.
        groups: names of the groups in the order of their first node.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    @property
    def groups(self) -> list[str]:
        """Names of the groups, in the order of their first node."""
        return list(dict.fromkeys(node.group for node in self.nodes))

    def add(
        self,
        class_type: str,
        title: str = "",
        *,
        group: str,
        node_id: int | None = None,
        **values: Any,
    ) -> Node:
        """Add a node; inputs as keywords, a value or an `Out`.

        Raises:
            GraphError: unknown class or input, a required one missing, a link of another type.
        """
        kind = node_classes().get(class_type)
        if kind is None:
            raise GraphError(
                f"{class_type!r} is not in {CLASSES_FILE.name}, which has "
                f"{', '.join(node_classes())}. Add it there with "
                "'python -m smoke_tests.workflows classes OBJECT_INFO'."
            )
        missing = [one.name for one in kind.inputs if one.required and one.name not in values]
        if missing:
            raise GraphError(f"{class_type} needs {', '.join(missing)}. Give a value or a link.")
        for name, value in values.items():
            declared = kind.input(name)
            if isinstance(value, Out) and value.type != declared.type:
                raise GraphError(
                    f"{class_type}.{name} takes {declared.type}, not {value.type} of "
                    f"{value.node.kind.name}. Link an output of that type."
                )
        number = node_id or max((node.id for node in self.nodes), default=0) + 1
        node = Node(number, kind, title or kind.display_name, group, values)
        self.nodes.append(node)
        return node

    def api(self, *, titles: bool = True) -> dict[str, Any]:
        """The graph as POST /prompt takes it: {node id: {class_type, inputs, _meta}}."""
        result = {}
        for node in self.nodes:
            inputs = {
                name: [str(value.node.id), value.slot] if isinstance(value, Out) else value
                for name, value in node.values.items()
            }
            entry: dict[str, Any] = {"class_type": node.kind.name, "inputs": inputs}
            if titles:
                entry["_meta"] = {"title": node.title}
            result[str(node.id)] = entry
        return result
