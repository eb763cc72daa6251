"""Replays recorded conversations with a real ComfyUI and reports where the answers differ.

A recording is a list of exchanges: HTTP requests with their answers, and WebSocket messages. The
requests are sent again; ids, times and folders are replaced by placeholders on both sides before
the answers are compared.
"""

from __future__ import annotations

import copy
import json
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.comfyui.conftest import Listener, Sim

FOLDER = Path(__file__).parents[3] / "shared" / "contract" / "comfyui-0.33.0"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{32}\b")
_TEMP = re.compile(r"ComfyUI_temp_[a-z]{5}_\d{5}_")
#: Values that are a different matter on every server; their presence is compared, not the value.
_VOLATILE = frozenset({"traceback", "timestamp", "create_time", "execution_start_time",
                       "execution_end_time"})  # fmt: skip
#: Sets in the real server: their order means nothing.
_SETS = frozenset({"current_outputs", "executed"})


def load(name: str) -> list[dict[str, Any]]:
    """The exchanges of one recording; skips the test, loudly, where the recordings are missing."""
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"RECORDINGS MISSING: {path}; answers are NOT compared with a real server")
    exchanges: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["exchanges"]
    return exchanges


def normal(value: Any, base: str, key: str = "") -> Any:
    """A value with ids, times and folders replaced by placeholders."""
    if key in _VOLATILE:
        return f"<{key}>"
    if isinstance(value, dict):
        return _normal_object(value, base, key)
    if isinstance(value, list):
        items = [normal(item, base) for item in value]
        return sorted(items) if key in _SETS else items
    if isinstance(value, str):
        value = value.replace("/opt/comfyui", base).replace(base, "<base>")
        return _TEMP.sub("ComfyUI_temp_<n>_", _UUID.sub("<id>", value))
    return value


def _normal_object(value: dict[str, Any], base: str, key: str) -> dict[str, Any]:
    if key == "current_inputs":
        # Tensors and models are printed; only which inputs there were can be compared.
        return {k: "<object>" if str(v[0])[:1] in "<[{(" else v for k, v in value.items()}
    return {normal(k, base): normal(v, base, k) for k, v in value.items()}


@dataclass
class Replay:
    """Sends the requests of recordings to a simulation.

    Attributes:
        files: what to upload, by file name as in the recording's notes.
        loose: paths whose answers are compared by their keys only.
    """

    sim: Sim
    files: dict[str, bytes] = field(default_factory=dict)
    loose: tuple[str, ...] = ()
    differences: list[str] = field(default_factory=list)
    _ids: dict[str, str] = field(default_factory=dict)
    _listeners: dict[str, Listener] = field(default_factory=dict)

    def translated(self, text: str) -> str:
        """A recorded path or body with this run's ids in it."""
        for recorded, actual in self._ids.items():
            text = text.replace(recorded, actual)
        return text

    async def play(self, name: str) -> None:
        """Replay one recording; differences are collected in `differences`."""
        exchanges = load(name)
        for exchange in exchanges:
            if "request" in exchange:
                await self._request(name, exchange)
        await self._messages(name, exchanges)

    async def _request(self, name: str, exchange: dict[str, Any]) -> None:
        request, wanted = exchange["request"], exchange["response"]
        method, path = request["method"], self.translated(request["path"])
        where = f"{name}: {method} {request['path']} ({request.get('note')})"
        recorded_id = path.rpartition("/")[2]
        if (wanted.get("json") or {}) and path.startswith(("/history/", "/api/jobs/")):
            await self.sim.ended(recorded_id)
        options: dict[str, Any] = {}
        note = request.get("note") or ""
        if path == "/upload/image":
            options["data"] = self._form(note)
        elif request.get("json") is not None:
            options["json"] = await self._body(request["json"])
        elif method == "POST":
            options["data"] = b"this is no JSON"
        if note.startswith("Range: "):
            options["headers"] = {"Range": note.removeprefix("Range: ")}
        async with self.sim.session.request(method, path, **options) as answer:
            status, raw, headers = answer.status, await answer.read(), answer.headers
        if status != wanted["status"]:
            self.differences.append(f"{where}: status {status}, recorded {wanted['status']}")
            return
        self._compare_headers(where, headers, wanted.get("headers") or {})
        if wanted.get("json") is not None:
            self._compare_json(where, path, json.loads(raw), wanted["json"])

    async def _body(self, recorded: dict[str, Any]) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.translated(json.dumps(recorded)))
        client = recorded.get("client_id")
        if client is not None:
            if client not in self._listeners:
                self._listeners[client] = await self.sim.listen(uuid.uuid4().hex)
            self._ids[client] = self._listeners[client].client_id
            body["client_id"] = self._listeners[client].client_id
        return body

    def _form(self, note: str) -> aiohttp.FormData:
        form = aiohttp.FormData(quote_fields=True)
        match = re.search(r"image=([\w.]+)", note) or re.search(r"named ([\w.]+)", note)
        name, fields = (match.group(1) if match else "example.png"), {}
        if "overwrite=true" in note:
            fields["overwrite"] = "true"
        if note == "empty file":
            name = "empty.png"
        elif note == "filename with a path":
            name = "../../evil.png"
        elif note == "subfolder traversal":
            fields["subfolder"] = "../.."
        elif note.startswith("subfolder "):
            fields["subfolder"] = note.removeprefix("subfolder ")
        content = self.files.get(name, b"" if name == "empty.png" else self.files["example.png"])
        form.add_field("image", content, filename=name, content_type="application/octet-stream")
        for key, value in fields.items():
            form.add_field(key, value)
        return form

    def _compare_headers(self, where: str, headers: Any, recorded: dict[str, str]) -> None:
        for key, value in recorded.items():
            if key == "Content-Length":
                continue
            # Content-Range ends with the length of the file, which is another one here.
            given, wanted = headers.get(key, ""), value
            if key == "Content-Range":
                given, wanted = given.partition("/")[0], value.partition("/")[0]
            if given != wanted:
                self.differences.append(f"{where}: header {key}: {given!r}, recorded {wanted!r}")

    def _compare_json(self, where: str, path: str, answer: Any, recorded: Any) -> None:
        if isinstance(answer, dict) and "prompt_id" in answer:
            self._ids[recorded["prompt_id"]] = answer["prompt_id"]
        base = str(self.sim.base)
        left, right = normal(answer, base), normal(recorded, base)
        if any(path.startswith(prefix) for prefix in self.loose):
            left, right = shape(left), shape(right)
        self.differences += [f"{where}: {line}" for line in unlike(left, right)]

    async def _messages(self, name: str, exchanges: list[dict[str, Any]]) -> None:
        base = str(self.sim.base)
        recorded = [x["json"] for x in exchanges if x.get("websocket") == "text"]
        for recorded_id, actual_id in list(self._ids.items()):
            wanted = [m for m in recorded if m["data"].get("prompt_id") == recorded_id]
            if not any(message["type"] == "execution_start" for message in wanted):
                continue
            client = next(
                x["request"]["json"]["client_id"]
                for x in exchanges
                if (x.get("response") or {}).get("json")
                and x["response"]["json"].get("prompt_id") == recorded_id
            )
            listener = self._listeners[client]
            await listener.until(wanted[-1]["type"], actual_id)
            given = listener.of(actual_id)
            states = _states(wanted)
            for left, right in (
                (_flow(given), _flow(wanted)),
                (_states(given)[: len(states)], states),
            ):
                where = f"{name}: messages of {recorded_id[:8]}"
                lines = unlike(normal(left, base), normal(right, base))
                self.differences += [f"{where}: {line}" for line in lines]


def _flow(messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages whose number and order are fixed; steps in between depend on speed."""
    kept = []
    for message in messages:
        data = message["data"]
        if message["type"] == "progress" and data["value"] not in (1, data["max"]):
            continue
        if message["type"] in ("progress_state", "status") or data.get("node", "") is None:
            continue
        kept.append(copy.deepcopy(message))
    return kept


def _states(messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ``progress_state`` messages; a recording keeps only its first ones."""
    return [message for message in messages if message["type"] == "progress_state"]


def shape(value: Any) -> Any:
    """Keys and types of a value, without the values."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def unlike(answer: Any, recorded: Any, place: str = "") -> list[str]:
    """Lines that say where two values differ."""
    if type(answer) is not type(recorded):
        return [f"{place or 'value'} is {answer!r:.200}, recorded {recorded!r:.200}"]
    if isinstance(answer, dict):
        lines = [f"{place}.{key} is missing" for key in recorded if key not in answer]
        lines += [f"{place}.{key} is not in the recording" for key in answer if key not in recorded]
        for key in answer.keys() & recorded.keys():
            lines += unlike(answer[key], recorded[key], f"{place}.{key}")
        return lines
    if isinstance(answer, list):
        if len(answer) != len(recorded):
            return [f"{place} has {len(answer)} items {answer!r:.300}, "
                    f"recorded {len(recorded)} {recorded!r:.300}"]  # fmt: skip
        return [
            line
            for index, (one, other) in enumerate(zip(answer, recorded, strict=True))
            for line in unlike(one, other, f"{place}[{index}]")
        ]
    return [] if answer == recorded else [f"{place} is {answer!r}, recorded {recorded!r}"]
