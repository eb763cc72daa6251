"""Sends recorded requests to a server and collects where its answers differ."""

from __future__ import annotations

import json
import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from smoke_tests.comfy_client import Target
from smoke_tests.comfy_client.deadline import Deadline
from smoke_tests.comfy_client.events import EventStream
from smoke_tests.comfy_client.protocol import Answer
from smoke_tests.comfy_client.transport import Transport
from smoke_tests.conformance import compare, files
from smoke_tests.conformance.recordings import Exchange, Scenario

#: Longest wait for one of the tiny jobs; the recorded ones took up to 25 s on a CPU.
PATIENCE_S = 180.0
PAUSE_S = 0.02
#: Names that are made this run's own, so that a file from an earlier run is never in the way.
OWN_FILES = ("example.png", "broken.png", "clip.mp4", "clip.avi", "clip.mov", "bad.mp4",
             "ref.png", "mask.png")  # fmt: skip


@dataclass
class Report:
    """What a replay found.

    Attributes:
        compared: exchanges and message streams that were compared.
        differences: sentences; empty means that the server answers as recorded.
        remarks: sentences about what could not be compared.
    """

    compared: int = 0
    differences: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


class Replay:
    """Replays scenarios in order. Use as a context manager.

    Args:
        target: the server.
        patience_s: longest wait for one job.
    """

    def __init__(self, target: Target, *, patience_s: float = PATIENCE_S) -> None:
        self.report = Report()
        self._target = target
        self._patience_s = patience_s
        self._http = Transport(target)
        self._token = f"-{secrets.token_hex(4)}"
        self._names: dict[str, str] = {}
        self._streams: dict[str, tuple[EventStream, list[dict[str, Any]]]] = {}

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *_: object) -> None:
        for stream, _messages in self._streams.values():
            stream.close()
        self._http.close()

    def is_idle(self) -> bool:
        """Whether nothing runs or waits, so that nobody is disturbed."""
        queue = self._json("/queue")
        return not queue["queue_running"] and not queue["queue_pending"]

    def begin_session(self, scenarios: list[Scenario]) -> None:
        """Bring the cache to the state in which a series of recordings began.

        The recorded server had run some nodes before; which, says the first message of the first
        job. The cache is emptied (``/free`` works between jobs, hence the small job), then exactly
        these nodes run.
        """
        self._upload("example.png", "example.png", {})
        self._http.call("POST", "/free", json={"unload_models": True, "free_memory": True})
        picture = {"class_type": "LoadImage", "inputs": {"image": self._own("example.png")}}
        shown = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
        self._run({"1": picture, "2": shown})
        first = scenarios[0]
        cached = next(m for m in first.messages if m["type"] == "execution_cached")["data"]["nodes"]
        graph = next(x for x in first.exchanges if x.send["path"] == "/prompt").send["json"]
        if cached:
            self._run(self._warm(self._translated(graph["prompt"]), cached))

    @staticmethod
    def _warm(graph: dict[str, Any], cached: list[str]) -> dict[str, Any]:
        """A graph that runs these nodes of another graph and ends in outputs of its own."""
        warm = {key: graph[key] for key in cached}
        ends = {"VAELoader", "LoadImage", "ImageResizeKJv2"}
        by_class = {node["class_type"]: key for key, node in warm.items() if
                    node["class_type"] in ends}  # fmt: skip
        vae, resize = by_class["VAELoader"], by_class["ImageResizeKJv2"]
        warm["90"] = {"class_type": "VAEEncode",
                      "inputs": {"pixels": [resize, 0], "vae": [vae, 0]}}  # fmt: skip
        warm["91"] = {"class_type": "VAEDecode", "inputs": {"samples": ["90", 0], "vae": [vae, 0]}}
        warm["92"] = {"class_type": "PreviewImage", "inputs": {"images": ["91", 0]}}
        return warm

    def play(self, scenario: Scenario) -> None:
        """Replay one recording; what differs is added to the report."""
        self._names = {}
        for exchange in scenario.exchanges:
            self._exchange(scenario.name, exchange)
        self._messages(scenario)
        for stream, _messages in self._streams.values():
            stream.close()
        self._streams = {}
        self._http.call("POST", "/interrupt", json={})
        self._wait(self.is_idle, f"the end of the last job of {scenario.name}")

    def _exchange(self, name: str, exchange: Exchange) -> None:
        where = f"{name}: {exchange.title}"
        send = exchange.send
        path = self._translated(send["path"])
        self._get_ready(exchange, path)
        self.report.compared += 1
        if "upload" in send:
            answer = self._upload(**send["upload"])
        else:
            headers = {"Range": send["range"]} if "range" in send else {}
            answer = self._send(send, path, headers)
        if answer.status != exchange.status:
            self._wrong_status(where, exchange, answer)
            return
        self._compare_headers(where, answer, exchange)
        if exchange.json is None:
            return
        seen = json.loads(answer.body)
        self._learn(seen, exchange.json)
        lines = self._unlike(send["path"], self._restored(seen), exchange.json)
        if lines and self._was_too_quick(exchange):
            self.report.remarks.append(
                f"{where}: not compared, the job had ended before the question arrived"
            )
            return
        self.report.differences += [f"{where}: {line}" for line in lines]

    def _send(self, send: Any, path: str, headers: dict[str, str]) -> Answer:
        if "raw" in send:
            # A file without a name is httpx's way to a body of any kind; no JSON is the point.
            headers["Content-Type"] = "application/json"
            return self._http.call("POST", path, files={"": send["raw"].encode()}, headers=headers)
        body = self._translated(send["json"]) if "json" in send else None
        if body is not None and "client_id" in body:
            body["client_id"] = self._client(send["json"]["client_id"])
        return self._http.call(send["method"], path, json=body, headers=headers)

    def _wrong_status(self, where: str, exchange: Exchange, answer: Answer) -> None:
        if exchange.status >= 400 and answer.status >= 400 and b'"message_zh"' in answer.body:
            self.report.remarks.append(
                f"{where}: the gateway refuses it itself with {answer.status} "
                f"(ComfyUI: {exchange.status})"
            )
            return
        self.report.differences.append(
            f"{where}: status: recorded {exchange.status}, seen {answer.status} {answer.words()}"
        )

    def _compare_headers(self, where: str, answer: Answer, exchange: Exchange) -> None:
        for key, value in exchange.headers.items():
            seen, wanted = answer.headers.get(key.lower(), ""), value
            if key == "Content-Range":
                # It ends with the length of the file, which is another one here.
                seen, wanted = seen.partition("/")[0], wanted.partition("/")[0]
            if compare.text(seen) != compare.text(wanted):
                self.report.differences.append(
                    f"{where}: header {key}: recorded {wanted!r}, seen {seen!r}"
                )

    @staticmethod
    def _unlike(path: str, seen: Any, recorded: Any) -> list[str]:
        if path == "/system_stats":
            return compare.unlike(compare.shape(seen), compare.shape(recorded), shapes=True)
        if path.startswith("/models/"):
            # A server may have more models than the recorded one.
            missing = [name for name in recorded if name not in seen]
            return [f"the answer: recorded {name!r}, seen {seen!r}" for name in missing]
        if path.startswith("/api/jobs?"):
            # The list holds jobs of everybody; the newest is ours.
            seen, recorded = ({**value, "jobs": value["jobs"][:1]} for value in (seen, recorded))
            shapes = (compare.shape(compare.normal(value)) for value in (seen, recorded))
            return compare.unlike(*shapes, shapes=True)
        return compare.unlike(compare.normal(seen), compare.normal(recorded))

    def _get_ready(self, exchange: Exchange, path: str) -> None:
        """Wait for what the recorder had waited for."""
        if exchange.json and path.startswith(("/history/", "/api/jobs/")):
            self._ended(path.rpartition("/")[2])
        running = None
        if exchange.send.get("json") == {"clear": True} and path == "/queue":
            running = 1
        elif exchange.send["path"] == "/queue" and isinstance(exchange.json, dict):
            running = len(exchange.json["queue_running"])
        if running:
            # Not found in time: the comparison that follows says what was there instead.
            self._wait(lambda: len(self._json("/queue")["queue_running"]) == running, None, 10.0)

    def _was_too_quick(self, exchange: Exchange) -> bool:
        """Whether the answer was about a running job that runs no longer."""
        path, recorded = exchange.send["path"], exchange.json
        busy = path == "/prompt" or (path == "/queue" and recorded["queue_running"])
        return bool(busy or (path.startswith("/history/") and not recorded)) and self.is_idle()

    def _messages(self, scenario: Scenario) -> None:
        for recorded_id in dict.fromkeys(m["data"]["prompt_id"] for m in scenario.messages):
            wanted = [m for m in scenario.messages if m["data"]["prompt_id"] == recorded_id]
            kinds = [message["type"] for message in wanted]
            if "execution_start" not in kinds or recorded_id not in self._names:
                continue
            client = next(
                x.send["json"]["client_id"]
                for x in scenario.exchanges
                if isinstance(x.json, dict) and x.json.get("prompt_id") == recorded_id
            )
            ends = [kind for kind in kinds if kind in ("execution_success", "execution_error",
                                                       "execution_interrupted")]  # fmt: skip
            if not ends:
                continue
            seen = self._heard(client, self._names[recorded_id], ends[-1])
            self.report.compared += 1
            states = compare.states(wanted)
            for left, right in (
                (compare.flow(seen), compare.flow(wanted)),
                (compare.states(seen)[: len(states)], states),
            ):
                lines = compare.unlike(
                    compare.normal(self._restored(left)), compare.normal(right), "messages"
                )
                where = f"{scenario.name}: WebSocket messages of job {recorded_id}"
                self.report.differences += [f"{where}: {line}" for line in lines]

    def _heard(self, client: str, prompt_id: str, last: str) -> list[dict[str, Any]]:
        """Messages about a job up to the one that ends it."""
        stream, messages = self._streams[client]

        def ended() -> bool:
            messages.extend(stream.receive(PAUSE_S) or [])
            return any(
                m["type"] == last and m["data"].get("prompt_id") == prompt_id for m in messages
            )

        self._wait(ended, f"the message {last}")
        return [m for m in messages if m["data"].get("prompt_id") == prompt_id]

    def _client(self, recorded: str) -> str:
        """This run's id for a recorded client, whose event stream is open from now on."""
        if recorded not in self._streams:
            self._names[recorded] = uuid.uuid4().hex
            stream = EventStream(self._target, self._names[recorded], Deadline(PATIENCE_S))
            self._streams[recorded] = (stream, [])
        return self._names[recorded]

    def _translated(self, value: Any) -> Any:
        """Recorded ids and names as they are in this run."""
        if isinstance(value, dict):
            return {key: self._translated(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._translated(item) for item in value]
        if not isinstance(value, str):
            return value
        if value in OWN_FILES:
            return self._own(value)
        for recorded, actual in self._names.items():
            value = value.replace(recorded, actual)
        return value

    def _restored(self, value: Any) -> Any:
        """An answer with the recorded names instead of this run's own."""
        return json.loads(json.dumps(value).replace(self._token, ""))

    def _own(self, name: str) -> str:
        stem, dot, suffix = name.rpartition(".")
        return f"{stem}{self._token}{dot}{suffix}"

    def _learn(self, seen: Any, recorded: Any) -> None:
        """Remember which id and file of this run stand for which recorded ones."""
        if isinstance(seen, dict) and isinstance(recorded, dict):
            for key in seen.keys() & recorded.keys():
                self._learn(seen[key], recorded[key])
            for one, other in zip(seen, recorded, strict=False):
                self._learn(one, other)
        elif isinstance(seen, list) and isinstance(recorded, list):
            for one, other in zip(seen, recorded, strict=False):
                self._learn(one, other)
        elif isinstance(seen, str) and isinstance(recorded, str) and seen != recorded:
            changed = compare.text(recorded)
            if changed != recorded and changed == compare.text(seen) and "/" not in recorded:
                self._names.setdefault(recorded, seen)

    def _upload(self, file: str, content: str, fields: dict[str, str]) -> Answer:
        name = self._own(file) if file in OWN_FILES else file
        part = (name, files.content(content), "application/octet-stream")
        parts: dict[str, Any] = {"image": part}
        # A tuple without a file name is how httpx writes a plain field of a form.
        parts.update({key: (None, value) for key, value in fields.items()})
        return self._http.call("POST", "/upload/image", files=parts)

    def _run(self, graph: dict[str, Any]) -> None:
        answer = self._http.call("POST", "/prompt", json={"prompt": graph})
        taken = json.loads(answer.body or b"{}") if answer.ok else {}
        if not taken.get("prompt_id") or taken.get("node_errors"):
            self.report.differences.append(
                f"preparation: POST /prompt: the small job is refused: {answer.words()}"
            )
            return
        self._ended(taken["prompt_id"])

    def _ended(self, prompt_id: str) -> None:
        self._wait(lambda: bool(self._json(f"/history/{prompt_id}")), f"the end of job {prompt_id}")

    def _json(self, path: str) -> Any:
        answer = self._http.call("GET", path)
        return json.loads(answer.body) if answer.ok else None

    def _wait(self, probe: Any, what: str | None, seconds: float | None = None) -> None:
        """Poll until the probe holds; a wait with a name that ends in vain is a difference."""
        until = time.monotonic() + (seconds or self._patience_s)
        while not probe():
            if time.monotonic() > until:
                if what is not None:
                    self.report.differences.append(
                        f"{what}: not within {seconds or self._patience_s:g} s"
                    )
                return
            time.sleep(PAUSE_S)
