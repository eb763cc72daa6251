"""What counts as the same answer.

Ids, times, counters in file names and folders differ on every run and become placeholders on both
sides. What depends on the machine (devices, versions, sizes) is compared by shape: the same fields
with values of the same type.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

VOLATILE = frozenset({"traceback", "timestamp", "create_time", "execution_start_time",
                      "execution_end_time"})  # fmt: skip
#: Sets in the real server: their order means nothing.
SETS = frozenset({"current_outputs", "executed"})
#: Values that say how large or busy this very server is.
BY_SHAPE = frozenset({"max_upload_size"})
#: A field that only a simulation has, so that nobody takes it for the real thing.
MARK = "simulated"

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{32}\b|<id-\d+>")
_TEMP = re.compile(r"ComfyUI_temp_[a-z]{5}_\d{5}_")
_COUNTER = re.compile(r"((?:VACE_video|edit)_)\d{5}")
_FOLDER = re.compile(r"(?:<base>|(?:/[^/\s'\"]+)+)/(input|output|temp)/")
_OPTIONS = re.compile(r"not in (\[.*\]|\(list of length \d+\))$")


def normal(value: Any, key: str = "") -> Any:
    """A value without what differs on every run."""
    if key in VOLATILE:
        return f"<{key}>"
    if key in ("number", "priority") and isinstance(value, int | float):
        return _place(value)
    if key in BY_SHAPE:
        return type(value).__name__
    match value:
        case dict():
            value = _object(value, key)
        case list():
            value = _list(value, key)
        case str():
            value = text(value)
    return value


def text(value: str) -> str:
    """A string without ids, counters, folders and the options of this server."""
    value = _TEMP.sub("ComfyUI_temp_<n>_", _ID.sub("<id>", value))
    value = _COUNTER.sub(r"\1<n>", _FOLDER.sub(r"<base>/\1/", value))
    return _OPTIONS.sub("not in <options>", value)


def _place(number: float) -> str:
    # Numbers go on counting over a server's life; a negative one was sent with ``front: true``.
    return "<front>" if number < 0 else "<number>"


def _object(value: dict[str, Any], key: str) -> Any:
    if key == "current_inputs":
        # Tensors and models are printed; only which inputs there were can be compared.
        return {k: "<object>" if str(v[0])[:1] in "<[{(" else v for k, v in value.items()}
    return {text(k): normal(v, k) for k, v in value.items()}


def _list(value: list[Any], key: str) -> Any:
    if key == "input_config" and value and isinstance(value[0], list):
        return ["<options>", *map(normal, value[1:])]
    if len(value) == 2 and value[0] == "execution_interrupted":
        # Where it was interrupted depends on speed.
        return [value[0], sorted(value[1])]
    items = [normal(item) for item in value]
    if len(items) == 5 and isinstance(value[0], int | float) and isinstance(value[1], str):
        items[0] = _place(value[0])
    return sorted(items) if key in SETS else items


def shape(value: Any) -> Any:
    """Keys and types of a value, without the values; a list is as its first item."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, int | float) else type(value).__name__


def unlike(seen: Any, recorded: Any, place: str = "", *, shapes: bool = False) -> list[str]:
    """Sentences that say where two values differ.

    Args:
        seen: the answer of the server in question.
        recorded: the answer of the real one.
        place: the field that they are in, for the sentences.
        shapes: both are shapes, where an empty list says nothing about its items.
    """
    name = place or "the answer"
    if type(seen) is not type(recorded):
        return [f"{name}: recorded {recorded!r:.200}, seen {seen!r:.200}"]
    if isinstance(seen, dict):
        lines = [f"{place}.{key}: recorded {recorded[key]!r:.200}, seen nothing"
                 for key in recorded if key not in seen]  # fmt: skip
        lines += [f"{place}.{key}: recorded nothing, seen {seen[key]!r:.200}"
                  for key in seen if key not in recorded and key != MARK]  # fmt: skip
        for key in sorted(seen.keys() & recorded.keys()):
            lines += unlike(seen[key], recorded[key], f"{place}.{key}", shapes=shapes)
        return lines
    if isinstance(seen, list):
        if shapes and not (seen and recorded):
            return []
        if len(seen) != len(recorded):
            return [
                f"{name}: recorded {len(recorded)} items {recorded!r:.300}, "
                f"seen {len(seen)} items {seen!r:.300}"
            ]
        return [
            line
            for index, (one, other) in enumerate(zip(seen, recorded, strict=True))
            for line in unlike(one, other, f"{place}[{index}]", shapes=shapes)
        ]
    return [] if seen == recorded else [f"{name}: recorded {recorded!r:.300}, seen {seen!r:.300}"]


def flow(messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages whose number and order are fixed; steps in between depend on speed.

    Of an interrupted job only those remain that do not depend on where it was interrupted.
    """
    messages = list(messages)
    interrupted = any(message["type"] == "execution_interrupted" for message in messages)
    kept = []
    for message in messages:
        kind, data = message["type"], message["data"]
        if kind == "progress" and data["value"] not in (1, data["max"]):
            continue
        if kind in ("progress_state", "status") or data.get("node", "") is None:
            continue
        if interrupted and not kind.startswith("execution_"):
            continue
        if kind == "execution_interrupted":
            data = sorted(data)
        kept.append({"type": kind, "data": data})
    return kept


def states(messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ``progress_state`` messages; a recording keeps only its first ones."""
    return [message for message in messages if message["type"] == "progress_state"]
