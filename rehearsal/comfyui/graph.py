"""The order in which nodes run.

Only nodes that an output needs and that are not in the cache run. Among those that could run next,
ComfyUI prefers what the user sees soonest: an output node, then a node that feeds one, then a node
two links away from one. The order matters to clients, which watch the ``executing`` messages.
"""

from __future__ import annotations

from collections.abc import Callable

from rehearsal.comfyui.validation import Graph, is_link


class ExecutionOrder:
    """Hands out the nodes of one prompt, each when its inputs are there."""

    def __init__(
        self, graph: Graph, is_cached: Callable[[str], bool], is_output: Callable[[str], bool]
    ) -> None:
        self._graph = graph
        self._is_cached = is_cached
        self._is_output = is_output
        self._pending: dict[str, None] = {}
        self._waits_for: dict[str, set[str]] = {}
        self._feeds: dict[str, set[str]] = {}

    def add(self, node_id: str) -> None:
        """Add a node and everything upstream of it that must run."""
        stack = [node_id]
        while stack:
            current = stack.pop()
            if current in self._pending:
                continue
            self._pending[current] = None
            self._waits_for.setdefault(current, set())
            for value in self._graph[current]["inputs"].values():
                if not is_link(value) or self._is_cached(value[0]):
                    continue
                stack.append(value[0])
                self._waits_for[current].add(value[0])
                self._feeds.setdefault(value[0], set()).add(current)

    def __bool__(self) -> bool:
        return bool(self._pending)

    def take(self) -> str:
        """The node to run now.

        Raises:
            RuntimeError: the graph has a cycle.
        """
        ready = [node for node in self._pending if not self._waits_for[node] & set(self._pending)]
        if not ready:
            raise RuntimeError("Dependency cycle detected")
        return next(filter(self._is_output, ready), None) or self._feeding(ready) or ready[0]

    def _feeding(self, ready: list[str]) -> str | None:
        for reach in (1, 2):
            for node in ready:
                reached = {node}
                for _ in range(reach):
                    reached = {after for one in reached for after in self._feeds.get(one, ())}
                if any(map(self._is_output, reached)):
                    return node
        return None

    def done(self, node_id: str) -> None:
        """Mark a node as finished, which sets free what waits for it."""
        del self._pending[node_id]
