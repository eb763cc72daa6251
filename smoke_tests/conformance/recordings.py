"""The recorded conversations, as `data/extract.py` wrote them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).with_name("data") / "recordings.json"


@dataclass(frozen=True)
class Exchange:
    """One request and what a real server answered.

    Attributes:
        note: the recorder's words about it, may be empty.
        send: ``method``, ``path`` and one of ``json``, ``raw``, ``upload``; ``range`` of bytes.
        status, headers, json: the answer; ``json`` is None when there was none.
    """

    note: str
    send: Mapping[str, Any]
    status: int
    headers: Mapping[str, str]
    json: Any

    @property
    def title(self) -> str:
        """Method, path and note, for sentences."""
        title = f"{self.send['method']} {self.send['path']}"
        return f"{title} ({self.note})" if self.note else title


@dataclass(frozen=True)
class Scenario:
    """One recording: its exchanges and the WebSocket messages about its jobs, each in order."""

    name: str
    what: str
    exchanges: tuple[Exchange, ...]
    messages: tuple[dict[str, Any], ...]


@cache
def load() -> Mapping[str, Scenario]:
    """All recordings in the order in which they were made, by name. Do not change their values."""
    recorded = json.loads(DATA.read_text(encoding="utf-8"))
    graphs = recorded["graphs"]

    def grown(value: Any) -> Any:
        if isinstance(value, list):
            return [grown(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$graph" in value:
            return graphs[value["$graph"]]
        return {key: grown(item) for key, item in value.items()}

    return {
        name: Scenario(
            name,
            one["what"],
            tuple(
                Exchange(
                    item["note"],
                    grown(item["send"]),
                    item["answer"]["status"],
                    item["answer"]["headers"],
                    grown(item["answer"].get("json")),
                )
                for item in one["exchanges"]
            ),
            tuple(grown(message) for message in one["messages"]),
        )
        for name, one in recorded["scenarios"].items()
    }
