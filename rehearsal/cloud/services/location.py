"""Location: tells old SDKs at which host a product answers."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from typing import Any

from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.state import Cloud

VERSION = "2015-06-12"


@action("location", VERSION, read_only=True, public=True)
def DescribeEndpoints(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Name the endpoint of a product in a region: the host that was asked, which serves all."""
    endpoint = {
        "Endpoint": request.host,
        "Id": request.required("Id"),
        "Namespace": request.get("Namespace"),
        "Protocols": {"Protocols": ["HTTP", "HTTPS"]},
        "SerivceCode": request.required("ServiceCode"),
        "ServiceCode": request.required("ServiceCode"),
        "Type": request.get("Type", "openAPI"),
    }
    return {"Endpoints": {"Endpoint": [endpoint]}, "Success": True}
