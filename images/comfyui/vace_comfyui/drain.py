"""``drain``: no new prompts are wanted; wait until those that are there have ended.

Made for Kubernetes' preStop hook, which runs before SIGTERM while the pod still serves. The mark is
a file beside the state; it names the ComfyUI that it is meant for, by id and start time, so that a
mark left by an earlier one says nothing about this one. ComfyUI itself knows no such mode: whoever
passes prompts on (the gateway) reads `draining` from the status listener and refuses them.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from vace_comfyui import state
from vace_comfyui.api import Api, NoAnswerError
from vace_comfyui.settings import Settings

MARK = "drain.json"
LINGER_SECONDS = 15.0
"""Time in which clients fetch the last result: they ask for the history every few seconds."""
SETTLE_SECONDS = 3.0
"""Even an idle service stays that long: a prompt may be on its way past a gateway that asked for
the status just before the mark was set."""
POLL_SECONDS = 0.2
ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class Mark:
    """Who shall drain, and until when (monotonic s, which all processes of a machine share)."""

    pid: int
    started: int
    until: float


def mark(settings: Settings, seconds: float) -> state.State | None:
    """Mark the running service as draining. Gives its state; None when there is none.

    Raises:
        OSError: the mark cannot be written.
    """
    known = state.read(settings.state)
    if known is not None:
        document = asdict(Mark(known.pid, known.started, time.monotonic() + seconds))
        temporary = settings.state / f"{MARK}.tmp"
        temporary.write_text(json.dumps(document) + "\n", encoding="utf-8")
        temporary.replace(settings.state / MARK)
    return known


def unmark(settings: Settings) -> bool:
    """Take the mark away; whether the running service had one. Raises OSError."""
    was = until(settings.state) is not None
    (settings.state / MARK).unlink(missing_ok=True)
    return was


def until(folder: Path, known: state.State | None = None) -> float | None:
    """When the drain of the running service ends (monotonic s); None when it is not marked."""
    known = state.read(folder) if known is None else known
    try:
        found = Mark(**json.loads((folder / MARK).read_text(encoding="utf-8")))
        ends = float(found.until)
    except (OSError, ValueError, TypeError):
        return None
    if known is None or (found.pid, found.started) != (known.pid, known.started):
        return None
    return ends


def run(settings: Settings, seconds: float, linger: float) -> str:
    """Mark, wait until nothing runs or waits and `linger` seconds longer; tells what happened.

    Returns after at most `seconds` + `linger`, whatever ComfyUI does. Only what comes after
    (SIGTERM) ends the service; the mark stays.
    """
    begun = time.monotonic()
    try:
        known = mark(settings, seconds)
    except OSError as error:
        return f"not marked ({error.strerror}: {error.filename}); SIGTERM drains by itself"
    if known is None:
        return "ComfyUI is not running: nothing to wait for"
    worked, quiet = False, None
    while True:
        known = state.read(settings.state)
        if known is None:
            return f"ComfyUI has ended, {_after(begun)}"
        if known.phase == "starting":
            return "ComfyUI has not begun to serve: nothing to wait for"
        now = time.monotonic()
        # A prompt that slips in while it lingers gets what is left of both times.
        ends = begun + seconds + (linger if quiet is not None else 0)
        left, unknown = _left(settings, known, max(ends - now, POLL_SECONDS))
        now = time.monotonic()
        if left or unknown:
            worked, quiet = True, None
            if now >= begun + seconds:
                return f"{unknown or f'{left} prompts are left'}, {_after(begun)}; giving up"
        else:
            if quiet is None:
                quiet = now + _linger(settings, linger, worked=worked)
            if now >= min(quiet, begun + seconds + linger):
                return f"nothing runs or waits, {_after(begun)}"
        time.sleep(POLL_SECONDS)


def _linger(settings: Settings, linger: float, *, worked: bool) -> float:
    """How long to stay once nothing runs: counted from the end of the last prompt.

    ComfyUI writes to its log when a prompt ends, so a silent log is no younger than that.
    """
    if worked:
        return linger
    return max(linger - state.silent_seconds(settings.state), min(linger, SETTLE_SECONDS))


def _left(settings: Settings, known: state.State, seconds: float) -> tuple[int, str]:
    """How many prompts run or wait; or 0, and why that is not known."""
    try:
        with Api(settings, min(ANSWER_SECONDS, seconds)) as api:
            left = len(api.queue().busy)
    except NoAnswerError as error:
        return 0, f"it is not known whether prompts are left ({error})"
    # The warm-up is nobody's video. SIGTERM looks again, should it be another one.
    return max(0, left - 1) if known.warm_up == "running" else left, ""


def _after(begun: float) -> str:
    return f"after {time.monotonic() - begun:.0f} s"
