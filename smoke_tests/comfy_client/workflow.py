"""Set a graph's inputs by what they mean, found by walking its links, never by node id.

The walk starts at the node that saves the video and goes against the links: the nearest node
with `steps` is the sampler, the nearest with a link `positive` leads to the prompt, and so on.
So a workflow keeps working when nodes are renumbered, added or replaced by their like.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from smoke_tests.comfy_client import ui_graph
from smoke_tests.comfy_client.errors import WorkflowError
from smoke_tests.comfy_client.graph_walk import FAMILIES, GraphWalk, Place

TEXT_INPUTS = ("text", "string", "prompt", "value")
SEED_INPUTS = ("seed", "noise_seed")
LENGTH_INPUTS = ("length", "frames", "num_frames")
LOADED_FRAMES = "frame_load_cap"  # of VHS's loaders: at most so many frames
RATE_INPUTS = ("frame_rate", "fps")
CONTROLS = ("control_video", "control_masks", "reference_image")  # WanVaceToVideo's picture inputs
PICTURE_LOADERS = ("LoadImage", "LoadImageMask", "LoadImageOutput")
# the input that names a file in the server's input folder
VIDEO_LOADERS = {"VHS_LoadVideo": "video", "VHS_LoadVideoFFmpeg": "video", "LoadVideo": "file"}
LARGEST_SEED = (1 << 64) - 1  # KSampler declares max 18446744073709551615
LARGEST_CFG = 100.0  # KSampler's declared maximum
LARGEST_STRENGTH = 1000.0  # WanVaceToVideo's declared maximum


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
        self._walk = GraphWalk(self.graph, source)

    @classmethod
    def load(cls, path: Path, object_info: Mapping[str, Any] | None = None) -> Self:
        """Read a JSON file in API format, or, given the server's object_info, in the editor's.

        Raises:
            WorkflowError: not readable, no JSON, or in a format that cannot be used.
        """
        try:
            graph = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WorkflowError(f"{path} cannot be read as a workflow ({error}).") from error
        if not isinstance(graph, dict):
            raise WorkflowError(f"{path} holds a {type(graph).__name__}, not a JSON object.")
        if object_info is not None and ui_graph.is_ui_graph(graph):
            graph = ui_graph.to_api(graph, object_info, source=path.name)
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
        fps: Fraction | float | None = None,
        steps: int | None = None,
        cfg: float | None = None,
        strength: float | None = None,
        image: str | None = None,
        video: str | None = None,
        mask: str | None = None,
        filename_prefix: str | None = None,
    ) -> Self:
        """A copy with the given inputs set; None leaves an input as it is.

        Size, frames and rate are also set where control video, mask and reference picture are
        brought to them, so that those go on fitting the result.

        Args:
            seed: 0 to 2**64 - 1.
            width, height: pixels; Wan needs multiples of 16.
            frames: Wan makes 4n+1 frames; the server would round down without a word. At most so
                many where the graph takes its length from a loaded video.
            fps: frames a second of the result.
            cfg: guidance, 0 to 100. strength: of the control, 0 to 1000.
            image, video, mask: names in the server's input folder, as `UploadedFile.reference`.
                `image` is the reference picture, or the only picture that is no mask.

        Raises:
            WorkflowError: the graph has no such input or several, or the value is not allowed.
        """
        given = {
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "seed": seed,
            "width": width,
            "height": height,
            "frames": frames,
            "fps": fps,
            "steps": steps,
            "cfg": cfg,
            "strength": strength,
            "image": image,
            "video": video,
            "mask": mask,
            "filename_prefix": filename_prefix,
        }
        wanted = {name: value for name, value in given.items() if value is not None}
        _validate(wanted)
        changed = type(self)(self.graph, source=self._source)
        # all places first: one write must not hide what another one looks for
        places = {name: changed._places(name) for name in wanted}
        for name, value in wanted.items():
            family = name if name in FAMILIES else ""
            for place in places[name]:
                changed._walk.write(place, _plain(value), family)
        return changed

    def inputs(self) -> dict[str, Any]:
        """What `with_inputs` can set in this graph, with the present values."""
        found = {}
        for name in self._finders():
            with contextlib.suppress(WorkflowError):
                found[name] = self.value(name)
        return found

    def value(self, name: str) -> Any:
        """The present value of an input by its meaning, names as in `with_inputs`.

        Raises:
            WorkflowError: no such input, several, or one that is computed in the graph.
        """
        return self._walk.value(self._find(name))

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
                f"({self._walk.named(found) or 'none'}); exactly one is needed."
            )
        return found[0]

    def _finders(self) -> dict[str, Callable[[], Place]]:
        return {
            "prompt": lambda: self._text("positive"),
            "negative_prompt": lambda: self._text("negative"),
            "seed": lambda: self._nearest(*SEED_INPUTS),
            "width": lambda: self._size("width"),
            "height": lambda: self._size("height"),
            "frames": self._length,
            "fps": lambda: self._nearest(*RATE_INPUTS),
            "steps": lambda: self._nearest("steps"),
            "cfg": lambda: self._nearest("cfg"),
            "strength": lambda: self._size("strength"),
            "image": lambda: self._one("image", self._pictures(), "LoadImage"),
            "video": lambda: self._one("video", self._videos(), "video loader"),
            "mask": lambda: self._one("mask", self._masks(), "mask loader"),
            "filename_prefix": lambda: Place(self.output_node(), "filename_prefix"),
        }

    def _find(self, name: str) -> Place:
        finders = self._finders()
        if name not in finders:
            raise WorkflowError(f"{name!r} is no input; known are {', '.join(sorted(finders))}.")
        return finders[name]()

    def _places(self, name: str) -> list[Place]:
        """Where an input is set: its own place, and those that must go on agreeing with it.

        Those are inputs of the same meaning with the same literal value, before the control video,
        mask and reference picture; a size counts where width and height both agree.
        """
        place = self._find(name)
        if name not in {"width", "height", "frames", "fps"}:
            return [place]
        places = [place]
        for node_id in self._prepared():
            inputs = self._walk.inputs(node_id)
            if name in {"width", "height"} and not (
                self._agrees("width", Place(node_id, "width"))
                and self._agrees("height", Place(node_id, "height"))
            ):
                continue
            places += [
                Place(node_id, key)
                for key in inputs
                if key in FAMILIES[name] and self._agrees(name, Place(node_id, key))
            ]
        return places

    def _agrees(self, name: str, place: Place) -> bool:
        """Whether another input holds the same value as the named one, and both are constants."""
        if place.name not in self._walk.inputs(place.node_id):
            return False
        try:
            return bool(self._walk.value(place) == self.value(name))
        except WorkflowError:
            return False

    def _prepared(self) -> list[str]:
        """All nodes before control video, mask and reference picture."""
        try:
            node_id = self._size("width").node_id
        except WorkflowError:
            return []
        found = [each for key in CONTROLS for each in self._walk.behind(Place(node_id, key))]
        return list(dict.fromkeys(found))

    def _loaders(self, node_ids: Iterable[str]) -> Iterator[Place]:
        for node_id in node_ids:
            kind = self._walk.class_type(node_id)
            name = "image" if kind in PICTURE_LOADERS else VIDEO_LOADERS.get(kind)
            if name and isinstance(self._walk.inputs(node_id).get(name), str):
                yield Place(node_id, name)

    def _before(self, control: str) -> list[Place]:
        """Loaders before one of WanVaceToVideo's picture inputs."""
        try:
            node_id = self._size("width").node_id
        except WorkflowError:
            return []
        return list(self._loaders(self._walk.behind(Place(node_id, control))))

    def _masks(self) -> list[Place]:
        """Loaders before the mask, but not what also is the reference picture or the only video.

        A mask may be computed from the video itself; then that video is no mask to be given.
        """
        reference, control = self._before("reference_image"), self._before("control_video")
        found = [each for each in self._before("control_masks") if each not in reference]
        pictures = [each for each in found if each.name == "image"]
        return pictures or [each for each in found if each not in control]

    def _videos(self) -> list[Place]:
        masks = self._masks()
        found = [
            each
            for each in self._before("control_video")
            if each.name != "image" and each not in masks
        ]
        every = [each for each in self._loaders(self.graph) if each.name != "image"]
        return found or [each for each in every if each not in masks]

    def _pictures(self) -> list[Place]:
        masks = self._masks()
        every = [each for each in self._loaders(self.graph) if each.name == "image"]
        for found in (self._before("reference_image"), self._before("control_video"), every):
            kept = [each for each in found if each.name == "image" and each not in masks]
            if kept:
                return kept
        return []

    def _one(self, name: str, found: list[Place], what: str) -> Place:
        if len(found) != 1:
            named = self._walk.named([place.node_id for place in found])
            raise WorkflowError(
                f"{self._source} has {len(found)} {what} nodes ({named or 'none'}) that could "
                f"take the input {name!r}; it needs exactly one."
            )
        return found[0]

    def _text(self, role: str) -> Place:
        """The text behind the sampler's link `positive` or `negative`, through what lies between.

        A node such as WanVaceToVideo takes and gives both; the walk stays on its side.
        """
        place, seen = self._nearest(role), set[str]()
        while place.node_id not in seen:
            seen.add(place.node_id)
            source = self._walk.link(place)
            if source is None:
                break
            inputs = self._walk.inputs(source)
            texts = [key for key in TEXT_INPUTS if key in inputs]
            if texts:
                return Place(source, texts[0])
            links = [key for key in inputs if self._walk.link(Place(source, key))]
            place = Place(source, role if role in inputs else next(iter(links), ""))
        raise WorkflowError(f"{self._source} has no text behind the link {role!r}.")

    def _size(self, *names: str) -> Place:
        """An input of the node that makes the empty latent: width, height and length together."""
        for node_id in self._walk.upstream(self.output_node()):
            inputs = self._walk.inputs(node_id)
            if {"width", "height"} <= inputs.keys() and any(key in inputs for key in LENGTH_INPUTS):
                for name in names:
                    if name in inputs:
                        return Place(node_id, name)
                break
        raise WorkflowError(
            f"{self._source} has no node with width, height, length and {' or '.join(names)} "
            "before the video."
        )

    def _length(self) -> Place:
        """The number of frames; where the loaded video counts them, how many are loaded of it."""
        place = self._size(*LENGTH_INPUTS)
        source = self._walk.link(place)
        if source is not None and LOADED_FRAMES in self._walk.inputs(source):
            return Place(source, LOADED_FRAMES)
        return place

    def _nearest(self, *names: str) -> Place:
        for node_id in self._walk.upstream(self.output_node()):
            for name in names:
                if name in self._walk.inputs(node_id):
                    return Place(node_id, name)
        raise WorkflowError(
            f"{self._source} has no input {' or '.join(names)} on the way to the video."
        )


def _validate(wanted: Mapping[str, Any]) -> None:
    """Raise one WorkflowError for all values that the model or its nodes cannot take."""
    faults = []
    seed, frames, fps = wanted.get("seed"), wanted.get("frames"), wanted.get("fps")
    if seed is not None and not 0 <= seed <= LARGEST_SEED:
        faults.append(f"seed is {seed}, allowed are 0 to 2**64 - 1")
    for name in ("width", "height"):
        size = wanted.get(name)
        if size is not None and (size < 16 or size % 16):
            faults.append(f"{name} is {size}, the model needs a positive multiple of 16")
    if frames is not None and (frames < 1 or frames % 4 != 1):
        faults.append(f"frames is {frames}, the model makes 4n+1 (1, 5, ... 49, ... 81)")
    if "steps" in wanted and wanted["steps"] < 1:
        faults.append(f"steps is {wanted['steps']}, at least 1 is needed")
    if fps is not None and not (math.isfinite(fps) and fps >= 1):
        faults.append(f"fps is {fps}, the node that saves the video takes 1 and more")
    for name, largest in (("cfg", LARGEST_CFG), ("strength", LARGEST_STRENGTH)):
        # NaN is in no range, so that it is refused too
        if name in wanted and not 0 <= wanted[name] <= largest:
            faults.append(f"{name} is {wanted[name]}, allowed are 0 to {largest:g}")
    if faults:
        raise WorkflowError("; ".join(faults) + ".", remedy="Choose an allowed value.")


def _plain(value: Any) -> Any:
    """A value that JSON can hold; whole rates stay whole."""
    if isinstance(value, Fraction):
        return int(value) if value.denominator == 1 else float(value)
    return value
