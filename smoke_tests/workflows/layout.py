"""Where nodes stand in the browser interface.

Groups stand in columns from left to right, in a group the nodes by their depth; so every link
goes to the right. Sizes are generous estimates: the interface makes a node that is too small
larger when it opens the file, and then it would cover its neighbour.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from smoke_tests.workflows import parts
from smoke_tests.workflows.graph import Graph, GraphError, Node
from smoke_tests.workflows.recipe import LANGUAGES, Language, Recipe

NOTES = "Read me · 说明"
#: Groups of one column stand below one another.
COLUMNS = (
    (NOTES,),
    (parts.MODELS, parts.SIZE),
    (parts.TEXTS, parts.INPUTS),
    (parts.PREPARE,),
    (parts.VACE,),
    (parts.RESULT,),
)
TITLE = 30  # LiteGraph draws a node's title above its position
ROW = 26
WIDGET = 30
TEXT_BOX = 180
PREVIEW = 260
GAP = 60
MARGIN = 24
GROUP_TITLE = 40
GROUP_GAP = 60
WIDTHS = {"CLIPTextEncode": 440, "LoadImage": 340, "VHS_LoadVideo": 340, "VHS_VideoCombine": 360}
DEFAULT_WIDTH = 320
NOTE_WIDTH = 520
NOTE_LINE = 19
#: Characters on a line of a note, by language.
NOTE_CHARACTERS: dict[Language, int] = {"en": 80, "zh": 42}
SHOWS_A_PICTURE = ("LoadImage", "PreviewImage", "VHS_LoadVideo", "VHS_VideoCombine")


@dataclass(frozen=True)
class Box:
    """Left, top, width and height; of a node without its title, of a group with it."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """First pixel to the right of it."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """First pixel below it."""
        return self.y + self.height


@dataclass(frozen=True)
class Layout:
    """Boxes of nodes by id, of notes by language, and of groups by name."""

    nodes: dict[int, Box]
    notes: dict[Language, Box]
    groups: dict[str, Box]


def node_size(node: Node) -> tuple[int, int]:
    """Width and height that the node needs at least."""
    kind = node.kind
    texts = sum(bool(one.options.get("multiline")) for one in kind.inputs)
    widgets = sum(one.widget for one in kind.inputs) - texts
    sockets = sum(not one.widget for one in kind.inputs)
    widgets += sum(bool(one.options.get("control_after_generate")) for one in kind.inputs)
    widgets += kind.name in ("LoadImage", "VHS_LoadVideo")  # the upload button
    height = ROW * max(sockets, len(kind.outputs)) + WIDGET * widgets + TEXT_BOX * texts + 20
    height += PREVIEW * (kind.name in SHOWS_A_PICTURE)
    return WIDTHS.get(kind.name, DEFAULT_WIDTH), height


def note_size(text: str, language: Language) -> tuple[int, int]:
    """Width and height of a note with a text."""
    lines = sum(
        max(1, math.ceil(len(line) / NOTE_CHARACTERS[language])) for line in text.splitlines()
    )
    return NOTE_WIDTH, 80 + NOTE_LINE * lines


def _depths(nodes: list[Node]) -> dict[int, int]:
    """Longest way to each node inside its group; nodes come after those they are linked to."""
    inside = {node.id for node in nodes}
    depths: dict[int, int] = {}
    for node in nodes:
        before = [out.node.id for out in node.links.values() if out.node.id in inside]
        depths[node.id] = 1 + max((depths[one] for one in before), default=-1)
    return depths


def _stack(sizes: list[tuple[int, int]], x: int, y: int) -> list[Box]:
    """Boxes below one another, with room for each one's title."""
    boxes = []
    for width, height in sizes:
        boxes.append(Box(x, y + TITLE, width, height))
        y += TITLE + height + GAP
    return boxes


def _around(boxes: list[Box]) -> Box:
    """The group's frame around nodes."""
    left = min(box.x for box in boxes) - MARGIN
    top = min(box.y for box in boxes) - TITLE - GROUP_TITLE - MARGIN
    right = max(box.right for box in boxes) + MARGIN
    bottom = max(box.bottom for box in boxes) + MARGIN
    return Box(left, top, right - left, bottom - top)


def note_text(recipe: Recipe, language: Language) -> str:
    """What the note in a graph says, in Markdown."""
    return "\n\n".join((f"# {recipe.title[language]}", *recipe.notes[language]))


def arrange(graph: Graph, recipe: Recipe) -> Layout:
    """Place everything.

    Raises:
        GraphError: a group that has no column.
    """
    unknown = set(graph.groups) - {name for column in COLUMNS for name in column}
    if unknown:
        raise GraphError(f"No column is set for the groups {sorted(unknown)}; add it to COLUMNS.")
    layout = Layout({}, {}, {})
    x = 0
    for column in COLUMNS:
        y, right = 0, x
        for group in column:
            left, top = x + MARGIN, y + GROUP_TITLE + MARGIN
            boxes = (
                _place_notes(layout, recipe, left, top)
                if group == NOTES
                else _place_nodes(
                    layout, [node for node in graph.nodes if node.group == group], left, top
                )
            )
            if not boxes:
                continue
            layout.groups[group] = _around(boxes)
            y = layout.groups[group].bottom + GROUP_GAP
            right = max(right, layout.groups[group].right + GROUP_GAP)
        x = right
    return layout


def _place_notes(layout: Layout, recipe: Recipe, x: int, y: int) -> list[Box]:
    sizes = [note_size(note_text(recipe, one), one) for one in LANGUAGES]
    boxes = _stack(sizes, x, y)
    layout.notes.update(zip(LANGUAGES, boxes, strict=True))
    return boxes


def _place_nodes(layout: Layout, nodes: list[Node], x: int, y: int) -> list[Box]:
    depths = _depths(nodes)
    placed = []
    for depth in range(max(depths.values(), default=-1) + 1):
        level = [node for node in nodes if depths[node.id] == depth]
        boxes = _stack([node_size(node) for node in level], x, y)
        layout.nodes.update(zip((node.id for node in level), boxes, strict=True))
        placed += boxes
        x = max(box.right for box in boxes) + GAP
    return placed
