"""Progress of one prompt: the ``progress`` and ``progress_state`` messages."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

#: ComfyUI sends intermediate steps at most this often; the first and the last step always.
MIN_INTERVAL_SECONDS = 0.1

Send = Callable[[str, Any], None]


class SendPreview(Protocol):
    """Sends a JPEG: described, for clients that asked for it, or bare for the others."""

    def __call__(self, jpeg: bytes, place: dict[str, Any], *, described: bool) -> None:
        """``place`` says which node of which prompt it shows."""


class Progress:
    """Keeps one entry per node that has started and sends it after every change."""

    def __init__(self, prompt_id: str, send: Send, send_preview: SendPreview) -> None:
        self._prompt_id = prompt_id
        self._send = send
        self._send_preview = send_preview
        self._nodes: dict[str, dict[str, Any]] = {}
        self._last_sent: dict[str, float] = {}

    def _entry(self, node_id: str, value: float, maximum: float, state: str) -> None:
        self._nodes[node_id] = {
            "value": value,
            "max": maximum,
            "state": state,
            "node_id": node_id,
            "prompt_id": self._prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
        }
        snapshot = {key: dict(entry) for key, entry in self._nodes.items()}
        self._send("progress_state", {"prompt_id": self._prompt_id, "nodes": snapshot})

    def start(self, node_id: str) -> None:
        """The node runs now."""
        self._entry(node_id, 0.0, 1.0, "running")

    def step(
        self,
        node_id: str,
        value: int,
        maximum: int,
        preview: Callable[[], bytes] | None = None,
    ) -> None:
        """The node did ``value`` of ``maximum`` steps; ``preview`` makes a JPEG of the result."""
        now = time.monotonic()
        last = self._last_sent.get(node_id)
        if last is not None and value < maximum and now - last < MIN_INTERVAL_SECONDS:
            return
        self._last_sent[node_id] = now
        self._entry(node_id, value, maximum, "running")
        jpeg = preview() if preview is not None else b""
        place = {
            "node_id": node_id,
            "prompt_id": self._prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
        }
        # The order of the real server: a described picture before the step, a bare one after it.
        if jpeg:
            self._send_preview(jpeg, place, described=True)
        data = {"value": value, "max": maximum, "prompt_id": self._prompt_id, "node": node_id}
        self._send("progress", data)
        if jpeg:
            self._send_preview(jpeg, place, described=False)

    def finish(self, node_id: str) -> None:
        """The node is done; one that was cached starts and ends here."""
        known = self._nodes.get(node_id)
        maximum = known["max"] if known else 1
        self._entry(node_id, maximum, maximum, "finished")

    def fail(self, node_id: str) -> None:
        """The node failed or was interrupted."""
        known = self._nodes.get(node_id) or {"value": 0.0, "max": 1.0}
        self._entry(node_id, known["value"], known["max"], "error")
