"""Objects: writing, reading, copying and deleting."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl, unquote

from rehearsal.cloud.oss_call import (
    Address,
    OssCall,
    empty,
    find_bucket,
    http_date,
    iso,
    store_of,
    xml,
)
from rehearsal.cloud.oss_crc import crc64
from rehearsal.cloud.oss_errors import (
    OssError,
    access_denied,
    invalid_argument,
    malformed_xml,
    no_such_bucket,
    no_such_key,
)
from rehearsal.cloud.oss_http import OssHttpResponse
from rehearsal.cloud.oss_storage import NULL_VERSION, StoredObject
from rehearsal.cloud.oss_xml import parse, text
from rehearsal.cloud.services.oss_access import authorise
from rehearsal.cloud.services.oss_buckets import (
    ACLS,
    ALGORITHMS,
    STORAGE_CLASSES,
    blocks_public,
    versioning_of,
)

KEPT_HEADERS = ("content-type", "cache-control", "content-disposition", "content-encoding",
                "content-language", "expires")  # fmt: skip
OVERRIDES = {f"response-{name}": name for name in KEPT_HEADERS}
MAX_OBJECT_BYTES = 5 * 1024**3
MAX_DELETE = 1000
_RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")


def new_version(call: OssCall, key: str | None = None) -> StoredObject:
    """An object version without content, with headers, tags and encryption of the request.

    Raises:
        OssError: InvalidArgument for an unknown storage class, ACL or algorithm.
    """
    storage = call.header("x-oss-storage-class") or call.row["StorageClass"]
    if storage not in STORAGE_CLASSES:
        raise invalid_argument("x-oss-storage-class", storage, ", ".join(STORAGE_CLASSES))
    headers = {n: call.header(n) for n in KEPT_HEADERS if call.header(n)}
    headers |= {n: v for n, v in call.request.headers.items() if n.startswith("x-oss-meta-")}
    headers.setdefault("content-type", "application/octet-stream")
    return StoredObject(
        key=key or call.key,
        version=_version_id(call),
        order=_next_order(call),
        modified=call.cloud.clock(),
        storage_class=storage,
        acl=checked_acl(call),
        headers=headers,
        encryption=_encryption(call),
        tags=dict(parse_qsl(call.header("x-oss-tagging"), keep_blank_values=True)),
    )


def checked_acl(call: OssCall) -> str:
    """The object ACL that the request asks for; ``default`` follows the bucket.

    Raises:
        OssError: InvalidArgument, or AccessDenied when public access is blocked.
    """
    acl = call.header("x-oss-object-acl") or "default"
    if acl not in (*ACLS, "default"):
        raise invalid_argument("x-oss-object-acl", acl, ", ".join((*ACLS, "default")))
    if acl not in ("private", "default") and blocks_public(call.row):
        raise access_denied("Put public object acl is not allowed.")
    return acl


def _next_order(call: OssCall) -> int:
    """Larger than every order before, also after a crash that lost the counter."""
    call.row["Order"] = max(int(call.row["Order"]) + 1, time.time_ns())
    return int(call.row["Order"])


def _version_id(call: OssCall) -> str:
    if versioning_of(call.row) != "Enabled":
        return NULL_VERSION
    return f"CAEQ{secrets.token_hex(14)}"


def _encryption(call: OssCall) -> dict[str, str]:
    """Encryption headers of the object: those of the request, else the bucket's default."""
    algorithm = call.header("x-oss-server-side-encryption")
    key = call.header("x-oss-server-side-encryption-key-id")
    stored = call.row["Settings"].get("encryption")
    if not algorithm and stored:
        rule = parse(f"<R>{stored}</R>".encode(), "R")[0]
        algorithm, key = text(rule, "SSEAlgorithm"), text(rule, "KMSMasterKeyID")
    if not algorithm:
        return {}
    if algorithm not in ALGORITHMS:
        raise invalid_argument("x-oss-server-side-encryption", algorithm, ", ".join(ALGORITHMS))
    result = {"x-oss-server-side-encryption": algorithm}
    if key:
        result["x-oss-server-side-encryption-key-id"] = key
    return result


def version_header(call: OssCall, item: StoredObject) -> dict[str, str]:
    """``x-oss-version-id`` where the bucket ever had versioning."""
    return {"x-oss-version-id": item.version} if versioning_of(call.row) else {}


def store(call: OssCall, item: StoredObject, body: bytes) -> None:
    """Keep a new version; without versioning it replaces the old one."""
    call.store.put(item, body)
    call.cloud.save()


def put_object(call: OssCall) -> OssHttpResponse:
    """PUT /bucket/key.

    Raises:
        OssError: InvalidDigest, FileAlreadyExists, EntityTooLarge or InvalidObjectName.
    """
    check_name(call.key)
    body = call.request.body
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    given = call.header("content-md5")
    if given and given != base64.b64encode(digest).decode():
        raise OssError("InvalidDigest", "The Content-MD5 you specified was invalid.", 400)
    if len(body) > MAX_OBJECT_BYTES:
        raise OssError(
            "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size.", 400
        )
    refuse_overwrite(call)
    item = new_version(call)
    item.size, item.etag, item.crc64 = len(body), digest.hex().upper(), str(crc64(body))
    store(call, item, body)
    headers = {"ETag": f'"{item.etag}"', "x-oss-hash-crc64ecma": item.crc64}
    headers["Content-MD5"] = base64.b64encode(digest).decode()
    return empty(200, headers | item.encryption | version_header(call, item))


def check_name(key: str) -> None:
    """Raises InvalidObjectName for a key that OSS does not take."""
    if not key or len(key.encode()) > 1023 or key.startswith(("/", "\\")):
        raise OssError(
            "InvalidObjectName",
            f"The specified object is not valid. Given: {key[:80]!r}; allowed are 1 to 1023 bytes "
            "of UTF-8 that do not begin with a slash.",
            400,
        )


def refuse_overwrite(call: OssCall) -> None:
    """Raises FileAlreadyExists when the request forbids replacing and there is an object."""
    if call.header("x-oss-forbid-overwrite").lower() != "true":
        return
    current = call.store.current(call.key)
    if current is not None and not current.delete_marker:
        raise OssError("FileAlreadyExists", "The object you specified already exists.", 409)


def copy_object(call: OssCall) -> OssHttpResponse:
    """PUT /bucket/key with x-oss-copy-source: the object and, unless replaced, its headers.

    Raises:
        OssError: NoSuchBucket, NoSuchKey, or AccessDenied for another account's bucket.
    """
    check_name(call.key)
    source_name = unquote(call.header("x-oss-copy-source")).removeprefix("/")
    bucket, _, rest = source_name.partition("/")
    key, _, version = rest.partition("?versionId=")
    found = find_bucket(call.cloud, bucket)
    if found is None:
        raise no_such_bucket(bucket)
    if found[0] != call.account:
        raise access_denied("The source bucket belongs to another account.")
    objects = store_of(call.cloud, found[1])
    source = objects.version(key, version) if version else objects.current(key)
    if source is None or source.delete_marker:
        raise no_such_key(key)
    refuse_overwrite(call)
    body = objects.body_path(source).read_bytes()
    item = new_version(call)
    if call.header("x-oss-metadata-directive", "COPY").upper() == "COPY":
        item.headers = dict(source.headers)
    if call.header("x-oss-tagging-directive", "COPY").upper() == "COPY":
        item.tags = dict(source.tags)
    item.size, item.etag, item.crc64 = source.size, source.etag, source.crc64
    store(call, item, body)
    answer = xml("CopyObjectResult", {"ETag": f'"{item.etag}"', "LastModified": iso(item.modified)})
    answer.headers |= {"x-oss-hash-crc64ecma": item.crc64} | version_header(call, item)
    return answer


def find(call: OssCall) -> StoredObject:
    """The version that the request names, or the current one.

    Raises:
        OssError: NoSuchKey or NoSuchVersion; a delete marker counts as no object.
    """
    version = call.query("versionId")
    if version:
        item = call.store.version(call.key, version)
        if item is None:
            raise OssError("NoSuchVersion", "The specified version does not exist.", 404)
    else:
        item = call.store.current(call.key)
    if item is None or item.delete_marker:
        raise no_such_key(call.key)
    return item


def _facts(call: OssCall, item: StoredObject) -> dict[str, str]:
    headers = {
        "ETag": f'"{item.etag}"',
        "Last-Modified": http_date(item.modified),
        "x-oss-object-type": item.kind,
        "x-oss-storage-class": item.storage_class,
        "x-oss-hash-crc64ecma": item.crc64,
        "Accept-Ranges": "bytes",
    }
    headers |= {name.title() if not name.startswith("x-") else name: value
                for name, value in item.headers.items()}  # fmt: skip
    if item.tags:
        headers["x-oss-tagging-count"] = str(len(item.tags))
    return headers | item.encryption | version_header(call, item)


def _unchanged(call: OssCall, item: StoredObject) -> bool:
    """Evaluate If-* headers: True for 304; raises PreconditionFailed for 412."""
    tags = f'"{item.etag}"'
    modified = int(item.modified)

    def moment(name: str) -> float | None:
        try:
            return (
                parsedate_to_datetime(call.header(name)).timestamp() if call.header(name) else None
            )
        except (TypeError, ValueError):
            return None

    unmodified_since, modified_since = moment("if-unmodified-since"), moment("if-modified-since")
    wanted, unwanted = call.header("if-match"), call.header("if-none-match")
    if (wanted and wanted.strip('"') != item.etag) or (
        unmodified_since is not None and modified > unmodified_since
    ):
        raise OssError(
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold.",
            412,
        )
    return (bool(unwanted) and unwanted.strip('"') == tags.strip('"')) or (
        modified_since is not None and modified <= modified_since
    )


def read_object(call: OssCall) -> OssHttpResponse:
    """GET and HEAD /bucket/key, with Range, If-* headers and response-* overrides."""
    item = find(call)
    headers = _facts(call, item)
    if _unchanged(call, item):
        return empty(304, {"ETag": headers["ETag"], "Last-Modified": headers["Last-Modified"]})
    headers |= {name.title(): call.query(key) for key, name in OVERRIDES.items() if call.query(key)}
    span = _span(call.header("range"), item.size)
    if call.request.method == "HEAD":
        return OssHttpResponse(200, headers | {"Content-Length": str(item.size)})
    with call.store.body_path(item).open("rb") as stream:
        if span is None:
            return OssHttpResponse(200, headers, stream.read())
        stream.seek(span[0])
        part = stream.read(span[1] - span[0] + 1)
    headers["Content-Range"] = f"bytes {span[0]}-{span[1]}/{item.size}"
    return OssHttpResponse(206, headers, part)


def _span(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a range; None for everything (also for a range OSS ignores)."""
    match = _RANGE.match(header)
    if match is None or not size or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size - 1
    else:
        start, end = int(first), min(size - 1, int(last) if last else size - 1)
    return (start, end) if start <= end else None


def object_meta(call: OssCall) -> OssHttpResponse:
    """HEAD /bucket/key?objectMeta."""
    item = find(call)
    headers = _facts(call, item)
    kept = {k: headers[k] for k in ("ETag", "Last-Modified", "x-oss-hash-crc64ecma")}
    return OssHttpResponse(
        200, kept | version_header(call, item) | {"Content-Length": str(item.size)}
    )


def _delete_one(call: OssCall, key: str, version: str) -> dict[str, Any]:
    """Delete and say what happened; keys that are not there count as deleted."""
    if version:
        item = call.store.version(key, version)
        if item is not None:
            call.store.remove(item)
        marker = item is not None and item.delete_marker
        return {"VersionId": version, "DeleteMarker": True if marker else None}
    state = versioning_of(call.row)
    if not state:
        item = call.store.current(key)
        if item is not None:
            call.store.remove(item)
        return {}
    marker_item = StoredObject(
        key, _version_id(call), _next_order(call), call.cloud.clock(), delete_marker=True
    )
    if state == "Suspended":
        old = call.store.version(key, NULL_VERSION)
        if old is not None:
            call.store.remove(old)
    call.store.put(marker_item, None)
    return {"DeleteMarker": True, "DeleteMarkerVersionId": marker_item.version}


def delete_object(call: OssCall) -> OssHttpResponse:
    """DELETE /bucket/key."""
    done = _delete_one(call, call.key, call.query("versionId"))
    call.cloud.save()
    headers = {}
    version = done.get("VersionId") or done.get("DeleteMarkerVersionId")
    if version:
        headers["x-oss-version-id"] = version
    if done.get("DeleteMarker"):
        headers["x-oss-delete-marker"] = "true"
    return empty(204, headers)


def delete_many(call: OssCall) -> OssHttpResponse:
    """POST /bucket?delete: up to 1000 keys or versions."""
    node = parse(call.request.body, "Delete")
    wanted = node.findall("Object")
    if not 1 <= len(wanted) <= MAX_DELETE:
        raise malformed_xml(f"{len(wanted)} objects to delete; allowed are 1 to {MAX_DELETE}")
    # Not `text` for keys: white space at the ends belongs to them.
    keys = [(item.findtext("Key") or "", text(item, "VersionId")) for item in wanted]
    for key, version in keys:
        place = Address(call.bucket, key, call.address.region)
        action = "DeleteObjectVersion" if version else "DeleteObject"
        authorise(replace(call, address=place), action)
    deleted = []
    for key, version in keys:
        deleted.append({"Key": key, **_delete_one(call, key, version)})
    call.cloud.save()
    if text(node, "Quiet") == "true":
        return xml("DeleteResult", None)
    return xml("DeleteResult", {"Deleted": deleted})
