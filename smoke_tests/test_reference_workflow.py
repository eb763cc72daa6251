"""Make the reference video and look at it."""

import pytest

from smoke_tests import reference
from smoke_tests.comfy_client import CachedResult, ComfyClient, Deadline
from smoke_tests.making import judge, look_at, make_video, provenance, result_of
from smoke_tests.media import CHECKS, Check, Clip, MediaError
from smoke_tests.session import Run, Video

NAME = "reference"


def test_the_reference_workflow_makes_a_video(run: Run, pytestconfig: pytest.Config) -> None:
    """The reference workflow runs to its end and its video is downloaded."""
    image = reference.write_example_image(run.folder)
    title = {"en": "Reference workflow", "zh": "参考工作流"}
    run.video = make_video(
        run, pytestconfig, NAME, reference.workflow(), {"image": image}, title=title
    )
    run.report.take_main(result_of(run, NAME))


def test_the_same_graph_again_is_not_taken_for_a_new_video(
    run: Run, video: Video, client: ComfyClient
) -> None:
    """The same graph again makes nothing new, and the client says so.

    Runs right after the first, since ComfyUI keeps results only until another graph needs room.
    """
    assert video.file is not None
    deadline = Deadline(run.settings.timeout_s)
    try:
        again = client.run(video.submitted.graph, deadline, stall_s=run.settings.stall_s)
    except CachedResult:
        return
    # somebody else's job came between: then it was made anew, and must not claim the old name
    assert again.videos[0].filename != video.file.filename, "an old file was reported as new"
    run.report.notes.append("the repeated graph was not answered from the cache, but made anew")


def test_progress_arrives_while_the_video_is_made(video: Video) -> None:
    """Progress came over the WebSocket, not only by asking again and again.

    The browser interface shows nothing at all when a proxy breaks the WebSocket.
    """
    assert video.result is not None
    assert video.result.events > 0, "no event about the job arrived on GET /ws; only polling worked"


def test_the_video_can_be_read(run: Run, video: Video) -> None:
    """The downloaded file is a video that can be opened; its contact sheet is drawn."""
    look_at(run, video)
    run.report.take_main(result_of(run, NAME))


def test_the_video_was_made_by_this_run(run: Run, video: Video, clip: Clip) -> None:
    """The video was made by this run: its name, content and embedded seed are new."""
    provenance(run, video)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
def test_the_video_is_good(check: Check, run: Run, video: Video, clip: Clip) -> None:
    """The video passes one check of its container, stream or pictures."""
    failed: list[MediaError] = judge(run, video, reference.EXPECTED, [check.__name__])
    if failed:
        raise failed[0]
