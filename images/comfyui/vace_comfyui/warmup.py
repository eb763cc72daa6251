"""The warm-up: a tiny real video, so that the first customer does not wait and ready means ready.

It loads the text encoder, the model and the VAE with the inputs that existing graphs use (their
loaders then find the result in ComfyUI's cache), runs one step at the smallest size that the model
takes, decodes, and encodes into the temp folder. Nothing of it is left: neither a result nor a row
in the history.
"""

from __future__ import annotations

import secrets
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from vace_comfyui.api import Api, NoAnswerError, expected
from vace_comfyui.settings import Settings

SIZE = 16
"""Pixels: VAE stride 8 times patch size 2."""
FRAMES = 5
"""4n+1, and more than one, so that the temporal part of the VAE runs too."""
POLL_SECONDS = 0.2
CALL_SECONDS = 30.0
ATTEMPTS = 3
"""A warm-up that somebody interrupts says nothing about the service."""

Ended = Literal["done", "failed", "interrupted", "stopped"]


@dataclass(frozen=True)
class Outcome:
    """How the warm-up ended, and for a failure why."""

    ended: Ended
    detail: str = ""
    seconds: float = 0.0


def graph(models: dict[str, str], prefix: str, seed: int) -> dict[str, Any]:
    """The prompt. `models` maps model folder to file name."""

    def node(kind: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": kind, "inputs": inputs}

    return {
        "11": node("UNETLoader", unet_name=models["diffusion_models"],
                   weight_dtype="fp8_e4m3fn_fast"),
        "13": node("CLIPLoader", clip_name=models["text_encoders"], type="wan", device="default"),
        "14": node("VAELoader", vae_name=models["vae"]),
        "15": node("CLIPTextEncode", text="warm-up", clip=["13", 0]),
        "17": node("WanVaceToVideo", width=SIZE, height=SIZE, length=["21", 0], batch_size=1,
                   strength=1.0, positive=["15", 0], negative=["15", 0], vae=["14", 0]),
        "21": node("INTConstant", value=FRAMES),
        "24": node("KSampler", seed=seed, steps=1, cfg=1.0, sampler_name="uni_pc",
                   scheduler="simple", denoise=1.0, model=["27", 0], positive=["17", 0],
                   negative=["17", 1], latent_image=["17", 2]),
        "27": node("ModelSamplingSD3", shift=8.0, model=["11", 0]),
        "30": node("TrimVideoLatent", trim_amount=["17", 3], samples=["24", 0]),
        "31": node("VAEDecode", samples=["30", 0], vae=["14", 0]),
        "32": node("VHS_VideoCombine", frame_rate=16, loop_count=0, filename_prefix=prefix,
                   format="video/h264-mp4", pix_fmt="yuv420p", crf=19, save_metadata=False,
                   trim_to_audio=False, pingpong=False, save_output=False, images=["31", 0]),
    }  # fmt: skip


def wait_until_up(settings: Settings, stop: threading.Event) -> bool:
    """Wait until ComfyUI answers; False when `stop` came first."""
    while not stop.wait(POLL_SECONDS):
        try:
            with Api(settings, 5.0) as api:
                api.alive()
        except NoAnswerError:
            continue
        return True
    return False


def run(
    settings: Settings, models: dict[str, str], stop: threading.Event, say: Callable[[str], None]
) -> Outcome:
    """Run the warm-up, again when it was interrupted. Never raises NoAnswerError."""
    outcome = Outcome("stopped")
    for attempt in range(1, ATTEMPTS + 1):
        outcome = _once(settings, models, stop)
        if outcome.ended != "interrupted":
            break
        say(f"warm-up: interrupted by a request ({attempt} of {ATTEMPTS})")
    else:
        outcome = Outcome("failed", f"it was interrupted {ATTEMPTS} times")
    return outcome


def _once(settings: Settings, models: dict[str, str], stop: threading.Event) -> Outcome:
    started = time.monotonic()
    prompt_id = str(uuid.uuid4())
    prefix = f"vace-warm-up-{prompt_id}"
    body = {
        "prompt": graph(models, prefix, secrets.randbits(32)),
        "prompt_id": prompt_id,
        "client_id": prefix,
    }
    try:
        with Api(settings, CALL_SECONDS) as api:
            answer = api.post("/prompt", body)
        with expected("/prompt"):
            prompt_id = str(answer["prompt_id"])
            refused = answer.get("node_errors")
        if refused:
            return Outcome("failed", f"ComfyUI refused a part of it: {refused}")
        outcome = _wait(settings, prompt_id, stop, started + settings.warm_up_seconds)
        # The entry of a failure stays: it says what went wrong, and whether memory was short.
        if outcome.ended == "done":
            _clean(settings, prompt_id)
    except NoAnswerError as error:
        if stop.is_set():
            return Outcome("stopped")
        return Outcome("failed", str(error))
    finally:
        for path in settings.folders["temp"].glob(f"{prefix}*"):
            path.unlink(missing_ok=True)
    return Outcome(outcome.ended, outcome.detail, time.monotonic() - started)


def _wait(settings: Settings, prompt_id: str, stop: threading.Event, deadline: float) -> Outcome:
    while time.monotonic() < deadline:
        with Api(settings, CALL_SECONDS) as api:
            entry = api.entry(prompt_id)
            if entry is not None:
                return _read(entry, prompt_id)
            if stop.is_set():
                api.post("/queue", {"delete": [prompt_id]})
                api.post("/interrupt", {"prompt_id": prompt_id})
                return Outcome("stopped")
            if prompt_id not in api.queue().busy:
                # It may have ended between the two questions.
                entry = api.entry(prompt_id)
                return _read(entry, prompt_id) if entry is not None else Outcome("interrupted")
        stop.wait(POLL_SECONDS)
    with Api(settings, CALL_SECONDS) as api:
        api.post("/interrupt", {"prompt_id": prompt_id})
    return Outcome("failed", f"it took longer than {settings.warm_up_seconds:g} s")


def _read(entry: dict[str, Any], prompt_id: str) -> Outcome:
    with expected(f"/history/{prompt_id}"):
        return _judge(entry)


def _judge(entry: dict[str, Any]) -> Outcome:
    messages = dict(entry["status"]["messages"])
    if "execution_interrupted" in messages:
        return Outcome("interrupted")
    error = messages.get("execution_error")
    if error is not None:
        return Outcome(
            "failed",
            f"{error['node_type']} failed: {error['exception_type']}: "
            f"{str(error['exception_message']).strip()}",
        )
    files = [file for node in entry["outputs"].values() for file in node.get("gifs", ())]
    if not files:
        return Outcome("failed", "it ended without an error and without a video")
    return Outcome("done")


def _clean(settings: Settings, prompt_id: str) -> None:
    with Api(settings, CALL_SECONDS) as api:
        api.post("/history", {"delete": [prompt_id]})
