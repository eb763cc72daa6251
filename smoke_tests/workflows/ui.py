"""The file for the browser interface (its LiteGraph format 0.4) from a graph.

Facts about the format, as the interface of ComfyUI 0.33 (1.49) writes it:

* sockets come before widgets in a node's ``inputs``; an input that is a widget names it under
  ``widget`` and is listed whether it is linked or not;
* ``widgets_values`` holds the widgets' values in the order of the declaration, a linked one's
  included, plus those of widgets that only the interface has: the one after a seed that says
  what becomes of it, and LoadImage's upload button;
* VideoHelperSuite's nodes keep an object by name there instead of a list.
"""

from __future__ import annotations

import uuid
from typing import Any

from smoke_tests.workflows import parts
from smoke_tests.workflows.graph import Graph, Input, Node, Out
from smoke_tests.workflows.layout import NOTES, Box, Layout, arrange, note_text
from smoke_tests.workflows.recipe import LANGUAGES, Recipe

VERSION = 0.4
#: The interface draws a new seed for each run unless told otherwise, as for any new KSampler.
AFTER_GENERATE = "randomize"
NOTE_COLOURS = {"color": "#432", "bgcolor": "#653"}
GROUP_COLOURS = {
    NOTES: "#88A",
    parts.MODELS: "#3f789e",
    parts.SIZE: "#3f789e",
    parts.TEXTS: "#b58b2a",
    parts.INPUTS: "#8A8",
    parts.PREPARE: "#b06634",
    parts.VACE: "#8AA",
    parts.RESULT: "#a1309b",
}
Link = tuple[int, int, int, int, int, str]


def _shown_inputs(node: Node) -> list[Input]:
    """Inputs as the interface orders them: sockets, then widgets."""
    inputs = node.kind.inputs
    return [one for one in inputs if not one.widget] + [one for one in inputs if one.widget]


def _value(node: Node, one: Input) -> Any:
    """What a widget shows; a linked one the value of the constant behind it, if it is one."""
    value = node.values.get(one.name, one.options.get("default"))
    if isinstance(value, Out):
        value = value.node.values.get("value", one.options.get("default"))
    return value


def _widget_values(node: Node) -> list[Any] | dict[str, Any]:
    widgets = [one for one in node.kind.inputs if one.widget]
    if node.kind.name.startswith("VHS_"):
        named = {one.name: _value(node, one) for one in widgets}
        if node.kind.name == "VHS_LoadVideo":
            named["choose video to upload"] = "image"
        named["videopreview"] = {"hidden": False, "paused": False, "params": {}}
        return named
    values: list[Any] = []
    for one in widgets:
        values.append(_value(node, one))
        if one.options.get("control_after_generate"):
            values.append(AFTER_GENERATE)
        if one.options.get("image_upload"):
            values.append("image")
    return values


def _links(graph: Graph) -> list[Link]:
    """(id, from node, from slot, to node, to slot, type) of every link."""
    found: list[Link] = []
    for node in graph.nodes:
        for slot, one in enumerate(_shown_inputs(node)):
            value = node.values.get(one.name)
            if isinstance(value, Out):
                found.append((len(found) + 1, value.node.id, value.slot, node.id, slot, value.type))
    return found


def _node(node: Node, box: Box, order: int, links: list[Link]) -> dict[str, Any]:
    inputs = []
    for slot, one in enumerate(_shown_inputs(node)):
        link = next((it[0] for it in links if it[3] == node.id and it[4] == slot), None)
        entry: dict[str, Any] = {"name": one.name, "type": one.type}
        if not one.required:
            entry["shape"] = 7  # the hollow circle of an optional input
        if one.widget:
            entry["widget"] = {"name": one.name}
        inputs.append({**entry, "link": link})
    outputs = [
        {
            "name": name,
            "type": kind,
            "slot_index": slot,
            "links": [it[0] for it in links if it[1] == node.id and it[2] == slot],
        }
        for slot, (name, kind) in enumerate(node.kind.outputs)
    ]
    return {
        "id": node.id,
        "type": node.kind.name,
        "pos": [box.x, box.y],
        "size": [box.width, box.height],
        "flags": {},
        "order": order,
        "mode": 0,
        "inputs": inputs,
        "outputs": outputs,
        "title": node.title,
        "properties": {"Node name for S&R": node.kind.name},
        "widgets_values": _widget_values(node),
    }


def _note(number: int, text: str, title: str, box: Box, order: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "MarkdownNote",
        "pos": [box.x, box.y],
        "size": [box.width, box.height],
        "flags": {},
        "order": order,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": title,
        "properties": {},
        "widgets_values": [text],
        **NOTE_COLOURS,
    }


def _groups(layout: Layout) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "title": name,
            "bounding": [box.x, box.y, box.width, box.height],
            "color": GROUP_COLOURS[name],
            "font_size": 24,
            "flags": {},
        }
        for number, (name, box) in enumerate(layout.groups.items(), start=1)
    ]


def ui(graph: Graph, recipe: Recipe) -> dict[str, Any]:
    """The graph with layout, groups and notes, as the browser interface saves it."""
    layout, links = arrange(graph, recipe), _links(graph)
    nodes = [
        _node(node, layout.nodes[node.id], order, links) for order, node in enumerate(graph.nodes)
    ]
    last = max(node.id for node in graph.nodes)
    for number, language in enumerate(LANGUAGES, start=1):
        title = {"en": "Read me", "zh": "说明"}[language]
        text, box = note_text(recipe, language), layout.notes[language]
        nodes.append(_note(last + number, text, title, box, len(nodes)))
    return {
        # the same on every rendering; the interface tells open workflows apart by it
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"vace-workflow:{recipe.name}")),
        "revision": 0,
        "last_node_id": last + len(LANGUAGES),
        "last_link_id": len(links),
        "nodes": nodes,
        "links": [list(link) for link in links],
        "groups": _groups(layout),
        "config": {},
        "extra": {"ds": {"scale": 0.5, "offset": [80, 120]}},
        "version": VERSION,
    }
