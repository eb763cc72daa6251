"""Recovery finds, by the cloud's own tags, what is this stack's and leaves what is another's."""

from __future__ import annotations

from typing import Any

import alibabacloud_oss_v2 as oss
import pytest
from alibabacloud_credentials.utils import auth_util

from infra import openapi
from infra.leftovers import Cloud

from .ecs_world import REGION
from .oss_client import client as oss_client

OURS = {"project": "wan-vace", "stack": "dev"}
NAME = "wan-vace-dev-node"
KINDS: dict[str, dict[str, Any]] = {
    "alicloud:ram/role:Role": {"roleName": NAME},
    "alicloud:ram/policy:Policy": {"policyName": NAME},
    "alicloud:oos/parameter:Parameter": {"parameterName": NAME},
    "alicloud:oos/secretParameter:SecretParameter": {"secretParameterName": NAME},
    "alicloud:oss/bucket:Bucket": {"bucket": NAME},
}


@pytest.fixture
def finder(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """The finder of recovery, for a stack whose state is empty."""
    for product in ("RAM", "OOS", "OSS"):
        monkeypatch.setenv(f"ALIBABA_CLOUD_ENDPOINT_{product}", cloud.endpoint)
    # The SDK has read the environment when it was imported.
    monkeypatch.setattr(auth_util, "environment_access_key_id", cloud.key.access_key_id)
    monkeypatch.setattr(auth_util, "environment_access_key_secret", cloud.key.secret)
    monkeypatch.setenv("SSL_CERT_FILE", str(cloud.ca))
    return Cloud(REGION, frozenset(), lambda product: openapi.client(product, REGION))


def make_all(cloud: Any, tags: dict[str, str]) -> None:
    """Make one of each kind as the provider does, with tags."""
    trust = '{"Version":"1","Statement":[{"Action":"sts:AssumeRole","Effect":"Allow","Principal":'
    trust += '{"Service":["ecs.aliyuncs.com"]}}]}'
    policy = '{"Version":"1","Statement":[{"Effect":"Allow","Action":"oss:*","Resource":"*"}]}'
    ram, oos = openapi.client("ram", REGION), openapi.client("oos", REGION)
    inline = {f"Tag.{n}.{part}": text for n, item in enumerate(tags.items(), 1)
              for part, text in zip(("Key", "Value"), item, strict=True)}  # fmt: skip
    ram("CreateRole", {"RoleName": NAME, "AssumeRolePolicyDocument": trust, **inline})
    ram("CreatePolicy", {"PolicyName": NAME, "PolicyDocument": policy, **inline})
    json_tags = "{" + ",".join(f'"{key}":"{value}"' for key, value in tags.items()) + "}"
    oos("CreateParameter", {"Name": NAME, "Type": "String", "Value": "v", "Tags": json_tags})
    oos("CreateSecretParameter", {"Name": NAME, "Value": "v", "Tags": json_tags})
    bucket = oss_client(cloud)
    bucket.put_bucket(oss.PutBucketRequest(bucket=NAME))
    if tags:
        tag_set = oss.TagSet(tags=[oss.Tag(key=key, value=tags[key]) for key in tags])
        bucket.put_bucket_tags(
            oss.PutBucketTagsRequest(bucket=NAME, tagging=oss.Tagging(tag_set=tag_set))
        )


@pytest.mark.parametrize("tags", [OURS, {}], ids=["ours", "not yet tagged"])
def test_what_is_ours_is_found_and_deleted(cloud: Any, finder: Cloud, tags: dict[str, str]) -> None:
    """The calls and their parameters are the cloud's: a wrong one would be refused."""
    for kind, inputs in KINDS.items():
        assert finder.find(kind, {**inputs, "tags": OURS}) == [], kind
    make_all(cloud, tags)
    for kind, inputs in KINDS.items():
        (found,) = finder.find(kind, {**inputs, "tags": OURS})
        assert found.delete is not None, kind
        found.delete()
    assert cloud.control("GET", "/status")["resources"] == {}


def test_what_is_anothers_is_only_named(cloud: Any, finder: Cloud) -> None:
    make_all(cloud, {"project": "wan-vace", "stack": "prod"})
    for kind, inputs in KINDS.items():
        (found,) = finder.find(kind, {**inputs, "tags": OURS})
        assert (found.label, found.delete) == (NAME, None), kind


def test_a_missing_role_has_no_policies(finder: Cloud) -> None:
    inputs = {"roleName": NAME, "policyName": NAME, "policyType": "Custom"}
    kind = "alicloud:ram/rolePolicyAttachment:RolePolicyAttachment"
    assert finder.find(kind, inputs) == []
