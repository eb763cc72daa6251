"""Browser sessions: a signed cookie, no state but the list of sessions that logged out.

Cookie value: ``<expiry, Unix seconds>.<random id>.<HMAC-SHA256 of both>``. It carries no token,
so a stolen cookie ends with its session, and all cookies end when the token is replaced.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from vace_gateway.credentials import Credentials

# The __Host- prefix makes browsers insist on Secure, Path=/ and no Domain, so that no other
# service on a sibling name can plant a session here. Without TLS the prefix can't be used.
SECURE_COOKIE: Final = "__Host-vace_session"
PLAIN_COOKIE: Final = "vace_session"
MAX_LOGGED_OUT: Final = 4096

_VALUE: Final = re.compile(r"([0-9]{1,12})\.([0-9a-f]{32})\.([0-9a-f]{64})")


class Sessions:
    """Issues, checks and ends session cookies. Times are Unix seconds."""

    def __init__(
        self,
        credentials: Credentials,
        lifetime_seconds: int,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._credentials = credentials
        self._lifetime = lifetime_seconds
        self._clock = clock
        self._logged_out: OrderedDict[str, None] = OrderedDict()

    def issue(self) -> str:
        """A new cookie value, good from now for the configured lifetime."""
        expiry = str(int(self._clock()) + self._lifetime)
        session_id = secrets.token_hex(16)
        return f"{expiry}.{session_id}.{self._signature(expiry, session_id)}"

    def is_valid(self, value: str) -> bool:
        """Whether a cookie value was issued here, for the present token, and has not ended."""
        match = _VALUE.fullmatch(value)
        if match is None:
            return False
        expiry, session_id, signature = match.groups()
        genuine = hmac.compare_digest(signature, self._signature(expiry, session_id))
        return genuine and int(expiry) > self._clock() and session_id not in self._logged_out

    def end(self, value: str) -> None:
        """Log a session out. The list is bounded; the oldest entry goes first."""
        match = _VALUE.fullmatch(value)
        if match is None or not self.is_valid(value):
            return
        self._logged_out[match.group(2)] = None
        while len(self._logged_out) > MAX_LOGGED_OUT:
            self._logged_out.popitem(last=False)

    def set_cookie(self, value: str, *, secure: bool) -> str:
        """``Set-Cookie`` header that opens a session."""
        return self._header(value, self._lifetime, secure=secure)

    def clear_cookie(self, *, secure: bool) -> str:
        """``Set-Cookie`` header that removes the cookie from the browser."""
        return self._header("", 0, secure=secure)

    def _signature(self, expiry: str, session_id: str) -> str:
        message = f"vace-session.{expiry}.{session_id}".encode()
        return hmac.new(self._credentials.session_key, message, hashlib.sha256).hexdigest()

    @staticmethod
    def _header(value: str, max_age: int, *, secure: bool) -> str:
        name = SECURE_COOKIE if secure else PLAIN_COOKIE
        attributes = f"Max-Age={max_age}; Path=/; HttpOnly; SameSite=Strict"
        return f"{name}={value}; {attributes}" + ("; Secure" if secure else "")


def cookie_value(header: str, *, secure: bool) -> str:
    """The session cookie's value in a ``Cookie`` header, or an empty string."""
    name = SECURE_COOKIE if secure else PLAIN_COOKIE
    for part in header.split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return ""
