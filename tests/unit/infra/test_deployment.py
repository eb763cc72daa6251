"""The whole ECS deployment on a recording mock engine: what is declared, and with which secrets."""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from infra import config
from infra.components.identity import permissions
from infra.config import Settings
from infra.deployments import ecs
from infra.placement import PlacementError
from tests.unit.infra.mock_engine import Recorder, deploy


@pytest.fixture(autouse=True)
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The mock engine takes the current loop, which tests before may have closed."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close()


def settings(raw: dict[str, Any], **changes: str) -> Settings:
    return config.parse(
        {**raw, **changes}, project="wan-vace", stack="dev", secret_keys=["registryPassword"]
    )


def test_by_default_nothing_may_come_in(raw: dict[str, Any]) -> None:
    recorder = Recorder()
    deploy(settings(raw), recorder)
    assert recorder.of("securityGroupRule:SecurityGroupRule") == []


def test_only_443_comes_in_from_the_named_networks(raw: dict[str, Any]) -> None:
    recorder = Recorder()
    deploy(settings(raw, allowedCidrs='["203.0.113.0/24", "198.51.100.7/32"]'), recorder)
    rules = [item.inputs for item in recorder.of("securityGroupRule:SecurityGroupRule")]
    assert {(rule["cidrIp"], rule["portRange"], rule["type"]) for rule in rules} == {
        ("203.0.113.0/24", "443/443", "ingress"),
        ("198.51.100.7/32", "443/443", "ingress"),
    }


def test_plain_http_is_open_to_the_vpc_only(raw: dict[str, Any]) -> None:
    recorder = Recorder()
    deploy(settings(raw, plainHttp="true"), recorder)
    rule = recorder.one("securityGroupRule:SecurityGroupRule")
    assert (rule["cidrIp"], rule["portRange"]) == ("10.80.0.0/16", "8188/8188")


def test_disks_and_bucket_are_encrypted_and_private(raw: dict[str, Any]) -> None:
    recorder = Recorder()
    deploy(settings(raw), recorder)
    instance = recorder.one("instance:Instance")
    assert instance["systemDiskEncrypted"] is True
    assert instance["systemDiskCategory"] == "cloud_essd"
    assert instance["internetMaxBandwidthOut"] == 0
    assert (instance["httpTokens"], instance["httpEndpoint"]) == ("required", "enabled")
    disk = recorder.one("ecsDisk:EcsDisk")
    assert (disk["encrypted"], disk["deleteWithInstance"]) == (True, False)
    bucket = recorder.one("bucket:Bucket")
    assert bucket["serverSideEncryptionRule"] == {"sseAlgorithm": "AES256"}
    assert bucket["lifecycleRules"][0]["expirations"] == [{"days": 30}]
    assert bucket.get("forceDestroy") is False
    assert "acl" not in bucket  # a bucket is private unless it is asked to be otherwise


def test_user_data_holds_no_secret_and_is_small(raw: dict[str, Any]) -> None:
    recorder = Recorder()
    deploy(settings(raw), recorder)
    text = recorder.one("instance:Instance")["userData"]
    assert "t" * 43 not in text
    assert "PRIVATE-KEY" not in text
    assert len(text.encode()) < 12_000
    agent = recorder.one("BucketObject")
    assert agent["key"] in text
    assert hashlib.sha256(agent["content"].encode()).hexdigest() in text


def test_no_plain_resource_holds_a_secret(raw: dict[str, Any]) -> None:
    """Secrets may stand in secret parameters and in the resources that make them, nowhere else."""
    login = {
        "registryHost": "registry.example.com",
        "registryUsername": "puller",
        "registryPassword": "hunter2-hunter2",
    }
    recorder = Recorder()
    deploy(settings(raw, **login), recorder)
    makers = ("SecretParameter", "ApiToken", "CertificateAuthority", "ServerCertificate")
    for item in recorder.resources:
        if not item.typ.endswith(makers):
            text = json.dumps(item.inputs, default=str)
            for secret in ("t" * 43, "PRIVATE-KEY", "hunter2"):
                assert secret not in text, item.typ
    assert len(recorder.of("SecretParameter")) == 3


def test_every_taggable_resource_carries_the_tags(raw: dict[str, Any]) -> None:
    """Prevents an orphan that no reaper and no bill can assign."""
    recorder = Recorder()
    deploy(settings(raw, expires="2027-01-31"), recorder)
    taggable = ("Network", "Switch", "SecurityGroup", "Instance", "EcsDisk", "EipAddress")
    taggable += ("Role", "Policy", "Bucket", "SecretParameter", "oos/parameter:Parameter")
    seen = 0
    for item in recorder.resources:
        if item.typ.startswith("alicloud:") and item.typ.endswith(tuple(f":{t}" for t in taggable)):
            assert item.inputs["tags"]["owner"] == "video-team", item.typ
            assert item.inputs["tags"]["expires"] == "2027-01-31", item.typ
            seen += 1
    assert seen >= 11


def test_node_settings_point_to_images_disk_bucket_and_address(raw: dict[str, Any]) -> None:
    recorder = Recorder()
    deploy(settings(raw), recorder)
    document = json.loads(recorder.one("oos/parameter:Parameter")["value"])
    assert document["schema"] == 1
    assert document["data_disk_id"] == "storage-id"
    assert document["results"]["bucket"] == "wan-vace-dev-results-0a1b2c3d"
    assert "203.0.113.10" in document["gateway"]["allowed_hosts"]
    assert "@sha256:" in document["comfyui_image"]


def test_outputs_say_how_to_use_it_and_what_it_costs(raw: dict[str, Any]) -> None:
    outputs = deploy(settings(raw), Recorder())
    assert outputs["url"] == "https://203.0.113.10/"
    assert outputs["instanceType"] == "ecs.gn7i-c8g1.2xlarge"
    assert "9.53 CNY/hour" in outputs["costPerHour"]
    assert "2024-12-01" in outputs["costPerHour"]
    assert "smoke_tests" in outputs["smokeTestCommand"]
    assert "node-id" in outputs["sessionCommand"]


def test_nothing_is_declared_when_the_catalogue_has_nothing(raw: dict[str, Any]) -> None:
    recorder = Recorder()
    with pytest.raises(PlacementError):
        deploy(settings(raw, minGpuMemoryGiB="1000"), recorder)
    assert [item.typ for item in recorder.resources if "providers" not in item.typ] == []


def test_an_image_family_without_an_image_is_refused(raw: dict[str, Any]) -> None:
    recorder = Recorder()
    recorder.images = []
    with pytest.raises(ecs.ImageError, match="imageFamily"):
        deploy(settings(raw), recorder)


def test_a_spot_node_is_asked_for_as_configured(raw: dict[str, Any]) -> None:
    recorder = Recorder()
    deploy(settings(raw, spot="true", spotPriceLimit="4.5"), recorder)
    instance = recorder.one("instance:Instance")
    assert instance["spotStrategy"] == "SpotWithPriceLimit"
    assert instance["spotPriceLimit"] == 4.5


def test_the_role_may_read_its_own_secrets_and_write_its_own_results_only() -> None:
    policy = json.loads(
        permissions(region="cn-hangzhou", parameter="p-node", secrets=["p-token"], bucket="b")
    )
    allowed = {
        (action, resource)
        for statement in policy["Statement"]
        for action in statement["Action"]
        for resource in statement["Resource"]
    }
    assert allowed == {
        ("oos:GetParameter", "acs:oos:cn-hangzhou:*:parameter/p-node"),
        ("oos:GetSecretParameter", "acs:oos:cn-hangzhou:*:secretparameter/p-token"),
        ("kms:GetSecretValue", "acs:kms:cn-hangzhou:*:secret/*p-token*"),
        ("oss:GetObject", "acs:oss:*:*:b/node/*"),
        ("oss:PutObject", "acs:oss:*:*:b/outputs/*"),
        ("oss:AbortMultipartUpload", "acs:oss:*:*:b/outputs/*"),
    }
