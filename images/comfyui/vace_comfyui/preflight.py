"""Everything that is looked at before ComfyUI starts; all failures are collected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vace_comfyui import encoder, gpu, profiles, scratch, weights
from vace_comfyui.image import Image
from vace_comfyui.problems import Exit, Problem, say
from vace_comfyui.settings import Settings

MAIN = "main.py"


@dataclass(frozen=True)
class Result:
    """What the checks found; `vram` is the smallest GPU's memory in bytes, 0 without one."""

    problems: tuple[Problem, ...]
    models: dict[str, str]
    vram: int


def run(
    settings: Settings,
    image: Image,
    probe: gpu.Probe = gpu.probe,
    stage: Callable[[str], None] = lambda _text: None,
) -> Result:
    """Check weights, GPU, scratch space and encoders, all of them whatever the others say.

    `stage` is told what is looked at, before it is.
    """
    problems: list[Problem] = []
    if not (settings.home / MAIN).is_file():
        problems.append(
            Problem(
                Exit.USAGE,
                str(settings.home / MAIN),
                "no such file",
                "ComfyUI's source",
                "there is nothing to start",
                "use an image that was built from the lock, or correct VACE_COMFYUI_HOME",
            )
        )
    stage("the folders are written to")
    scratch_problems = scratch.check(settings)
    stage("the weights are checked; a first start hashes them, which takes minutes")
    checked = weights.check(settings.models, settings.own_files / weights.STAMP, settings.verify)
    problems += checked.problems
    vram = 0
    if image.has_gpu:
        stage("the GPU is looked at")
        found = probe()
        say(f"GPU: {found}")
        problems += gpu.check(image, found)
        problems += profiles.check(settings.profile, found.devices)
        vram = min((device.memory for device in found.devices), default=0)
    problems += scratch_problems
    stage("the encoders are tried")
    problems += encoder.check(settings.home)
    return Result(tuple(problems), checked.names, vram)
