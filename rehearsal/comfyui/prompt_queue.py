"""The queue of prompts, what runs, and the history.

The lowest number runs first; ``front: true`` gives a negative one. Deleting removes only what
waits: a deleted prompt leaves no history.
"""

from __future__ import annotations

import copy
import heapq
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

#: (number, prompt id, graph, extra data, output nodes), as /queue shows it.
Item = tuple[float, str, dict[str, Any], dict[str, Any], list[str]]

MAXIMUM_HISTORY = 10_000

#: Output nodes that are taken out of prompts put from this context (fault ``partial``).
REFUSED_OUTPUTS: ContextVar[frozenset[str]] = ContextVar("refused", default=frozenset())


class PromptQueue:
    """Thread-safe; ``changed`` is called after every change, outside the lock.

    Args:
        changed: called after every change.
        history_limit: entries that the history keeps; the oldest goes first.
    """

    def __init__(
        self, changed: Callable[[], None], *, history_limit: int = MAXIMUM_HISTORY
    ) -> None:
        self._history_limit = history_limit
        self._changed = changed
        self._condition = threading.Condition()
        self._heap: list[tuple[float, int, Item]] = []
        self._running: dict[str, Item] = {}
        self._history: dict[str, dict[str, Any]] = {}
        self._arrivals = 0
        self._flags: dict[str, bool] = {}
        self._closed = False

    def put(self, item: Item) -> None:
        """Add a prompt."""
        refused = REFUSED_OUTPUTS.get()
        if refused:
            item = (*item[:4], [output for output in item[4] if output not in refused])
        with self._condition:
            self._arrivals += 1
            # Arrival order decides between equal numbers; items themselves cannot be compared.
            heapq.heappush(self._heap, (item[0], self._arrivals, item))
            self._condition.notify()
        self._changed()

    def take(self, starting: Callable[[], None] | None = None) -> Item | None:
        """Wait for work. None when there is a flag to look at or the queue is closed.

        Args:
            starting: called before anybody can see that the prompt runs.
        """
        with self._condition:
            while not self._heap and not self._flags and not self._closed:
                self._condition.wait()
            # Flags first: who asks for memory and then sends a prompt expects that order.
            if self._closed or self._flags or not self._heap:
                return None
            item = heapq.heappop(self._heap)[2]
            if starting is not None:
                starting()
            self._running[item[1]] = item
        self._changed()
        return item

    def finish(self, item: Item, entry: dict[str, Any]) -> None:
        """Move a running prompt to the history; one that was forgotten stays forgotten."""
        with self._condition:
            if self._running.get(item[1]) is not item:
                return
            del self._running[item[1]]
            while len(self._history) >= self._history_limit:
                self._history.pop(next(iter(self._history)))
            self._history[item[1]] = {"prompt": list(item), **entry}
        self._changed()

    def drop(self, item: Item) -> None:
        """Forget a running prompt without a trace."""
        with self._condition:
            if self._running.get(item[1]) is item:
                del self._running[item[1]]
        self._changed()

    def forget(self) -> None:
        """Forget everything, as a new process does; what runs is for the worker to abandon."""
        with self._condition:
            self._heap = []
            self._running = {}
            self._history = {}
            self._flags["free_memory"] = True
            self._condition.notify()
        self._changed()

    def close(self) -> None:
        """Make `take` return None from now on."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        with self._condition:
            return self._closed

    def set_flag(self, name: str) -> None:
        """Ask the worker for something between two prompts (``free_memory``)."""
        with self._condition:
            self._flags[name] = True
            self._condition.notify()

    def take_flags(self) -> dict[str, bool]:
        """The flags set since the last call."""
        with self._condition:
            flags, self._flags = self._flags, {}
            return flags

    def remaining(self) -> int:
        """Prompts that wait or run."""
        with self._condition:
            return len(self._heap) + len(self._running)

    def listing(self) -> tuple[list[Item], list[Item]]:
        """What runs, and what waits in the order in which it will run."""
        with self._condition:
            running = list(self._running.values())
            pending = [entry[2] for entry in sorted(self._heap, key=lambda entry: entry[:2])]
            return copy.copy(running), pending

    def delete(self, prompt_id: str) -> bool:
        """Remove a waiting prompt; False when there is none of that id."""
        with self._condition:
            kept = [entry for entry in self._heap if entry[2][1] != prompt_id]
            found = len(kept) != len(self._heap)
            self._heap = kept
            heapq.heapify(self._heap)
        if found:
            self._changed()
        return found

    def clear(self) -> None:
        """Remove everything that waits."""
        with self._condition:
            self._heap = []
        self._changed()

    def history(
        self, prompt_id: str | None = None, *, max_items: int | None = None, offset: int = -1
    ) -> dict[str, Any]:
        """History entries by prompt id; empty when the id is unknown.

        Args:
            prompt_id: one entry only.
            max_items: at most so many; without an offset the newest ones.
            offset: first entry, counted from the oldest; negative for none.
        """
        with self._condition:
            if prompt_id is not None:
                entry = self._history.get(prompt_id)
                return {} if entry is None else {prompt_id: entry}
            if offset < 0:
                offset = max(0, len(self._history) - max_items) if max_items is not None else 0
            keys = list(self._history)[offset:]
            if max_items is not None:
                keys = keys[:max_items]
            return {key: self._history[key] for key in keys}

    def clear_history(self) -> None:
        """Forget the whole history."""
        with self._condition:
            self._history = {}

    def delete_history(self, prompt_id: str) -> None:
        """Forget one entry; unknown ids are ignored."""
        with self._condition:
            self._history.pop(prompt_id, None)
