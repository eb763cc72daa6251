"""Results of earlier prompts, so that an unchanged part of a graph does not run again.

The rule of ComfyUI's default cache: a result is found again when the node's class, its own values
and everything upstream are the same (node ids do not matter), and it is forgotten once a prompt
that does not contain it has succeeded. After a failed prompt nothing is forgotten, as recorded in
queue_and_interrupt.json: there a picture loaded before a failed prompt is still known after it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rehearsal.comfyui.catalogue import Catalogue
from rehearsal.comfyui.validation import Graph, is_link


@dataclass(frozen=True)
class Result:
    """What a node left behind.

    Attributes:
        outputs: values by slot.
        ui: what clients see under ``outputs`` of the history, or None.
        meta: the history's ``meta`` entry of the node that produced it.
    """

    outputs: tuple[Any, ...]
    ui: dict[str, Any] | None
    meta: dict[str, Any] | None


class Cache:
    """Results by signature."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._results: dict[str, Result] = {}
        self._signatures: dict[str, str] = {}

    def begin(self, graph: Graph, fingerprint: Callable[[str], Any]) -> None:
        """Start a prompt: compute the signatures of its nodes.

        Args:
            graph: the prompt.
            fingerprint: what changes when a node's file changes, by node id; None for most nodes.
        """
        self._signatures = {}
        for node_id in graph:
            self._sign(graph, node_id, fingerprint)

    def forget_others(self) -> None:
        """Forget results that are not part of the current prompt; for use when it succeeded."""
        wanted = set(self._signatures.values())
        self._results = {key: item for key, item in self._results.items() if key in wanted}

    def _sign(self, graph: Graph, node_id: str, fingerprint: Callable[[str], Any]) -> str:
        if node_id in self._signatures:
            return self._signatures[node_id]
        self._signatures[node_id] = "cycle"
        node = graph[node_id]
        parts: list[Any] = [node["class_type"], fingerprint(node_id)]
        if self._catalogue.wants_node_id(node["class_type"]):
            parts.append(node_id)
        for name in sorted(node["inputs"]):
            value = node["inputs"][name]
            if is_link(value) and value[0] in graph:
                value = ["link", self._sign(graph, value[0], fingerprint), value[1]]
            parts.append([name, value])
        text = json.dumps(parts, sort_keys=True, default=str)
        self._signatures[node_id] = hashlib.sha256(text.encode()).hexdigest()
        return self._signatures[node_id]

    def get(self, node_id: str) -> Result | None:
        """The result of a node of the current prompt, if there is one."""
        return self._results.get(self._signatures[node_id])

    def put(self, node_id: str, result: Result) -> None:
        """Keep the result of a node of the current prompt."""
        self._results[self._signatures[node_id]] = result

    def clear(self) -> None:
        """Forget everything (POST /free with ``free_memory``)."""
        self._results = {}
