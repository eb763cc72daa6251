"""The editor's format becomes the graph that the editor itself would submit, or is refused."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from smoke_tests.comfy_client import Workflow, WorkflowError, ui_graph

INFO: dict[str, Any] = {
    "KSampler": {
        "input": {
            "required": {
                "model": ["MODEL", {}],
                "seed": ["INT", {"default": 0, "control_after_generate": True}],
                "steps": ["INT", {"default": 20}],
                "sampler_name": [["euler", "uni_pc"], {}],
                "latent_image": ["LATENT", {}],
            }
        },
        "input_order": {"required": ["model", "seed", "steps", "sampler_name", "latent_image"]},
    },
    "LoadImage": {
        "input": {"required": {"image": [["example.png"], {"image_upload": True}]}},
        "input_order": {"required": ["image"]},
    },
    "Sharpen": {
        "input": {"required": {"image": ["IMAGE", {}]}, "optional": {"amount": ["FLOAT", {}]}}
    },
    "Encode": {"input": {"required": {"pixels": ["IMAGE", {}]}}},
    "Loader": {"input": {"required": {"name": ["COMBO", {"options": ["a", "b"]}]}}},
    "VHS_VideoCombine": {
        "input": {
            "required": {
                "images": ["IMAGE", {}],
                "frame_rate": ["FLOAT", {"default": 8}],
                "format": [
                    ["image/gif", "video/h264-mp4"],
                    {"formats": {"video/h264-mp4": [["crf", "INT", {"default": 19}]]}},
                ],
            }
        }
    },
}


def _slot(name: str, kind: str, link: int | None) -> dict[str, Any]:
    return {"name": name, "type": kind, "link": link}


def _ui() -> dict[str, Any]:
    """Loader -> sampler; picture -> reroute -> bypassed sharpening -> encoder; a saved video."""
    return {
        "nodes": [
            {"id": 1, "type": "Loader", "widgets_values": ["b"]},
            {"id": 2, "type": "LoadImage", "widgets_values": ["fox.png", "image"]},
            {"id": 3, "type": "Reroute", "inputs": [_slot("", "*", 10)]},
            {
                "id": 4,
                "type": "Sharpen",
                "mode": 4,
                "inputs": [_slot("image", "IMAGE", 11)],
                "widgets_values": [0.5],
            },
            {"id": 5, "type": "Encode", "inputs": [_slot("pixels", "IMAGE", 12)]},
            {"id": 6, "type": "PrimitiveNode", "widgets_values": [30, "fixed"]},
            {
                "id": 7,
                "type": "KSampler",
                "inputs": [
                    _slot("model", "MODEL", 13),
                    _slot("latent_image", "LATENT", 14),
                    _slot("steps", "INT", 15),
                ],
                "widgets_values": [7, "randomize", 20, "uni_pc"],
            },
            {"id": 8, "type": "Note", "widgets_values": ["words"]},
            {"id": 9, "type": "MarkdownNote", "widgets_values": ["# words"]},
            {"id": 10, "type": "Encode", "mode": 2, "inputs": [_slot("pixels", "IMAGE", 16)]},
            {
                "id": 11,
                "type": "VHS_VideoCombine",
                "inputs": [_slot("images", "IMAGE", 17)],
                "widgets_values": {
                    "frame_rate": 16,
                    "format": "video/h264-mp4",
                    "crf": 19,
                    "videopreview": {"hidden": False},
                },
            },
        ],
        "links": [
            [10, 2, 0, 3, 0, "IMAGE"],
            [11, 3, 0, 4, 0, "IMAGE"],
            [12, 4, 0, 5, 0, "IMAGE"],
            [13, 1, 0, 7, 0, "MODEL"],
            {"id": 14, "origin_id": 5, "origin_slot": 0, "target_id": 7, "target_slot": 1},
            [15, 6, 0, 7, 2, "INT"],
            [16, 2, 0, 10, 0, "IMAGE"],
            [17, 2, 0, 11, 0, "IMAGE"],
        ],
    }


API: dict[str, Any] = {
    "1": {"class_type": "Loader", "inputs": {"name": "b"}},
    "2": {"class_type": "LoadImage", "inputs": {"image": "fox.png"}},
    "5": {"class_type": "Encode", "inputs": {"pixels": ["2", 0]}},
    "7": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["1", 0],
            "seed": 7,
            "steps": 30,
            "sampler_name": "uni_pc",
            "latent_image": ["5", 0],
        },
    },
    "11": {
        "class_type": "VHS_VideoCombine",
        "inputs": {"frame_rate": 16, "format": "video/h264-mp4", "crf": 19, "images": ["2", 0]},
    },
}


def test_an_editor_graph_becomes_the_graph_that_it_would_submit() -> None:
    """Prevents shifted widget values: the control after the seed, the upload button, notes."""
    made = ui_graph.to_api(_ui(), INFO, source="x.json")
    assert made == API
    assert ui_graph.differences(made, API, INFO) == []


def test_a_file_of_the_editor_loads_only_with_the_servers_description(tmp_path: Path) -> None:
    """Prevents guessing the order of widgets."""
    path = tmp_path / "x.json"
    path.write_text(json.dumps(_ui()))
    assert Workflow.load(path, INFO).graph == API
    with pytest.raises(WorkflowError, match=r"Export it with File > Export"):
        Workflow.load(path)


def test_differences_are_named_and_harmless_ones_are_not() -> None:
    """Prevents a pair of files that drift apart, and an alarm for an old upload button."""
    other = copy.deepcopy(API)
    other["2"]["inputs"]["upload"] = "image"
    del other["11"]["inputs"]["crf"]
    other["7"]["inputs"]["steps"] = 20
    del other["5"]
    lines = ui_graph.differences(API, other, INFO)
    assert "node 7, input 'steps': 30 and 20" in lines
    assert "node 5 is only in the first" in lines
    assert not any("upload" in line for line in lines)


def _subgraph(ui: dict[str, Any]) -> None:
    ui["nodes"][0]["type"] = "c0ffee"
    ui["definitions"] = {"subgraphs": [{"id": "c0ffee", "name": "Sampling"}]}


def _link_to_nothing(ui: dict[str, Any]) -> None:
    ui["links"] = [link for link in ui["links"] if isinstance(link, dict) or link[0] != 13]


def _loop(ui: dict[str, Any]) -> None:
    ui["links"][0] = [10, 3, 0, 3, 0, "IMAGE"]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (_subgraph, "subgraph 'Sampling'"),
        (_link_to_nothing, "link 13 into input 'model' comes from a node that is not"),
        (_loop, "link 10 leads back to itself"),
        (lambda ui: ui["nodes"][0].update(type="SetNode"), "class 'SetNode', which is none"),
        (
            lambda ui: ui["nodes"][6]["widgets_values"].append(1),
            r"node 7 \(KSampler\) holds 5 widget values, its class declares 4",
        ),
        (lambda ui: ui["nodes"][6]["widgets_values"].pop(), "holds 3 widget values"),
    ],
)
def test_what_cannot_be_converted_soundly_is_refused(change: Any, part: str) -> None:
    """Prevents a graph with values in the wrong inputs, which a server may well run."""
    ui = _ui()
    change(ui)
    with pytest.raises(WorkflowError, match=part):
        ui_graph.to_api(ui, INFO, source="x.json")
