"""The reference workflow: what is sent, and what must come back."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from smoke_tests.comfy_client import Workflow, choices
from smoke_tests.media import Expectation

WORKFLOW_FILE = Path(__file__).parent / "workflows" / "reference.api.json"
# What the service promises for this workflow. Written down here and not read from the graph, so
# that a change of the graph cannot quietly lower what is demanded.
EXPECTED = Expectation(width=480, height=480, frames=49, fps=Fraction(16))
IMAGE_NAME = "example.png"
IMAGE_SIZE = (640, 480)
# Small enough to take seconds once the models are loaded; the sizes are the least that the model's
# patches of 16 pixels and the encoder take, 5 frames are the first number after 1 of the form 4n+1.
TINY = {"width": 96, "height": 96, "frames": 5, "steps": 2}
# Inputs that name a file of a model; their choices in object_info are the files on the server.
MODEL_INPUTS = ("unet_name", "clip_name", "vae_name")


def workflow() -> Workflow:
    """The reference workflow, unchanged."""
    return Workflow.load(WORKFLOW_FILE)


def example_image() -> bytes:
    """A PNG of 640x480: a landscape with a sun and hills, the same bytes on every call.

    The same content under the same name is stored once by the server, however often it is sent.
    """
    width, height = IMAGE_SIZE
    image = Image.new("RGB", IMAGE_SIZE)
    draw = ImageDraw.Draw(image)
    for y in range(height):
        share = y / height
        draw.line((0, y, width, y), (int(250 - 90 * share), int(190 - 40 * share), 140 + y // 8))
    draw.ellipse((430, 70, 540, 180), (255, 244, 200))
    for base, swell, shade in ((300, 40, (96, 112, 140)), (350, 30, (62, 88, 92))):
        ridge = [(x, int(base + swell * math.sin(x / 70 + base))) for x in range(0, width + 10, 10)]
        draw.polygon([(0, height), *ridge, (width, height)], shade)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def write_example_image(folder: Path) -> Path:
    """The example image as a file in the folder `inputs` of a run's results."""
    path = folder / "inputs" / IMAGE_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(example_image())
    return path


def missing_nodes(graph: Workflow, object_info: dict[str, Any]) -> list[str]:
    """Node classes of the graph that the server does not have."""
    return sorted(graph.classes() - object_info.keys())


def model_files(graph: Workflow) -> Iterator[tuple[str, str, str]]:
    """(node class, input, file name) of every model file that the graph names."""
    for node in graph.graph.values():
        for name in MODEL_INPUTS:
            if isinstance(node["inputs"].get(name), str):
                yield node["class_type"], name, node["inputs"][name]


def missing_models(graph: Workflow, object_info: dict[str, Any]) -> list[str]:
    """One sentence per model file of the graph that the server cannot offer."""
    faults = []
    for class_type, name, file in model_files(graph):
        declared = object_info.get(class_type, {}).get("input", {})
        declaration = {**declared.get("optional", {}), **declared.get("required", {})}.get(name)
        offered = choices(declaration)
        if offered is None or file not in offered:
            faults.append(f"{class_type}.{name} has no {file}; the server offers {offered}")
    return faults
