"""Set a graph's inputs by what they mean, found by walking its links, never by node id.

The walk starts at the node that saves the video and goes against the links: the nearest node
with `steps` is the sampler, the nearest with a link `positive` leads to the prompt, and so on.
So a workflow keeps working when nodes are renumbered, added or replaced by their like.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from smoke_tests.comfy_client.errors import WorkflowError

TEXT_INPUTS = ("text", "string", "prompt", "value")
SEED_INPUTS = ("seed", "noise_seed")
LENGTH_INPUTS = ("length", "frames", "num_frames")
RATE_INPUTS = ("frame_rate", "fps")
LARGEST_SEED = (1 << 64) - 1  # KSampler declares max 18446744073709551615


class Workflow:
    """A graph in ComfyUI's API format. Methods return changed copies; a workflow never changes.

    Attributes:
        graph: what POST /prompt takes: {node id: {"class_type": ..., "inputs": {...}}}.
    """

    def __init__(self, graph: Mapping[str, Any], *, source: str = "the graph") -> None:
        if "nodes" in graph and "links" in graph:
            raise WorkflowError(
                f"{source} is in the format of ComfyUI's editor, not in its API format.",
                remedy="Export it with File > Export (API).",
            )
        for node_id, node in graph.items():
            if not isinstance(node, dict) or "class_type" not in node or "inputs" not in node:
                raise WorkflowError(
                    f"{source} has an entry {node_id!r} without class_type and inputs."
                )
        self.graph: dict[str, dict[str, Any]] = copy.deepcopy(dict(graph))
        self._source = source

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a JSON file.

        Raises:
            WorkflowError: not readable, no JSON, or not in API format.
        """
        try:
            graph = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WorkflowError(f"{path} cannot be read as a workflow ({error}).") from error
        if not isinstance(graph, dict):
            raise WorkflowError(f"{path} holds a {type(graph).__name__}, not a JSON object.")
        return cls(graph, source=path.name)

    def with_inputs(
        self,
        *,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        seed: int | None = None,
        width: int | None = None,
        height: int | None = None,
        frames: int | None = None,
        steps: int | None = None,
        image: str | None = None,
        filename_prefix: str | None = None,
    ) -> Self:
        """A copy with the given inputs set; None leaves an input as it is.

        Args:
            seed: 0 to 2**64 - 1.
            width, height: pixels; Wan needs multiples of 16.
            frames: Wan makes 4n+1 frames; the server would round down without a word.
            image: name in the server's input folder, as `UploadedFile.reference`.

        Raises:
            WorkflowError: the graph has no such input or several, or the value is not allowed.
        """
        self._validate(seed, width, height, frames, steps)
        changed = type(self)(self.graph, source=self._source)
        wanted: list[tuple[Any, Iterator[tuple[str, str]]]] = [
            (prompt, changed._texts("positive")),
            (negative_prompt, changed._texts("negative")),
            (seed, changed._nearest(*SEED_INPUTS)),
            (steps, changed._nearest("steps")),
            (width, changed._sizes("width")),
            (height, changed._sizes("height")),
            (frames, changed._sizes(*LENGTH_INPUTS)),
            (image, changed._images()),
            (filename_prefix, changed._savers()),
        ]
        for value, places in wanted:
            if value is not None:
                for node_id, name in places:
                    changed._write(node_id, name, value)
        return changed

    @staticmethod
    def _validate(
        seed: int | None,
        width: int | None,
        height: int | None,
        frames: int | None,
        steps: int | None,
    ) -> None:
        faults = []
        if seed is not None and not 0 <= seed <= LARGEST_SEED:
            faults.append(f"seed is {seed}, allowed are 0 to 2**64 - 1")
        for name, size in (("width", width), ("height", height)):
            if size is not None and (size < 16 or size % 16):
                faults.append(f"{name} is {size}, the model needs a positive multiple of 16")
        if frames is not None and (frames < 1 or frames % 4 != 1):
            faults.append(f"frames is {frames}, the model makes 4n+1 (1, 5, ... 49, ... 81)")
        if steps is not None and steps < 1:
            faults.append(f"steps is {steps}, at least 1 is needed")
        if faults:
            raise WorkflowError("; ".join(faults) + ".", remedy="Choose an allowed value.")

    def value(self, name: str) -> Any:
        """The present value of an input by its meaning, names as in `with_inputs`, or "fps".

        Raises:
            WorkflowError: no such input.
        """
        finders = {
            "prompt": lambda: self._texts("positive"),
            "negative_prompt": lambda: self._texts("negative"),
            "seed": lambda: self._nearest(*SEED_INPUTS),
            "steps": lambda: self._nearest("steps"),
            "width": lambda: self._sizes("width"),
            "height": lambda: self._sizes("height"),
            "frames": lambda: self._sizes(*LENGTH_INPUTS),
            "fps": lambda: self._nearest(*RATE_INPUTS),
            "image": self._images,
            "filename_prefix": self._savers,
        }
        if name not in finders:
            raise WorkflowError(f"{name!r} is no input; known are {', '.join(sorted(finders))}.")
        node_id, key = next(iter(finders[name]()))
        node_id, key = self._resolve(node_id, key)
        return self.graph[node_id]["inputs"][key]

    def classes(self) -> set[str]:
        """All node classes that the server must have."""
        return {str(node["class_type"]) for node in self.graph.values()}

    def output_node(self) -> str:
        """Id of the node that saves the video.

        Raises:
            WorkflowError: there is none, or more than one.
        """
        found = [
            node_id
            for node_id, node in self.graph.items()
            if "filename_prefix" in node["inputs"]
            and ("Video" in node["class_type"] or "frame_rate" in node["inputs"])
        ]
        if len(found) != 1:
            raise WorkflowError(
                f"{self._source} has {len(found)} nodes that save a video "
                f"({self._named(found) or 'none'}); exactly one is needed."
            )
        return found[0]

    def _savers(self) -> Iterator[tuple[str, str]]:
        yield self.output_node(), "filename_prefix"

    def _images(self) -> Iterator[tuple[str, str]]:
        found = [
            node_id
            for node_id, node in self.graph.items()
            if node["class_type"] == "LoadImage" and isinstance(node["inputs"].get("image"), str)
        ]
        if len(found) != 1:
            raise WorkflowError(
                f"{self._source} has {len(found)} LoadImage nodes "
                f"({self._named(found) or 'none'}); an input image needs exactly one."
            )
        yield found[0], "image"

    def _texts(self, role: str) -> Iterator[tuple[str, str]]:
        """The text behind the sampler's link `positive` or `negative`, through what lies between.

        A node such as WanVaceToVideo takes and gives both; the walk stays on its side.
        """
        node_id, name = next(self._nearest(role))
        seen = set()
        while node_id not in seen:
            seen.add(node_id)
            source = self._link(node_id, name)
            if source is None:
                break
            inputs = self.graph[source]["inputs"]
            texts = [key for key in TEXT_INPUTS if key in inputs]
            if texts:
                yield source, texts[0]
                return
            onward = (
                role if role in inputs else next((k for k in inputs if self._link(source, k)), "")
            )
            node_id, name = source, onward
        raise WorkflowError(f"{self._source} has no text behind the link {role!r}.")

    def _sizes(self, *names: str) -> Iterator[tuple[str, str]]:
        """Inputs of the node that makes the empty latent: width, height and a length together."""
        for node_id in self._upstream():
            inputs = self.graph[node_id]["inputs"]
            if {"width", "height"} <= inputs.keys() and any(key in inputs for key in LENGTH_INPUTS):
                yield node_id, next(key for key in names if key in inputs)
                return
        raise WorkflowError(
            f"{self._source} has no node with width, height and length before the video."
        )

    def _nearest(self, *names: str) -> Iterator[tuple[str, str]]:
        for node_id in self._upstream():
            for name in names:
                if name in self.graph[node_id]["inputs"]:
                    yield node_id, name
                    return
        raise WorkflowError(
            f"{self._source} has no input {' or '.join(names)} on the way to the video."
        )

    def _upstream(self) -> Iterator[str]:
        """All nodes that the video depends on, nearest first, the saving node itself included."""
        queue = deque([self.output_node()])
        seen = set(queue)
        while queue:
            node_id = queue.popleft()
            yield node_id
            for name in self.graph[node_id]["inputs"]:
                source = self._link(node_id, name)
                if source is not None and source not in seen:
                    seen.add(source)
                    queue.append(source)

    def _link(self, node_id: str, name: str) -> str | None:
        """The node that an input is linked to, or None for a literal."""
        value = self.graph[node_id]["inputs"].get(name)
        if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)):
            return None
        if value[0] not in self.graph:
            raise WorkflowError(
                f"{self._source}: input {name!r} of node {self._named([node_id])} is linked to "
                f"node {value[0]!r}, which is not in the graph."
            )
        return value[0]

    def _resolve(self, node_id: str, name: str) -> tuple[str, str]:
        """Follow a link to the constant it comes from, such as INTConstant.value."""
        seen = set()
        while (source := self._link(node_id, name)) is not None and source not in seen:
            seen.add(source)
            literals = [
                key
                for key, value in self.graph[source]["inputs"].items()
                if not isinstance(value, list)
            ]
            if len(literals) != 1:
                raise WorkflowError(
                    f"{self._source}: input {name!r} of node {self._named([node_id])} comes from "
                    f"node {self._named([source])}, which is not a plain constant."
                )
            node_id, name = source, literals[0]
        return node_id, name

    def _write(self, node_id: str, name: str, value: Any) -> None:
        source = self._link(node_id, name)
        if source is not None and self._consumers(source) == 1:
            # a computed value is no constant to change; the link to it is replaced instead
            with contextlib.suppress(WorkflowError):
                node_id, name = self._resolve(node_id, name)
        # likewise for a constant that feeds other inputs too: those must not change along
        self.graph[node_id]["inputs"][name] = value

    def _consumers(self, source: str) -> int:
        return sum(
            self._link(node_id, name) == source
            for node_id, node in self.graph.items()
            for name in node["inputs"]
        )

    def _named(self, node_ids: list[str]) -> str:
        return ", ".join(f"{node_id} ({self.graph[node_id]['class_type']})" for node_id in node_ids)
