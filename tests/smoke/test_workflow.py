"""Inputs are found by what they mean, in graphs of different shape."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from smoke_tests import reference
from smoke_tests.comfy_client import Workflow, WorkflowError


def _renumbered(graph: dict[str, Any]) -> dict[str, Any]:
    """The same graph with other node ids and another order."""
    names = {old: str(900 - place) for place, old in enumerate(graph)}
    renamed = {}
    for old, node in reversed(graph.items()):
        inputs = {
            key: [names[value[0]], value[1]] if isinstance(value, list) else value
            for key, value in node["inputs"].items()
        }
        renamed[names[old]] = {"class_type": node["class_type"], "inputs": inputs}
    return renamed


NEW: dict[str, Any] = {
    "prompt": "a fox",
    "negative_prompt": "blurry",
    "seed": 2**64 - 1,
    "width": 832,
    "height": 320,
    "frames": 81,
    "steps": 4,
    "image": "in/fox.png",
    "filename_prefix": "fox",
}


@pytest.mark.parametrize("renumber", [False, True], ids=["as it is", "renumbered"])
def test_every_input_is_found_by_meaning(renumber: bool) -> None:
    """Prevents a client that breaks when somebody saves the workflow again."""
    graph = reference.workflow().graph
    workflow = Workflow(_renumbered(graph) if renumber else graph)
    changed = workflow.with_inputs(**NEW)
    assert {name: changed.value(name) for name in NEW} == NEW


def test_each_value_lands_in_its_node_and_nowhere_else() -> None:
    """Prevents swapped prompts, and a size that only a preview gets."""
    before, after = reference.workflow().graph, reference.workflow().with_inputs(**NEW).graph
    changes = {
        (node, name): value
        for node, entry in after.items()
        for name, value in entry["inputs"].items()
        if before[node]["inputs"][name] != value
    }
    assert changes == {
        ("15", "text"): "a fox",
        ("16", "text"): "blurry",
        ("24", "seed"): 2**64 - 1,
        ("17", "width"): 832,
        ("17", "height"): 320,
        ("21", "value"): 81,
        ("24", "steps"): 4,
        ("18", "image"): "in/fox.png",
        ("32", "filename_prefix"): "fox",
    }


def test_a_workflow_itself_never_changes() -> None:
    """Prevents that one run's seed is the next run's, which would be answered from the cache."""
    workflow = reference.workflow()
    before = copy.deepcopy(workflow.graph)
    workflow.with_inputs(**NEW)
    assert workflow.graph == before


def test_a_constant_that_feeds_two_inputs_is_not_changed_for_one() -> None:
    """Prevents that a new length also changes the frame rate."""
    graph = reference.workflow().graph
    graph["32"]["inputs"]["frame_rate"] = ["21", 0]
    changed = Workflow(graph).with_inputs(frames=81)
    assert changed.value("frames") == 81
    assert changed.value("fps") == 49


def test_a_sampler_in_parts_is_understood() -> None:
    """Prevents support for KSampler alone: seed, steps and guidance may be nodes of their own."""
    graph = reference.workflow().graph
    graph["24"] = {
        "class_type": "SamplerCustomAdvanced",
        "inputs": {
            "noise": ["40", 0],
            "guider": ["41", 0],
            "sigmas": ["42", 0],
            "latent_image": ["17", 2],
        },
    }
    graph["40"] = {"class_type": "RandomNoise", "inputs": {"noise_seed": 1}}
    graph["41"] = {
        "class_type": "CFGGuider",
        "inputs": {"model": ["27", 0], "positive": ["17", 0], "negative": ["17", 1], "cfg": 4},
    }
    graph["42"] = {"class_type": "BasicScheduler", "inputs": {"model": ["27", 0], "steps": 20}}
    changed = Workflow(graph).with_inputs(**NEW)
    assert changed.graph["40"]["inputs"]["noise_seed"] == 2**64 - 1
    assert changed.graph["42"]["inputs"]["steps"] == 4
    assert changed.graph["15"]["inputs"]["text"] == "a fox"
    assert changed.graph["16"]["inputs"]["text"] == "blurry"


@pytest.mark.parametrize(
    ("inputs", "part"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "allowed are 0 to"),
        ({"width": 136}, "multiple of 16"),
        ({"height": 0}, "multiple of 16"),
        ({"frames": 10}, "4n"),
        ({"steps": 0}, "at least 1"),
        ({"width": 5, "frames": 2}, "frames is 2"),
    ],
)
def test_values_that_the_model_cannot_take_are_refused(inputs: dict[str, Any], part: str) -> None:
    """Prevents what the server does silently (frames) or fails at late (sizes)."""
    with pytest.raises(WorkflowError, match=part):
        reference.workflow().with_inputs(**inputs)


def test_an_input_that_is_missing_or_ambiguous_is_named() -> None:
    """Prevents setting the wrong one of two."""
    two = reference.workflow().graph
    two["19"] = copy.deepcopy(two["18"])
    with pytest.raises(WorkflowError, match=r"2 LoadImage nodes \(18 \(LoadImage\), 19"):
        Workflow(two).with_inputs(image="x.png")
    none = reference.workflow().graph
    del none["32"]
    with pytest.raises(WorkflowError, match="0 nodes that save a video"):
        Workflow(none).with_inputs(seed=5)
    with pytest.raises(WorkflowError, match="'colour' is no input"):
        reference.workflow().value("colour")


def test_a_link_into_nothing_is_named() -> None:
    """Prevents a KeyError for a node that somebody deleted."""
    graph = reference.workflow().graph
    del graph["17"]
    with pytest.raises(WorkflowError, match="node '17', which is not in the graph"):
        Workflow(graph).with_inputs(prompt="x")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("{", "cannot be read as a workflow"),
        ("[]", "not a JSON object"),
        (json.dumps({"nodes": [], "links": []}), "format of ComfyUI's editor"),
        (json.dumps({"1": {"inputs": {}}}), "without class_type"),
    ],
)
def test_a_file_that_is_no_api_workflow_is_refused(content: str, part: str, tmp_path: Path) -> None:
    """Prevents sending the editor's format, which ComfyUI refuses without a helpful word."""
    path = tmp_path / "workflow.json"
    path.write_text(content)
    with pytest.raises(WorkflowError, match=part):
        Workflow.load(path)


def _editing() -> dict[str, Any]:
    """The reference graph with control video, mask and reference picture, brought to its size."""
    graph = reference.workflow().graph
    resize = {"width": 480, "height": 480, "upscale_method": "lanczos"}
    graph["40"] = {
        "class_type": "VHS_LoadVideo",
        "inputs": {"video": "in.mp4", "force_rate": 16, "frame_load_cap": ["21", 0]},
    }
    graph["41"] = {"class_type": "ImageResizeKJv2", "inputs": {**resize, "image": ["40", 0]}}
    graph["42"] = {"class_type": "LoadImage", "inputs": {"image": "ref.png"}}
    graph["43"] = {"class_type": "ImageResizeKJv2", "inputs": {**resize, "image": ["42", 0]}}
    graph["44"] = {"class_type": "LoadImageMask", "inputs": {"image": "m.png", "channel": "red"}}
    graph["17"]["inputs"] |= {
        "control_video": ["41", 0],
        "reference_image": ["43", 0],
        "control_masks": ["44", 0],
    }
    return graph


EDIT: dict[str, Any] = {
    "image": "new.png",
    "video": "new.mp4",
    "mask": "mask2.png",
    "cfg": 5.5,
    "strength": 0.7,
    "fps": 24,
    "width": 832,
    "height": 320,
    "frames": 81,
}


@pytest.mark.parametrize("renumber", [False, True], ids=["as it is", "renumbered"])
def test_editing_inputs_are_found_by_what_they_feed(renumber: bool) -> None:
    """Prevents a mask that is loaded as the reference picture."""
    graph = _editing()
    workflow = Workflow(_renumbered(graph) if renumber else graph)
    changed = workflow.with_inputs(**EDIT)
    assert {name: changed.value(name) for name in EDIT} == EDIT
    assert changed.inputs().keys() == {*NEW, *EDIT}


def test_what_is_brought_to_the_size_follows_it() -> None:
    """Prevents a control video of the old size, rate or length under a result of the new one."""
    after = Workflow(_editing()).with_inputs(**EDIT).graph
    for node in ("17", "41", "43"):
        assert (after[node]["inputs"]["width"], after[node]["inputs"]["height"]) == (832, 320)
    assert after["22"]["inputs"]["width"] == 480, "a resize before a preview is nobody's control"
    assert after["40"]["inputs"]["force_rate"] == 24
    assert after["40"]["inputs"]["frame_load_cap"] == ["21", 0]
    assert after["21"]["inputs"]["value"] == 81
    assert after["44"]["inputs"]["image"] == "mask2.png"
    assert after["42"]["inputs"]["image"] == "new.png"
    assert after["18"]["inputs"]["image"] == "example.png"


def test_a_mask_that_is_also_painted_into_the_video_stays_the_mask() -> None:
    """Prevents "2 LoadImage nodes" for a graph that cuts the masked part out of the video."""
    graph = _editing()
    graph["45"] = {
        "class_type": "ImageCompositeMasked",
        "inputs": {"destination": ["41", 0], "mask": ["44", 0]},
    }
    graph["17"]["inputs"]["control_video"] = ["45", 0]
    changed = Workflow(graph).with_inputs(mask="m2.png", image="i2.png", video="v2.mp4").graph
    assert changed["44"]["inputs"]["image"] == "m2.png"
    assert changed["42"]["inputs"]["image"] == "i2.png"
    assert changed["40"]["inputs"]["video"] == "v2.mp4"


def test_a_length_that_the_loaded_video_tells_is_set_where_it_is_loaded() -> None:
    """Prevents 81 frames asked of a clip of 9: the link to the loader's count must stay."""
    graph = _editing()
    graph["40"]["inputs"]["frame_load_cap"] = 81
    graph["17"]["inputs"]["length"] = ["40", 1]
    changed = Workflow(graph).with_inputs(frames=9)
    assert changed.value("frames") == 9
    assert changed.graph["40"]["inputs"]["frame_load_cap"] == 9
    assert changed.graph["17"]["inputs"]["length"] == ["40", 1]


def test_a_mask_made_of_the_video_itself_is_no_input() -> None:
    """Prevents overwriting the video when a mask is given to a graph that computes its own."""
    graph = _editing()
    graph["17"]["inputs"]["control_masks"] = ["46", 0]
    graph["46"] = {"class_type": "ImageToMask", "inputs": {"image": ["41", 0], "channel": "red"}}
    workflow = Workflow(graph)
    assert "mask" not in workflow.inputs()
    with pytest.raises(WorkflowError, match="0 mask loader nodes"):
        workflow.with_inputs(mask="m.png")
    assert workflow.with_inputs(video="v.mp4").value("video") == "v.mp4"


@pytest.mark.parametrize(
    ("inputs", "part"),
    [
        ({"cfg": 101}, "cfg is 101, allowed are 0 to 100"),
        ({"cfg": float("nan")}, "cfg is nan"),
        ({"strength": -0.1}, "strength is -0.1"),
        ({"fps": 0}, "fps is 0"),
    ],
)
def test_editing_values_out_of_range_are_refused(inputs: dict[str, Any], part: str) -> None:
    """Prevents a fault that the server tells only after the upload."""
    with pytest.raises(WorkflowError, match=part):
        Workflow(_editing()).with_inputs(**inputs)
