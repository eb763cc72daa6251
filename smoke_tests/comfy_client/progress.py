"""How far a job is, from ComfyUI's events. Pure: messages in, one number and a place out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from smoke_tests.comfy_client import protocol

# Share of the running time by kind of node, so that the percentage moves evenly. Rough on
# purpose: sampling dominates, decoding follows, loading a model is noticed, the rest is not.
WEIGHTS = (("Sampler", 70.0), ("VAEDecode", 12.0), ("Loader", 3.0), ("VideoCombine", 3.0))
OTHER_WEIGHT = 0.5

Ended = Literal["success", "error", "interrupted"]


@dataclass(frozen=True)
class Progress:
    """A moment of a job.

    Attributes:
        state: "queued" or "running".
        percent: 0..100, never falls within one job.
        position: place in the waiting line, from 1; 0 when unknown or running.
        node_id, node_type: the node at work, or empty.
        value, maximum: its own steps; maximum 0 when it tells none.
    """

    state: Literal["queued", "running"]
    percent: float
    position: int = 0
    node_id: str = ""
    node_type: str = ""
    value: int = 0
    maximum: int = 0

    def __str__(self) -> str:
        if self.state == "queued":
            return f"queued, number {self.position} in line" if self.position else "queued"
        steps = f" {self.value}/{self.maximum}" if self.maximum > 1 else ""
        return f"{self.percent:.0f} %  {self.node_type or 'starting'}{steps}"


class Tracker:
    """Turns the event stream of one job into `Progress`.

    Args:
        graph: the submitted graph in API format.
        prompt_id: events of other jobs are ignored.
    """

    def __init__(self, graph: Mapping[str, Any], prompt_id: str) -> None:
        self._prompt_id = prompt_id
        self._types = {node: str(entry.get("class_type", "")) for node, entry in graph.items()}
        self._weights = {node: _weight(kind) for node, kind in self._types.items()}
        self._done = dict.fromkeys(self._types, 0.0)
        self._node = ""
        self._steps = (0, 0)
        self._percent = 0.0
        self._running = False
        self._position = 0
        self.ended: Ended | None = None

    @property
    def progress(self) -> Progress:
        """The job's present moment."""
        if not self._running:
            return Progress("queued", 0.0, position=self._position)
        value, maximum = self._steps
        return Progress(
            "running",
            self._percent,
            node_id=self._node,
            node_type=self._types.get(self._node, ""),
            value=value,
            maximum=maximum,
        )

    def queue_position(self, position: int | None) -> None:
        """Take over what GET /queue says; see `protocol.queue_position`."""
        if position == 0:
            self._running = True
        elif position is not None:
            self._position = position

    def feed(self, message: Mapping[str, Any]) -> None:
        """Take over one decoded text message of the event stream.

        Raises:
            ExecutionError, OutOfMemory, Interrupted: the stream reports the job's end by one.
        """
        kind, data = message.get("type"), message.get("data")
        if not isinstance(data, dict) or data.get("prompt_id") != self._prompt_id:
            return
        if kind == "execution_error":
            self.ended = "error"
            protocol.raise_execution_error(self._prompt_id, data)
        if kind == "execution_interrupted":
            self.ended = "interrupted"
            protocol.raise_interrupted(self._prompt_id, data)
        self._running = True
        self._take(str(kind), data)
        total = sum(self._weights.values()) or 1.0
        share = sum(self._weights[node] * done for node, done in self._done.items()) / total
        self._percent = max(self._percent, round(100 * share, 1))

    def _take(self, kind: str, data: Mapping[str, Any]) -> None:
        node = str(data.get("node"))
        match kind:
            case "execution_success":
                self.ended = "success"
                self._finish(*self._done)
            case "execution_cached":
                self._finish(*map(str, data.get("nodes", [])))
            case "executed":
                self._finish(node)
            case "executing" if data.get("node") is not None:
                self._enter(node)
            case "progress":
                self._enter(node)
                self._step(node, data)
            case "progress_state" if isinstance(data.get("nodes"), dict):
                for each, state in data["nodes"].items():
                    if state.get("state") == "finished":
                        self._finish(str(each))
                    elif state.get("state") == "running":
                        self._step(str(each), state)

    def _enter(self, node: str) -> None:
        if node == self._node:
            return
        self._finish(self._node)
        self._node, self._steps = node, (0, 0)

    def _step(self, node: str, data: Mapping[str, Any]) -> None:
        value, maximum = _number(data.get("value")), _number(data.get("max"))
        if maximum > 0 and node in self._done:
            self._done[node] = max(self._done[node], min(1.0, value / maximum))
        if node == self._node:
            self._steps = (int(value), int(maximum))

    def _finish(self, *nodes: str) -> None:
        for node in nodes:
            if node in self._done:
                self._done[node] = 1.0


def _weight(class_type: str) -> float:
    for part, weight in WEIGHTS:
        if part in class_type:
            return weight
    return OTHER_WEIGHT


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
