"""Encryption of what must not lie readable in the state directory: secret values, key secrets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12


class VaultError(RuntimeError):
    """A sealed value cannot be opened with the key of this state directory."""


class Vault:
    """AES-256-GCM with a key file (mode 0600) that is made on first use."""

    def __init__(self, key_file: Path) -> None:
        self._path = key_file
        if not key_file.exists():
            write_private(key_file, AESGCM.generate_key(bit_length=256))
        key = key_file.read_bytes()
        if len(key) != 32:
            raise VaultError(
                f"{key_file} holds {len(key)} bytes; an AES-256 key has 32. Restore the file, or "
                "delete the whole state directory to start with an empty cloud."
            )
        self._aead = AESGCM(key)
        self._mac_key = hashlib.sha256(b"digest" + key).digest()

    def seal(self, text: str) -> str:
        """The text encrypted, as base64 (so that it fits into JSON)."""
        nonce = os.urandom(_NONCE_BYTES)
        return base64.b64encode(nonce + self._aead.encrypt(nonce, text.encode(), None)).decode()

    def open(self, sealed: str) -> str:
        """The text that was sealed; raises VaultError when key and value do not belong together."""
        raw = base64.b64decode(sealed)
        try:
            return self._aead.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], None).decode()
        except InvalidTag:
            raise VaultError(
                f"a value in the state was not encrypted with {self._path}. Both files belong "
                "together: restore them from the same copy, or start with an empty directory."
            ) from None

    def digest(self, text: str) -> str:
        """A keyed digest: equal texts have equal digests, and nothing else can be learned."""
        return hmac.new(self._mac_key, text.encode(), hashlib.sha256).hexdigest()


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, in one step (temporary file, then rename)."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
