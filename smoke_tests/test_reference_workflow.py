"""Make the reference video and look at it."""

import io
import secrets
import time

import pytest

from smoke_tests import reference
from smoke_tests.comfy_client import CachedResult, ComfyClient, Deadline
from smoke_tests.conftest import Run
from smoke_tests.media import (
    CHECKS,
    Check,
    Clip,
    MediaError,
    read_clip,
    write_contact_sheet,
)
from smoke_tests.provenance import made_by_this_run
from smoke_tests.terminal import ProgressLines


def test_the_reference_workflow_makes_a_video(
    run: Run, client: ComfyClient, pytestconfig: pytest.Config
) -> None:
    """The reference workflow runs to its end and its video is downloaded."""
    run.refuse_simulation()
    report, deadline = run.report, Deadline(run.settings.timeout_s)
    image = client.upload(io.BytesIO(reference.example_image()), reference.IMAGE_NAME, deadline)
    report.timings_s["upload"] = round(deadline.elapsed(), 3)
    run.submitted = reference.workflow().with_inputs(
        seed=secrets.randbelow(2**48),  # exact in JSON readers that keep numbers as doubles
        image=image.reference,
        filename_prefix=f"vace_smoke_{report.run_id}",
    )
    result = client.run(run.submitted.graph, deadline, on_progress=ProgressLines(pytestconfig))
    run.result, run.file = result, result.videos[0]
    report.timings_s |= {"queue_wait": result.queue_wait_s, "execution": result.execution_s}
    report.job = {
        "prompt_id": result.prompt_id,
        "seed": run.submitted.value("seed"),
        "progress": "websocket" if result.events else "polling",
        "cached_nodes": sorted(result.cached_nodes),
    }
    report.notes += result.notes
    run.download = client.download(run.file, run.folder / run.file.filename, deadline)
    report.timings_s["download"] = run.download.seconds
    report.video = {
        "file": run.download.path.name,
        "bytes": run.download.size,
        "sha256": run.download.sha256,
    }


def test_the_same_graph_again_is_not_taken_for_a_new_video(run: Run, client: ComfyClient) -> None:
    """The same graph again makes nothing new, and the client says so.

    Runs right after the first, since ComfyUI keeps results only until another graph needs room.
    """
    if run.submitted is None or run.file is None:
        pytest.skip("the reference workflow did not run to its end")
    try:
        again = client.run(run.submitted.graph, Deadline(run.settings.timeout_s))
    except CachedResult:
        return
    # somebody else's job came between: then it was made anew, and must not claim the old name
    assert again.videos[0].filename != run.file.filename, "an old file was reported as new"
    run.report.notes.append("the repeated graph was not answered from the cache, but made anew")


def test_progress_arrives_while_the_video_is_made(run: Run) -> None:
    """Progress came over the WebSocket, not only by asking again and again.

    The browser interface shows nothing at all when a proxy breaks the WebSocket.
    """
    if run.result is None:
        pytest.skip("the reference workflow did not run to its end")
    assert run.result.events > 0, "no event about the job arrived on GET /ws; only polling worked"


def test_the_video_can_be_read(run: Run) -> None:
    """The downloaded file is a video that can be opened; its contact sheet is drawn."""
    if run.download is None:
        pytest.skip("there is no video: the reference workflow did not make one")
    started = time.monotonic()
    run.clip = clip = read_clip(run.download.path)
    run.report.timings_s["checks"] = round(time.monotonic() - started, 3)
    video, sheet = clip.video, run.download.path.with_suffix(".png")
    about = f"{video.width}x{video.height} · {len(clip.frames)} frames · {run.report.started}"
    mark = "SIMULATED · " if run.report.simulated else ""
    write_contact_sheet(clip, sheet, title=mark + clip.path.name, subtitle=about)
    run.report.video["contact_sheet"] = sheet.name


def test_the_video_was_made_by_this_run(run: Run, clip: Clip) -> None:
    """The video was made by this run: its name, content and embedded seed are new."""
    assert run.file is not None
    assert run.submitted is not None
    try:
        run.report.finding(
            made_by_this_run(clip, run.file, run.submitted, seen_sha256=run.report.seen_sha256)
        )
    except MediaError as error:
        run.report.finding(error)
        raise


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
def test_the_video_is_good(check: Check, run: Run, clip: Clip) -> None:
    """The video passes one check of its container, stream or pictures."""
    try:
        run.report.finding(check(clip, reference.EXPECTED))
    except MediaError as error:
        run.report.finding(error)
        raise
