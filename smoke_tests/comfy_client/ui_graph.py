"""From the format of ComfyUI's editor (nodes, links, widget values) to its API format.

The editor keeps widget values as a bare list, in the order in which a node class declares its
inputs. That order is known to the server alone, so that a conversion needs its object_info. The
rules are those of the editor's own graphToPrompt (comfyui-frontend-package 1.49.6). What cannot be
converted soundly is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from smoke_tests.comfy_client.errors import WorkflowError
from smoke_tests.comfy_client.graph_walk import Graph

MUTED, BYPASSED = 2, 4  # a node's mode; 0 is the ordinary one
NOTES = frozenset({"Note", "MarkdownNote"})
REROUTE, PRIMITIVE = "Reroute", "PrimitiveNode"
WIDGET_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"})
SEEDS = frozenset({"seed", "noise_seed"})  # get the control widget even when it is not declared
UPLOADS = ("image_upload", "video_upload", "animated_image_upload", "audio_upload", "file_upload")
ADVICE = "Export it from the editor with File > Export (API), and use that file."


class _Input(NamedTuple):
    """One input as a node class declares it."""

    name: str
    kind: str
    options: Mapping[str, Any]

    @property
    def is_widget(self) -> bool:
        return self.kind in WIDGET_TYPES and not self.options.get("forceInput")

    @property
    def has_control(self) -> bool:
        """Whether a `control_after_generate` value follows it in the list."""
        declared = self.options.get("control_after_generate")
        return bool(declared) or (declared is None and self.kind == "INT" and self.name in SEEDS)


def is_ui_graph(graph: Mapping[str, Any]) -> bool:
    """Whether a JSON object is in the editor's format."""
    return isinstance(graph.get("nodes"), list) and "links" in graph


def to_api(ui: Mapping[str, Any], object_info: Mapping[str, Any], *, source: str) -> Graph:
    """The API graph that the editor would submit for `ui`.

    Args:
        ui: the editor's JSON. object_info: GET /object_info of the server it is meant for.
        source: the graph's name in messages.

    Raises:
        WorkflowError: an unknown node class, a subgraph, a broken link, or widget values whose
            number does not fit the class.
    """
    return _Conversion(ui, object_info, source).graph()


def differences(
    graph: Mapping[str, Any], other: Mapping[str, Any], object_info: Mapping[str, Any]
) -> list[str]:
    """What makes two API graphs two: one line each, empty when a server would do the same.

    An input that its class does not declare is ignored (older editors sent the upload button
    along), and one that is missing counts as its declared default.
    """
    lines = []
    for node_id in sorted({*graph, *other}):
        if node_id not in graph or node_id not in other:
            lines.append(
                f"node {node_id} is only in the {'first' if node_id in graph else 'second'}"
            )
            continue
        first, second = graph[node_id], other[node_id]
        if first["class_type"] != second["class_type"]:
            lines.append(f"node {node_id} is {first['class_type']} and {second['class_type']}")
            continue
        declared = {each.name: each for each in _declared(object_info, first["class_type"])}
        extra = _format_inputs(declared, first["inputs"]) | _format_inputs(
            declared, second["inputs"]
        )
        for name in sorted({*declared, *extra}):
            default = declared[name].options.get("default") if name in declared else None
            here, there = (each["inputs"].get(name, default) for each in (first, second))
            if here != there:
                lines.append(f"node {node_id}, input {name!r}: {here!r} and {there!r}")
    return lines


class _Conversion:
    def __init__(self, ui: Mapping[str, Any], object_info: Mapping[str, Any], source: str) -> None:
        self._info = object_info
        self._source = source
        self._nodes = {str(node["id"]): node for node in ui["nodes"]}
        subgraphs = (ui.get("definitions") or {}).get("subgraphs") or []
        self._subgraphs = {str(each.get("id")): str(each.get("name", "")) for each in subgraphs}
        self._links: dict[Any, tuple[str, int]] = {}
        for link in ui["links"]:
            if isinstance(link, dict):
                self._links[link["id"]] = (str(link["origin_id"]), int(link["origin_slot"]))
            else:
                self._links[link[0]] = (str(link[1]), int(link[2]))

    def graph(self) -> Graph:
        made: Graph = {}
        for node_id, node in self._nodes.items():
            if self._skipped(node):
                continue
            self._check_class(node_id, node)
            inputs = self._widgets(node_id, node)
            for slot in node.get("inputs") or []:
                found = self._source_of(slot, set())
                if found is not None:
                    inputs[slot["name"]] = found
            made[node_id] = {"class_type": node["type"], "inputs": inputs}
        return made

    @staticmethod
    def _skipped(node: Mapping[str, Any]) -> bool:
        virtual = node["type"] in NOTES or node["type"] in {REROUTE, PRIMITIVE}
        return virtual or node.get("mode", 0) in {MUTED, BYPASSED}

    def _check_class(self, node_id: str, node: Mapping[str, Any]) -> None:
        kind = str(node["type"])
        if kind in self._subgraphs:
            raise WorkflowError(
                f"{self._source}: node {node_id} is the subgraph {self._subgraphs[kind]!r}; only "
                "graphs without subgraphs can be converted, because its inner nodes get ids that "
                "the editor alone assigns.",
                remedy=f"Unpack the subgraph in the editor and save again. {ADVICE}",
            )
        if kind not in self._info:
            raise WorkflowError(
                f"{self._source}: node {node_id} is of class {kind!r}, which is none of the "
                f"{len(self._info)} that the server has, so that its widgets cannot be named.",
                remedy="Install the missing node on the server, or remove it from the workflow.",
            )

    def _source_of(self, slot: Mapping[str, Any], seen: set[Any]) -> Any:
        """[node id, output], a literal from a PrimitiveNode, or None when nothing is linked."""
        link = slot.get("link")
        if link is None:
            return None
        if link in seen:
            raise WorkflowError(f"{self._source}: link {link} leads back to itself.", remedy=ADVICE)
        seen.add(link)
        origin, output = self._links.get(link, ("", 0))
        node = self._nodes.get(origin)
        if node is None:
            raise WorkflowError(
                f"{self._source}: link {link} into input {slot.get('name')!r} comes from a node "
                "that is not in the file.",
                remedy="Open it in the editor, connect the input again and save.",
            )
        if node.get("mode", 0) == MUTED:
            return None
        if node.get("mode", 0) == BYPASSED:
            passed = _bypass(node, output, str(slot.get("type", "*")))
            return self._source_of({**passed, "type": slot.get("type")}, seen) if passed else None
        if node["type"] == REROUTE:
            (into,) = node.get("inputs") or [{}]
            return self._source_of({**into, "type": slot.get("type")}, seen)
        if node["type"] == PRIMITIVE:
            values = node.get("widgets_values") or []
            return _literal(values[0]) if values else None
        return [origin, output]

    def _widgets(self, node_id: str, node: Mapping[str, Any]) -> dict[str, Any]:
        declared = list(_declared(self._info, node["type"]))
        values = node.get("widgets_values")
        if isinstance(values, dict):  # VideoHelperSuite keeps them by name
            names = {each.name: each for each in declared}
            wanted = {each.name for each in declared if each.is_widget}
            wanted |= _format_inputs(names, values)
            return {name: _literal(values[name]) for name in values if name in wanted}
        values = list(values or [])
        expected = list(_slots(declared))
        if len(values) != len(expected) and expected and expected[-1] == "":
            # a node that was saved without its upload button
            while len(expected) > len(values) and expected[-1] == "":
                expected.pop()
        if len(values) != len(expected):
            known = ", ".join(name or "(button or control)" for name in expected) or "none"
            raise WorkflowError(
                f"{self._source}: node {node_id} ({node['type']}) holds {len(values)} widget "
                f"values, its class declares {len(expected)} ({known}); it was saved for another "
                "version of the node, and values would land in the wrong inputs.",
                remedy="Open it in the editor of this server, check the node, and save again.",
            )
        return {name: _literal(value) for name, value in zip(expected, values, strict=True) if name}


def _declared(object_info: Mapping[str, Any], class_type: str) -> Iterator[_Input]:
    """A class's inputs, in the order in which the editor makes their widgets."""
    description = object_info.get(class_type, {})
    for group in ("required", "optional"):
        inputs = description.get("input", {}).get(group) or {}
        order = (description.get("input_order") or {}).get(group) or list(inputs)
        for name in order:
            declaration = inputs.get(name) or [""]
            options = declaration[1] if len(declaration) > 1 else {}
            kind = "COMBO" if isinstance(declaration[0], list) else str(declaration[0])
            yield _Input(name, kind, options if isinstance(options, dict) else {})
        if group == "required" and any(
            any(declaration[1].get(key) for key in UPLOADS)
            for declaration in inputs.values()
            if len(declaration) > 1 and isinstance(declaration[1], dict)
        ):
            yield _Input("", "UPLOAD", {})


def _slots(declared: list[_Input]) -> Iterator[str]:
    """Names of the widget values of a class, in order; empty for what the server never sees."""
    for each in declared:
        if each.kind == "UPLOAD":
            yield ""
        elif each.is_widget:
            yield each.name
            if each.has_control:
                yield ""
                if each.kind == "COMBO":
                    yield ""  # and a filter for the list


def _format_inputs(declared: Mapping[str, _Input], values: Mapping[str, Any]) -> set[str]:
    """Inputs that VHS_VideoCombine has for the chosen format only (pix_fmt, crf, ...)."""
    found = set()
    for name, each in declared.items():
        formats = each.options.get("formats")
        chosen = values.get(name)
        if isinstance(formats, dict) and isinstance(chosen, str):
            found |= {str(item[0]) for item in formats.get(chosen, []) if item}
    return found


def _bypass(node: Mapping[str, Any], output: int, wanted: str) -> Mapping[str, Any] | None:
    """The input that a bypassed node passes on: same place if it fits, else the first that does."""
    slots: list[Mapping[str, Any]] = node.get("inputs") or []
    if wanted == "*":
        fitting = slots[output:] or slots
        return fitting[0] if fitting else None
    if output < len(slots) and _fits(slots[output], wanted):
        return slots[output]
    exact = [slot for slot in slots if slot.get("type") == wanted]
    return next(iter(exact or [slot for slot in slots if _fits(slot, wanted)]), None)


def _fits(slot: Mapping[str, Any], wanted: str) -> bool:
    kinds = str(slot.get("type", "*")).upper().split(",")
    return "*" in kinds or bool({*wanted.upper().split(",")} & {*kinds})


def _literal(value: Any) -> Any:
    """A widget's value as it is submitted: a bare list would be read as a link."""
    return {"__value__": value} if isinstance(value, list) else value
