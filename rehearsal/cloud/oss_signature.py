"""Signatures of OSS requests: V4 (OSS4-HMAC-SHA256) and V1 (HMAC-SHA1), in headers or in a URL.

Written after "Include a V4 signature in the Authorization header" / "... in a URL" and the V1 pages
of OSS's API reference, and checked against Alibaba's SDK (`tests/cloud/test_oss_access.py`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from rehearsal.cloud.credentials import Credential, CredentialStore
from rehearsal.cloud.oss_errors import (
    MAX_CLOCK_SKEW_S,
    OssError,
    access_denied,
    invalid_argument,
)
from rehearsal.cloud.oss_http import OssHttpRequest

V4 = "OSS4-HMAC-SHA256"
#: A signed URL may be valid for seven days at most.
MAX_EXPIRES_S = 7 * 24 * 3600
_V4_HEADER = re.compile(
    r"^OSS4-HMAC-SHA256\s+Credential=(?P<credential>[^,\s]+)"
    r"(?:,\s*AdditionalHeaders=(?P<additional>[^,\s]*))?,\s*Signature=(?P<signature>[0-9a-f]+)$"
)
_V1_HEADER = re.compile(r"^OSS (?P<key>[^:]+):(?P<signature>.+)$")
#: Query parameters that are part of a V1 signature.
_V1_NAMES = (
    "acl uploads location cors logging website referer lifecycle delete append tagging objectMeta "
    "uploadId partNumber security-token position img style styleName replication "
    "replicationProgress replicationLocation cname bucketInfo comp qos live status vod startTime "
    "endTime symlink x-oss-process response-content-type response-content-language "
    "response-expires response-cache-control response-content-disposition "
    "response-content-encoding udf udfName udfImage udfId udfImageDesc udfApplication restore "
    "callback callback-var policy stat encryption versions versioning versionId requestPayment "
    "x-oss-request-payer sequential inventory inventoryId continuation-token asyncFetch worm "
    "wormId wormExtend regionList cloudboxes transferAcceleration resourceGroup accessmonitor "
    "publicAccessBlock httpsConfig archiveDirectRead metaQuery rtc"
)
V1_SUBRESOURCES = frozenset(_V1_NAMES.split())


@dataclass(frozen=True)
class Signed:
    """Who signed, and for which region (empty for V1, which knows none)."""

    credential: Credential
    region: str = ""


def verify(
    request: OssHttpRequest, bucket: str, key: str, credentials: CredentialStore, now: float
) -> Signed | None:
    """Check a request's signature; None when it has none at all.

    Args:
        request: as it came in.
        bucket: bucket that the address names, or empty.
        key: object key, decoded, or empty.
        credentials: where access keys are looked up.
        now: seconds since the epoch.

    Raises:
        OssError: InvalidAccessKeyId, SignatureDoesNotMatch, RequestTimeTooSkewed,
            InvalidSecurityToken, SecurityTokenExpired, AccessDenied (an expired URL) or
            InvalidArgument (a header that cannot be read).
    """
    header = request.headers.get("authorization", "")
    resource = f"/{bucket}/{key}" if bucket else "/"
    if header.startswith(V4):
        return _v4_header(request, resource, header, credentials, now)
    if header.startswith("OSS "):
        return _v1_header(request, resource, header, credentials, now)
    if header:
        raise invalid_argument("Authorization", header[:16], f"{V4} ... or OSS key:signature")
    if "x-oss-signature" in request.query:
        return _v4_query(request, resource, credentials, now)
    if {"OSSAccessKeyId", "Signature"} <= set(request.query):
        return _v1_query(request, resource, credentials, now)
    return None


# ---- V4


def _v4_header(
    request: OssHttpRequest, resource: str, header: str, store: CredentialStore, now: float
) -> Signed:
    match = _V4_HEADER.match(header)
    if match is None:
        raise invalid_argument("Authorization", "<header>", f"{V4} Credential=...,Signature=...")
    scope = _scope(match["credential"])
    # The older Go SDK, which the provider uses, signs the Date header's own text instead.
    stamp = request.headers.get("x-oss-date") or request.headers.get("date", "")
    check_skew(_stamp(stamp) if "x-oss-date" in request.headers else _http_date(stamp), now)
    credential = _credential(
        store, scope.key_id, request.headers.get("x-oss-security-token", ""), now
    )
    additional = [name for name in (match["additional"] or "").split(";") if name]
    canonical = _canonical(request, resource, additional)
    _compare_v4(credential, scope, stamp, canonical, match["signature"])
    return Signed(credential, scope.region)


def _v4_query(request: OssHttpRequest, resource: str, store: CredentialStore, now: float) -> Signed:
    query = request.query
    if query.get("x-oss-signature-version") != V4:
        given = query.get("x-oss-signature-version", "")
        raise invalid_argument("x-oss-signature-version", given, V4)
    scope = _scope(query.get("x-oss-credential", ""))
    stamp, expires = query.get("x-oss-date", ""), query.get("x-oss-expires", "")
    if not expires.isdigit() or not 0 < int(expires) <= MAX_EXPIRES_S:
        raise invalid_argument("x-oss-expires", expires, f"1 to {MAX_EXPIRES_S} seconds")
    sent = _stamp(stamp)
    if sent > now + MAX_CLOCK_SKEW_S:
        check_skew(sent, now)
    if now > sent + int(expires):
        raise access_denied("Request has expired.", Expires=_iso(sent + int(expires)))
    credential = _credential(store, scope.key_id, query.get("x-oss-security-token", ""), now)
    additional = [n for n in query.get("x-oss-additional-headers", "").split(";") if n]
    canonical = _canonical(request, resource, additional)
    _compare_v4(credential, scope, stamp, canonical, query["x-oss-signature"])
    return Signed(credential, scope.region)


@dataclass(frozen=True)
class _Scope:
    """Who signed what: access key id, day (YYYYMMDD) and region."""

    key_id: str
    date: str
    region: str


def _scope(credential: str) -> _Scope:
    """The parts of ``key/date/region/oss/aliyun_v4_request``."""
    parts = credential.split("/")
    if len(parts) != 5 or parts[3:] != ["oss", "aliyun_v4_request"]:
        raise invalid_argument("Credential", credential, "key/date/region/oss/aliyun_v4_request")
    return _Scope(parts[0], parts[1], parts[2])


def _canonical(request: OssHttpRequest, resource: str, additional: Iterable[str]) -> str:
    pairs = sorted(
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in request.query.items()
        if name != "x-oss-signature"
    )
    query = "&".join(f"{name}={value}" if value else name for name, value in pairs)
    extra = sorted(additional)
    signed = {"content-type", "content-md5", *extra}
    headers = "".join(
        f"{name}:{value.strip()}\n"
        for name, value in sorted(request.headers.items())
        if name.startswith("x-oss-") or name in signed
    )
    return "\n".join(
        (
            request.method,
            quote(resource, safe="/-_.~"),
            query,
            headers,
            ";".join(extra),
            request.headers.get("x-oss-content-sha256", "UNSIGNED-PAYLOAD"),
        )
    )


def _compare_v4(
    credential: Credential, scope: _Scope, stamp: str, canonical: str, given: str
) -> None:
    date, region = scope.date, scope.region
    to_sign = "\n".join(
        (
            V4,
            stamp,
            f"{date}/{region}/oss/aliyun_v4_request",
            hashlib.sha256(canonical.encode()).hexdigest(),
        )
    )
    key = f"aliyun_v4{credential.secret}".encode()
    for part in (date, region, "oss", "aliyun_v4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    expected = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, given):
        raise _mismatch(credential.access_key_id, given, to_sign, CanonicalRequest=canonical)


# ---- V1


def _v1_header(
    request: OssHttpRequest, resource: str, header: str, store: CredentialStore, now: float
) -> Signed:
    match = _V1_HEADER.match(header)
    if match is None:
        raise invalid_argument("Authorization", "<header>", "OSS key:signature")
    date = request.headers.get("x-oss-date") or request.headers.get("date", "")
    check_skew(_http_date(date), now)
    token = request.headers.get("x-oss-security-token") or request.headers.get("security-token", "")
    credential = _credential(store, match["key"], token, now)
    _compare_v1(credential, request, resource, date, match["signature"])
    return Signed(credential)


def _v1_query(request: OssHttpRequest, resource: str, store: CredentialStore, now: float) -> Signed:
    query = request.query
    expires = query.get("Expires", "")
    if not expires.isdigit():
        raise invalid_argument("Expires", expires, "seconds since 1970-01-01")
    if now > int(expires):
        raise access_denied("Request has expired.", Expires=_iso(int(expires)))
    token = query.get("security-token", "")
    credential = _credential(store, query["OSSAccessKeyId"], token, now)
    _compare_v1(credential, request, resource, expires, query["Signature"])
    return Signed(credential)


def _compare_v1(
    credential: Credential, request: OssHttpRequest, resource: str, date: str, given: str
) -> None:
    headers = "".join(
        f"{name}:{value.strip()}\n"
        for name, value in sorted(request.headers.items())
        if name.startswith("x-oss-")
    )
    pairs = sorted((n, v) for n, v in request.query.items() if n in V1_SUBRESOURCES)
    query = "&".join(f"{name}={value}" if value else name for name, value in pairs)
    to_sign = "\n".join(
        (
            request.method,
            request.headers.get("content-md5", ""),
            request.headers.get("content-type", ""),
            date,
            headers + resource + (f"?{query}" if query else ""),
        )
    )
    digest = hmac.new(credential.secret.encode(), to_sign.encode(), hashlib.sha1).digest()
    expected = base64.b64encode(digest).decode()
    if not hmac.compare_digest(expected, given):
        raise _mismatch(credential.access_key_id, given, to_sign)


# ---- shared


def _credential(store: CredentialStore, key_id: str, token: str, now: float) -> Credential:
    credential = store.find(key_id)
    if credential is None:
        raise OssError(
            "InvalidAccessKeyId",
            "The OSS Access Key Id you provided does not exist in our records.",
            403,
            OSSAccessKeyId=key_id,
        )
    if (credential.security_token or "") != token:
        raise OssError(
            "InvalidSecurityToken",
            "The security token you provided is invalid. A temporary key needs the token that came "
            "with it; a permanent key must be used without one.",
            403,
        )
    if credential.expiry is not None and now >= credential.expiry:
        raise OssError("SecurityTokenExpired", "The security token you provided has expired.", 403)
    return credential


def _mismatch(key_id: str, given: str, to_sign: str, **fields: str) -> OssError:
    return OssError(
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your "
        "key and signing method.",
        403,
        OSSAccessKeyId=key_id,
        SignatureProvided=given,
        StringToSign=to_sign,
        **fields,
    )


def check_skew(sent: float, now: float) -> None:
    """Raises RequestTimeTooSkewed when a request's time is more than 15 minutes off."""
    if abs(now - sent) > MAX_CLOCK_SKEW_S:
        raise OssError(
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
            403,
            RequestTime=_iso(sent),
            ServerTime=_iso(now),
            MaxAllowedSkewMilliseconds=str(MAX_CLOCK_SKEW_S * 1000),
        )


def _stamp(text: str) -> float:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise invalid_argument("x-oss-date", text, "UTC as 20260131T080000Z") from None


def _http_date(text: str) -> float:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        raise access_denied(
            f"OSS authentication requires a valid Date. Given: {text!r}; allowed is "
            "an HTTP date as in 'Sat, 31 Jan 2026 08:00:00 GMT'."
        ) from None


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
