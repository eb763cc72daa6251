"""Object storage (OSS): takes a request apart, checks signature and rights, calls the operation.

An address or sub-resource that the emulator does not know is answered with 501 NotImplemented that
names it; nothing is guessed.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping
from functools import partial

from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.oss_call import Address, OssCall, address_of
from rehearsal.cloud.oss_errors import OssError, access_denied, not_implemented
from rehearsal.cloud.oss_http import OssHttpRequest, OssHttpResponse
from rehearsal.cloud.oss_signature import verify
from rehearsal.cloud.oss_xml import document
from rehearsal.cloud.services import (
    oss_bucket_settings,
    oss_buckets,
    oss_listing,
    oss_multipart,
    oss_object_settings,
    oss_objects,
)
from rehearsal.cloud.services.oss_access import authorise
from rehearsal.cloud.state import Cloud

Operation = Callable[[OssCall], OssHttpResponse]

#: (method, sub-resource) to (RAM action, operation), for buckets.
BUCKET_OPERATIONS: dict[tuple[str, str], tuple[str, Operation]] = {
    ("PUT", ""): ("PutBucket", oss_buckets.put_bucket),
    ("GET", ""): ("ListObjects", oss_listing.list_objects),
    ("HEAD", ""): ("GetBucketInfo", lambda _: OssHttpResponse(200)),
    ("DELETE", ""): ("DeleteBucket", oss_buckets.delete_bucket),
    ("GET", "bucketInfo"): ("GetBucketInfo", oss_buckets.bucket_info),
    ("GET", "acl"): ("GetBucketAcl", oss_buckets.get_acl),
    ("PUT", "acl"): ("PutBucketAcl", oss_buckets.put_acl),
    ("GET", "location"): ("GetBucketLocation", oss_buckets.location),
    ("GET", "stat"): ("GetBucketStat", oss_buckets.stat),
    ("GET", "versions"): ("ListObjectVersions", oss_listing.list_versions),
    ("GET", "uploads"): ("ListMultipartUploads", oss_listing.list_uploads),
    # Rights are checked for each key of the list.
    ("POST", "delete"): ("", oss_objects.delete_many),
}
for _name, _setting in oss_bucket_settings.SETTINGS.items():
    for _method, _verb, _do in (
        ("GET", "Get", oss_bucket_settings.get),
        ("PUT", "Put", oss_bucket_settings.put),
        ("DELETE", "Delete", oss_bucket_settings.delete),
    ):
        BUCKET_OPERATIONS[_method, _name] = (
            f"{_verb}Bucket{_setting.action}",
            partial(_do, name=_name),
        )

#: The same for objects; ``copy`` stands for a PUT with x-oss-copy-source.
OBJECT_OPERATIONS: dict[tuple[str, str], tuple[str, Operation]] = {
    ("PUT", ""): ("PutObject", oss_objects.put_object),
    ("PUT", "copy"): ("PutObject", oss_objects.copy_object),
    ("GET", ""): ("GetObject", oss_objects.read_object),
    ("HEAD", ""): ("GetObject", oss_objects.read_object),
    ("HEAD", "objectMeta"): ("GetObject", oss_objects.object_meta),
    ("DELETE", ""): ("DeleteObject", oss_objects.delete_object),
    ("GET", "tagging"): ("GetObjectTagging", oss_object_settings.get_tags),
    ("PUT", "tagging"): ("PutObjectTagging", oss_object_settings.put_tags),
    ("DELETE", "tagging"): ("DeleteObjectTagging", oss_object_settings.delete_tags),
    ("GET", "acl"): ("GetObjectAcl", oss_object_settings.get_acl),
    ("PUT", "acl"): ("PutObjectAcl", oss_object_settings.put_acl),
    ("POST", "uploads"): ("PutObject", oss_multipart.begin),
    ("PUT", "uploadId"): ("PutObject", oss_multipart.put_part),
    ("POST", "uploadId"): ("PutObject", oss_multipart.complete),
    ("GET", "uploadId"): ("ListParts", oss_multipart.list_parts),
    ("DELETE", "uploadId"): ("AbortMultipartUpload", oss_multipart.abort),
}
#: Query parameters that choose no operation.
_PLAIN = (
    "prefix delimiter marker max-keys encoding-type list-type start-after continuation-token "
    "fetch-owner key-marker version-id-marker max-uploads upload-id-marker partNumber "
    "part-number-marker max-parts versionId OSSAccessKeyId Expires Signature security-token "
    "sequential regionList"
)
PLAIN_PARAMETERS = frozenset(_PLAIN.split())


def handle(request: OssHttpRequest, cloud: Cloud) -> OssHttpResponse:
    """Answer one request; refusals become XML documents and are never raised."""
    request_id = secrets.token_hex(12).upper()
    try:
        with cloud.lock:
            response = _answer(request, cloud)
    except ApiError as error:
        response = _error(request, error, request_id)
    response.headers.setdefault("x-oss-request-id", request_id)
    response.headers.setdefault("Server", "AliyunOSS")
    return response


def _answer(request: OssHttpRequest, cloud: Cloud) -> OssHttpResponse:
    address = address_of(request)
    signed = verify(request, address.bucket, address.key, cloud.credentials, cloud.clock())
    region = address.region or (signed.region if signed else "") or cloud.settings.region
    if signed and signed.region and address.region and signed.region != address.region:
        raise OssError(
            "InvalidArgument",
            f"Invalid signing region in Authorization header. Given: {signed.region}; the "
            f"endpoint is in {address.region}.",
            400,
        )
    call = OssCall(request, cloud, address, signed.credential if signed else None, region)
    if not address.bucket:
        return _service(call)
    sub = _sub_resource(request, BUCKET_OPERATIONS if not address.key else OBJECT_OPERATIONS)
    if not address.key:
        return _bucket(call, sub)
    if request.method == "PUT" and not sub and call.header("x-oss-copy-source"):
        sub = "copy"
    action, operation = _operation(OBJECT_OPERATIONS, request.method, sub, address)
    call.load_bucket()
    _check_region(call)
    authorise(call, action)
    return operation(call)


def _service(call: OssCall) -> OssHttpResponse:
    if call.request.method != "GET":
        raise not_implemented(f"{call.request.method} /")
    if call.credential is None:
        raise access_denied("Anonymous user has no right to access this service.")
    authorise(call, "ListBuckets")
    return oss_buckets.list_buckets(call)


def _bucket(call: OssCall, sub: str) -> OssHttpResponse:
    method = call.request.method
    action, operation = _operation(BUCKET_OPERATIONS, method, sub, call.address)
    if (method, sub) == ("PUT", ""):
        if call.credential is None:
            raise access_denied("Anonymous user has no right to create a bucket.")
        authorise(call, action)
        return operation(call)
    call.load_bucket()
    _check_region(call)
    if action:
        authorise(call, action)
    return operation(call)


def _check_region(call: OssCall) -> None:
    """A bucket answers only at its own region's endpoint."""
    location = call.row["Location"]
    if location != f"oss-{call.region}":
        raise access_denied(
            "The bucket you are attempting to access must be addressed using the specified "
            "endpoint. Please send all future requests to this endpoint.",
            Bucket=call.bucket,
            Endpoint=f"{location}.aliyuncs.com",
        )


def _sub_resource(
    request: OssHttpRequest, known: Mapping[tuple[str, str], tuple[str, Operation]]
) -> str:
    """The query parameter that chooses the operation; empty for none.

    Raises:
        OssError: NotImplemented for a parameter that OSS knows and the emulator does not.
    """
    names = {name for _, name in known}
    chosen = [name for name in request.query if name in names]
    for name in request.query:
        plain = name in PLAIN_PARAMETERS or name.startswith(("x-oss-", "response-"))
        if name not in names and (not plain or name == "x-oss-process"):
            raise not_implemented(f"the query parameter {name!r}")
    return chosen[0] if chosen else ""


def _operation(
    operations: Mapping[tuple[str, str], tuple[str, Operation]],
    method: str,
    sub: str,
    address: Address,
) -> tuple[str, Operation]:
    found = operations.get((method, sub))
    if found is None:
        place = f"/{address.bucket}/{address.key}".rstrip("/")
        raise not_implemented(f"{method} {place}{'?' + sub if sub else ''}")
    return found


def _error(request: OssHttpRequest, error: ApiError, request_id: str) -> OssHttpResponse:
    fields = error.fields if isinstance(error, OssError) else {}
    body = document(
        "Error",
        {
            "Code": error.code,
            "Message": error.message,
            "RequestId": request_id,
            "HostId": request.host,
            **fields,
        },
    )
    headers = {"Content-Type": "application/xml", "x-oss-request-id": request_id}
    if request.method == "HEAD":
        # A HEAD answer has no body; OSS puts the document into a header.
        return OssHttpResponse(
            error.http_status, headers | {"x-oss-err": base64.b64encode(body).decode()}
        )
    return OssHttpResponse(error.http_status, headers, body)
