"""The graph that is sent, with its inputs uploaded, and the work that it asks for."""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

from smoke_tests import inputs, reference
from smoke_tests.bench.errors import BenchError
from smoke_tests.bench.flops import Job
from smoke_tests.comfy_client import ComfyClient, Workflow
from smoke_tests.workflows import RECIPES

#: Samplers of ComfyUI that ask the model twice in a step.
TWICE = {
    "heun", "heunpp2", "dpm_2", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde",
    "dpmpp_sde_gpu", "exp_heun_2_x0", "exp_heun_2_x0_sde", "seeds_2",
}  # fmt: skip


def load(options: argparse.Namespace) -> tuple[str, Workflow]:
    """(name, graph) with the sizes that the options ask for.

    Raises:
        BenchError: neither a recipe nor a file.
        WorkflowError: the graph has no such input, or the value is not allowed.
    """
    name = options.workflow
    if name in RECIPES:
        workflow = RECIPES[name].workflow()
    elif Path(name).is_file():
        workflow, name = Workflow.load(Path(name)), Path(name).name
    else:
        raise BenchError(
            f"--workflow is {name!r}",
            f"allowed are {', '.join(RECIPES)}, or a file in API format",
            "there is nothing else to send",
            "Name one of these",
        )
    sizes = {key: getattr(options, key) for key in ("width", "height", "frames", "steps", "cfg")}
    return name, workflow.with_inputs(**sizes)


def upload(client: ComfyClient, name: str, workflow: Workflow, folder: Path) -> Workflow:
    """The graph with the drawn inputs of the smoke tests, for the recipes; others stay as are."""
    if name not in RECIPES:
        return workflow
    given: dict[str, str] = {}
    for role in RECIPES[name].inputs:
        if role == "image":
            picture = io.BytesIO(reference.example_image())
            given[role] = client.upload(picture, reference.IMAGE_NAME).reference
        else:
            path = (
                inputs.write_video(folder, "mp4")
                if role == "video"
                else inputs.write_mask(folder, "mp4")[0]
            )
            given[role] = client.upload(path, path.name).reference
    return workflow.with_inputs(**_roles(given))


def _roles(given: dict[str, str]) -> dict[str, Any]:
    return dict(given)


def job_of(workflow: Workflow) -> Job:
    """The work that a graph asks of the sampler.

    Raises:
        BenchError: its sizes are not those of a Wan video.
        WorkflowError: it has no such input.
    """
    steps = int(workflow.value("steps"))
    nodes = workflow.graph.values()
    if any(node["inputs"].get("sampler_name") in TWICE for node in nodes):
        steps *= 2
    try:
        return Job(
            width=int(workflow.value("width")),
            height=int(workflow.value("height")),
            frames=int(workflow.value("frames")),
            steps=steps,
            cfg=float(workflow.value("cfg")),
            reference=any("reference_image" in node["inputs"] for node in nodes),
        )
    except ValueError as error:
        raise BenchError(
            str(error), "sizes of a Wan video", "its work is counted", "Set --width and the like"
        ) from error
