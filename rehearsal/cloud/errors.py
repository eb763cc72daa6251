"""Errors as they leave the emulator.

The tree::

    ApiError                  an answer with a wire code, a message and an HTTP status
    └── ConnectionDroppedError     no answer at all: the connection is closed (fault injection only)

Clients branch on the code and sometimes on the words, so both follow the real API. Where the real
service only says "The specified parameter is invalid", the emulator adds what was given and what is
allowed, after the real sentence.
"""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """A refusal; the client sees Code, Message, RequestId, HostId and Recommend.

    Args:
        code: the wire code, for example ``InvalidVpcId.NotFound``.
        message: the sentence for people; start with the real API's words.
        http_status: 4xx for refusals, 5xx for failures of the service.
        details: further fields of the error body, for example ``AccessDeniedDetail``.
    """

    def __init__(
        self,
        code: str,
        message: str,
        http_status: int = 400,
        *,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.http_status = http_status
        self.details = details or {}


class ConnectionDroppedError(ApiError):
    """The server closes the connection without an answer, as a broken network would."""

    def __init__(self) -> None:
        super().__init__("ConnectionDropped", "The connection was closed on request.", 503)


def missing_parameter(name: str) -> ApiError:
    """The error for a required parameter that was not sent (or was sent empty)."""
    return ApiError(
        "MissingParameter",
        f'The input parameter "{name}" that is mandatory for processing this request is not '
        "supplied.",
        400,
    )


def invalid_parameter(name: str, given: object, allowed: str, *, code: str = "") -> ApiError:
    """The error for a parameter outside its range.

    Args:
        name: parameter as sent on the wire.
        given: the value that was sent; do not pass secrets.
        allowed: what would be accepted, as a phrase.
        code: wire code when it is not ``InvalidParameter.<name>``.
    """
    return ApiError(
        code or f"InvalidParameter.{name}",
        f'The specified parameter "{name}" is not valid. Given: {given!r}. Allowed: {allowed}.',
        400,
    )
