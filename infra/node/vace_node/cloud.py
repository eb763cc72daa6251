"""The two cloud services that the node asks: instance metadata and OOS parameters."""

from __future__ import annotations

import calendar
import json
import ssl
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import BinaryIO

from .errors import CloudError
from .signing import EMPTY_SHA256, encode_query, sign_acs3

METADATA = "http://100.100.100.200"
OOS_VERSION = "2019-06-01"
_TOKEN_SECONDS = 600
_RETRIED = frozenset({"ServiceUnavailable", "InternalError", "SignatureNonceUsed"})


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, of whatever status."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def request(
    method: str,
    url: str,
    headers: Mapping[str, str],
    *,
    body: bytes | BinaryIO | None = None,
    timeout: float = 15,
    context: ssl.SSLContext | None = None,
) -> Answer:
    """One HTTP request without proxies and redirects; an error status is an answer as well.

    Raises CloudError when there is no answer.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    call = urllib.request.Request(url, data=body, headers=dict(headers), method=method)  # noqa: S310
    try:
        with opener.open(call, timeout=timeout) as reply:
            return Answer(reply.status, dict(reply.headers.items()), reply.read())
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        where = url.partition("?")[0]
        raise CloudError(f"no answer from {where}: {reason}") from error


@dataclass(frozen=True)
class Credentials:
    """Short-lived keys of the node's RAM role. `expires` is seconds since the epoch."""

    role: str
    access_key_id: str
    access_key_secret: str = field(repr=False)
    security_token: str = field(repr=False)
    expires: float = 0.0


class Metadata:
    """The instance metadata service, in token mode ("hardened mode")."""

    def __init__(self, base: str = METADATA, *, timeout: float = 5) -> None:
        self._base = base
        self._timeout = timeout
        self._token = ""
        self._token_ends = 0.0

    def get(self, path: str) -> str | None:
        """The value at `path` below /latest/meta-data/; None when there is none.

        Raises CloudError when the service does not answer.
        """
        for _ in range(2):
            if time.monotonic() >= self._token_ends:
                self._renew()
            answer = request(
                "GET",
                f"{self._base}/latest/meta-data/{path}",
                {"X-aliyun-ecs-metadata-token": self._token},
                timeout=self._timeout,
            )
            if answer.status in (401, 403):  # the token was for an earlier boot of the service
                self._token_ends = 0.0
                continue
            break
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise CloudError(f"the metadata service answered {answer.status} for {path}")
        return answer.body.decode()

    def _renew(self) -> None:
        answer = request(
            "PUT",
            f"{self._base}/latest/api/token",
            {"X-aliyun-ecs-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)},
            timeout=self._timeout,
        )
        if answer.status != 200:
            raise CloudError(f"the metadata service answered {answer.status} to a token request")
        self._token = answer.body.decode().strip()
        self._token_ends = time.monotonic() + _TOKEN_SECONDS - 30

    def role_credentials(self) -> Credentials | None:
        """Keys of the attached RAM role; None while no role is attached."""
        role = (self.get("ram/security-credentials/") or "").strip().splitlines()
        if not role:
            return None
        text = self.get(f"ram/security-credentials/{role[0]}")
        try:
            answer = json.loads(text or "{}")
            if answer.get("Code", "Success") != "Success":
                return None
            return Credentials(
                role=role[0],
                access_key_id=answer["AccessKeyId"],
                access_key_secret=answer["AccessKeySecret"],
                security_token=answer["SecurityToken"],
                expires=_epoch(answer["Expiration"]),
            )
        except (ValueError, KeyError):
            return None


def _epoch(moment: str) -> float:
    return float(calendar.timegm(time.strptime(moment, "%Y-%m-%dT%H:%M:%SZ")))


def wait_for_role(
    metadata: Metadata,
    *,
    patience: float = 300,
    progress: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Credentials:
    """Credentials of the instance's RAM role, which is attached some time after boot.

    Raises CloudError after `patience` seconds.
    """
    deadline = clock() + patience
    while True:
        try:
            found = metadata.role_credentials()
            reason = "no RAM role attached yet"
        except CloudError as error:
            found, reason = None, str(error)
        if found:
            return found
        if clock() >= deadline:
            raise CloudError(
                f"waited {patience:.0f} s for credentials of a RAM role: {reason}. Attach the "
                "deployment's role to this instance (the deployment tool does that), and check "
                "that the metadata service is enabled."
            )
        progress(reason)
        sleep(1)


class ParameterStore:
    """OOS parameters: settings in plain ones, secrets in encrypted ones.

    `endpoint` replaces https://oos.<region>.aliyuncs.com, `context` the system's trust.
    """

    def __init__(
        self,
        region: str,
        credentials: Callable[[], Credentials],
        *,
        endpoint: str = "",
        context: ssl.SSLContext | None = None,
        permission_patience: float = 60,
        progress: Callable[[str], None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._host = f"oos.{region}.aliyuncs.com"
        self._endpoint = endpoint or f"https://{self._host}"
        self._region = region
        self._credentials = credentials
        self._context = context
        self._permission_patience = permission_patience
        self._progress = progress
        self._sleep = sleep

    def parameter(self, name: str) -> str:
        """The value of a plain parameter. Raises CloudError."""
        return self._value("GetParameter", {"Name": name})

    def secret(self, name: str) -> str:
        """The decrypted value of a secret parameter. Raises CloudError."""
        return self._value("GetSecretParameter", {"Name": name, "WithDecryption": "true"})

    def _value(self, action: str, query: dict[str, str]) -> str:
        answer = self._call(action, {"RegionId": self._region, **query})
        value = (answer.get("Parameter") or {}).get("Value")
        if not isinstance(value, str):
            raise CloudError(f"{action} of {query['Name']} answered without a value")
        return value

    def _call(self, action: str, query: dict[str, str]) -> dict[str, dict[str, str]]:
        wait, waited, attempt = 0.5, 0.0, 0
        while True:
            attempt += 1
            credentials = self._credentials()
            try:
                return self._once(action, query, credentials)
            except CloudError as error:
                # A permission that was granted a moment ago takes a while to be in force.
                denied = error.code in ("NoPermission", "Forbidden.RAM", "Forbidden")
                if denied and waited >= self._permission_patience:
                    raise CloudError(
                        f"the RAM role {credentials.role} may not call oos:{action} on "
                        f"{query['Name']} ({error}). Let a policy of the role allow it"
                        + (
                            ", with kms:GetSecretValue for the value"
                            if action == "GetSecretParameter"
                            else ""
                        )
                        + ".",
                        code=error.code,
                        permanent=True,
                    ) from error
                retried = not error.code or _retried(error.code)
                if not denied and (not retried or attempt >= 7):
                    raise
                self._progress(f"trying again: {error}")
            self._sleep(wait)
            waited += wait
            wait = min(wait * 2, 8)

    def _once(
        self, action: str, query: dict[str, str], credentials: Credentials
    ) -> dict[str, dict[str, str]]:
        headers = {
            "host": self._host,
            "x-acs-action": action,
            "x-acs-version": OOS_VERSION,
            "x-acs-date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "x-acs-signature-nonce": uuid.uuid4().hex,
            "x-acs-content-sha256": EMPTY_SHA256,
            "x-acs-security-token": credentials.security_token,
            "accept": "application/json",
        }
        headers["Authorization"] = sign_acs3(
            "POST",
            "/",
            query,
            headers,
            EMPTY_SHA256,
            access_key_id=credentials.access_key_id,
            access_key_secret=credentials.access_key_secret,
        )
        answer = request(
            "POST",
            f"{self._endpoint}/?{encode_query(query)}",
            {**headers, "content-length": "0"},
            context=self._context,
        )
        try:
            document = json.loads(answer.body)
        except ValueError:
            document = {}
        if answer.status == 200 and isinstance(document, dict):
            return document
        code = str(document.get("Code", "")) if isinstance(document, dict) else ""
        if answer.status >= 500 or (answer.status == 429 and not code):
            code = code if _retried(code) else "ServiceUnavailable"
        text = document.get("Message", "") if isinstance(document, dict) else ""
        hint = ""
        if code.startswith("EntityNotExists"):
            hint = " The deployment tool makes it; was it deleted, or is the region wrong?"
        elif code.startswith(("InvalidTimeStamp", "SignatureDoesNotMatch", "IllegalTimestamp")):
            hint = " Compare this machine's clock with the real time: timedatectl"
        raise CloudError(
            f"{action} of {query['Name']} in {self._region} failed with {answer.status} "
            f"{code}: {text}{hint}",
            code=code or f"HTTP {answer.status}",
        )


def _retried(code: str) -> bool:
    return code.startswith("Throttling") or code in _RETRIED
