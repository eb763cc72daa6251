"""Runs prompts: one worker thread, one prompt at a time, as ComfyUI does."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import time
import traceback
from typing import Any

from rehearsal.comfyui.cache import Cache, Result
from rehearsal.comfyui.catalogue import Catalogue
from rehearsal.comfyui.errors import Abandoned, Interrupted, NodeError, NotSimulated
from rehearsal.comfyui.faults import Faults
from rehearsal.comfyui.folders import Folders, OutsideFolderError
from rehearsal.comfyui.graph import ExecutionOrder
from rehearsal.comfyui.node_context import Behaviour, Hub, Interrupt, NodeContext, NodeResult
from rehearsal.comfyui.output_files import age_shown
from rehearsal.comfyui.progress import Progress
from rehearsal.comfyui.prompt_queue import Item, PromptQueue
from rehearsal.comfyui.settings import PREVIEW_METHODS
from rehearsal.comfyui.validation import FILE_INPUTS, Graph, is_link

log = logging.getLogger(__name__)

#: Classes whose further inputs depend on a chosen format; others ignore inputs they do not declare.
TAKES_ANY_INPUT = frozenset({"VHS_VideoCombine", "SaveVideo"})


class Executor:
    """Takes prompts from the queue until the queue is closed."""

    def __init__(
        self,
        *,
        queue: PromptQueue,
        catalogue: Catalogue,
        folders: Folders,
        hub: Hub,
        faults: Faults,
        step_seconds: float,
        temp_suffix: str,
        metadata: bool = True,
        preview_method: str = "none",
        preview_size: int = 512,
    ) -> None:
        self._queue = queue
        self._catalogue = catalogue
        self._folders = folders
        self._hub = hub
        self.faults = faults
        self._preview_method = preview_method
        self._preview_size = preview_size
        #: What the last output node of each class showed (for the fault ``cached_only``).
        self.shown: dict[str, Result] = {}
        self._step_seconds = step_seconds
        self._temp_suffix = temp_suffix
        self._metadata = metadata
        self._cache = Cache(catalogue)
        self.interrupt = Interrupt()
        #: (client id, node id) of what runs, for clients that connect in the middle.
        self.current: tuple[str | None, str] | None = None

    def run(self) -> None:
        """The worker's loop."""
        self._load_behaviours()
        while not self._queue.closed:
            item = self._queue.take(self.interrupt.clear)
            if item is not None:
                self._prompt(item)
            flags = self._queue.take_flags()
            if flags.get("free_memory"):
                self._cache.clear()
                log.info("cache cleared")

    def abandon(self) -> None:
        """End what runs without a trace, as the end of the process would."""
        self.interrupt.abandon()
        self.current = None

    @staticmethod
    def _load_behaviours() -> dict[str, Behaviour]:
        # Only in the worker: picture and video libraries would delay the opening of the port.
        from rehearsal.comfyui.nodes import BEHAVIOURS  # noqa: PLC0415

        return BEHAVIOURS

    def _prompt(self, item: Item) -> None:
        started = time.monotonic()
        run = _Run(item, self)
        if run.fault is not None and run.fault.name != "cached_only":
            self._cache.clear()
        try:
            entry = run.execute()
        except Abandoned:
            log.warning("SIMULATED loss of prompt %s", item[1])
            self._queue.drop(item)
            return
        finally:
            self.current = None
            if run.fault is not None:
                self._cache.clear()
        self._queue.finish(item, entry)
        if run.client_id is not None:
            done = {"node": None, "prompt_id": item[1]}
            self._hub.send("executing", done, run.client_id)
        log.info(
            "prompt %s ended: %s after %.2f seconds (simulated)",
            item[1],
            entry["status"]["status_str"],
            time.monotonic() - started,
        )


class _Run:
    """One prompt while it runs."""

    def __init__(self, item: Item, executor: Executor) -> None:
        _, self.prompt_id, graph, extra, self.targets = item
        self.client_id: str | None = extra.get("client_id")
        self.graph: Graph = copy.deepcopy(graph)
        self.pnginfo: dict[str, Any] = extra.get("extra_pnginfo") or {}
        self.owner = executor
        self.messages: list[list[Any]] = []
        self.outputs: dict[str, Any] = {}
        self.meta: dict[str, Any] = {}
        self.executed: list[str] = []
        self.progress = Progress(self.prompt_id, self._broadcast, self._send_preview)
        self.fault = executor.faults.for_prompt()
        self.muted = False
        # As in the real server, a prompt's own wish comes before the option of the start.
        method = extra.get("preview_method")
        if method not in PREVIEW_METHODS:
            method = executor._preview_method
        self.preview_size = executor._preview_size if method != "none" else 0

    def _broadcast(self, event: str, data: Any) -> None:
        if not self.muted:
            self.owner._hub.send(event, data, self.client_id)

    def _send_preview(self, jpeg: bytes, place: dict[str, Any], *, described: bool) -> None:
        self.owner._hub.send_preview(jpeg, place, self.client_id, described=described)

    def _to_client(self, event: str, data: dict[str, Any]) -> None:
        if self.client_id is not None:
            self._broadcast(event, data)

    def _message(self, event: str, data: dict[str, Any]) -> None:
        data = {**data, "timestamp": int(time.time() * 1000)}
        self.messages.append([event, data])
        self._to_client(event, data)

    def execute(self) -> dict[str, Any]:
        """Run everything; returns the history entry without its ``prompt``."""
        owner = self.owner
        self._message("execution_start", {"prompt_id": self.prompt_id})
        if self.fault is not None and self.fault.name == "cached_only":
            return self._pretend_cached()
        owner._cache.begin(self.graph, self._fingerprint)
        cached = [node_id for node_id in self.graph if owner._cache.get(node_id) is not None]
        self._message("execution_cached", {"nodes": cached, "prompt_id": self.prompt_id})
        success = self._nodes()
        if success:
            owner._cache.forget_others()
            self._message("execution_success", {"prompt_id": self.prompt_id})
        return self._entry(success=success)

    def _entry(self, *, success: bool) -> dict[str, Any]:
        return {
            "outputs": self.outputs,
            "status": {
                "status_str": "success" if success else "error",
                "completed": success,
                "messages": self.messages,
            },
            "meta": self.meta,
        }

    def _pretend_cached(self) -> dict[str, Any]:
        """The fault ``cached_only``: nothing seems to run, and the outputs name earlier files."""
        everything = {"nodes": list(self.graph), "prompt_id": self.prompt_id}
        self._message("execution_cached", everything)
        known, targets = self.owner.shown, self.targets
        success = True
        if any(self.graph[target]["class_type"] not in known for target in targets):
            # There is no earlier file yet, so one is made unheard and given an older date.
            self.muted = True
            self.owner._cache.begin(self.graph, self._fingerprint)
            success = self._nodes()
            self.muted = False
            for shown in self.outputs.values():
                age_shown(self.owner._folders, shown)
        for target in targets if success else ():
            self._show(target, known[self.graph[target]["class_type"]])
        if success:
            self._message("execution_success", {"prompt_id": self.prompt_id})
        return self._entry(success=success)

    def _nodes(self) -> bool:
        cache, catalogue = self.owner._cache, self.owner._catalogue
        order = ExecutionOrder(
            self.graph,
            lambda node_id: cache.get(node_id) is not None,
            lambda node_id: catalogue.is_output(self.graph[node_id]["class_type"]),
        )
        for target in self.targets:
            order.add(target)
        while order:
            node_id = order.take()
            if not self._node(node_id):
                return False
            order.done(node_id)
        return True

    def _node(self, node_id: str) -> bool:
        cache = self.owner._cache
        known = cache.get(node_id)
        if known is not None:
            self._show(node_id, known)
            self.progress.finish(node_id)
            return True
        class_type = self.graph[node_id]["class_type"]
        self.progress.start(node_id)
        self.owner.current = (self.client_id, node_id)
        place = {"node": node_id, "display_node": node_id, "prompt_id": self.prompt_id}
        self._to_client("executing", place)
        inputs: dict[str, Any] = {}
        try:
            self.owner.interrupt.check()
            inputs = self._inputs(node_id)
            result = self._behaviour(node_id, class_type, inputs)
        except Abandoned:
            raise
        except Interrupted:
            self.progress.fail(node_id)
            self._message("execution_interrupted", self._failure(node_id, class_type))
            return False
        except Exception as error:
            self.progress.fail(node_id)
            self._message("execution_error", self._error(node_id, class_type, inputs, error))
            return False
        ui, meta = result.ui, None
        if self.fault is not None and self.fault.name == "no_output":
            ui = None
        if ui is not None:
            meta = {
                "node_id": node_id,
                "display_node": node_id,
                "parent_node": None,
                "real_node_id": node_id,
            }
        kept = Result(result.outputs, ui, meta)
        cache.put(node_id, kept)
        self._show(node_id, kept)
        self.progress.finish(node_id)
        self.executed.append(node_id)
        return True

    def _show(self, node_id: str, result: Result) -> None:
        if result.ui is None:
            return
        self.outputs[node_id] = result.ui
        self.meta[node_id] = result.meta
        self.owner.shown[self.graph[node_id]["class_type"]] = result
        self._to_client(
            "executed",
            {
                "node": node_id,
                "display_node": node_id,
                "output": result.ui,
                "prompt_id": self.prompt_id,
            },
        )

    def _behaviour(self, node_id: str, class_type: str, inputs: dict[str, Any]) -> NodeResult:
        behaviours = self.owner._load_behaviours()
        behaviour = behaviours.get(class_type)
        if behaviour is None:
            raise NotSimulated(class_type, ", ".join(sorted(behaviours)))
        context = NodeContext(
            node_id=node_id,
            graph=self.graph,
            extra_pnginfo=self.pnginfo,
            folders=self.owner._folders,
            step_seconds=self.owner._step_seconds,
            fault=self.fault,
            interrupt=self.owner.interrupt,
            temp_suffix=self.owner._temp_suffix,
            metadata=self.owner._metadata,
            progress=self.progress,
            hub=self.owner._hub,
            client_id=self.client_id,
            preview_size=self.preview_size,
        )
        return behaviour(context, **inputs)

    def _inputs(self, node_id: str) -> dict[str, Any]:
        class_type = self.graph[node_id]["class_type"]
        declared = self.owner._catalogue.inputs(class_type)
        values = {}
        for name, value in self.graph[node_id]["inputs"].items():
            if name not in declared and class_type not in TAKES_ANY_INPUT:
                continue
            if is_link(value):
                source = self.owner._cache.get(value[0])
                if source is None:
                    raise RuntimeError(f"node {value[0]} has no result for input {name}")
                values[name] = source.outputs[value[1]]
            else:
                values[name] = value
        return values

    def _fingerprint(self, node_id: str) -> str | None:
        """What ComfyUI calls IS_CHANGED: the hash of the file that a node reads."""
        node = self.graph[node_id]
        for class_type, name in FILE_INPUTS:
            value = node["inputs"].get(name)
            if class_type != node["class_type"] or not isinstance(value, str):
                continue
            try:
                content = self.owner._folders.input_file(value).read_bytes()
            except (OSError, OutsideFolderError):
                return None
            digest = hashlib.sha256(content).hexdigest()
            node["is_changed"] = [digest]
            return digest
        return None

    def _failure(self, node_id: str, class_type: str) -> dict[str, Any]:
        return {
            "prompt_id": self.prompt_id,
            "node_id": node_id,
            "node_type": class_type,
            "executed": list(self.executed),
        }

    def _error(
        self, node_id: str, class_type: str, inputs: dict[str, Any], error: Exception
    ) -> dict[str, Any]:
        log.warning("node %s (%s) failed: %s", node_id, class_type, error)
        if isinstance(error, NodeError):
            name, tips = error.wire_name, error.tips
        else:
            module = type(error).__module__
            name = type(error).__qualname__
            name, tips = (name if module == "builtins" else f"{module}.{name}"), ""
        shown = {key: [_shown(value)] for key, value in inputs.items()}
        hidden = self.owner._catalogue.hidden(class_type)
        shown |= {key: [node_id] for key, kind in hidden.items() if kind == "UNIQUE_ID"}
        return self._failure(node_id, class_type) | {
            "exception_message": f"{error}\n{tips}",
            "exception_type": name,
            "traceback": traceback.format_tb(error.__traceback__),
            "current_inputs": shown,
            "current_outputs": list(self.graph),
        }


def _shown(value: Any) -> Any:
    try:
        json.dumps(value)
    except TypeError:
        return str(value)
    return value
