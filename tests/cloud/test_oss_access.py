"""Signatures and rights of the emulated object storage."""

from __future__ import annotations

import datetime
import json
import ssl
import urllib.error
import urllib.request
from dataclasses import replace
from typing import Any

import alibabacloud_oss_v2 as oss
import pytest

from rehearsal.cloud.credentials import Credential
from rehearsal.cloud.oss_http import OssHttpRequest
from rehearsal.cloud.services.oss import handle
from tests.cloud.conftest import RunningCloud
from tests.cloud.oss_client import client, refused

BUCKET = "wan-vace-results-1"


@pytest.fixture
def storage(cloud: RunningCloud) -> oss.Client:
    """A client of the account's root key and a private bucket with one object."""
    api = client(cloud)
    api.put_bucket(oss.PutBucketRequest(bucket=BUCKET))
    api.put_object(oss.PutObjectRequest(bucket=BUCKET, key="outputs/a.mp4", body=b"film"))
    return api


def read(api: oss.Client, key: str = "outputs/a.mp4") -> bytes:
    """Read an object."""
    return bytes(api.get_object(oss.GetObjectRequest(bucket=BUCKET, key=key)).body.read())


def statement(action: str | list[str], resource: str, **more: Any) -> dict[str, Any]:
    """A policy document of one statement."""
    one = {"Effect": "Allow", "Action": action, "Resource": resource, **more}
    return {"Version": "1", "Statement": [one]}


def fetch(cloud: RunningCloud, url: str) -> tuple[int, bytes]:
    """GET a URL without any headers of an SDK."""
    context = ssl.create_default_context(cafile=str(cloud.ca))
    try:
        with urllib.request.urlopen(url, timeout=10, context=context) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize("version", ["v1", "v4"])
def test_both_signature_versions_are_accepted_and_checked(
    cloud: RunningCloud, storage: oss.Client, version: str
) -> None:
    """Prevents: a client that signs wrongly and learns it only at the real service."""
    assert storage
    assert read(client(cloud, signature_version=version)) == b"film"
    wrong = replace(cloud.key, secret="wrong")
    error = refused("SignatureDoesNotMatch", read, client(cloud, wrong, signature_version=version))
    assert error.status_code == 403
    unknown = replace(cloud.key, access_key_id="LTAInobody")
    refused("InvalidAccessKeyId", read, client(cloud, unknown, signature_version=version))


@pytest.mark.parametrize("version", ["v1", "v4"])
def test_a_clock_that_is_far_off_is_named(
    cloud: RunningCloud, storage: oss.Client, version: str
) -> None:
    """Prevents: "access denied" on a machine whose only fault is its clock."""
    assert storage
    cloud.clock.advance(3600)
    error = refused("RequestTimeTooSkewed", read, client(cloud, signature_version=version))
    assert error.status_code == 403


def test_additional_headers_are_part_of_the_signature(
    cloud: RunningCloud, storage: oss.Client
) -> None:
    """Prevents: a verification that ignores headers which the client signed."""
    assert storage
    api = client(cloud, additional_headers=["host", "range"])
    found = api.get_object(
        oss.GetObjectRequest(bucket=BUCKET, key="outputs/a.mp4", range_header="bytes=0-1")
    )
    assert found.body.read() == b"fi"


@pytest.mark.parametrize("version", ["v1", "v4"])
def test_a_signed_url_works_until_it_expires(
    cloud: RunningCloud, storage: oss.Client, version: str
) -> None:
    """Prevents: download links that never work, or never stop to work."""
    assert storage
    api = client(cloud, signature_version=version)
    url = api.presign(
        oss.GetObjectRequest(bucket=BUCKET, key="outputs/a.mp4"),
        expires=datetime.timedelta(minutes=5),
    ).url
    assert fetch(cloud, url) == (200, b"film")
    status, body = fetch(cloud, url.replace("a.mp4", "b.mp4"))
    assert (status, b"SignatureDoesNotMatch" in body) == (403, True)
    cloud.clock.advance(301)
    status, body = fetch(cloud, url)
    assert (status, b"Request has expired" in body) == (403, True)


def test_a_role_may_do_what_its_policy_says_and_nothing_else(
    cloud: RunningCloud, storage: oss.Client
) -> None:
    """Prevents: a node role that works in the rehearsal and is refused in the cloud."""
    assert storage
    resource = f"acs:oss:*:*:{BUCKET}/outputs/*"
    uploader = client(cloud, cloud.user_key(statement("oss:PutObject", resource)))
    uploader.put_object(oss.PutObjectRequest(bucket=BUCKET, key="outputs/b", body=b"x"))
    for key, call in (
        ("other/b", lambda: uploader.put_object(
            oss.PutObjectRequest(bucket=BUCKET, key="other/b", body=b"x"))),
        ("outputs/a.mp4", lambda: read(uploader)),
        ("outputs/b", lambda: uploader.delete_object(
            oss.DeleteObjectRequest(bucket=BUCKET, key="outputs/b"))),
    ):  # fmt: skip
        error = refused("AccessDenied", call)
        assert f"{BUCKET}/{key}" in error.message
    refused("AccessDenied", uploader.list_buckets, oss.ListBucketsRequest())


def test_temporary_keys_need_their_token_and_expire(
    cloud: RunningCloud, storage: oss.Client
) -> None:
    """Prevents: a node that goes on with old keys and is cut off in the cloud."""
    assert storage
    account = cloud.cloud.settings.account
    with cloud.cloud.lock:
        state = cloud.cloud.account(account)
        state.table("ram_attachments")["x"] = {
            "RoleName": "node", "PolicyType": "System", "PolicyName": "AliyunOSSReadOnlyAccess",
        }  # fmt: skip
    session = cloud.cloud.credentials.create_session(account, "node", "i-1", 3600)
    assert read(client(cloud, session)) == b"film"
    assert read(client(cloud, session, signature_version="v4")) == b"film"
    for token in ("", "wrong"):
        refused("InvalidSecurityToken", read, client(cloud, replace(session, security_token=token)))
    refused(
        "AccessDenied",
        client(cloud, session).delete_object,
        oss.DeleteObjectRequest(bucket=BUCKET, key="outputs/a.mp4"),
    )
    ended = cloud.cloud.credentials.create_session(account, "node", "i-1", -1)
    refused("SecurityTokenExpired", read, client(cloud, ended))


def test_deleting_many_needs_the_right_for_each_key(
    cloud: RunningCloud, storage: oss.Client
) -> None:
    """Prevents: a list of keys as a way around a policy that covers only some of them."""
    resource = f"acs:oss:*:*:{BUCKET}/temp/*"
    limited = client(cloud, cloud.user_key(statement("oss:DeleteObject", resource)))
    keys = [oss.DeleteObject(key="temp/x"), oss.DeleteObject(key="outputs/a.mp4")]
    refused(
        "AccessDenied",
        limited.delete_multiple_objects,
        oss.DeleteMultipleObjectsRequest(bucket=BUCKET, objects=keys),
    )
    assert read(storage) == b"film"


def test_a_prefix_condition_limits_listings(cloud: RunningCloud, storage: oss.Client) -> None:
    """Prevents: a condition that the emulator passes over and the cloud enforces."""
    assert storage
    document = statement(
        "oss:ListObjects",
        f"acs:oss:*:*:{BUCKET}",
        Condition={"StringLike": {"oss:Prefix": ["outputs/*"]}},
    )
    limited = client(cloud, cloud.user_key(document))
    limited.list_objects_v2(oss.ListObjectsV2Request(bucket=BUCKET, prefix="outputs/"))
    refused("AccessDenied", limited.list_objects_v2, oss.ListObjectsV2Request(bucket=BUCKET))


def test_strangers_read_only_what_is_public(cloud: RunningCloud, storage: oss.Client) -> None:
    """Prevents: private results that anybody can download."""
    anonymous = OssHttpRequest(
        "GET", cloud.endpoint, f"/{BUCKET}/outputs/a.mp4", {}, {}, b"", secure=True
    )
    assert handle(anonymous, cloud.cloud).status == 403
    storage.put_bucket_acl(oss.PutBucketAclRequest(bucket=BUCKET, acl="public-read"))
    assert handle(anonymous, cloud.cloud).body == b"film"
    assert handle(replace(anonymous, method="DELETE"), cloud.cloud).status == 403
    info = replace(anonymous, path=f"/{BUCKET}", query={"bucketInfo": ""})
    assert handle(info, cloud.cloud).status == 403


def test_a_bucket_policy_can_allow_and_deny(cloud: RunningCloud, storage: oss.Client) -> None:
    """Prevents: a bucket policy that is stored and has no effect."""
    key = cloud.user_key(None, name="reader")
    refused("AccessDenied", read, client(cloud, key))
    account = cloud.cloud.settings.account
    policy = statement(
        "oss:GetObject",
        f"acs:oss:*:{account}:{BUCKET}/*",
        Principal=[f"acs:ram::{account}:user/reader"],
    )
    storage.put_bucket_policy(
        oss.PutBucketPolicyRequest(bucket=BUCKET, body=json.dumps(policy).encode())
    )
    assert read(client(cloud, key)) == b"film"
    policy["Statement"][0] |= {"Effect": "Deny", "Principal": ["*"]}
    storage.put_bucket_policy(
        oss.PutBucketPolicyRequest(bucket=BUCKET, body=json.dumps(policy).encode())
    )
    refused("AccessDenied", read, storage)
    stored = storage.get_bucket_policy(oss.GetBucketPolicyRequest(bucket=BUCKET))
    assert json.loads(stored.body) == policy


def signed_by_name(cloud: RunningCloud, host: str, path: str, key: Credential) -> OssHttpRequest:
    """A request to a host name, signed by the SDK's own signer."""
    bucket = host.partition(".")[0] if host.startswith(BUCKET) else None
    request = oss.types.HttpRequest("GET", f"https://{host}{path}")
    oss.signer.SignerV4().sign(
        oss.types.SigningContext(
            product="oss", region="cn-hangzhou", bucket=bucket, key=path[1:] or None,
            request=request,
            credentials=oss.credentials.Credentials(key.access_key_id, key.secret),
        )
    )  # fmt: skip
    headers = {name.lower(): value for name, value in request.headers.items()}
    return OssHttpRequest("GET", host, path, {}, headers, b"", secure=True)


def test_a_bucket_is_also_reached_by_its_host_name(
    cloud: RunningCloud, storage: oss.Client
) -> None:
    """Prevents: nodes, which use host names, failing where the provider's IP address works."""
    assert storage
    host = f"{BUCKET}.oss-cn-hangzhou-internal.aliyuncs.com"
    request = signed_by_name(cloud, host, "/outputs/a.mp4", cloud.key)
    assert handle(request, cloud.cloud).body == b"film"
    elsewhere = replace(request, host=host.replace("hangzhou", "shanghai"))
    answer = handle(elsewhere, cloud.cloud)
    assert (answer.status, b"Invalid signing region" in answer.body) == (400, True)
    plain = signed_by_name(cloud, "oss-cn-hangzhou.aliyuncs.com", f"/{BUCKET}/x", cloud.key)
    assert b"SecondLevelDomainForbidden" in handle(plain, cloud.cloud).body


def test_a_bucket_answers_only_in_its_own_region(cloud: RunningCloud, storage: oss.Client) -> None:
    """Prevents: a stack of one region that reads a bucket of another without noticing."""
    assert storage
    error = refused("AccessDenied", read, client(cloud, region="cn-shanghai"))
    assert "oss-cn-hangzhou.aliyuncs.com" in str(error.snapshot)
