"""Checks who signed an OpenAPI request: RPC V1 and ROA (HMAC-SHA1), and ACS3-HMAC-SHA256.

Codes and words follow the gateway in front of Alibaba's OpenAPI. The canonical forms are those
of "Signature V1 (RPC)", "ROA signature" and "V3 request structure and signature" in its
documentation; OSS has signatures of its own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl, quote, unquote

from rehearsal.cloud.credentials import Credential, CredentialStore
from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.http import HttpRequest

MAX_CLOCK_SKEW_S = 900.0
ACS3 = "ACS3-HMAC-SHA256"

_ACS3_HEADER = re.compile(
    r"^ACS3-HMAC-SHA256 +Credential=(?P<key>[^,\s]+), *SignedHeaders=(?P<headers>[^,\s]+), *"
    r"Signature=(?P<signature>[0-9a-fA-F]+)$"
)
# What a V3 request must have, and must have signed, to be protected against change and replay.
_ACS3_REQUIRED = (
    "host",
    "x-acs-action",
    "x-acs-content-sha256",
    "x-acs-date",
    "x-acs-signature-nonce",
    "x-acs-version",
)


class NonceStore:
    """Remembers the nonces of the last half hour, the longest time a timestamp stays valid."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], float] = {}

    def use(self, access_key_id: str, nonce: str, now: float) -> None:
        """Note the nonce; raises SignatureNonceUsed when this key has used it before."""
        with self._lock:
            self._forget_before(now - 2 * MAX_CLOCK_SKEW_S)
            if (access_key_id, nonce) in self._seen:
                raise ApiError(
                    "SignatureNonceUsed", "Specified signature nonce was used already.", 400
                )
            self._seen[access_key_id, nonce] = now

    def _forget_before(self, horizon: float) -> None:
        # Insertion order is time order, so the old ones are at the front.
        while self._seen:
            oldest = next(iter(self._seen))
            if self._seen[oldest] >= horizon:
                return
            del self._seen[oldest]


class Authenticator:
    """Turns a signed request into the credential that signed it."""

    def __init__(self, credentials: CredentialStore) -> None:
        self._credentials = credentials
        self._nonces = NonceStore()

    def authenticate(
        self, request: HttpRequest, params: Mapping[str, str], now: float
    ) -> Credential:
        """The credential that signed; raises ApiError with the gateway's codes.

        Args:
            request: the request as received.
            params: query and form parameters merged.
            now: seconds since the epoch.
        """
        authorization = request.headers.get("authorization", "")
        if authorization.startswith(ACS3):
            return self._acs3(request, authorization, now)
        if authorization.startswith("acs "):
            return self._roa(request, authorization, now)
        if authorization:
            raise ApiError(
                "IncompleteSignature",
                "The request signature does not conform to Aliyun standards. The Authorization "
                f"header starts with {authorization.split()[0]!r}; this gateway takes {ACS3} "
                "there, or signature V1 in the parameters.",
                400,
            )
        return self._rpc_v1(request, params, now)

    # ---- V1

    def _rpc_v1(self, request: HttpRequest, params: Mapping[str, str], now: float) -> Credential:
        for name in ("AccessKeyId", "Signature", "Timestamp", "SignatureNonce"):
            if not params.get(name):
                raise ApiError(f"Missing{name}", f"{name} is mandatory for this action.", 400)
        method = params.get("SignatureMethod", "")
        version = params.get("SignatureVersion", "")
        if method != "HMAC-SHA1" or version != "1.0":
            raise ApiError(
                "IncompleteSignature",
                "The request signature does not conform to Aliyun standards. SignatureMethod is "
                f"{method!r} and SignatureVersion {version!r}; supported are HMAC-SHA1 and 1.0.",
                400,
            )
        credential = self._find(params["AccessKeyId"])
        check_time(params["Timestamp"], now)
        to_sign = rpc_string_to_sign(request.method, params)
        expected = sign_v1(credential.secret, to_sign)
        _compare(expected, params["Signature"], to_sign)
        check_token(credential, params.get("SecurityToken", ""), now)
        self._nonces.use(credential.access_key_id, params["SignatureNonce"], now)
        return credential

    # ---- ROA

    def _roa(self, request: HttpRequest, authorization: str, now: float) -> Credential:
        key, _, signature = authorization.removeprefix("acs ").strip().partition(":")
        headers = request.headers
        for name in ("date", "x-acs-version"):
            if not headers.get(name):
                raise ApiError(
                    "IncompleteSignature",
                    "The request signature does not conform to Aliyun standards. The header "
                    f"{name} is mandatory for ROA requests.",
                    400,
                )
        method = headers.get("x-acs-signature-method", "HMAC-SHA1")
        if method != "HMAC-SHA1" or not signature:
            raise ApiError(
                "IncompleteSignature",
                "The request signature does not conform to Aliyun standards. The Authorization "
                "header must read: acs <id>:<signature>, with x-acs-signature-method HMAC-SHA1, "
                f"not {method!r}.",
                400,
            )
        credential = self._find(key)
        _check_http_date(headers["date"], now)
        given_digest = headers.get("content-md5", "")
        # MD5 is what the ROA protocol has in its Content-MD5 header.
        digest = base64.b64encode(hashlib.md5(request.body).digest()).decode()  # noqa: S324
        if given_digest and not hmac.compare_digest(digest.encode(), given_digest.encode()):
            raise ApiError(
                "SignatureDoesNotMatch",
                "Specified signature is not matched with our calculation. Content-MD5 is not the "
                f"digest of the body, which is {digest}.",
                400,
            )
        candidates = roa_strings_to_sign(request)
        expected = {
            base64.b64encode(
                hmac.new(credential.secret.encode(), text.encode(), hashlib.sha1).digest()
            ).decode()
            for text in candidates
        }
        right = [one for one in expected if hmac.compare_digest(one.encode(), signature.encode())]
        _compare(right[0] if right else "", signature, candidates[0])
        check_token(credential, headers.get("x-acs-security-token", ""), now)
        # The oldest client sends none; only the time protects its requests against replay.
        nonce = headers.get("x-acs-signature-nonce")
        if nonce:
            self._nonces.use(credential.access_key_id, nonce, now)
        return credential

    # ---- V3

    def _acs3(self, request: HttpRequest, authorization: str, now: float) -> Credential:
        match = _ACS3_HEADER.match(authorization)
        if match is None:
            raise ApiError(
                "IncompleteSignature",
                "The request signature does not conform to Aliyun standards. The Authorization "
                f"header must read: {ACS3} Credential=<id>,SignedHeaders=<a;b>,Signature=<hex>.",
                400,
            )
        signed = match["headers"].split(";")
        missing = [h for h in _ACS3_REQUIRED if h not in signed or not request.headers.get(h)]
        missing += [h for h in request.headers if h.startswith("x-acs-") and h not in signed]
        if missing:
            raise ApiError(
                "IncompleteSignature",
                "The request signature does not conform to Aliyun standards. These headers must "
                f"be sent and signed: {', '.join(sorted(set(missing)))}.",
                400,
            )
        credential = self._find(match["key"])
        check_time(request.headers["x-acs-date"], now)
        payload = hashlib.sha256(request.body).hexdigest()
        if not hmac.compare_digest(payload, request.headers["x-acs-content-sha256"].lower()):
            raise ApiError(
                "SignatureDoesNotMatch",
                "Specified signature is not matched with our calculation. x-acs-content-sha256 is "
                f"not the hash of the body, which is {payload}.",
                400,
            )
        to_sign = acs3_string_to_sign(request, signed)
        expected = hmac.new(credential.secret.encode(), to_sign.encode(), hashlib.sha256)
        _compare(expected.hexdigest(), match["signature"].lower(), to_sign)
        check_token(credential, request.headers.get("x-acs-security-token", ""), now)
        self._nonces.use(credential.access_key_id, request.headers["x-acs-signature-nonce"], now)
        return credential

    def _find(self, access_key_id: str) -> Credential:
        credential = self._credentials.find(access_key_id)
        if credential is None:
            raise ApiError("InvalidAccessKeyId.NotFound", "Specified access key is not found.", 404)
        return credential


def check_time(given: str, now: float) -> None:
    """Raises InvalidTimeStamp.Format or .Expired for an unreadable or stale UTC time."""
    try:
        sent = datetime.strptime(given, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise ApiError(
            "InvalidTimeStamp.Format",
            f"Specified time stamp or date value is not well formatted. Given: {given!r}; "
            "expected UTC as 2026-01-31T08:00:00Z.",
            400,
        ) from None
    if abs(now - sent) > MAX_CLOCK_SKEW_S:
        raise ApiError(
            "InvalidTimeStamp.Expired",
            "Specified time stamp or date value is expired. It is "
            f"{abs(now - sent):.0f} s away from the server's clock; {MAX_CLOCK_SKEW_S:.0f} s are "
            "allowed. Set the clock of the machine that signs.",
            400,
        )


def _check_http_date(given: str, now: float) -> None:
    """The rule of :func:`check_time` for the Date header of HTTP (RFC 9110)."""
    try:
        sent = parsedate_to_datetime(given).timestamp()
    except ValueError:
        raise ApiError(
            "InvalidTimeStamp.Format",
            f"Specified time stamp or date value is not well formatted. Given: {given!r}; "
            "expected as in HTTP: Sat, 31 Jan 2026 08:00:00 GMT.",
            400,
        ) from None
    check_time(datetime.fromtimestamp(sent, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), now)


def check_token(credential: Credential, token: str, now: float) -> None:
    """Raises MissingSecurityToken, InvalidSecurityToken.* when key and token do not match."""
    if credential.security_token is None:
        if token:
            raise ApiError(
                "InvalidSecurityToken.MismatchWithAccessKey",
                "Specified SecurityToken mismatch with the AccessKey.",
                400,
            )
        return
    if not token:
        raise ApiError("MissingSecurityToken", "SecurityToken is mandatory for this action.", 400)
    if not hmac.compare_digest(token, credential.security_token):
        raise ApiError(
            "InvalidSecurityToken.MismatchWithAccessKey",
            "Specified SecurityToken mismatch with the AccessKey.",
            400,
        )
    if credential.expiry is not None and now >= credential.expiry:
        raise ApiError("InvalidSecurityToken.Expired", "Specified SecurityToken is expired.", 400)


def rpc_string_to_sign(method: str, params: Mapping[str, str]) -> str:
    """The V1 string to sign over all parameters but the signature itself."""
    canonical = "&".join(
        f"{_encode(name)}={_encode(params[name])}" for name in sorted(params) if name != "Signature"
    )
    return f"{method}&{_encode('/')}&{_encode(canonical)}"


def sign_v1(secret: str, to_sign: str) -> str:
    """HMAC-SHA1 with the secret and an ampersand, in base64."""
    # SHA-1 is what signature V1 consists of; the real service accepts nothing else there.
    digest = hmac.new(f"{secret}&".encode(), to_sign.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def roa_strings_to_sign(request: HttpRequest) -> tuple[str, ...]:
    """What a ROA client may have signed.

    The documentation sorts the query and leaves it unencoded; one client in use signs the request
    target as it sends it. Both name the same request.
    """
    headers = request.headers
    own = "".join(
        f"{name}:{headers[name].strip()}\n" for name in sorted(headers) if name.startswith("x-acs-")
    )
    fixed = "\n".join(
        (
            request.method,
            headers.get("accept", ""),
            headers.get("content-md5", ""),
            headers.get("content-type", ""),
            headers["date"],
            own,
        )
    )
    pairs = sorted(parse_qsl(request.raw_query, keep_blank_values=True))
    query = "&".join(f"{name}={value}" if value else name for name, value in pairs)
    resource = f"{unquote(request.path)}?{query}" if query else unquote(request.path)
    with_empty = "&".join(f"{name}={value}" for name, value in pairs)
    other = f"{unquote(request.path)}?{with_empty}" if query else resource
    return tuple(dict.fromkeys(fixed + one for one in (resource, other, request.target)))


def acs3_string_to_sign(request: HttpRequest, signed_headers: list[str]) -> str:
    """The V3 string to sign: the algorithm and the hash of the canonical request."""
    pairs = sorted(parse_qsl(request.raw_query, keep_blank_values=True))
    query = "&".join(f"{_encode(name)}={_encode(value)}" for name, value in pairs)
    headers = "".join(
        f"{name}:{request.headers.get(name, '').strip()}\n" for name in sorted(signed_headers)
    )
    canonical = "\n".join(
        (
            request.method,
            request.path,
            query,
            headers,
            ";".join(signed_headers),
            request.headers["x-acs-content-sha256"],
        )
    )
    return f"{ACS3}\n{hashlib.sha256(canonical.encode()).hexdigest()}"


def _encode(text: str) -> str:
    return quote(text, safe="~")


def _compare(expected: str, given: str, to_sign: str) -> None:
    if not hmac.compare_digest(expected.encode(), given.encode()):
        raise ApiError(
            "SignatureDoesNotMatch",
            "Specified signature is not matched with our calculation. server string to sign is:"
            f"{to_sign}",
            400,
        )
