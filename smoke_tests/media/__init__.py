"""Is this file the video that was asked for, and is it worth looking at?

>>> clip = read_clip(path)
>>> for check in CHECKS.values():
...     print(check(clip, Expectation(480, 480, 49, Fraction(16))))
"""

from smoke_tests.media.checks import CHECKS, Check, Expectation, Finding
from smoke_tests.media.clip import Clip, MediaError, read_clip
from smoke_tests.media.sheet import write_contact_sheet

__all__ = [
    "CHECKS",
    "Check",
    "Clip",
    "Expectation",
    "Finding",
    "MediaError",
    "read_clip",
    "write_contact_sheet",
]
