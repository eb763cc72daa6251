"""Failures on request: what the control interface asked the emulator to do wrong, and when."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rehearsal.cloud.errors import ApiError, ConnectionDroppedError

KINDS = ("throttle", "error5xx", "drop", "slow", "error")


class FaultError(ValueError):
    """A fault was asked for that cannot be; the message says what is allowed."""


@dataclass
class Fault:
    """One planned failure.

    Attributes:
        kind: throttle (Throttling.User, 400), error5xx (InternalError, 500 or ``http_status``),
            drop (the connection is closed without an answer and the action is not carried out),
            slow (the action is carried out after ``seconds``), error (``code``, ``message``,
            ``http_status``).
        product: product code, ``*`` for any; ``oss`` for object storage.
        action: action name, ``*`` for any; the HTTP method for object storage.
        times: how often it strikes; None means until it is deleted.
        match: parameters that the request must have with exactly these values.
    """

    kind: str
    product: str = "*"
    action: str = "*"
    code: str = ""
    message: str = ""
    http_status: int = 0
    times: int | None = 1
    seconds: float = 0.0
    match: dict[str, str] = field(default_factory=dict)
    id: int = 0
    struck: int = 0

    def __post_init__(self) -> None:
        problems = []
        if self.kind not in KINDS:
            problems.append(f"kind is {self.kind!r}; allowed: {', '.join(KINDS)}")
        if self.kind == "error" and not self.code:
            problems.append("kind error needs a code")
        if self.kind == "slow" and not 0 < self.seconds <= 600:
            problems.append(f"kind slow needs seconds above 0 and up to 600, not {self.seconds!r}")
        if self.times is not None and self.times < 1:
            problems.append(f"times is {self.times!r}; it must be at least 1, or null for always")
        if problems:
            raise FaultError("; ".join(problems))

    def error(self) -> ApiError:
        """What the client gets (not for ``slow``)."""
        if self.kind == "throttle":
            return ApiError(
                self.code or "Throttling.User",
                self.message or "Request was denied due to user flow control.",
                self.http_status or 400,
            )
        if self.kind == "error5xx":
            return ApiError(
                self.code or "InternalError",
                self.message
                or "The request processing has failed due to some unknown error, exception or "
                "failure.",
                self.http_status or 500,
            )
        if self.kind == "drop":
            return ConnectionDroppedError()
        return ApiError(
            self.code, self.message or "Error on request of a test.", self.http_status or 400
        )


class Faults:
    """The planned failures of an emulator; safe to use from any thread. Not kept across starts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._ids = itertools.count(1)

    def add(self, description: Mapping[str, Any]) -> Fault:
        """Plan a failure; raises FaultError for an unknown field or value."""
        allowed = set(Fault.__dataclass_fields__) - {"id", "struck"}
        unknown = set(description) - allowed
        if unknown:
            given, known = ", ".join(sorted(unknown)), ", ".join(sorted(allowed))
            raise FaultError(f"unknown fields {given}; allowed: {known}")
        try:
            fault = Fault(**description)
        except TypeError as error:
            raise FaultError(f"{error}; kind is required") from None
        with self._lock:
            fault.id = next(self._ids)
            self._faults.append(fault)
        return fault

    def clear(self) -> int:
        """Forget all planned failures; returns how many there were."""
        with self._lock:
            count = len(self._faults)
            self._faults.clear()
            return count

    def listed(self) -> list[dict[str, Any]]:
        """All planned failures that have not been used up."""
        with self._lock:
            return [asdict(fault) for fault in self._faults]

    def take(self, product: str, action: str, params: Mapping[str, str]) -> Fault | None:
        """The first failure planned for this request, counted as used; None when there is none."""
        with self._lock:
            for fault in self._faults:
                if (
                    fault.product.lower() in ("*", product)
                    and fault.action in ("*", action)
                    and all(params.get(name) == value for name, value in fault.match.items())
                ):
                    fault.struck += 1
                    if fault.times is not None and fault.struck >= fault.times:
                        self._faults.remove(fault)
                    return fault
        return None
