"""One tiny graph through the whole chain: all models loaded, a file made and brought here.

Two steps at 96x96 give no picture worth judging, so only the file is checked, and that it is not
black, as results full of NaN are.
"""

from dataclasses import replace

import pytest

from smoke_tests import reference
from smoke_tests.making import judge, look_at, make_video, provenance, result_of
from smoke_tests.media import CHECKS, Check, Clip, MediaError
from smoke_tests.session import Run, Video

NAME = "tiny"
SHOWS_IN_TINY = (
    "mp4", "faststart", "one_h264_stream", "profile", "pixel_format", "colour_tags", "frame_size",
    "frame_count", "constant_rate", "duration", "decodable", "audio", "not_black",
)  # fmt: skip


def test_a_tiny_graph_makes_a_video(run: Run, pytestconfig: pytest.Config) -> None:
    """The reference workflow with a tiny size runs to its end and its video is downloaded."""
    image = reference.write_example_image(run.folder)
    title = {"en": "Reference workflow, tiny", "zh": "参考工作流（极小尺寸）"}
    run.video = make_video(
        run, pytestconfig, NAME, reference.workflow(), {"image": image}, title=title,
        **reference.TINY,
    )  # fmt: skip
    run.report.take_main(result_of(run, NAME))


def test_the_tiny_video_can_be_read(run: Run, video: Video) -> None:
    """The downloaded file is a video that can be opened; its contact sheet is drawn."""
    look_at(run, video)
    run.report.take_main(result_of(run, NAME))


def test_the_tiny_video_was_made_by_this_run(run: Run, video: Video, clip: Clip) -> None:
    """The video was made by this run: its name, content and embedded seed are new."""
    provenance(run, video)


@pytest.mark.parametrize("check", [CHECKS[name] for name in SHOWS_IN_TINY], ids=SHOWS_IN_TINY)
def test_the_tiny_video_is_good(check: Check, run: Run, video: Video, clip: Clip) -> None:
    """The video passes one check of its container or stream."""
    tiny = reference.TINY
    expected = replace(
        reference.EXPECTED, width=tiny["width"], height=tiny["height"], frames=tiny["frames"]
    )
    failed: list[MediaError] = judge(run, video, expected, [check.__name__])
    if failed:
        raise failed[0]
