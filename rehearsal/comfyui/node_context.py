"""What a node may use while it runs, and what it returns."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from rehearsal.comfyui.errors import Abandoned, Interrupted
from rehearsal.comfyui.faults import Fault
from rehearsal.comfyui.folders import Folders
from rehearsal.comfyui.progress import Progress
from rehearsal.comfyui.validation import Graph


class Hub(Protocol):
    """Where messages to WebSocket clients go; callable from any thread."""

    def send(self, event: str, data: Any, client_id: str | None) -> None:
        """Send a JSON message to one client, or to all when ``client_id`` is None."""

    def send_text(self, node_id: str, text: str, client_id: str | None) -> None:
        """Send a node's text as the binary message that ComfyUI uses for it."""

    def send_preview(
        self, jpeg: bytes, place: dict[str, Any], client_id: str | None, *, described: bool
    ) -> None:
        """Send a picture of what is being sampled, with a description of where, or bare."""

    def cut(self) -> None:
        """Cut every connection off, without a close."""


class Interrupt:
    """The interrupt flag: set by POST /interrupt, looked at between nodes and between steps."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._abandoned = False

    def set(self) -> None:
        """Interrupt what runs."""
        self._event.set()

    def clear(self) -> None:
        """Forget an interrupt that came too late."""
        self._abandoned = False
        self._event.clear()

    def abandon(self) -> None:
        """Make what runs end without a trace."""
        self._abandoned = True
        self._event.set()

    def check(self) -> None:
        """Raises Interrupted or Abandoned when the flag is set, and takes it down."""
        if self._event.is_set():
            self._event.clear()
            if self._abandoned:
                raise Abandoned
            raise Interrupted

    def wait(self, seconds: float) -> None:
        """Let time pass, but no longer than until an interrupt (then raises Interrupted)."""
        if self._event.wait(seconds):
            self.check()


@dataclass(frozen=True)
class NodeContext:
    """What a node may use while it runs.

    Attributes:
        node_id: its id in the graph.
        graph: the whole prompt, with ``is_changed`` beside the inputs of file nodes.
        extra_pnginfo: the workflow that the browser sent along, or an empty dict.
        folders: where files are.
        step_seconds: duration of one sampler step.
        fault: the fault that hits this prompt, or None.
        interrupt: to be checked in every loop.
        temp_suffix: the five letters in the names of this server's preview files.
        metadata: whether ComfyUI's own save nodes write the graph into their files.
        preview_size: longest side in pixels of pictures sent while sampling; 0 for none.
    """

    node_id: str
    graph: Graph
    extra_pnginfo: dict[str, Any]
    folders: Folders
    step_seconds: float
    fault: Fault | None
    interrupt: Interrupt
    temp_suffix: str
    metadata: bool
    progress: Progress
    hub: Hub
    client_id: str | None
    preview_size: int = 0

    def step(self, value: int, maximum: int, preview: Callable[[], bytes] | None = None) -> None:
        """Report progress and stop here if the prompt was interrupted.

        Args:
            value: steps done.
            maximum: steps in all.
            preview: makes a JPEG of what there is so far; called only if previews are sent.
        """
        self.interrupt.check()
        self.progress.step(self.node_id, value, maximum, preview if self.preview_size else None)

    @property
    def fault_name(self) -> str:
        """Name of the fault that hits this prompt, or empty."""
        return self.fault.name if self.fault is not None else ""

    def text(self, text: str) -> None:
        """Show a text under the node in the browser."""
        self.hub.send_text(self.node_id, text, self.client_id)


@dataclass(frozen=True)
class NodeResult:
    """What a node's behaviour returns: values by slot, and what the user sees."""

    outputs: tuple[Any, ...] = ()
    ui: dict[str, Any] | None = None


Behaviour = Callable[..., NodeResult]
