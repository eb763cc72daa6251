"""The status listener: readiness, health and drain for whoever cannot run a command in here.

Kubernetes' probes and the gateway ask it over HTTP. It lives in the supervisor's process and
answers from before the first check until ComfyUI has ended. What needs ComfyUI is asked at most
once in `FRESH_SECONDS`, however many ask, and nobody waits longer than the constants below say.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from vace_comfyui import ready, state
from vace_comfyui.api import Api, NoAnswerError, Queue
from vace_comfyui.settings import Settings

FRESH_SECONDS = 2.0
"""As old as an answer may be that is given without asking ComfyUI again."""
READY_WAIT_SECONDS = ready.READY_SECONDS + 0.2
STATUS_WAIT_SECONDS = 0.5
"""The gateway asks before it passes a prompt on; whether it drains is known without ComfyUI."""
HEALTH_WAIT_SECONDS = 2.0
OLD_SECONDS = 10.0
"""A readiness older than that is none."""

_Value = TypeVar("_Value")


class Cached(Generic[_Value]):
    """One question to ComfyUI, asked by one thread at a time and only when somebody wants it."""

    def __init__(self, ask: Callable[[], _Value]) -> None:
        self._ask = ask
        self._changed = threading.Condition()
        self._latest: tuple[float, _Value] | None = None
        self._busy = False

    def get(self, wait: float) -> tuple[float, _Value] | None:
        """Age in seconds and value; asks again when it is not fresh, for which `wait` is spent.

        Gives the older value, or None where there never was one, when that does not suffice.
        """
        with self._changed:
            if not self._fresh():
                if not self._busy:
                    # First the thread: where none can be had, the next one tries again.
                    threading.Thread(target=self._refresh, daemon=True).start()
                    self._busy = True
                self._changed.wait_for(self._fresh, wait)
            if self._latest is None:
                return None
            at, value = self._latest
            return time.monotonic() - at, value

    def _fresh(self) -> bool:
        return self._latest is not None and time.monotonic() - self._latest[0] < FRESH_SECONDS

    def _refresh(self) -> None:
        found: tuple[float, _Value] | None = None
        try:
            value = self._ask()
            found = (time.monotonic(), value)
        finally:
            with self._changed:
                self._busy = False
                self._latest = found or self._latest
                self._changed.notify_all()


@dataclass(frozen=True)
class Page:
    """An answer: HTTP status and JSON document."""

    status: int
    document: dict[str, Any]


class Status:
    """What the listener's pages say. `stage` is what happens before ComfyUI is started."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stage = "the checks of a start begin"
        self._ready = Cached(lambda: ready.ready(settings))
        self._health = Cached(lambda: ready.health(settings))
        self._queue = Cached(self._ask_queue)

    def stage(self, text: str) -> None:
        """What is being done before ComfyUI starts; empty from then on."""
        self._stage = text

    def page(self, path: str) -> Page | None:
        """The answer to a path; None for one that does not exist."""
        if path == "/readyz":
            answer = self._readiness(READY_WAIT_SECONDS)
            document: dict[str, Any] = {"ready": answer.yes, "draining": answer.draining}
            if not answer.yes:
                document["reasons"] = list(answer.reasons)
            return Page(200 if answer.yes else 503, document)
        if path == "/healthz":
            answer = self._liveness()
            document = {"healthy": answer.yes, "reasons": list(answer.reasons)}
            return Page(200 if answer.yes else 503, document)
        return self._status() if path == "/status" else None

    def _status(self) -> Page:
        ends = time.monotonic() + STATUS_WAIT_SECONDS
        answer = self._readiness(STATUS_WAIT_SECONDS)
        asked = None
        if not self._stage:
            asked = self._queue.get(max(ends - time.monotonic(), 0))
        # An old length looks like a fact; unknown is told as null.
        queue = asked[1] if asked is not None and asked[0] < OLD_SECONDS else None
        document = {
            "ready": answer.yes,
            "draining": answer.draining,
            "reasons": list(answer.reasons),
            "queue_running": None if queue is None else len(queue.running),
            "queue_pending": None if queue is None else len(queue.pending),
        }
        return Page(200, document)

    def _readiness(self, wait: float) -> ready.Answer:
        if self._stage:
            return ready.Answer(False, (f"ComfyUI is not started yet: {self._stage}",))
        asked = self._ready.get(wait)
        # Read anew each time: a mark must not wait for ComfyUI, nor for a cache.
        known = state.read(self._settings.state)
        draining = ready.draining(self._settings, known)
        if asked is None or asked[0] > OLD_SECONDS:
            return ready.Answer(False, ("ComfyUI is being asked; ask again",), draining)
        return ready.Answer(asked[1].yes, asked[1].reasons, draining)

    def _liveness(self) -> ready.Answer:
        """As `health`, but yes until it has begun to serve: the startup probe waits for that."""
        if self._stage:
            return ready.Answer(True, (f"ComfyUI is not started yet: {self._stage}",))
        known = state.read(self._settings.state)
        if known is not None and known.phase == "starting":
            return ready.Answer(True, ("ComfyUI has not begun to serve",))
        asked = self._health.get(HEALTH_WAIT_SECONDS)
        # ComfyUI may take `ready.HEALTH_SECONDS`; until then the last verdict stands.
        return ready.Answer(True, ("ComfyUI is being asked",)) if asked is None else asked[1]

    def _ask_queue(self) -> Queue | None:
        try:
            with Api(self._settings, ready.READY_SECONDS) as api:
                return api.queue()
        except NoAnswerError:
            return None
