"""What a good video is: every check by its name, those of the file first.

A check returns a `Finding` when the clip passes and raises `MediaError` when it does not.
"""

from __future__ import annotations

from collections.abc import Mapping

from smoke_tests.media import file_checks, picture_checks
from smoke_tests.media.finding import Check, Expectation, Finding

__all__ = ["CHECKS", "Check", "Expectation", "Finding"]

CHECKS: Mapping[str, Check] = {
    check.__name__: check
    for check in (
        file_checks.mp4,
        file_checks.faststart,
        file_checks.one_h264_stream,
        file_checks.profile,
        file_checks.pixel_format,
        file_checks.colour_tags,
        file_checks.frame_size,
        file_checks.frame_count,
        file_checks.constant_rate,
        file_checks.duration,
        file_checks.decodable,
        file_checks.audio,
        file_checks.no_metadata,
        file_checks.made_after_submission,
        picture_checks.not_black,
        picture_checks.not_plain,
        picture_checks.not_frozen,
        picture_checks.not_noise,
        picture_checks.no_broken_blocks,
        picture_checks.brightness,
        picture_checks.no_flicker,
        picture_checks.colour_cast,
        picture_checks.colour_overflow,
        picture_checks.colour_levels,
    )
}
