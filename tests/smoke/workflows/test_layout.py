"""The UI files are tidy and sound, as the browser interface reads them."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from smoke_tests.workflows import Recipe
from smoke_tests.workflows.layout import TITLE

Frame = tuple[float, float, float, float]  # left, top, right, bottom


@pytest.fixture
def ui(recipe: Recipe) -> dict[str, Any]:
    """The workflow as the browser interface opens it."""
    opened: dict[str, Any] = json.loads(recipe.ui_path.read_text(encoding="utf-8"))
    return opened


def _node_frame(node: dict[str, Any]) -> Frame:
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def _group_frame(group: dict[str, Any]) -> Frame:
    x, y, width, height = group["bounding"]
    return x, y, x + width, y + height


def _overlap(one: Frame, other: Frame) -> bool:
    return (
        one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
    )  # fmt: skip


def _inside(one: Frame, other: Frame) -> bool:
    return (
        other[0] <= one[0] and other[1] <= one[1] and one[2] <= other[2] and one[3] <= other[3]
    )  # fmt: skip


def test_no_node_covers_another(ui: dict[str, Any]) -> None:
    """Prevents a heap of nodes in which nothing can be read."""
    for one, other in itertools.combinations(ui["nodes"], 2):
        overlap = _overlap(_node_frame(one), _node_frame(other))
        assert not overlap, f"{one['title']} and {other['title']}"


def test_no_group_covers_another_and_each_node_is_in_one(ui: dict[str, Any]) -> None:
    """Prevents a node that belongs nowhere, or moves with a group that is not its own."""
    for one, other in itertools.combinations(ui["groups"], 2):
        assert not _overlap(_group_frame(one), _group_frame(other)), (one["title"], other["title"])
    for node in ui["nodes"]:
        around = [
            group["title"]
            for group in ui["groups"]
            if _inside(_node_frame(node), _group_frame(group))
        ]
        assert len(around) == 1, f"{node['title']} is in {around}"


def test_every_link_leads_to_the_right(ui: dict[str, Any]) -> None:
    """Prevents a graph that must be read in circles."""
    nodes = {node["id"]: node for node in ui["nodes"]}
    for link in ui["links"]:
        start, end = nodes[link[1]], nodes[link[3]]
        assert start["pos"][0] + start["size"][0] <= end["pos"][0], (start["title"], end["title"])


def test_every_link_has_both_ends_and_one_type(ui: dict[str, Any]) -> None:
    """Prevents links that the interface drops when it opens the file."""
    nodes = {node["id"]: node for node in ui["nodes"]}
    seen = set()
    for number, start, out_slot, end, in_slot, kind in ui["links"]:
        assert number not in seen
        seen.add(number)
        output, target = nodes[start]["outputs"][out_slot], nodes[end]["inputs"][in_slot]
        assert number in output["links"]
        assert target["link"] == number
        assert output["type"] == target["type"] == kind
    held = {one["link"] for node in ui["nodes"] for one in node["inputs"] if one["link"]}
    given = {link for node in ui["nodes"] for out in node["outputs"] for link in out["links"]}
    assert held == given == seen


def test_ids_and_order_are_complete(ui: dict[str, Any]) -> None:
    """Prevents that the interface gives a new node the id of an old one."""
    ids = [node["id"] for node in ui["nodes"]]
    assert len(set(ids)) == len(ids)
    assert ui["last_node_id"] == max(ids)
    assert ui["last_link_id"] == max(link[0] for link in ui["links"])
    assert sorted(node["order"] for node in ui["nodes"]) == list(range(len(ids)))
    order = {node["id"]: node["order"] for node in ui["nodes"]}
    assert all(order[link[1]] < order[link[3]] for link in ui["links"])
    assert ui["version"] == 0.4


def test_notes_stand_in_both_languages(ui: dict[str, Any], recipe: Recipe) -> None:
    """Prevents a workflow that says nothing to half of its users."""
    notes = [node for node in ui["nodes"] if node["type"] == "MarkdownNote"]
    texts = [node["widgets_values"][0] for node in notes]
    assert [text.splitlines()[0] for text in texts] == [
        f"# {recipe.title['en']}",
        f"# {recipe.title['zh']}",
    ]
    for text, language in zip(texts, ("en", "zh"), strict=True):
        word = {"en": "Sound", "zh": "声音"}[language]
        assert word in text, "what becomes of the sound must be said"


def test_every_node_and_group_has_a_title(ui: dict[str, Any]) -> None:
    """Prevents nameless boxes."""
    assert all(node["title"] for node in ui["nodes"])
    assert all(group["title"] for group in ui["groups"])
