"""Multipart uploads: begun, filled in any order, completed or aborted."""

from __future__ import annotations

import hashlib
import shutil
import uuid
from pathlib import Path
from typing import Any

from rehearsal.cloud.oss_call import OssCall, Row, empty, iso, xml
from rehearsal.cloud.oss_crc import crc64
from rehearsal.cloud.oss_errors import OssError, invalid_argument, malformed_xml, no_such_upload
from rehearsal.cloud.oss_http import OssHttpResponse
from rehearsal.cloud.oss_storage import StoredObject
from rehearsal.cloud.oss_xml import parse, text
from rehearsal.cloud.services.oss_objects import (
    check_name,
    new_version,
    refuse_overwrite,
    store,
    version_header,
)

MAX_PARTS = 10_000
MIN_PART_BYTES = 100 * 1024


def _folder(call: OssCall, upload_id: str) -> Path:
    return call.cloud.state_dir / "oss" / f"{call.row['Folder']}.uploads" / upload_id


def _upload(call: OssCall) -> Row:
    """The row of the upload that the request names.

    Raises:
        OssError: NoSuchUpload.
    """
    upload_id = call.query("uploadId")
    row: Row | None = call.row["Uploads"].get(upload_id)
    if row is None or row["Key"] != call.key:
        raise no_such_upload(upload_id)
    return row


def begin(call: OssCall) -> OssHttpResponse:
    """POST /bucket/key?uploads."""
    check_name(call.key)
    refuse_overwrite(call)
    # Checks the headers now, as OSS does, and keeps them for the end.
    template = new_version(call)
    upload_id = uuid.uuid4().hex.upper()
    call.row["Uploads"][upload_id] = {
        "Key": call.key,
        "Started": call.cloud.clock(),
        "StorageClass": template.storage_class,
        "Acl": template.acl,
        "Headers": template.headers,
        "Encryption": template.encryption,
        "Tags": template.tags,
        "Parts": {},
    }
    call.cloud.save()
    value = {"Bucket": call.bucket, "Key": call.key, "UploadId": upload_id}
    answer = xml("InitiateMultipartUploadResult", value)
    answer.headers |= template.encryption
    return answer


def put_part(call: OssCall) -> OssHttpResponse:
    """PUT /bucket/key?partNumber=&uploadId=: a part sent again replaces the old one."""
    row = _upload(call)
    number = call.number("partNumber", 0, 1, MAX_PARTS)
    if not number:
        raise invalid_argument("partNumber", "", f"1 to {MAX_PARTS}")
    body = call.request.body
    etag = hashlib.md5(body, usedforsecurity=False).hexdigest().upper()
    folder = _folder(call, call.query("uploadId"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / str(number)).write_bytes(body)
    row["Parts"][str(number)] = {
        "ETag": etag,
        "Size": len(body),
        "Crc": str(crc64(body)),
        "Modified": call.cloud.clock(),
    }
    call.cloud.save()
    return empty(
        200, {"ETag": f'"{etag}"', "x-oss-hash-crc64ecma": row["Parts"][str(number)]["Crc"]}
    )


def list_parts(call: OssCall) -> OssHttpResponse:
    """GET /bucket/key?uploadId=."""
    row = _upload(call)
    marker = call.number("part-number-marker", 0, 0, MAX_PARTS)
    limit = call.number("max-parts", 1000, 1, 1000)
    numbers = sorted(n for n in map(int, row["Parts"]) if n > marker)
    page, rest = numbers[:limit], numbers[limit:]
    value: dict[str, Any] = {
        "Bucket": call.bucket,
        "Key": call.key,
        "UploadId": call.query("uploadId"),
        "PartNumberMarker": marker,
        "NextPartNumberMarker": page[-1] if page else marker,
        "MaxParts": limit,
        "IsTruncated": bool(rest),
        "StorageClass": row["StorageClass"],
        "Part": [_shown(number, row["Parts"][str(number)]) for number in page],
    }
    return xml("ListPartsResult", value)


def _shown(number: int, part: Row) -> dict[str, Any]:
    return {
        "PartNumber": number,
        "LastModified": iso(part["Modified"]),
        "ETag": f'"{part["ETag"]}"',
        "HashCrc64ecma": part["Crc"],
        "Size": part["Size"],
    }


def _chosen(call: OssCall, row: Row) -> list[int]:
    """Numbers of the parts to put together.

    Raises:
        OssError: MalformedXML, InvalidPartOrder, InvalidPart or EntityTooSmall.
    """
    parts = row["Parts"]
    if call.header("x-oss-complete-all").lower() == "yes":
        numbers = sorted(map(int, parts))
    else:
        wanted = parse(call.request.body, "CompleteMultipartUpload").findall("Part")
        numbers = []
        for item in wanted:
            number = text(item, "PartNumber")
            if not number.isdigit():
                raise malformed_xml(f"PartNumber {number!r} is no number")
            known = parts.get(number)
            if known is None or known["ETag"] != text(item, "ETag").strip('"').upper():
                raise OssError(
                    "InvalidPart",
                    "One or more of the specified parts could not be found or the specified "
                    "entity tag might not have matched the part's entity tag.",
                    400,
                    PartNumber=number,
                )
            numbers.append(int(number))
    if not numbers:
        raise malformed_xml("no parts are listed")
    if numbers != sorted(set(numbers)):
        raise OssError(
            "InvalidPartOrder",
            "The list of parts was not in ascending order. Parts list must specified in order by "
            "part number.",
            400,
        )
    for chosen in numbers[:-1]:
        if parts[str(chosen)]["Size"] < MIN_PART_BYTES:
            raise OssError(
                "EntityTooSmall",
                "Your proposed upload smaller than the minimum allowed size. Part "
                f"{chosen} has {parts[str(chosen)]['Size']} bytes; every part but the last needs "
                f"{MIN_PART_BYTES}.",
                400,
            )
    return numbers


def complete(call: OssCall) -> OssHttpResponse:
    """POST /bucket/key?uploadId=: make the object of the parts."""
    row = _upload(call)
    numbers = _chosen(call, row)
    refuse_overwrite(call)
    upload_id = call.query("uploadId")
    folder = _folder(call, upload_id)
    body = b"".join((folder / str(number)).read_bytes() for number in numbers)
    digests = b"".join(bytes.fromhex(row["Parts"][str(n)]["ETag"]) for n in numbers)
    joined = hashlib.md5(digests, usedforsecurity=False).hexdigest().upper()
    item: StoredObject = new_version(call)
    item.size, item.kind = len(body), "Multipart"
    item.etag, item.crc64 = f"{joined}-{len(numbers)}", str(crc64(body))
    item.storage_class, item.acl = row["StorageClass"], row["Acl"]
    item.headers, item.encryption = row["Headers"], row["Encryption"]
    item.tags = row["Tags"]
    del call.row["Uploads"][upload_id]
    store(call, item, body)
    shutil.rmtree(folder, ignore_errors=True)
    value = {
        "Location": f"http://{call.bucket}.{call.row['Location']}.aliyuncs.com/{call.key}",
        "Bucket": call.bucket,
        "Key": call.key,
        "ETag": f'"{item.etag}"',
    }
    answer = xml("CompleteMultipartUploadResult", value)
    answer.headers |= {"x-oss-hash-crc64ecma": item.crc64} | version_header(call, item)
    return answer


def abort(call: OssCall) -> OssHttpResponse:
    """DELETE /bucket/key?uploadId=."""
    _upload(call)
    upload_id = call.query("uploadId")
    del call.row["Uploads"][upload_id]
    call.cloud.save()
    shutil.rmtree(_folder(call, upload_id), ignore_errors=True)
    return empty(204)
