"""Finished videos reach the results bucket by themselves, and nobody else's eyes."""

import os
import ssl
from collections.abc import Iterator
from unittest import mock

import alibabacloud_oss_v2 as oss
import httpx
import pytest

from tests.rehearsal.conftest import Video
from tests.rehearsal.polling import eventually
from tests.rehearsal.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.machine, pytest.mark.timeout(180)]


@pytest.fixture
def bucket(node: Stack) -> Iterator[oss.Client]:
    """Alibaba Cloud's own client, with the account's key."""
    config = oss.config.load_default()
    config.credentials_provider = oss.credentials.StaticCredentialsProvider(
        node.emulator.access_key_id, node.emulator.access_key_secret
    )
    config.region = node.emulator.region
    config.endpoint = f"https://{node.emulator.endpoint}"
    config.use_path_style = True
    # The SDK's HTTP library takes its roots of trust from here.
    with mock.patch.dict(os.environ, REQUESTS_CA_BUNDLE=str(node.emulator.ca)):
        yield oss.Client(config)


def test_a_video_is_stored_encrypted_in_a_private_bucket(
    node: Stack, video: Video, bucket: oss.Client
) -> None:
    """Results must survive the machine; a public or unencrypted bucket would publish them."""
    name = node.outputs["resultsBucket"]

    def stored() -> list[str]:
        listed = bucket.list_objects_v2(oss.ListObjectsV2Request(bucket=name, prefix="outputs/"))
        keys = [item.key for item in listed.contents or []]
        return [key for key in keys if key.endswith(f"-{video.file.filename}")]

    (key,) = eventually("the video is in the bucket", stored, within_s=90)
    found = bucket.get_object(oss.GetObjectRequest(bucket=name, key=key))
    assert found.body.content == video.content
    assert found.server_side_encryption == "AES256"
    assert bucket.get_bucket_acl(oss.GetBucketAclRequest(bucket=name)).acl == "private"
    stranger = httpx.get(
        f"https://{node.emulator.endpoint}/{key}",
        headers={"Host": f"{name}.oss-{node.emulator.region}.aliyuncs.com"},
        verify=ssl.create_default_context(cafile=node.emulator.ca),
    )
    assert stranger.status_code == 403
    assert "AccessDenied" in stranger.text
