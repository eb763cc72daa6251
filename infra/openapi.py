"""Calls to Alibaba Cloud's OpenAPI that no provider resource makes.

Signing, credentials and transport are Alibaba Cloud's own (``alibabacloud-tea-openapi``). The
generic client is used instead of the generated ones, whose import alone takes seconds each.
"""

import os
from typing import Any, Protocol

VERSIONS = {
    "ecs": "2014-05-26",
    "vpc": "2016-04-28",
    "ram": "2015-05-01",
    "oos": "2019-06-01",
}
"""API version of each product, as the Terraform provider uses it."""


class Api(Protocol):
    """One OpenAPI call of one product; the seam for tests."""

    def __call__(self, action: str, parameters: dict[str, str]) -> dict[str, Any]:
        """Call ``action``; return the answer's body. Raises what the SDK raises, with ``code``."""


def endpoint(product: str, region: str) -> str:
    """Return the host of a product.

    As in the Terraform provider, ``ALIBABA_CLOUD_ENDPOINT_<PRODUCT>`` names another one (a VPC
    or private endpoint).
    """
    usual = "ram.aliyuncs.com" if product == "ram" else f"{product}.{region}.aliyuncs.com"
    return os.environ.get(f"ALIBABA_CLOUD_ENDPOINT_{product.upper()}") or usual


def client(product: str, region: str) -> Api:
    """Return a caller of ``product`` (a key of :data:`VERSIONS`) in ``region``.

    Credentials come from Alibaba Cloud's default chain, trust from ``SSL_CERT_FILE`` if set.
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

    def call(action: str, parameters: dict[str, str]) -> dict[str, Any]:
        answer = caller.call_api(
            Params(
                action=action,
                version=VERSIONS[product],
                protocol="HTTPS",
                pathname="/",
                method="POST",
                auth_type="AK",
                style="RPC",
                req_body_type="formData",
                body_type="json",
            ),
            OpenApiRequest(query={"RegionId": region, **parameters}),
            RuntimeOptions(autoretry=True, max_attempts=4),
        )
        body: dict[str, Any] = answer["body"]
        return body

    return call


def code(error: Exception) -> str:
    """Return the cloud's error code of an exception that a call raised, or an empty text."""
    return str(getattr(error, "code", "") or "")
