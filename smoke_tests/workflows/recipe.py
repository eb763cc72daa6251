"""What a workflow promises, in one record: its inputs, its result, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from smoke_tests.comfy_client import Workflow
from smoke_tests.workflows import cost

Language = Literal["en", "zh"]
Role = Literal["image", "video", "mask"]
Kept = Literal["nothing", "structure", "outside_mask", "first_frames", "inside_frame"]
Fit = Literal["crop", "pad"]

LANGUAGES: tuple[Language, ...] = ("en", "zh")
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Prompt:
    """A pair of texts in one language: what the result shows, and what it must not look like."""

    positive: str
    negative: str


@dataclass(frozen=True)
class Recipe:
    """One workflow that the service ships.

    Attributes:
        name: stem of its files, ``<name>.api.json`` and ``<name>.ui.json``.
        title, summary: for people, by language.
        inputs: files to upload. ``image`` is a reference picture, ``video`` the source, ``mask`` a
            picture drawn on a frame of the source: white may be painted, black is kept.
        kept: what of the source must be recognisable in the result.
        audio: whether the source's sound is carried into the result (else it is dropped).
        fit: how an input of another shape comes to the result's size; None where there is none.
        width, height, frames, fps: of the result as shipped.
        steps, cfg, denoise: as shipped. denoise below 1 starts from the source and not from noise.
        prompts: by language. The files hold the English ones, the reference its own Chinese one.
        notes: what to know before use, by language; Markdown paragraphs.
        first_frames: frames of the source that open the result, where ``kept`` is first_frames.
        inner: left, top, right, bottom of the kept area in pixels, where ``kept`` is inside_frame.
    """

    name: str
    title: Mapping[Language, str]
    summary: Mapping[Language, str]
    inputs: tuple[Role, ...]
    kept: Kept
    audio: bool
    fit: Fit | None
    width: int
    height: int
    frames: int
    fps: Fraction
    prompts: Mapping[Language, Prompt]
    steps: int
    cfg: float
    notes: Mapping[Language, tuple[str, ...]]
    denoise: float = 1.0
    reference_frame: bool = False
    first_frames: int = 0
    inner: tuple[int, int, int, int] | None = None

    def workflow(self) -> Workflow:
        """The graph as shipped, in API format."""
        return Workflow.load(self.api_path)

    @property
    def api_path(self) -> Path:
        """The file for programs: the graph as POST /prompt takes it."""
        return FOLDER / f"{self.name}.api.json"

    @property
    def ui_path(self) -> Path:
        """The file for people: the graph as the browser interface opens it."""
        return FOLDER / f"{self.name}.ui.json"

    @property
    def seconds(self) -> Fraction:
        """Length of the result."""
        return self.frames / self.fps

    @property
    def cost(self) -> float:
        """Matrix work of the sampling, relative to the reference workflow."""
        return self._work() / cost.REFERENCE_WORK

    @property
    def vram_gib(self) -> float:
        """Estimated peak of GPU memory in GiB; see `cost.memory_gib`. Not a measurement."""
        return cost.memory_gib(
            self.width, self.height, self.frames, reference_frame=self.reference_frame
        )

    def _work(self) -> float:
        return cost.sampling_work(
            self.width,
            self.height,
            self.frames,
            steps=self.steps,
            cfg=self.cfg,
            reference_frame=self.reference_frame,
        )
