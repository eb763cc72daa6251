"""OIDC tokens: reading their claims, and checking who signed them (RFC 7515, 7517, 7519)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

MAX_CHARS = 20000  # the limit of AssumeRoleWithOIDC


class TokenError(ValueError):
    """The token cannot be read or was not signed by its issuer; the message never has the token."""


@dataclass(frozen=True)
class Token:
    """A token taken apart; ``audiences`` are its aud claim as a list."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes

    @property
    def audiences(self) -> list[str]:
        """Whom the token is for."""
        audience = self.claims.get("aud", [])
        return [str(one) for one in audience] if isinstance(audience, list) else [str(audience)]


def parse(text: str) -> Token:
    """Take a token in compact form apart; raises TokenError."""
    parts = text.strip().split(".")
    if len(text) > MAX_CHARS or len(parts) != 3:
        raise TokenError(
            f"it has {len(text)} characters in {len(parts)} parts; a token has at most "
            f"{MAX_CHARS} characters in 3 parts"
        )
    try:
        header, claims = (json.loads(_decode(part)) for part in parts[:2])
        signature = _decode(parts[2])
    except (ValueError, binascii.Error) as error:
        raise TokenError(f"it is not base64url and JSON ({type(error).__name__})") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise TokenError("its header or its claims are not a JSON object")
    return Token(header, claims, f"{parts[0]}.{parts[1]}".encode(), signature)


def check_signature(token: Token, keys: Mapping[str, Any]) -> None:
    """Check a token against a key set (JWKS); raises TokenError. RS256 is what clusters sign."""
    if token.header.get("alg") != "RS256":
        raise TokenError(f"it is signed with {token.header.get('alg')!r}; allowed: RS256")
    wanted = token.header.get("kid")
    for key in keys.get("keys", []):
        if key.get("kty") != "RSA" or wanted not in (None, key.get("kid")):
            continue
        numbers = rsa.RSAPublicNumbers(_integer(key["e"]), _integer(key["n"]))
        try:
            numbers.public_key().verify(
                token.signature, token.signed, padding.PKCS1v15(), hashes.SHA256()
            )
        except InvalidSignature:
            continue
        return
    raise TokenError(f"none of its issuer's keys signed it (key id {wanted!r})")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _integer(text: str) -> int:
    return int.from_bytes(_decode(text), "big")
