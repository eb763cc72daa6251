"""Calls to Alibaba Cloud's OpenAPI that no provider resource makes.

Signing, credentials and transport are Alibaba Cloud's own (``alibabacloud-tea-openapi``). The
generic client is used instead of the generated ones, whose import alone takes seconds each.
Retries are our own: the SDK's know exact codes only, and give up by count instead of by time.
"""

import logging
import os
import random
import re
import time
from collections.abc import Callable
from typing import Any, Protocol

VERSIONS = {
    "ecs": "2014-05-26",
    "vpc": "2016-04-28",
    "ram": "2015-05-01",
    "oos": "2019-06-01",
    "slb": "2014-05-15",
    "cs": "2015-12-15",
}
"""API version of each product, as the Terraform provider uses it."""

ROUTES = {
    "CheckServiceRole": ("POST", "/ram/check-service-role"),
    "DescribeUserQuota": ("GET", "/quota"),
    "DescribeClustersV1": ("GET", "/api/v1/clusters"),
    "DescribeClusterDetail": ("GET", "/clusters/{ClusterId}"),
    "DescribeClusterUserKubeconfig": ("GET", "/k8s/{ClusterId}/user_config"),
    "DeleteCluster": ("DELETE", "/clusters/{ClusterId}"),
}
"""Method and path of the actions of CS, whose API is made of paths (ROA)."""
SLB_CENTRAL = frozenset(
    {
        "cn-qingdao", "cn-beijing", "cn-hangzhou", "cn-shanghai", "cn-shenzhen", "cn-hongkong",
        "ap-southeast-1", "us-east-1", "us-west-1",
    }
)  # fmt: skip
"""Regions whose load balancers have the central endpoint (the SLB SDK's own table)."""

RETRY_SECONDS = 60.0
"""How long a call that may pass by waiting is made again."""
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 8.0
BUSY_CODES = frozenset({"ServiceUnavailable", "InternalError", "SystemError", "SystemBusy"})
"""Codes besides Throttling.* with which the service says that the fault is its own."""


class Api(Protocol):
    """One OpenAPI call of one product; the seam for tests."""

    def __call__(self, action: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Call ``action``; return the answer's body. Raises what the SDK raises, with ``code``.

        Parameters are texts, but for a POST of CS, whose parameters are its JSON body.
        """


def endpoint(product: str, region: str) -> str:
    """Return the host of a product.

    As in the Terraform provider, ``ALIBABA_CLOUD_ENDPOINT_<PRODUCT>`` names another one (a VPC
    or private endpoint).
    """
    central = product == "ram" or (product == "slb" and region in SLB_CENTRAL)
    usual = f"{product}.aliyuncs.com" if central else f"{product}.{region}.aliyuncs.com"
    return os.environ.get(f"ALIBABA_CLOUD_ENDPOINT_{product.upper()}") or usual


def client(product: str, region: str, *, retry_seconds: float = RETRY_SECONDS) -> Api:
    """Return a caller of ``product`` (a key of :data:`VERSIONS`) in ``region``.

    Credentials come from Alibaba Cloud's default chain, trust from ``SSL_CERT_FILE`` if set. What
    is :func:`transient` is tried again for ``retry_seconds``; then the last error is raised. A call
    that must not happen twice carries a ``ClientToken``, which every try repeats.
    """
    # Imported here: the SDK starts slowly, and a preview needs none of it.
    from alibabacloud_credentials.client import Client as Credentials  # noqa: PLC0415
    from alibabacloud_tea_openapi.client import Client  # noqa: PLC0415
    from alibabacloud_tea_openapi.utils_models import (  # noqa: PLC0415
        Config,
        OpenApiRequest,
        Params,
    )
    from darabonba.runtime import RuntimeOptions  # noqa: PLC0415

    # It logs a traceback for each place where it finds no credentials; what it raises says enough.
    logging.getLogger("credentials").addHandler(logging.NullHandler())

    caller = Client(
        Config(
            credential=Credentials(),
            region_id=region,
            endpoint=endpoint(product, region),
            ca=os.environ.get("SSL_CERT_FILE"),
            connect_timeout=10_000,
            read_timeout=30_000,
            user_agent="wan-vace",
        )
    )

    def call(action: str, parameters: dict[str, Any]) -> dict[str, Any]:
        style, method, path, rest = shape(product, action, parameters)
        asked = {"RegionId": region, **rest} if style == "RPC" else rest
        posted = style == "ROA" and method == "POST"
        answer = caller.call_api(
            Params(
                action=action,
                version=VERSIONS[product],
                protocol="HTTPS",
                pathname=path,
                method=method,
                auth_type="AK",
                style=style,
                req_body_type="json" if style == "ROA" else "formData",
                body_type="json",
            ),
            OpenApiRequest(body=asked) if posted else OpenApiRequest(query=asked),
            RuntimeOptions(),
        )
        body: dict[str, Any] = answer["body"]
        return body

    return retrying(call, retry_seconds)


def shape(
    product: str, action: str, parameters: dict[str, Any]
) -> tuple[str, str, str, dict[str, Any]]:
    """Return style, method, path and the parameters that do not stand in the path.

    Raises:
        KeyError: CS has no such action in :data:`ROUTES`, or a parameter of its path is missing.
    """
    if product != "cs":
        return "RPC", "POST", "/", parameters
    method, template = ROUTES[action]
    inside = set(re.findall(r"{(\w+)}", template))
    rest = {name: value for name, value in parameters.items() if name not in inside}
    return "ROA", method, template.format(**parameters), rest


def retrying(
    call: Api,
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Api:
    """Return ``call`` with tries for ``seconds``, at growing intervals, while it is transient."""

    def persistent(action: str, parameters: dict[str, Any]) -> dict[str, Any]:
        deadline = clock() + seconds
        wait = FIRST_PAUSE_SECONDS
        while True:
            try:
                return call(action, parameters)
            except Exception as error:
                if not transient(error) or clock() + wait > deadline:
                    raise
                # Spread, so that several callers that were throttled together do not come back so.
                pause(max(wait * random.uniform(0.75, 1.0), _asked_to_wait(error)))  # noqa: S311
                wait = min(2 * wait, LONGEST_PAUSE_SECONDS)

    return persistent


def code(error: BaseException) -> str:
    """Return the cloud's error code of an exception that a call raised, or an empty text."""
    unwrap = getattr(error, "unwrap", None)  # the OSS SDK wraps what the service answered
    if callable(unwrap):
        return code(unwrap())
    found = str(getattr(error, "code", None) or "")
    return "" if found == "None" else found


def transient(error: BaseException) -> bool:
    """Whether the same call may pass later: throttling, a failure of the service, no connection."""
    named = code(error)
    if "Throttling" in named or named in BUSY_CODES:
        return True
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and status >= 500:
        return True
    return unreachable(error) and "CERTIFICATE_VERIFY_FAILED" not in str(error)


def forbidden(error: BaseException) -> bool:
    """Whether the identity lacks a permission. (``Forbidden.*NotFound`` means: it is gone.)"""
    named = code(error)
    denied = ("Forbidden", "NoPermission", "AccessDenied", "RegionUnauthorized")
    return named.startswith(denied) and not missing(error)


def missing(error: BaseException) -> bool:
    """Whether what the call was about does not exist."""
    named = code(error)
    return "NotFound" in named or "NotExist" in named or named == "NoSuchBucket"


def unreachable(error: BaseException) -> bool:
    """Whether no answer came: name not resolved, connection refused or cut, time over."""
    # The SDK turns every OSError of the transport into its RetryError, and wraps that.
    inner = getattr(error, "inner_exception", error)
    return isinstance(inner, OSError) or getattr(inner, "name", "") == "RetryError"


def uncredentialed(error: BaseException) -> bool:
    """Whether the chain of credentials ended without any."""
    inner = getattr(error, "inner_exception", error)
    return type(inner).__name__ in {"CredentialException", "CredentialsEmptyError"}


def said(error: BaseException) -> str:
    """Return what the cloud or the SDK said, on one line: code and message, no stack of data."""
    unwrap = getattr(error, "unwrap", None)
    inner = unwrap() if callable(unwrap) else getattr(error, "inner_exception", None)
    if isinstance(inner, Exception):
        return said(inner)
    text = " ".join(str(getattr(error, "message", None) or error).split())
    return f"{code(error)}: {text}" if code(error) else text or type(error).__name__


def _asked_to_wait(error: BaseException) -> float:
    """Seconds that the service asks for in a header of a throttled answer."""
    milliseconds = getattr(error, "retry_after", None)
    if not isinstance(milliseconds, int | float):
        return 0.0
    return min(float(milliseconds) / 1000, LONGEST_PAUSE_SECONDS)
