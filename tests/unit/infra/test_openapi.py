"""Calls of our own: what is tried again, for how long, and what an error is taken for."""

from typing import Any

import pytest

from infra import openapi


class CloudError(Exception):
    def __init__(self, code: str, status_code: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.message = f"words\nof {code}"
        self.status_code = status_code


class WrappedError(Exception):
    """As the SDK raises what its transport met."""

    code = None
    message = "repr of the inner one"

    def __init__(self, inner: Exception) -> None:
        super().__init__(inner)
        self.inner_exception = inner


class RetryError(Exception):
    name = "RetryError"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


CUT = WrappedError(RetryError("Connection aborted."))


@pytest.mark.parametrize(
    "error",
    [
        CloudError("Throttling"),
        CloudError("Throttling.User"),
        CloudError("Rejected.Throttling"),
        CloudError("ServiceUnavailable", 503),
        CloudError("InternalError", 500),
        CloudError("SomethingNew", 502),
        ConnectionResetError(),
        CUT,
    ],
    ids=lambda error: openapi.code(error) or type(error).__name__,
)
def test_what_passes_by_waiting_is_tried_again(error: Exception) -> None:
    answers: list[Any] = [error, error, {"done": True}]

    def call(_action: str, _parameters: dict[str, str]) -> dict[str, Any]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    clock = Clock()
    api = openapi.retrying(call, 60, clock=clock, pause=clock.pause)
    assert api("RunCommand", {}) == {"done": True}
    assert clock.pauses[0] < clock.pauses[1]


@pytest.mark.parametrize(
    "error",
    [
        CloudError("Forbidden.RAM", 403),
        CloudError("InvalidInstance.NotFound", 404),
        WrappedError(RetryError("SSL: CERTIFICATE_VERIFY_FAILED")),
        ValueError("a mistake of ours"),
    ],
)
def test_what_does_not_pass_is_raised_at_once(error: Exception) -> None:
    def call(_action: str, _parameters: dict[str, str]) -> dict[str, Any]:
        raise error

    clock = Clock()
    with pytest.raises(type(error)):
        openapi.retrying(call, 60, clock=clock, pause=clock.pause)("GetRole", {})
    assert clock.pauses == []


def test_tries_end_with_the_last_error_when_the_time_is_over() -> None:
    def call(_action: str, _parameters: dict[str, str]) -> dict[str, Any]:
        raise CloudError("Throttling.User")

    clock = Clock()
    with pytest.raises(CloudError):
        openapi.retrying(call, 60, clock=clock, pause=clock.pause)("GetRole", {})
    assert 40 < clock.now <= 60
    assert max(clock.pauses) <= openapi.LONGEST_PAUSE_SECONDS


def test_a_pause_that_the_service_asks_for_is_kept() -> None:
    error = CloudError("Throttling.User")
    error.retry_after = 3000  # type: ignore[attr-defined]
    answers: list[Any] = [error]

    def call(_action: str, _parameters: dict[str, str]) -> dict[str, Any]:
        if answers:
            raise answers.pop()
        return {}

    clock = Clock()
    openapi.retrying(call, 60, clock=clock, pause=clock.pause)("GetRole", {})
    assert clock.pauses == [3.0]


def test_gone_is_not_forbidden() -> None:
    """ECS says Forbidden.InstanceNotFound of an instance that does not exist any more."""
    gone, denied = CloudError("Forbidden.InstanceNotFound"), CloudError("Forbidden.RAM")
    assert (openapi.missing(gone), openapi.forbidden(gone)) == (True, False)
    assert (openapi.missing(denied), openapi.forbidden(denied)) == (False, True)


def test_what_was_said_is_one_line_without_data() -> None:
    assert openapi.said(CloudError("Forbidden.RAM")) == "Forbidden.RAM: words of Forbidden.RAM"
    assert openapi.said(CUT) == "Connection aborted."
