"""``ready``: can this service make a video? ``health``: is its process alive?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vace_comfyui import drain, state
from vace_comfyui.api import Api, NoAnswerError, expected
from vace_comfyui.settings import Settings

READY_SECONDS = 1.8
STOPS = ("draining", "stopping")
DRAINS = "; it drains: new prompts are not wanted"
HEALTH_SECONDS = 25.0
"""As long as a busy interpreter may keep a small answer waiting."""

NODES = (
    "WanVaceToVideo", "VHS_VideoCombine", "VHS_LoadVideo", "ImageResizeKJv2", "INTConstant",
    "UNETLoader", "CLIPLoader", "VAELoader", "CLIPTextEncode", "KSampler", "ModelSamplingSD3",
    "TrimVideoLatent", "VAEDecode", "LoadImage",
)  # fmt: skip
"""What the service's graphs and the warm-up consist of."""
LOADERS = {
    "diffusion_models": ("UNETLoader", "unet_name"),
    "text_encoders": ("CLIPLoader", "clip_name"),
    "vae": ("VAELoader", "vae_name"),
}


@dataclass(frozen=True)
class Answer:
    """Yes or no, and every reason for a no; `draining`: no new prompts are wanted."""

    yes: bool
    reasons: tuple[str, ...]
    draining: bool = False

    def __str__(self) -> str:
        return "; ".join(self.reasons)


def ready(settings: Settings, seconds: float = READY_SECONDS) -> Answer:
    """From what the running service recorded, and from what ComfyUI answers now."""
    known = state.read(settings.state)
    if known is None:
        return Answer(False, ("ComfyUI is not running: `vace-comfyui serve` starts it",))
    drains = draining(settings, known)
    reasons = []
    if known.phase in STOPS:
        reasons.append(f"it is {known.phase}: it takes no new work")
    if not known.encoder:
        reasons.append("the encoder test has not passed")
    if known.warm_up not in ("done", "off"):
        reasons.append(f"the warm-up is {known.warm_up} {known.detail}".rstrip())
    try:
        with Api(settings, seconds) as api:
            infos = {name: api.node(name) for name in NODES}
        listed = _listed(infos)
    except NoAnswerError as error:
        reasons.append(f"ComfyUI gives no usable answer: {error}")
        return Answer(False, tuple(reasons), drains)
    missing = [name for name, info in infos.items() if info is None]
    if missing:
        reasons.append(f"node classes are missing: {', '.join(missing)} (see the log for "
                       "IMPORT FAILED)")  # fmt: skip
    for folder, names in listed.items():
        wanted = known.models.get(folder)
        if wanted not in names:
            reasons.append(f"{LOADERS[folder][0]} does not list {wanted}, it lists {names}")
    if reasons:
        return Answer(False, tuple(reasons), drains)
    return Answer(True, (f"it can make a video{DRAINS if drains else ''}",), drains)


def draining(settings: Settings, known: state.State | None) -> bool:
    """Whether the running service wants no new prompts: `drain` marked it, or it was told to stop.

    A marked one is still ready, so that whoever routes by that still reaches its results.
    """
    if known is None:
        return False
    return known.phase in STOPS or drain.until(settings.state, known) is not None


def _listed(infos: dict[str, dict[str, Any] | None]) -> dict[str, list[str]]:
    """Files that each loader offers, by model folder; loaders that are missing are left out."""
    found = {}
    for folder, (loader, field) in LOADERS.items():
        info = infos[loader]
        if info is not None:
            with expected(f"/object_info/{loader}"):
                choices = info["input"]["required"][field][0]
                if not isinstance(choices, list):
                    raise TypeError(f"{field} is {choices!r:.120}, no list of files")
                found[folder] = choices
    return found


def health(settings: Settings, seconds: float = HEALTH_SECONDS) -> Answer:
    """Whether it answers, and whether a prompt that runs still moves.

    ComfyUI tells progress only to WebSocket clients, so its log stands for it: it writes when a
    prompt is taken, at every sampler step and when a prompt ends.
    """
    try:
        with Api(settings, seconds) as api:
            api.alive()
            running = api.queue().running
    except NoAnswerError as error:
        return Answer(False, (f"ComfyUI gives no usable answer: {error}",))
    silent = state.silent_seconds(settings.state)
    if running and settings.stall_seconds and silent > settings.stall_seconds:
        return Answer(
            False,
            (
                f"prompt {running[0]} runs and the log has been silent for {silent:.0f} s, "
                f"more than {settings.stall_seconds:g} s (VACE_STALL_SECONDS)",
            ),
        )
    return Answer(True, ("it answers",))
