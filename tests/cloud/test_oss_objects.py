"""Objects of the emulated object storage, through Alibaba's own SDK over TLS."""

from __future__ import annotations

import base64
import hashlib
import os

import alibabacloud_oss_v2 as oss
import pytest

from rehearsal.cloud.oss_crc import crc64
from tests.cloud.conftest import RunningCloud
from tests.cloud.oss_client import client, refused

BUCKET = "wan-vace-results-1"


@pytest.fixture
def storage(cloud: RunningCloud) -> oss.Client:
    """A client of the account's root key and one private bucket."""
    api = client(cloud)
    api.put_bucket(oss.PutBucketRequest(bucket=BUCKET))
    return api


def put(api: oss.Client, key: str, body: bytes = b"x") -> oss.PutObjectResult:
    """Write an object."""
    return api.put_object(oss.PutObjectRequest(bucket=BUCKET, key=key, body=body))


@pytest.mark.parametrize("key", ["a.mp4", "outputs/视频 1+2&=%.mp4", "x//y", "tilde~(1)!*'"])
def test_an_object_comes_back_with_its_bytes_headers_and_checksums(
    storage: oss.Client, key: str
) -> None:
    """Prevents: results that arrive changed, or names that break the signature."""
    body = os.urandom(200_000)
    result = storage.put_object(
        oss.PutObjectRequest(
            bucket=BUCKET, key=key, body=body, content_type="video/mp4",
            metadata={"prompt-id": "p1"},
        )
    )  # fmt: skip
    digest = hashlib.md5(body, usedforsecurity=False)
    assert result.etag.strip('"') == digest.hexdigest().upper()
    assert result.hash_crc64 == str(crc64(body))
    found = storage.get_object(oss.GetObjectRequest(bucket=BUCKET, key=key))
    assert found.body.read() == body
    assert (found.content_type, found.metadata) == ("video/mp4", {"prompt-id": "p1"})
    head = storage.head_object(oss.HeadObjectRequest(bucket=BUCKET, key=key))
    assert (head.content_length, head.hash_crc64) == (200_000, result.hash_crc64)
    assert head.object_type == "Normal"


def test_a_range_is_a_part_and_a_hopeless_range_is_everything(storage: oss.Client) -> None:
    """Prevents: players that cannot seek, and the wrong bytes at the end."""
    put(storage, "a", b"0123456789")
    for header, part in (("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=-3", b"789")):
        found = storage.get_object(
            oss.GetObjectRequest(bucket=BUCKET, key="a", range_header=header)
        )
        assert (found.status_code, found.body.read()) == (206, part)
    whole = storage.get_object(
        oss.GetObjectRequest(bucket=BUCKET, key="a", range_header="bytes=50-60")
    )
    assert (whole.status_code, whole.body.read()) == (200, b"0123456789")


def test_conditions_decide_about_reading_and_writing(storage: oss.Client) -> None:
    """Prevents: overwritten results where the caller forbade it."""
    etag = put(storage, "a").etag
    refused(
        "PreconditionFailed",
        storage.get_object,
        oss.GetObjectRequest(bucket=BUCKET, key="a", if_match='"0"'),
    )
    storage.get_object(oss.GetObjectRequest(bucket=BUCKET, key="a", if_match=etag))
    error = refused(
        "FileAlreadyExists",
        storage.put_object,
        oss.PutObjectRequest(bucket=BUCKET, key="a", body=b"y", forbid_overwrite="true"),
    )
    assert error.status_code == 409


def test_a_damaged_upload_is_refused(storage: oss.Client) -> None:
    """Prevents: a truncated film that counts as stored."""
    digest = base64.b64encode(hashlib.md5(b"other", usedforsecurity=False).digest()).decode()
    refused(
        "InvalidDigest",
        storage.put_object,
        oss.PutObjectRequest(bucket=BUCKET, key="a", body=b"x", content_md5=digest),
    )
    refused("NoSuchKey", storage.get_object, oss.GetObjectRequest(bucket=BUCKET, key="a"))


def test_head_of_a_missing_object_says_why_without_a_body(storage: oss.Client) -> None:
    """Prevents: clients that report "unknown error" for a missing result."""
    error = refused(
        "NoSuchKey", storage.head_object, oss.HeadObjectRequest(bucket=BUCKET, key="nope")
    )
    assert error.status_code == 404


def test_listings_follow_prefix_delimiter_and_pages(storage: oss.Client) -> None:
    """Prevents: listings that skip or repeat objects between pages."""
    keys = ["a/1", "a/2", "b/1", "b/c/1", "top 1", "top&2"]
    for key in keys:
        put(storage, key)
    pages = storage.list_objects_v2_paginator().iter_page(
        oss.ListObjectsV2Request(bucket=BUCKET, max_keys=2)
    )
    assert [item.key for page in pages for item in page.contents] == keys
    folders = storage.list_objects_v2(oss.ListObjectsV2Request(bucket=BUCKET, delimiter="/"))
    assert [item.prefix for item in folders.common_prefixes] == ["a/", "b/"]
    assert [item.key for item in folders.contents] == ["top 1", "top&2"]
    old = storage.list_objects(oss.ListObjectsRequest(bucket=BUCKET, prefix="b/", max_keys=1))
    assert ([item.key for item in old.contents], old.is_truncated) == (["b/1"], True)
    rest = storage.list_objects(
        oss.ListObjectsRequest(bucket=BUCKET, prefix="b/", marker=old.next_marker)
    )
    assert [item.key for item in rest.contents] == ["b/c/1"]


def test_many_objects_are_deleted_at_once(storage: oss.Client) -> None:
    """Prevents: `destroy` of a bucket with results that never ends."""
    keys = ["a<b>", "c&d", "not there"]
    for key in keys[:2]:
        put(storage, key)
    result = storage.delete_multiple_objects(
        oss.DeleteMultipleObjectsRequest(
            bucket=BUCKET, objects=[oss.DeleteObject(key=key) for key in keys]
        )
    )
    assert [item.key for item in result.deleted_objects] == keys
    assert not storage.list_objects_v2(oss.ListObjectsV2Request(bucket=BUCKET)).contents


def test_versions_are_kept_listed_and_removed_one_by_one(storage: oss.Client) -> None:
    """Prevents: a versioned bucket that cannot be emptied, or loses the old version."""
    storage.put_bucket_versioning(
        oss.PutBucketVersioningRequest(
            bucket=BUCKET,
            versioning_configuration=oss.VersioningConfiguration(status="Enabled"),
        )
    )
    first = put(storage, "a", b"one").version_id
    second = put(storage, "a", b"two").version_id
    assert first != second
    old = storage.get_object(oss.GetObjectRequest(bucket=BUCKET, key="a", version_id=first))
    assert old.body.read() == b"one"
    marker = storage.delete_object(oss.DeleteObjectRequest(bucket=BUCKET, key="a"))
    assert marker.delete_marker
    refused("NoSuchKey", storage.get_object, oss.GetObjectRequest(bucket=BUCKET, key="a"))
    listing = storage.list_object_versions(oss.ListObjectVersionsRequest(bucket=BUCKET))
    assert [(v.version_id, v.is_latest) for v in listing.version] == [
        (second, False), (first, False),
    ]  # fmt: skip
    assert [m.is_latest for m in listing.delete_marker] == [True]
    refused("BucketNotEmpty", storage.delete_bucket, oss.DeleteBucketRequest(bucket=BUCKET))
    everything = [first, second, marker.version_id]
    storage.delete_multiple_objects(
        oss.DeleteMultipleObjectsRequest(
            bucket=BUCKET,
            objects=[oss.DeleteObject(key="a", version_id=version) for version in everything],
        )
    )
    storage.delete_bucket(oss.DeleteBucketRequest(bucket=BUCKET))


def test_version_listings_continue_inside_a_key(storage: oss.Client) -> None:
    """Prevents: an endless loop or lost versions when a page ends between two versions."""
    storage.put_bucket_versioning(
        oss.PutBucketVersioningRequest(
            bucket=BUCKET,
            versioning_configuration=oss.VersioningConfiguration(status="Enabled"),
        )
    )
    expected = [put(storage, key).version_id for key in ("a", "a", "b")]
    expected = [expected[1], expected[0], expected[2]]
    seen, request = [], oss.ListObjectVersionsRequest(bucket=BUCKET, max_keys=1)
    while True:
        page = storage.list_object_versions(request)
        seen += [item.version_id for item in page.version]
        if not page.is_truncated:
            break
        request.key_marker = page.next_key_marker
        request.version_id_marker = page.next_version_id_marker
    assert seen == expected


def test_a_multipart_upload_becomes_one_object(storage: oss.Client) -> None:
    """Prevents: large results that cannot be uploaded."""
    parts = [os.urandom(150_000), os.urandom(150_000), b"end"]
    begun = storage.initiate_multipart_upload(
        oss.InitiateMultipartUploadRequest(bucket=BUCKET, key="big", content_type="video/mp4")
    )
    done = []
    for number in (3, 1, 2):
        result = storage.upload_part(
            oss.UploadPartRequest(
                bucket=BUCKET, key="big", upload_id=begun.upload_id, part_number=number,
                body=parts[number - 1],
            )
        )  # fmt: skip
        done.append(oss.UploadPart(part_number=number, etag=result.etag))
    listed = storage.list_parts(
        oss.ListPartsRequest(bucket=BUCKET, key="big", upload_id=begun.upload_id)
    )
    assert [part.part_number for part in listed.parts] == [1, 2, 3]
    refused("BucketNotEmpty", storage.delete_bucket, oss.DeleteBucketRequest(bucket=BUCKET))

    def complete(chosen: list[oss.UploadPart]) -> oss.CompleteMultipartUploadResult:
        return storage.complete_multipart_upload(
            oss.CompleteMultipartUploadRequest(
                bucket=BUCKET, key="big", upload_id=begun.upload_id,
                complete_multipart_upload=oss.CompleteMultipartUpload(parts=chosen),
            )
        )  # fmt: skip

    refused("InvalidPartOrder", complete, done)
    result = complete(sorted(done, key=lambda part: part.part_number or 0))
    assert result.hash_crc64 == str(crc64(b"".join(parts)))
    found = storage.get_object(oss.GetObjectRequest(bucket=BUCKET, key="big"))
    assert found.body.read() == b"".join(parts)
    assert (found.object_type, found.content_type) == ("Multipart", "video/mp4")
    refused("NoSuchUpload", complete, done)


def test_an_aborted_upload_leaves_nothing(cloud: RunningCloud, storage: oss.Client) -> None:
    """Prevents: buckets that cannot be removed because of forgotten parts."""
    begun = storage.initiate_multipart_upload(
        oss.InitiateMultipartUploadRequest(bucket=BUCKET, key="big")
    )
    storage.upload_part(
        oss.UploadPartRequest(
            bucket=BUCKET, key="big", upload_id=begun.upload_id, part_number=1, body=b"x"
        )
    )
    uploads = storage.list_multipart_uploads(oss.ListMultipartUploadsRequest(bucket=BUCKET))
    assert [u.upload_id for u in uploads.uploads] == [begun.upload_id]
    storage.abort_multipart_upload(
        oss.AbortMultipartUploadRequest(bucket=BUCKET, key="big", upload_id=begun.upload_id)
    )
    assert not list((cloud.state_dir / "oss").glob("*.uploads/*"))
    storage.delete_bucket(oss.DeleteBucketRequest(bucket=BUCKET))


def test_a_copy_takes_bytes_and_headers_along(storage: oss.Client) -> None:
    """Prevents: renamed results without their content type."""
    storage.put_object(
        oss.PutObjectRequest(bucket=BUCKET, key="原 a", body=b"film", content_type="video/mp4")
    )
    storage.copy_object(
        oss.CopyObjectRequest(bucket=BUCKET, key="b", source_bucket=BUCKET, source_key="原 a")
    )
    found = storage.get_object(oss.GetObjectRequest(bucket=BUCKET, key="b"))
    assert (found.body.read(), found.content_type) == (b"film", "video/mp4")


def test_tags_and_acl_of_an_object_can_be_changed(storage: oss.Client) -> None:
    """Prevents: lifecycle rules by tag that never match."""
    storage.put_object(
        oss.PutObjectRequest(bucket=BUCKET, key="a", body=b"x", tagging="kind=film&run=1")
    )
    tags = storage.get_object_tagging(oss.GetObjectTaggingRequest(bucket=BUCKET, key="a"))
    assert [(t.key, t.value) for t in tags.tag_set.tags] == [("kind", "film"), ("run", "1")]
    storage.delete_object_tagging(oss.DeleteObjectTaggingRequest(bucket=BUCKET, key="a"))
    tags = storage.get_object_tagging(oss.GetObjectTaggingRequest(bucket=BUCKET, key="a"))
    assert not tags.tag_set.tags
    storage.put_object_acl(oss.PutObjectAclRequest(bucket=BUCKET, key="a", acl="private"))
    assert storage.get_object_acl(oss.GetObjectAclRequest(bucket=BUCKET, key="a")).acl == "private"


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 1_000_003])
def test_the_checksum_is_the_sdks(size: int) -> None:
    """Prevents: every transfer failing with "crc is inconsistent" above some size."""
    import crcmod  # noqa: PLC0415 - comes with the SDK, used only as the reference

    reference = crcmod.mkCrcFun(0x142F0E1EBA9EA3693, initCrc=0, xorOut=0xFFFFFFFFFFFFFFFF)
    body = os.urandom(size)
    assert crc64(body) == reference(body)
    assert crc64(b"123456789") == 0x995DC9BBDF1939FA
