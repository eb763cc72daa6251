"""Buckets: listing, making, describing and removing them."""

from __future__ import annotations

import re
from typing import Any

from rehearsal.cloud.oss_call import (
    BUCKETS,
    OssCall,
    Row,
    empty,
    find_bucket,
    iso,
    new_folder,
    owner,
    store_of,
    xml,
)
from rehearsal.cloud.oss_errors import OssError, access_denied, invalid_argument
from rehearsal.cloud.oss_http import OssHttpResponse
from rehearsal.cloud.oss_xml import parse, text

ACLS = ("private", "public-read", "public-read-write")
STORAGE_CLASSES = ("Standard", "IA", "Archive", "ColdArchive", "DeepColdArchive")
REDUNDANCIES = ("LRS", "ZRS")
ALGORITHMS = ("AES256", "KMS", "SM4")
MAX_BUCKETS = 100
_NAME = re.compile(r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$")


def default_resource_group(account: str) -> str:
    """The resource group that an account's resources are in unless they are moved."""
    return f"rg-acfm{account[-11:]}"


def list_buckets(call: OssCall) -> OssHttpResponse:
    """GET /: the account's buckets, by name, paged with marker and max-keys."""
    assert call.credential is not None  # noqa: S101 - anonymous calls were refused before
    account = call.credential.caller.account
    prefix, marker = call.query("prefix"), call.query("marker")
    limit = call.number("max-keys", 100, 1, 1000)
    rows = call.cloud.account(account).table(BUCKETS)
    names = sorted(name for name in rows if name.startswith(prefix) and name > marker)
    group = call.header("x-oss-resource-group-id")
    if group:
        names = [name for name in names if rows[name]["ResourceGroupId"] == group]
    page, rest = names[:limit], names[limit:]
    value: dict[str, Any] = {
        "Prefix": prefix,
        "Marker": marker,
        "MaxKeys": limit,
        "IsTruncated": bool(rest),
        "NextMarker": page[-1] if rest else None,
        "Owner": owner(account),
        "Buckets": {"Bucket": [_listed(rows[name]) for name in page]},
    }
    return xml("ListAllMyBucketsResult", value)


def _listed(row: Row) -> dict[str, Any]:
    return {
        "CreationDate": row["CreationDate"],
        "ExtranetEndpoint": f"{row['Location']}.aliyuncs.com",
        "IntranetEndpoint": f"{row['Location']}-internal.aliyuncs.com",
        "Location": row["Location"],
        "Name": row["Name"],
        "Region": row["Location"].removeprefix("oss-"),
        "ResourceGroupId": row["ResourceGroupId"],
        "StorageClass": row["StorageClass"],
    }


def put_bucket(call: OssCall) -> OssHttpResponse:
    """PUT /bucket: make a bucket; the owner may repeat it to change the ACL.

    Raises:
        OssError: InvalidBucketName, BucketAlreadyExists, TooManyBuckets or InvalidArgument.
    """
    assert call.credential is not None  # noqa: S101 - anonymous calls were refused before
    account = call.credential.caller.account
    if not _NAME.match(call.bucket):
        raise OssError(
            "InvalidBucketName",
            f"The specified bucket is not valid. Given: {call.bucket!r}; allowed are 3 to 63 lower "
            "case letters, digits and hyphens, no hyphen at the ends.",
            400,
            BucketName=call.bucket,
        )
    acl = _one_of(call, "x-oss-acl", ACLS, "private")
    found = find_bucket(call.cloud, call.bucket)
    if found is not None:
        return _again(call, account, found, acl)
    storage, redundancy = _configuration(call)
    table = call.cloud.account(account).table(BUCKETS)
    if len(table) >= MAX_BUCKETS:
        raise OssError(
            "TooManyBuckets",
            f"You have attempted to create more buckets than allowed ({MAX_BUCKETS}).",
            400,
        )
    now = call.cloud.clock()
    table[call.bucket] = {
        "Name": call.bucket,
        "Folder": new_folder(),
        "Location": f"oss-{call.region}",
        "CreationDate": iso(now),
        "Acl": acl,
        "StorageClass": storage,
        "Redundancy": redundancy,
        "ResourceGroupId": call.header("x-oss-resource-group-id")
        or default_resource_group(account),
        "Settings": _encryption(call),
        "Order": 0,
        "Uploads": {},
    }
    call.cloud.save()
    return empty(200, {"Location": f"/{call.bucket}"})


def _again(call: OssCall, account: str, found: tuple[str, Row], acl: str) -> OssHttpResponse:
    owner_account, row = found
    if owner_account != account:
        raise OssError(
            "BucketAlreadyExists",
            "The requested bucket name is not available. The bucket namespace is shared by all "
            "users of the system. Please select a different name and try again.",
            409,
            BucketName=call.bucket,
        )
    if row["Location"] != f"oss-{call.region}":
        raise OssError(
            "BucketAlreadyExists",
            f"The bucket exists in {row['Location']}; its region cannot be changed.",
            409,
            BucketName=call.bucket,
        )
    if call.header("x-oss-acl"):
        set_acl(row, acl)
        call.cloud.save()
    return empty(200, {"Location": f"/{call.bucket}"})


def _configuration(call: OssCall) -> tuple[str, str]:
    if not call.request.body.strip():
        return "Standard", "LRS"
    node = parse(call.request.body, "CreateBucketConfiguration")
    storage = text(node, "StorageClass", "Standard")
    redundancy = text(node, "DataRedundancyType", "LRS")
    if storage not in STORAGE_CLASSES:
        raise invalid_argument("StorageClass", storage, ", ".join(STORAGE_CLASSES))
    if redundancy not in REDUNDANCIES:
        raise invalid_argument("DataRedundancyType", redundancy, ", ".join(REDUNDANCIES))
    return storage, redundancy


def _encryption(call: OssCall) -> dict[str, str]:
    """The encryption setting that the headers of PutBucket ask for, as stored XML."""
    algorithm = call.header("x-oss-server-side-encryption")
    if not algorithm:
        return {}
    if algorithm not in ALGORITHMS:
        raise invalid_argument("x-oss-server-side-encryption", algorithm, ", ".join(ALGORITHMS))
    parts = f"<SSEAlgorithm>{algorithm}</SSEAlgorithm>"
    data = call.header("x-oss-server-side-data-encryption")
    if data:
        parts += f"<KMSDataEncryption>{data}</KMSDataEncryption>"
    key = call.header("x-oss-server-side-encryption-key-id")
    if key:
        parts += f"<KMSMasterKeyID>{key}</KMSMasterKeyID>"
    inner = f"<ApplyServerSideEncryptionByDefault>{parts}</ApplyServerSideEncryptionByDefault>"
    return {"encryption": inner}


def _one_of(call: OssCall, header: str, allowed: tuple[str, ...], default: str) -> str:
    given = call.header(header) or default
    if given not in allowed:
        raise invalid_argument(header, given, ", ".join(allowed))
    return given


def set_acl(row: Row, acl: str) -> None:
    """Change a bucket's ACL.

    Raises:
        OssError: AccessDenied when public access is blocked for the bucket.
    """
    if acl != "private" and blocks_public(row):
        raise access_denied("Put public bucket acl is not allowed.")
    row["Acl"] = acl


def blocks_public(row: Row) -> bool:
    """Whether the bucket's public access block is on."""
    return "<BlockPublicAccess>true" in row["Settings"].get("publicAccessBlock", "")


def delete_bucket(call: OssCall) -> OssHttpResponse:
    """DELETE /bucket.

    Raises:
        OssError: BucketNotEmpty when there is an object, a version or an unfinished upload.
    """
    if not call.store.is_empty() or call.row["Uploads"]:
        raise OssError(
            "BucketNotEmpty",
            "The bucket has objects. Please delete them first. Versions, delete markers and "
            "unfinished multipart uploads count as well.",
            409,
            BucketName=call.bucket,
        )
    store_of(call.cloud, call.row).delete()
    del call.cloud.account(call.account).table(BUCKETS)[call.bucket]
    call.cloud.save()
    return empty(204)


def bucket_info(call: OssCall) -> OssHttpResponse:
    """GET /bucket?bucketInfo."""
    row, settings = call.row, call.row["Settings"]
    rule: dict[str, Any] = {"SSEAlgorithm": "None"}
    if "encryption" in settings:
        node = parse(f"<R>{settings['encryption']}</R>".encode(), "R")
        rule = {child.tag: child.text for child in node[0]}
    value = {
        "AccessMonitor": "Enabled"
        if "Enabled" in settings.get("accessmonitor", "")
        else "Disabled",
        "BlockPublicAccess": blocks_public(row),
        "CreationDate": row["CreationDate"],
        "CrossRegionReplication": "Disabled",
        "DataRedundancyType": row["Redundancy"],
        "ExtranetEndpoint": f"{row['Location']}.aliyuncs.com",
        "IntranetEndpoint": f"{row['Location']}-internal.aliyuncs.com",
        "Location": row["Location"],
        "Name": row["Name"],
        "ResourceGroupId": row["ResourceGroupId"],
        "StorageClass": row["StorageClass"],
        "TransferAcceleration": "Enabled"
        if "<Enabled>true" in settings.get("transferAcceleration", "")
        else "Disabled",
        "Versioning": versioning_of(row) or None,
        "Owner": owner(call.account),
        "AccessControlList": {"Grant": row["Acl"]},
        "ServerSideEncryptionRule": rule,
        "BucketPolicy": {"LogBucket": "", "LogPrefix": ""},
    }
    return xml("BucketInfo", {"Bucket": value})


def versioning_of(row: Row) -> str:
    """``Enabled``, ``Suspended`` or empty when it was never switched on."""
    match = re.search(r"<Status>(\w+)</Status>", row["Settings"].get("versioning", ""))
    return match.group(1) if match else ""


def get_acl(call: OssCall) -> OssHttpResponse:
    """GET /bucket?acl."""
    value = {"Owner": owner(call.account), "AccessControlList": {"Grant": call.row["Acl"]}}
    return xml("AccessControlPolicy", value)


def put_acl(call: OssCall) -> OssHttpResponse:
    """PUT /bucket?acl; the ACL is a header."""
    set_acl(call.row, _one_of(call, "x-oss-acl", ACLS, ""))
    call.cloud.save()
    return empty()


def location(call: OssCall) -> OssHttpResponse:
    """GET /bucket?location."""
    return xml("LocationConstraint", call.row["Location"])


def stat(call: OssCall) -> OssHttpResponse:
    """GET /bucket?stat: how much is stored."""
    objects = call.store.current_objects()
    size = sum(item.size for item in objects)
    value = {
        "Storage": size,
        "ObjectCount": len(objects),
        "MultipartUploadCount": len(call.row["Uploads"]),
        "LastModifiedTime": int(call.cloud.clock()),
        "StandardStorage": size,
        "StandardObjectCount": len(objects),
    }
    return xml("BucketStat", value)
