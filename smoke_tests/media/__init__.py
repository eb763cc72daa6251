"""Is this file the video that was asked for, and is it worth looking at?

>>> clip = read_clip(path)
>>> for check in CHECKS.values():
...     print(check(clip, Expectation(480, 480, 49, Fraction(16))))

And was the source edited as asked?

>>> source = Source(read_clip(source_path), mask)
>>> for name in edit_checks("outside_mask"):
...     print(EDIT_CHECKS[name](clip, source))
"""

from smoke_tests.media.checks import CHECKS
from smoke_tests.media.clip import Clip, read_clip
from smoke_tests.media.edits import EDIT_CHECKS, edit_checks
from smoke_tests.media.finding import Check, EditCheck, Expectation, Finding, MediaError
from smoke_tests.media.sheet import contact_sheet, write_contact_sheet
from smoke_tests.media.source import Source

__all__ = [
    "CHECKS",
    "EDIT_CHECKS",
    "Check",
    "Clip",
    "EditCheck",
    "Expectation",
    "Finding",
    "MediaError",
    "Source",
    "contact_sheet",
    "edit_checks",
    "read_clip",
    "write_contact_sheet",
]
