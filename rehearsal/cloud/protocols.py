"""From HTTP to API calls and back: RPC style, path style (ROA), and which requests are OSS.

RPC requests of signature V1 carry Action and Version as parameters, those of V3 as headers; both
may put parameters into the query and into a form body. ROA requests say by method and path what
they want (the older client sends no action at all), carry JSON, and get JSON.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from rehearsal.cloud import registry
from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.http import HttpRequest, HttpResponse
from rehearsal.cloud.oss_http import OssHttpRequest, OssHttpResponse

# Parameters of the protocol itself, which actions do not see.
_ENVELOPE = frozenset(
    {
        "AccessKeyId",
        "Action",
        "Format",
        "SecurityToken",
        "Signature",
        "SignatureMethod",
        "SignatureNonce",
        "SignatureType",
        "SignatureVersion",
        "Timestamp",
        "Version",
    }
)
_OSS_HOST = re.compile(r"(^|\.)oss-[a-z0-9-]+\.aliyuncs\.com(:\d+)?$")
_REGION_IN_HOST = re.compile(r"\.([a-z]{2}-[a-z]+(?:-[a-z]+)?(?:-\d)?)\.aliyuncs\.com(:\d+)?$")
_XML_NAME = re.compile(r"^[A-Za-z_][\w.-]*$")


@dataclass
class Call:
    """A request taken apart; ``signed`` are all parameters, ``params`` those of the action.

    ``body`` is the document of a path-style (ROA) request, whose ``style`` is ``ROA``.
    """

    action: str
    version: str
    format: str
    signed: dict[str, str]
    params: dict[str, str]
    region_hint: str
    style: str = "RPC"
    body: Any = None


def is_oss(request: HttpRequest) -> bool:
    """Whether a request is for object storage.

    It is when its Authorization, its query (a signed URL) or its host name says so.
    """
    authorization = request.headers.get("authorization", "")
    if authorization.startswith(("OSS ", "OSS4-HMAC-SHA256")):
        return True
    query = request.query
    if "x-oss-signature" in query or {"OSSAccessKeyId", "Signature"} <= set(query):
        return True
    return _OSS_HOST.search(request.host) is not None


def to_oss(request: HttpRequest) -> OssHttpRequest:
    """The request as the OSS service takes it."""
    return OssHttpRequest(
        method=request.method,
        host=request.host,
        path=request.path,
        query=request.query,
        headers=request.headers,
        body=request.body,
        secure=request.secure,
        source_ip=request.source_ip,
    )


def from_oss(response: OssHttpResponse) -> HttpResponse:
    """The OSS service's answer as the server sends it."""
    return HttpResponse(response.status, dict(response.headers), response.body)


def parse_call(request: HttpRequest) -> Call:
    """Take an RPC or ROA request apart.

    Raises:
        ApiError: InvalidAction.NotFound for a path that no product has, or a missing Action or
            Version.
    """
    if request.path != "/":
        return _parse_path(request)
    signed = {**request.query, **request.form(), **_json_body(request)}
    version = request.headers.get("x-acs-version") or signed.get("Version", "")
    action = request.headers.get("x-acs-action") or signed.get("Action", "")
    # Signature V1 goes by its parameters: the SDKs repeat them in headers that are not signed.
    if "authorization" not in request.headers:
        version, action = signed.get("Version", version), signed.get("Action", action)
    for name, value in (("Action", action), ("Version", version)):
        if not value:
            raise ApiError(f"Missing{name}", f"{name} is mandatory for this action.", 400)
    region = _REGION_IN_HOST.search(request.host)
    return Call(
        action=action,
        version=version,
        format=answer_format(request, signed),
        signed=signed,
        params={name: value for name, value in signed.items() if name not in _ENVELOPE},
        region_hint=region.group(1) if region else "",
    )


def _parse_path(request: HttpRequest) -> Call:
    version = request.headers.get("x-acs-version", "")
    found = registry.find_route(version, request.method, request.path)
    if found is None:
        raise ApiError(
            "InvalidAction.NotFound",
            "Specified api is not found, please check your url and method. emulator: "
            f"{request.method} {request.path} of version {version or '(none)'} is a path-style "
            "(ROA) request that is not emulated; COVERAGE.md lists what is.",
            400,
        )
    action, in_path = found
    named = request.headers.get("x-acs-action", "")
    if named not in ("", action.name):
        raise ApiError(
            "InvalidAction.NotFound",
            f"Specified api is not found. x-acs-action is {named!r}, but {request.method} "
            f"{request.path} is {action.name}; emulator: one of the two is wrong.",
            400,
        )
    body = _document(request)
    region = _REGION_IN_HOST.search(request.host)
    return Call(
        action=action.name,
        version=version,
        format="JSON",
        signed=request.query,
        params={
            **request.query,
            **_flat(body if isinstance(body, dict) else {}),
            **{name: unquote(value) for name, value in in_path.items()},
        },
        region_hint=request.headers.get("x-acs-region-id", "")
        or (region.group(1) if region else ""),
        style="ROA",
        body=body,
    )


def answer_format(request: HttpRequest, params: dict[str, str]) -> str:
    """JSON or XML: what Format or Accept ask for, else the default of the signature version.

    Signature V1 documents XML as the default of Format; V3 answers JSON.
    """
    asked = params.get("Format", "").upper()
    if asked in ("JSON", "XML"):
        return asked
    accept = request.headers.get("accept", "")
    if "xml" in accept and "json" not in accept:
        return "XML"
    if "json" in accept or "authorization" in request.headers:
        return "JSON"
    return "XML" if "Signature" in params else "JSON"


def render(call_format: str, name: str, request_id: str, answer: dict[str, Any]) -> HttpResponse:
    """A successful answer; ``RequestId`` is added."""
    return _encode(call_format, f"{name}Response", 200, {"RequestId": request_id, **answer})


def render_path(status: int, request_id: str, answer: registry.Answer) -> HttpResponse:
    """A successful ROA answer: the JSON document as it is."""
    return _path_response(status, request_id, answer)


def render_path_error(request_id: str, error: ApiError) -> HttpResponse:
    """A refusal as path-style products give it: code, message and requestId in lower case."""
    body = {
        "code": error.code,
        "message": error.message,
        "requestId": request_id,
        "status": error.http_status,
        **{name[:1].lower() + name[1:]: value for name, value in error.details.items()},
    }
    return _path_response(error.http_status, request_id, body)


def _path_response(status: int, request_id: str, document: registry.Answer) -> HttpResponse:
    headers = {
        "x-acs-request-id": request_id,
        "Content-Type": "application/json;charset=utf-8",
    }
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return HttpResponse(status, headers, text.encode())


def render_error(call_format: str, request_id: str, host: str, error: ApiError) -> HttpResponse:
    """A refusal in the form that Alibaba's SDKs read."""
    body = {
        "RequestId": request_id,
        "HostId": host.partition(":")[0],
        "Code": error.code,
        "Message": error.message,
        "Recommend": f"https://api.aliyun.com/troubleshoot?q={error.code}&requestId={request_id}",
        **error.details,
    }
    return _encode(call_format, "Error", error.http_status, body)


def _encode(call_format: str, root: str, status: int, body: dict[str, Any]) -> HttpResponse:
    headers = {"x-acs-request-id": str(body["RequestId"])}
    if call_format == "XML":
        text = f'<?xml version="1.0" encoding="UTF-8"?>{_xml(root, body)}'
        headers["Content-Type"] = "text/xml;charset=utf-8"
    else:
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        headers["Content-Type"] = "application/json;charset=utf-8"
    return HttpResponse(status, headers, text.encode())


def _xml(name: str, value: object) -> str:
    if not _XML_NAME.match(name):
        name = "Item"
    if isinstance(value, dict):
        inner = "".join(_xml(str(key), item) for key, item in value.items())
        return f"<{name}>{inner}</{name}>"
    if isinstance(value, list):
        return "".join(_xml(name, item) for item in value)
    if value is None:
        return f"<{name}/>"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"<{name}>{escape(text)}</{name}>"


def _json_body(request: HttpRequest) -> dict[str, str]:
    """Parameters of a JSON body, as newer clients send them; structures stay JSON text."""
    if request.content_type != "application/json":
        return {}
    document = _document(request)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ApiError("InvalidParameter.Body", "The request body is not a JSON object.", 400)
    return _flat(document)


def _document(request: HttpRequest) -> Any:
    """The JSON of a body, or None when there is none."""
    if not request.body.strip():
        return None
    try:
        return json.loads(request.body)
    except ValueError as error:
        raise ApiError(
            "InvalidParameter.Body", f"The request body is not JSON: {error}.", 400
        ) from None


def _flat(document: dict[str, Any]) -> dict[str, str]:
    return {
        str(key): value if isinstance(value, str) else json.dumps(value)
        for key, value in document.items()
        if value is not None
    }
