"""What a check is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from smoke_tests.media.clip import Clip
    from smoke_tests.media.source import Source

#: Profiles of H.264 (ISO/IEC 14496-10, annex A) that every browser and phone decodes in hardware.
#: All of them are 8 bit 4:2:0; High 10, High 4:2:2 and High 4:4:4 Predictive play almost nowhere.
PROFILES = ("High", "Main", "Baseline", "Constrained Baseline")


class MediaError(Exception):
    """A video is not what it should be.

    Attributes:
        check: name of the check.
        measured: the value found; limit: what is allowed; reason: why, and what it points to.
    """

    def __init__(self, check: str, *, measured: str, limit: str, reason: str) -> None:
        self.check, self.measured, self.limit, self.reason = check, measured, limit, reason
        super().__init__(f"{check}: measured {measured}; expected {limit}. {reason}")


@dataclass(frozen=True)
class Expectation:
    """What the video must be.

    Attributes:
        width, height: pixels. frames: exact count. fps: constant rate in frames per second.
        profiles: allowed H.264 profiles, as FFmpeg names them.
        audio: True where the source's sound is carried along and must be there, False where
            there must be none, None where both will do.
        metadata_allowed: True where the graph may be embedded (`save_metadata`), False where a
            delivered file must not give away prompts and graph. None, nothing being promised:
            an embedded graph is noted as a warning.
        submitted: when the graph was sent, with time zone; None where nobody asks.
    """

    width: int
    height: int
    frames: int
    fps: Fraction
    profiles: tuple[str, ...] = PROFILES
    audio: bool | None = False
    metadata_allowed: bool | None = None
    submitted: datetime | None = None

    @property
    def seconds(self) -> float:
        """Duration: each frame is shown for one period."""
        return float(self.frames / self.fps)


@dataclass(frozen=True)
class Finding:
    """A passed check; `level` is "warning" for what works but could be better."""

    check: str
    measured: str
    limit: str
    reason: str
    level: Literal["ok", "warning"] = "ok"

    def __str__(self) -> str:
        return f"{self.check}: {self.measured} (expected {self.limit})"


Check = Callable[["Clip", Expectation], Finding]
EditCheck = Callable[["Clip", "Source"], Finding]


def verdict(ok: bool, check: str, measured: str, limit: str, reason: str) -> Finding:
    """The finding when `ok`.

    Raises:
        MediaError: not `ok`.
    """
    if not ok:
        raise MediaError(check, measured=measured, limit=limit, reason=reason)
    return Finding(check, measured, limit, reason)


def which(indices: list[int]) -> str:
    """The first few of the frames that a check found fault with, in brackets; empty for none."""
    if not indices:
        return ""
    shown = ", ".join(map(str, indices[:5])) + (", ..." if len(indices) > 5 else "")
    return f" ({shown})"
