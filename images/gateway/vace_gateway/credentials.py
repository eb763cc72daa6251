"""The API token: read from a file, compared in constant time, replaced on reload."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from pathlib import Path
from typing import Final

from vace_gateway.errors import Problem, SettingsError
from vace_gateway.settings import PREFIX

MIN_TOKEN_CHARACTERS: Final = 32
# RFC 6750, section 2.1: what may stand behind "Bearer".
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class Credentials:
    """The token of this service and the key of the browser sessions opened with it.

    The session key is random and belongs to one token: a new token (or a new process) ends all
    sessions. The token itself is kept only as a digest, except for ``literal_secrets``, which the
    log filter needs to know what to hide.
    """

    def __init__(self, token_file: Path) -> None:
        self._file = token_file
        self._digest = b""
        self._session_key = b""
        self._literals: list[str] = []
        self.reload()

    def reload(self) -> bool:
        """Read the file again; True when the token changed.

        Raises SettingsError and keeps the old token when the file is unusable.
        """
        token = self._read()
        digest = hashlib.sha256(token.encode()).digest()
        if hmac.compare_digest(digest, self._digest):
            return False
        self._digest = digest
        self._session_key = secrets.token_bytes(32)
        # The previous token stays hidden too: clients go on sending it for a while.
        self._literals = [token, *self._literals[:1]]
        return True

    def accepts(self, presented: str) -> bool:
        """Compare in constant time, whatever the length of what was presented."""
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
        return hmac.compare_digest(digest, self._digest)

    @property
    def session_key(self) -> bytes:
        """Key of the session cookies that belong to the present token."""
        return self._session_key

    @property
    def literal_secrets(self) -> tuple[str, ...]:
        """Texts that must never be written to a log."""
        return tuple(self._literals)

    def __repr__(self) -> str:
        return f"Credentials({self._file})"

    def _read(self) -> str:
        try:
            token = self._file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeError) as error:
            raise self._problem(f"{self._file} ({error.__class__.__name__})") from error
        if len(token) < MIN_TOKEN_CHARACTERS or _TOKEN.fullmatch(token) is None:
            raise self._problem(f"{self._file} with {len(token)} characters (not shown)")
        return token

    @staticmethod
    def _problem(given: str) -> SettingsError:
        return SettingsError(
            [
                Problem(
                    f"{PREFIX}TOKEN_FILE",
                    given,
                    f"a readable file with one token of at least {MIN_TOKEN_CHARACTERS} characters "
                    "from A-Z a-z 0-9 . _ ~ + / -",
                    "a shorter token could be guessed, and other characters can't stand in an "
                    "Authorization header",
                    "write for example the output of 'openssl rand -hex 32' to the file, readable "
                    "for the gateway's user",
                )
            ]
        )
