"""Request signatures of Alibaba Cloud, as pure functions.

ACS3-HMAC-SHA256 signs OpenAPI calls, OSS4-HMAC-SHA256 signs OSS calls. Both are described in
Alibaba Cloud's documentation ("V3 request body and signature", "Signature Version 4"); the
tests compare these functions with Alibaba's own SDKs.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import quote

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def _hmac(key: bytes, message: str) -> bytes:
    return hmac.new(key, message.encode(), hashlib.sha256).digest()


def encode_query(query: Mapping[str, str]) -> str:
    """The canonical query string: sorted, percent-encoded by RFC 3986."""
    return "&".join(f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in sorted(query.items()))


def sign_acs3(
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body_sha256: str,
    *,
    access_key_id: str,
    access_key_secret: str,
) -> str:
    """The Authorization header of an OpenAPI call.

    Signed are host, content-type and every x-acs-* header in `headers`. `body_sha256` (hex)
    must also be sent as x-acs-content-sha256.
    """
    signed = {
        name.lower(): value.strip()
        for name, value in headers.items()
        if name.lower() in ("host", "content-type") or name.lower().startswith("x-acs-")
    }
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        [
            method,
            path,
            encode_query(query),
            "".join(f"{name}:{signed[name]}\n" for name in sorted(signed)),
            names,
            body_sha256,
        ]
    )
    to_sign = f"ACS3-HMAC-SHA256\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = _hmac(access_key_secret.encode(), to_sign).hex()
    return (
        f"ACS3-HMAC-SHA256 Credential={access_key_id},SignedHeaders={names},Signature={signature}"
    )


def sign_oss4(
    method: str,
    bucket: str,
    key: str,
    headers: Mapping[str, str],
    *,
    region: str,
    access_key_id: str,
    access_key_secret: str,
) -> str:
    """The Authorization header of an OSS call on one object, without query parameters.

    Signed are content-type, content-md5 and every x-oss-* header in `headers`, which must hold
    x-oss-date (YYYYMMDDTHHMMSSZ) and x-oss-content-sha256: UNSIGNED-PAYLOAD (the only value that
    OSS accepts; the body is protected by TLS and content-md5).
    """
    signed = {
        name.lower(): value.strip()
        for name, value in headers.items()
        if name.lower() in ("content-type", "content-md5") or name.lower().startswith("x-oss-")
    }
    moment = signed["x-oss-date"]
    scope = f"{moment[:8]}/{region}/oss/aliyun_v4_request"
    canonical = "\n".join(
        [
            method,
            quote(f"/{bucket}/{key}", safe="/~"),
            "",
            "".join(f"{name}:{signed[name]}\n" for name in sorted(signed)),
            "",
            signed["x-oss-content-sha256"],
        ]
    )
    to_sign = "\n".join(
        ["OSS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()]
    )
    signing_key = f"aliyun_v4{access_key_secret}".encode()
    for part in (moment[:8], region, "oss", "aliyun_v4_request"):
        signing_key = _hmac(signing_key, part)
    signature = _hmac(signing_key, to_sign).hex()
    return f"OSS4-HMAC-SHA256 Credential={access_key_id}/{scope},Signature={signature}"
