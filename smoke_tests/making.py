"""Make one video with the service: submit, follow, download, look at it, note all of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from smoke_tests.comfy_client import Deadline, Workflow
from smoke_tests.media import (
    CHECKS,
    EDIT_CHECKS,
    Clip,
    Expectation,
    Finding,
    MediaError,
    Source,
    contact_sheet,
    read_clip,
)
from smoke_tests.phases import PhaseClock, totals
from smoke_tests.provenance import made_by_this_run
from smoke_tests.session import Run, Video
from smoke_tests.terminal import ProgressLines


def new_seed() -> int:
    """A seed that was not used before; exact in JSON readers that keep numbers as doubles."""
    return secrets.randbelow(2**48)


def make_video(
    run: Run,
    config: pytest.Config,
    name: str,
    workflow: Workflow,
    files: Mapping[str, Path] | None = None,
    *,
    title: Mapping[str, str] | None = None,
    **inputs: Any,
) -> Video:
    """Upload the files, run the workflow with a new seed and an own prefix, download the video.

    Everything is noted in `run.report.results` as it happens, so that a red report shows how far
    it came.

    Args:
        name: of the video in report and file names.
        files: by input: image, video or mask.
        title: what people call it, by language.
        inputs: more for `Workflow.with_inputs`.

    Raises:
        ComfyError: whatever went wrong. SimulatedService: see `Run.refuse_simulation`.
    """
    run.refuse_simulation()
    files = files or {}
    entry: dict[str, Any] = {
        "name": name,
        "title": dict(title or {}),
        "submitted": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": [
            {"role": role, "file": str(path.relative_to(run.folder))}
            for role, path in files.items()
        ],
    }
    run.report.results.append(entry)
    deadline = Deadline(run.settings.timeout_s)
    clock = PhaseClock(ProgressLines(config))
    timings: dict[str, float | None] = {}
    entry["timings_s"] = timings
    try:
        for role, path in files.items():
            clock.enter("upload")
            inputs[role] = run.client.upload(path, path.name, deadline).reference
        clock.stop()
        timings["upload"] = round(deadline.elapsed(), 3)
        submitted = workflow.with_inputs(
            seed=new_seed(),
            filename_prefix=f"vace_smoke_{run.report.run_id}_{name}",
            **inputs,
        )
        video = Video(name, submitted)
        entry |= {"seed": submitted.value("seed"), "asked": _asked(submitted)}
        result = run.client.run(
            submitted.graph, deadline, on_progress=clock, stall_s=run.settings.stall_s
        )
        timings |= {"queue_wait": result.queue_wait_s, "execution": result.execution_s}
        entry |= {
            "prompt_id": result.prompt_id,
            "progress": "websocket" if result.events else "polling",
            "cached_nodes": sorted(result.cached_nodes),
        }
        run.report.notes += result.notes
        video.result, video.file = result, result.videos[0]
        clock.enter("download")
        video.download = run.client.download(video.file, run.folder / video.file.filename, deadline)
        clock.stop()
    finally:
        clock.stop()
        entry["timeline"] = [span.json() for span in clock.spans]
        entry["phases_s"] = totals(clock.spans)
        if clock.step_s:
            entry["step_s"] = round(sum(clock.step_s) / len(clock.step_s), 4)
    timings["download"] = video.download.seconds
    entry |= {
        "file": video.download.path.name,
        "bytes": video.download.size,
        "sha256": video.download.sha256,
    }
    return video


def look_at(run: Run, video: Video, source: Clip | None = None) -> None:
    """Decode the downloaded file and draw its contact sheet, with the source's frames if given.

    Raises:
        MediaError: it is no video that can be opened.
    """
    assert video.download is not None  # noqa: S101 - the caller downloaded it
    started = time.monotonic()
    video.clip = clip = read_clip(video.download.path)
    entry = result_of(run, video.name)
    entry["timings_s"]["checks"] = round(time.monotonic() - started, 3)
    sheet = video.download.path.with_suffix(".png")
    stream = clip.video
    about = f"{stream.width}x{stream.height} · {len(clip.frames)} frames · {run.report.started}"
    mark = "SIMULATED · " if run.report.simulated else ""
    drawn = contact_sheet(clip, title=mark + clip.path.name, subtitle=about, source=source)
    sheet.write_bytes(drawn)
    entry |= {"contact_sheet": sheet.name, "about": about}


def provenance(run: Run, video: Video, *, embeds_graph: bool = True) -> Finding:
    """Was the video made by this run? Noted in the report.

    Raises:
        MediaError: no.
    """
    assert video.clip is not None  # noqa: S101 - the caller looked at it
    assert video.file is not None  # noqa: S101
    try:
        finding = made_by_this_run(
            video.clip,
            video.file,
            video.submitted,
            seen_sha256=run.report.seen_sha256,
            embeds_graph=embeds_graph,
        )
    except MediaError as error:
        run.report.finding(error, video.name)
        raise
    run.report.finding(finding, video.name)
    return finding


def judge(
    run: Run,
    video: Video,
    expected: Expectation,
    checks: Iterable[str] = tuple(CHECKS),
    *,
    source: Source | None = None,
    edits: Iterable[str] = (),
) -> list[MediaError]:
    """Run checks, note each in the report, and return what failed."""
    assert video.clip is not None  # noqa: S101 - the caller looked at it
    failed = []
    for name in (*checks, *edits):
        try:
            if name in CHECKS:
                finding = CHECKS[name](video.clip, expected)
            else:
                finding = EDIT_CHECKS[name](video.clip, source or Source())
        except MediaError as error:
            failed.append(error)
            run.report.finding(error, video.name)
        else:
            run.report.finding(finding, video.name)
    return failed


def result_of(run: Run, name: str) -> dict[str, Any]:
    """The report's entry of a video."""
    return next(entry for entry in reversed(run.report.results) if entry["name"] == name)


def _asked(workflow: Workflow) -> dict[str, Any]:
    """What a person wants to know of the graph: prompt, size, frames, steps."""
    shown = ("prompt", "width", "height", "frames", "fps", "steps", "cfg", "strength")
    values = workflow.inputs()
    return {name: values[name] for name in shown if name in values}
