"""What ``verify`` says: one line for each check, and whether the image may be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True)
class Check:
    """One check: its name, how it ended, and a sentence that says what was seen."""

    name: str
    status: Status
    sentence: str


@dataclass(frozen=True)
class Report:
    """All checks of one image.

    Attributes:
        allow_skips: what could not be compared does not make the image unfit.
    """

    image: str
    source: str
    digest: str
    checks: Sequence[Check]
    allow_skips: bool = False

    @property
    def ok(self) -> bool:
        """No check failed, and none was skipped unless that is allowed."""
        return not self.count("failed") and (self.allow_skips or not self.count("skipped"))

    def count(self, status: Status) -> int:
        """Number of checks that ended so."""
        return sum(check.status == status for check in self.checks)

    def json(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "ok": self.ok}

    def text(self) -> str:
        """For people."""
        lines = [f"{check.status:<8}{check.name}: {check.sentence}" for check in self.checks]
        failed, skipped = self.count("failed"), self.count("skipped")
        if failed:
            end = f"is NOT what the lock says: {failed} failed, {skipped} skipped"
        elif not skipped:
            end = "is what the lock says"
        elif self.allow_skips:
            end = f"is what the lock says as far as it was compared: {skipped} skipped, as allowed"
        else:
            end = (
                f"is NOT shown to be what the lock says: {skipped} skipped. Give what they lack, "
                "or accept them with --allow-skips"
            )
        return "\n".join([*lines, f"{self.source} {self.digest} {end}"])
