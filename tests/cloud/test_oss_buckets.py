"""Buckets of the emulated object storage, through Alibaba's own SDK over TLS."""

from __future__ import annotations

import datetime
from typing import Any

import alibabacloud_oss_v2 as oss
import pytest

from rehearsal.cloud.oss_call import Address, OssCall
from rehearsal.cloud.oss_errors import OssError
from rehearsal.cloud.oss_http import OssHttpRequest
from rehearsal.cloud.services.oss_buckets import put_bucket
from tests.cloud.conftest import RunningCloud
from tests.cloud.oss_client import client, refused

BUCKET = "wan-vace-results-1"


@pytest.fixture
def storage(cloud: RunningCloud) -> oss.Client:
    """A client of the account's root key and one private bucket."""
    api = client(cloud)
    api.put_bucket(oss.PutBucketRequest(bucket=BUCKET))
    return api


def test_a_bucket_is_listed_described_and_removed(cloud: RunningCloud) -> None:
    """Prevents: a provider that cannot find the bucket it has just made."""
    api = client(cloud)
    assert api.list_buckets(oss.ListBucketsRequest(prefix=BUCKET)).buckets in (None, [])
    api.put_bucket(
        oss.PutBucketRequest(
            bucket=BUCKET,
            create_bucket_configuration=oss.CreateBucketConfiguration(
                storage_class="Standard", data_redundancy_type="ZRS"
            ),
        )
    )
    (found,) = api.list_buckets(oss.ListBucketsRequest(prefix=BUCKET, max_keys=1)).buckets
    assert (found.name, found.location) == (BUCKET, "oss-cn-hangzhou")
    info = api.get_bucket_info(oss.GetBucketInfoRequest(bucket=BUCKET)).bucket_info
    assert (info.acl, info.data_redundancy_type) == ("private", "ZRS")
    assert info.owner.id == cloud.cloud.settings.account
    assert info.sse_rule.sse_algorithm == "None"
    assert isinstance(info.creation_date, datetime.datetime)
    api.delete_bucket(oss.DeleteBucketRequest(bucket=BUCKET))
    error = refused("NoSuchBucket", api.get_bucket_info, oss.GetBucketInfoRequest(bucket=BUCKET))
    assert error.status_code == 404
    assert error.request_id


def test_buckets_are_listed_in_pages(cloud: RunningCloud) -> None:
    """Prevents: callers that see only the first hundred buckets."""
    api = client(cloud)
    names = [f"page-{letter}-bucket" for letter in "abc"]
    for name in names:
        api.put_bucket(oss.PutBucketRequest(bucket=name))
    first = api.list_buckets(oss.ListBucketsRequest(prefix="page-", max_keys=2))
    assert [b.name for b in first.buckets] == names[:2]
    assert first.is_truncated
    rest = api.list_buckets(oss.ListBucketsRequest(prefix="page-", marker=first.next_marker))
    assert [b.name for b in rest.buckets] == names[2:]


@pytest.mark.parametrize("name", ["Upper", "ab", "-ab", "a_b", "a" * 64])
def test_an_impossible_name_is_refused(cloud: RunningCloud, name: str) -> None:
    """Prevents: names that the real service refuses only after minutes of deployment."""
    # The SDK refuses such names before it sends them, so the operation is called itself.
    request = OssHttpRequest("PUT", "127.0.0.1", f"/{name}", {}, {}, b"")
    call = OssCall(request, cloud.cloud, Address(name, "", ""), cloud.key, "cn-hangzhou")
    with pytest.raises(OssError) as caught:
        put_bucket(call)
    assert caught.value.code == "InvalidBucketName"


def test_a_name_that_another_account_holds_is_taken(cloud: RunningCloud) -> None:
    """Prevents: bucket names without a random part that work only in an empty cloud."""
    client(cloud).put_bucket(oss.PutBucketRequest(bucket=BUCKET))
    stranger = cloud.cloud.credentials.create_key("2222222222222222")
    other = client(cloud, stranger)
    error = refused("BucketAlreadyExists", other.put_bucket, oss.PutBucketRequest(bucket=BUCKET))
    assert error.status_code == 409
    refused("AccessDenied", other.get_bucket_info, oss.GetBucketInfoRequest(bucket=BUCKET))


def test_a_bucket_with_something_in_it_is_kept(storage: oss.Client) -> None:
    """Prevents: results that vanish with `destroy` although nobody asked for that."""
    storage.put_object(oss.PutObjectRequest(bucket=BUCKET, key="a.mp4", body=b"x"))
    refused("BucketNotEmpty", storage.delete_bucket, oss.DeleteBucketRequest(bucket=BUCKET))
    storage.delete_object(oss.DeleteObjectRequest(bucket=BUCKET, key="a.mp4"))
    storage.delete_bucket(oss.DeleteBucketRequest(bucket=BUCKET))


def test_the_acl_can_be_changed_unless_public_access_is_blocked(storage: oss.Client) -> None:
    """Prevents: a results bucket that becomes public by a slip."""
    storage.put_bucket_acl(oss.PutBucketAclRequest(bucket=BUCKET, acl="public-read"))
    assert storage.get_bucket_acl(oss.GetBucketAclRequest(bucket=BUCKET)).acl == "public-read"
    storage.put_bucket_acl(oss.PutBucketAclRequest(bucket=BUCKET, acl="private"))
    storage.put_bucket_public_access_block(
        oss.PutBucketPublicAccessBlockRequest(
            bucket=BUCKET,
            public_access_block_configuration=oss.PublicAccessBlockConfiguration(
                block_public_access=True
            ),
        )
    )
    refused(
        "AccessDenied",
        storage.put_bucket_acl,
        oss.PutBucketAclRequest(bucket=BUCKET, acl="public-read"),
    )
    info = storage.get_bucket_info(oss.GetBucketInfoRequest(bucket=BUCKET)).bucket_info
    assert info.block_public_access is True


@pytest.mark.parametrize(
    ("call", "request_class", "code"),
    [
        ("get_bucket_cors", oss.GetBucketCorsRequest, "NoSuchCORSConfiguration"),
        ("get_bucket_website", oss.GetBucketWebsiteRequest, "NoSuchWebsiteConfiguration"),
        ("get_bucket_lifecycle", oss.GetBucketLifecycleRequest, "NoSuchLifecycle"),
        ("get_bucket_policy", oss.GetBucketPolicyRequest, "NoSuchBucketPolicy"),
        ("get_bucket_transfer_acceleration", oss.GetBucketTransferAccelerationRequest,
         "NoSuchTransferAccelerationConfiguration"),
        ("get_bucket_encryption", oss.GetBucketEncryptionRequest,
         "NoSuchServerSideEncryptionRule"),
        ("get_bucket_public_access_block", oss.GetBucketPublicAccessBlockRequest,
         "NoSuchPublicAccessBlockConfiguration"),
    ],
)  # fmt: skip
def test_what_is_not_set_has_its_own_404(
    storage: oss.Client, call: str, request_class: Any, code: str
) -> None:
    """Prevents: a provider that plans a change because "not set" reads as something set."""
    error = refused(code, getattr(storage, call), request_class(bucket=BUCKET))
    assert error.status_code == 404


def test_settings_with_a_default_answer_it_without_being_set(storage: oss.Client) -> None:
    """Prevents: refreshes that fail on a bucket that was only just made."""
    logging = storage.get_bucket_logging(oss.GetBucketLoggingRequest(bucket=BUCKET))
    assert logging.bucket_logging_status.logging_enabled is None
    referer = storage.get_bucket_referer(oss.GetBucketRefererRequest(bucket=BUCKET))
    assert referer.referer_configuration.allow_empty_referer is True
    tags = storage.get_bucket_tags(oss.GetBucketTagsRequest(bucket=BUCKET))
    assert not tags.tagging.tag_set.tags
    versioning = storage.get_bucket_versioning(oss.GetBucketVersioningRequest(bucket=BUCKET))
    assert not versioning.version_status
    group = storage.get_bucket_resource_group(oss.GetBucketResourceGroupRequest(bucket=BUCKET))
    assert group.bucket_resource_group_configuration.resource_group_id.startswith("rg-acfm")
    monitor = storage.get_bucket_access_monitor(oss.GetBucketAccessMonitorRequest(bucket=BUCKET))
    assert monitor.access_monitor_configuration.status == "Disabled"


def test_tags_lifecycle_and_encryption_come_back_as_they_were_set(storage: oss.Client) -> None:
    """Prevents: a second preview that wants to set again what is set."""
    tags = [oss.Tag(key="owner", value="video <team> & co"), oss.Tag(key="run", value="1")]
    storage.put_bucket_tags(
        oss.PutBucketTagsRequest(bucket=BUCKET, tagging=oss.Tagging(tag_set=oss.TagSet(tags=tags)))
    )
    found = storage.get_bucket_tags(oss.GetBucketTagsRequest(bucket=BUCKET)).tagging.tag_set.tags
    assert [(t.key, t.value) for t in found] == [(t.key, t.value) for t in tags]
    rule = oss.LifecycleRule(
        prefix="outputs/", status="Enabled", expiration=oss.LifecycleRuleExpiration(days=30)
    )
    storage.put_bucket_lifecycle(
        oss.PutBucketLifecycleRequest(
            bucket=BUCKET, lifecycle_configuration=oss.LifecycleConfiguration(rules=[rule])
        )
    )
    (kept,) = storage.get_bucket_lifecycle(
        oss.GetBucketLifecycleRequest(bucket=BUCKET)
    ).lifecycle_configuration.rules
    assert (kept.prefix, kept.expiration.days) == ("outputs/", 30)
    assert kept.id, "a rule without an id gets one"
    storage.put_bucket_encryption(
        oss.PutBucketEncryptionRequest(
            bucket=BUCKET,
            server_side_encryption_rule=oss.ServerSideEncryptionRule(
                apply_server_side_encryption_by_default=(
                    oss.ApplyServerSideEncryptionByDefault(sse_algorithm="AES256")
                )
            ),
        )
    )
    info = storage.get_bucket_info(oss.GetBucketInfoRequest(bucket=BUCKET)).bucket_info
    assert info.sse_rule.sse_algorithm == "AES256"
    result = storage.put_object(oss.PutObjectRequest(bucket=BUCKET, key="a", body=b"x"))
    assert result.headers["x-oss-server-side-encryption"] == "AES256"
    storage.delete_bucket_lifecycle(oss.DeleteBucketLifecycleRequest(bucket=BUCKET))
    refused(
        "NoSuchLifecycle",
        storage.get_bucket_lifecycle,
        oss.GetBucketLifecycleRequest(bucket=BUCKET),
    )


def test_a_document_that_is_not_the_settings_is_refused(storage: oss.Client) -> None:
    """Prevents: settings that are stored and mean nothing."""
    rule = oss.LifecycleRule(prefix="outputs/", status="Enabled")
    error = refused(
        "MalformedXML",
        storage.put_bucket_lifecycle,
        oss.PutBucketLifecycleRequest(
            bucket=BUCKET, lifecycle_configuration=oss.LifecycleConfiguration(rules=[rule])
        ),
    )
    assert "needs one of" in error.message


def test_everything_survives_a_restart(cloud: RunningCloud, storage: oss.Client) -> None:
    """Prevents: a rehearsal whose results are gone after the emulator was restarted."""
    storage.put_object(oss.PutObjectRequest(bucket=BUCKET, key="a/b.mp4", body=b"film"))
    cloud.restart()
    again = client(cloud)
    body = again.get_object(oss.GetObjectRequest(bucket=BUCKET, key="a/b.mp4")).body
    assert body.read() == b"film"


def test_a_removed_bucket_never_shows_its_old_objects_again(
    cloud: RunningCloud, storage: oss.Client
) -> None:
    """Prevents: a new bucket of an old name that is not empty."""
    storage.put_object(oss.PutObjectRequest(bucket=BUCKET, key="a", body=b"x"))
    storage.delete_object(oss.DeleteObjectRequest(bucket=BUCKET, key="a"))
    storage.delete_bucket(oss.DeleteBucketRequest(bucket=BUCKET))
    storage.put_bucket(oss.PutBucketRequest(bucket=BUCKET))
    listing = storage.list_objects_v2(oss.ListObjectsV2Request(bucket=BUCKET))
    assert not listing.contents
    assert not list((cloud.state_dir / "oss").glob("*/*/*.body"))


def test_an_unknown_sub_resource_is_refused_by_name(storage: oss.Client) -> None:
    """Prevents: an answer that looks like success for something the emulator cannot do."""
    error = refused(
        "NotImplemented",
        storage.get_bucket_worm,
        oss.GetBucketWormRequest(bucket=BUCKET),
    )
    assert "'worm'" in error.message
