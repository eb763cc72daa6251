"""What each call returns, made of its answer. Pure, and shared by both clients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoke_tests.comfy_client import protocol
from smoke_tests.comfy_client.errors import NotComfyUI, TruncatedDownload
from smoke_tests.comfy_client.protocol import Answer, OutputFile


@dataclass(frozen=True)
class UploadedFile:
    """A file in ComfyUI's input folder."""

    name: str
    subfolder: str

    @property
    def reference(self) -> str:
        """How LoadImage and VHS_LoadVideo name it."""
        return f"{self.subfolder}/{self.name}" if self.subfolder else self.name


@dataclass(frozen=True)
class Download:
    """A complete file on this machine."""

    path: Path
    size: int
    sha256: str
    seconds: float


def stats(answer: Answer) -> tuple[dict[str, Any], bool]:
    """GET /system_stats, and whether the server says that it is a simulation."""
    body = protocol.expect_ok(answer).json_object()
    system = body.get("system")
    if not isinstance(system, dict) or "comfyui_version" not in system:
        raise mismatch(answer, "system.comfyui_version")
    return body, "x-simulated" in answer.headers or system.get("simulated") is True


def queue(answer: Answer) -> dict[str, Any]:
    """GET /queue."""
    body = protocol.expect_ok(answer).json_object()
    if "queue_running" not in body or "queue_pending" not in body:
        raise mismatch(answer, "queue_running and queue_pending")
    return body


def history_entry(answer: Answer, prompt_id: str) -> dict[str, Any] | None:
    """GET /history/ID; None when there is no such entry."""
    entry = protocol.expect_ok(answer).json_object().get(prompt_id)
    return entry if isinstance(entry, dict) else None


def uploaded(answer: Answer) -> UploadedFile:
    """POST /upload/image."""
    body = protocol.expect_ok(answer).json_object()
    if not isinstance(body.get("name"), str):
        raise mismatch(answer, "name")
    return UploadedFile(body["name"], str(body.get("subfolder") or ""))


def order(graph: Mapping[str, Any], client_id: str, prompt_id: str = "") -> dict[str, Any]:
    """The body of POST /prompt.

    `prompt_id` is not in ComfyUI's openapi.yaml; its server takes it, and makes one up without.
    """
    body = {"prompt": dict(graph), "client_id": client_id}
    return {**body, "prompt_id": prompt_id} if prompt_id else body


def cancellation(prompt_id: str) -> Iterable[tuple[str, dict[str, Any]]]:
    """(path, body) of the POSTs that take a job out of the queue and stop it if it runs."""
    return (("/queue", {"delete": [prompt_id]}), ("/interrupt", {"prompt_id": prompt_id}))


def expect_whole(file: OutputFile, answer: Answer, size: int) -> None:
    """Raise TruncatedDownload unless as many bytes arrived as were announced, and some."""
    announced = answer.headers.get("content-length")
    if size == 0 or (announced is not None and int(announced) != size):
        raise TruncatedDownload(
            f"{file.filename} has {announced or 'more than 0'} bytes on the server, {size} arrived."
        )


def mismatch(answer: Answer, missing: str) -> NotComfyUI:
    """The error for a JSON answer that lacks what ComfyUI always sends."""
    return NotComfyUI(f"{answer.request} answered JSON without {missing}: {answer.words()!r}.")
