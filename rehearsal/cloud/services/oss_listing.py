"""Listings of objects, versions and unfinished uploads, with prefix, delimiter and pages."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from rehearsal.cloud.oss_call import OssCall, iso, owner, xml
from rehearsal.cloud.oss_errors import invalid_argument
from rehearsal.cloud.oss_http import OssHttpResponse
from rehearsal.cloud.oss_storage import StoredObject

DEFAULT_KEYS = 100
MAX_KEYS = 1000


def _encoder(call: OssCall) -> Callable[[str], str]:
    kind = call.query("encoding-type")
    if kind not in ("", "url"):
        raise invalid_argument("encoding-type", kind, "url")
    return (lambda text: quote(text, safe="/")) if kind else (lambda text: text)


def _grouped(keys: Iterable[str], prefix: str, delimiter: str) -> list[tuple[str, bool]]:
    """Keys in order, those with the delimiter folded: (key or common prefix, is it a prefix)."""
    result: dict[str, bool] = {}
    for key in keys:
        if not key.startswith(prefix):
            continue
        head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
        if found:
            result[prefix + head + delimiter] = True
        else:
            result.setdefault(key, False)
    return sorted(result.items())


def list_objects(call: OssCall) -> OssHttpResponse:
    """GET /bucket, and with list-type=2 the second version."""
    second = call.query("list-type") == "2"
    prefix, delimiter = call.query("prefix"), call.query("delimiter")
    limit = call.number("max-keys", DEFAULT_KEYS, 1, MAX_KEYS)
    start = _start(call) if second else call.query("marker")
    objects = {item.key: item for item in call.store.current_objects()}
    entries = [e for e in _grouped(objects, prefix, delimiter) if e[0] > start]
    page, rest = entries[:limit], entries[limit:]
    code = _encoder(call)
    value: dict[str, Any] = {
        "Name": call.bucket,
        "Prefix": code(prefix),
        "MaxKeys": limit,
        "Delimiter": code(delimiter),
        "IsTruncated": bool(rest),
        "EncodingType": call.query("encoding-type") or None,
    }
    last = page[-1][0] if rest else None
    if second:
        token = base64.b64encode(last.encode()).decode() if last else None
        value |= {
            "StartAfter": call.query("start-after") or None,
            "ContinuationToken": call.query("continuation-token") or None,
            "NextContinuationToken": token,
            "KeyCount": len(page),
        }
    else:
        value |= {"Marker": code(call.query("marker")), "NextMarker": code(last) if last else None}
    with_owner = not second or call.query("fetch-owner") == "true"
    value["Contents"] = [
        _entry(call, objects[key], code, with_owner=with_owner)
        for key, folded in page
        if not folded
    ]
    value["CommonPrefixes"] = [{"Prefix": code(key)} for key, folded in page if folded]
    return xml("ListBucketResult", value)


def _start(call: OssCall) -> str:
    token = call.query("continuation-token")
    if not token:
        return call.query("start-after")
    try:
        return base64.b64decode(token, validate=True).decode()
    except (binascii.Error, ValueError):
        raise invalid_argument("continuation-token", token, "a token from an answer") from None


def _entry(
    call: OssCall, item: StoredObject, code: Callable[[str], str], *, with_owner: bool
) -> dict[str, Any]:
    return {
        "Key": code(item.key),
        "LastModified": iso(item.modified),
        "ETag": f'"{item.etag}"',
        "Type": item.kind,
        "Size": item.size,
        "StorageClass": item.storage_class,
        "Owner": owner(call.account) if with_owner else None,
    }


def list_versions(call: OssCall) -> OssHttpResponse:
    """GET /bucket?versions: every version and delete marker, newest of a key first."""
    prefix, delimiter = call.query("prefix"), call.query("delimiter")
    limit = call.number("max-keys", DEFAULT_KEYS, 1, MAX_KEYS)
    marker = (call.query("key-marker"), call.query("version-id-marker"))
    code = _encoder(call)
    entries = list(call.store.all_versions())
    folded = {key for key, is_prefix in _grouped((i.key for i, _ in entries), prefix, delimiter)
              if is_prefix and key > marker[0]}  # fmt: skip
    wanted = [
        (item, newest)
        for item, newest in _after(entries, *marker)
        if item.key.startswith(prefix) and not (delimiter and delimiter in item.key[len(prefix) :])
    ]
    page, rest = wanted[:limit], wanted[limit:]
    value: dict[str, Any] = {
        "Name": call.bucket,
        "Prefix": code(prefix),
        "KeyMarker": code(marker[0]),
        "VersionIdMarker": marker[1],
        "MaxKeys": limit,
        "Delimiter": code(delimiter),
        "IsTruncated": bool(rest),
        "EncodingType": call.query("encoding-type") or None,
        "NextKeyMarker": code(page[-1][0].key) if rest else None,
        "NextVersionIdMarker": page[-1][0].version if rest else None,
        "Version": [
            _entry(call, item, code, with_owner=True)
            | {"VersionId": item.version, "IsLatest": newest}
            for item, newest in page
            if not item.delete_marker
        ],
        "DeleteMarker": [
            {
                "Key": code(item.key),
                "VersionId": item.version,
                "IsLatest": newest,
                "LastModified": iso(item.modified),
                "Owner": owner(call.account),
            }
            for item, newest in page
            if item.delete_marker
        ],
        "CommonPrefixes": [{"Prefix": code(key)} for key in sorted(folded)],
    }
    return xml("ListVersionsResult", value)


def _after(
    entries: list[tuple[StoredObject, bool]], key: str, version: str
) -> Iterable[tuple[StoredObject, bool]]:
    """Entries behind the markers; a version marker stands for a place within its key."""
    if not key:
        return entries
    passed = {item.version for item, _ in entries if item.key == key}
    seen = version not in passed
    result = []
    for item, newest in entries:
        if item.key == key and version in passed:
            if seen:
                result.append((item, newest))
            seen = seen or item.version == version
        elif item.key > key:
            result.append((item, newest))
    return result


def list_uploads(call: OssCall) -> OssHttpResponse:
    """GET /bucket?uploads: unfinished multipart uploads, by key."""
    prefix = call.query("prefix")
    code = _encoder(call)
    rows = sorted(call.row["Uploads"].items(), key=lambda pair: (pair[1]["Key"], pair[0]))
    value = {
        "Bucket": call.bucket,
        "Prefix": code(prefix),
        "MaxUploads": MAX_KEYS,
        "IsTruncated": False,
        "EncodingType": call.query("encoding-type") or None,
        "Upload": [
            {"Key": code(row["Key"]), "UploadId": upload_id, "Initiated": iso(row["Started"])}
            for upload_id, row in rows
            if row["Key"].startswith(prefix)
        ],
    }
    return xml("ListMultipartUploadsResult", value)
