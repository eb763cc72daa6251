"""The parts of one server, wired together."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from rehearsal.comfyui.catalogue import Catalogue
from rehearsal.comfyui.execution import Executor
from rehearsal.comfyui.faults import Faults
from rehearsal.comfyui.folders import Folders
from rehearsal.comfyui.hub import WebSocketHub
from rehearsal.comfyui.prompt_queue import PromptQueue
from rehearsal.comfyui.settings import Settings


@dataclass
class Simulation:
    """Everything that the routes use.

    Attributes:
        interface: static files of the browser interface, or None when it is not installed.
    """

    settings: Settings
    folders: Folders
    catalogue: Catalogue
    hub: WebSocketHub
    interface: Path | None = None
    queue: PromptQueue = field(init=False)
    executor: Executor = field(init=False)
    #: Number of the next prompt, as /prompt answers it.
    next_number: int = 0

    def __post_init__(self) -> None:
        self.queue = PromptQueue(self.announce, history_limit=self.settings.history_limit)
        letters = random.choices(string.ascii_lowercase, k=5)  # noqa: S311 - a file name, no secret
        self.executor = Executor(
            queue=self.queue,
            catalogue=self.catalogue,
            folders=self.folders,
            hub=self.hub,
            faults=Faults(self.settings.fault, self.settings.fault_file),
            step_seconds=self.settings.step_seconds,
            metadata=self.settings.metadata,
            preview_method=self.settings.preview_method,
            preview_size=self.settings.preview_size,
            temp_suffix="".join(letters),
        )

    def queue_info(self) -> dict[str, Any]:
        """The answer of GET /prompt, which is also in every ``status`` message."""
        return {"exec_info": {"queue_remaining": self.queue.remaining()}}

    def announce(self) -> None:
        """Tell all clients how long the queue is."""
        self.hub.send("status", {"status": self.queue_info()}, None)

    def features(self) -> dict[str, Any]:
        """The answer of GET /features."""
        return {
            "supports_preview_metadata": True,
            "supports_model_type_tags": True,
            "max_upload_size": self.settings.max_upload_bytes,
            "extension": {"manager": {"supports_v4": True}},
            "node_replacements": True,
            "assets": False,
        }


SIMULATION = web.AppKey("simulation", Simulation)


def build(settings: Settings) -> Simulation:
    """The parts, wired; creates the folders.

    Raises:
        OSError: the base folder cannot be written.
        FaultError: the fault line cannot be understood.
    """
    folders = Folders(settings.base, settings.folders)
    folders.create()
    return Simulation(settings, folders, Catalogue(folders), WebSocketHub())
