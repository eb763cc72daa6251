"""The metadata service, over a real socket; instances are told apart by source address."""

from __future__ import annotations

import base64
import http.client
import json
from dataclasses import dataclass
from typing import Any

import pytest
from alibabacloud_oos20190601 import models as oos
from alibabacloud_tea_openapi.exceptions import ClientException

from .conftest import RunningCloud

INSTANCE, OTHER = "127.0.0.1", "127.0.0.2"
ECS_TRUST = {
    "Version": "1",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Principal": {"Service": ["ecs.aliyuncs.com"]},
        }
    ],
}


@dataclass
class Imds:
    """A client of the metadata service."""

    address: tuple[str, int]

    def ask(
        self, path: str, *, method: str = "GET", source: str = INSTANCE, **headers: str
    ) -> tuple[int, bytes]:
        """Status and body; keyword ``token`` and ``ttl`` become the metadata headers."""
        names = {
            "token": "X-aliyun-ecs-metadata-token",
            "ttl": "X-aliyun-ecs-metadata-token-ttl-seconds",
            "forwarded": "X-Forwarded-For",
        }
        connection = http.client.HTTPConnection(
            *self.address, timeout=5, source_address=(source, 0)
        )
        try:
            connection.request(
                method, path, headers={names[name]: value for name, value in headers.items()}
            )
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def token(self, source: str = INSTANCE, ttl: str = "60") -> str:
        """A metadata token."""
        status, body = self.ask("/latest/api/token", method="PUT", source=source, ttl=ttl)
        assert status == 200
        return body.decode()


def row(instance_id: str, address: str, **changes: Any) -> dict[str, Any]:
    """A row of the table of instances."""
    return {
        "InstanceId": instance_id,
        "PrivateIp": address,
        "ZoneId": "cn-hangzhou-i",
        "ImageId": "ubuntu_24_04",
        "InstanceType": "ecs.gn7i-c8g1.2xlarge",
        "HostName": "vace",
        "Mac": "00:16:3e:00:00:01",
        "VpcId": "vpc-1",
        "VSwitchId": "vsw-1",
        "UserData": base64.b64encode(b"#cloud-config\n\xff").decode(),
        "MetadataOptions": {"HttpTokens": "optional", "HttpEndpoint": "enabled"},
        **changes,
    }


@pytest.fixture
def instances(cloud: RunningCloud) -> dict[str, dict[str, Any]]:
    """The table of instances with two rows."""
    region = cloud.cloud.region(cloud.cloud.settings.account, "cn-hangzhou")
    region.table("vpcs")["vpc-1"] = {"CidrBlock": "127.0.0.0/8"}
    region.table("vswitches")["vsw-1"] = {"CidrBlock": "127.0.0.0/24"}
    table = region.table("instances")
    table["i-1"] = row("i-1", INSTANCE)
    table["i-2"] = row("i-2", OTHER, UserData="")
    return table


@pytest.fixture
def imds(cloud: RunningCloud, instances: dict[str, dict[str, Any]]) -> Imds:
    """The metadata service on loopback, for the two instances."""
    assert instances
    return Imds(cloud.emulator.serve_metadata("127.0.0.1"))


@pytest.mark.parametrize("version", ["latest", "2016-01-01", "2014-11-05"])
def test_the_tree_can_be_walked(imds: Imds, version: str) -> None:
    """cloud-init crawls the folders; an entry that cannot be read makes it give up."""
    leaves = {}
    folders = [f"/{version}/meta-data/"]
    while folders:
        folder = folders.pop()
        status, body = imds.ask(folder)
        assert status == 200, folder
        for entry in body.decode().splitlines():
            if entry.endswith("/"):
                folders.append(folder + entry)
            else:
                leaf_status, leaf = imds.ask(folder + entry)
                assert leaf_status == 200, folder + entry
                leaves[(folder + entry).partition("meta-data/")[2]] = leaf.decode()
    assert leaves["instance-id"] == "i-1"
    assert leaves["region-id"] == "cn-hangzhou"
    assert leaves["private-ipv4"] == INSTANCE
    assert leaves["network/interfaces/macs/00:16:3e:00:00:01/gateway"] == "127.0.0.253"
    assert leaves["vswitch-cidr-block"] == "127.0.0.0/24"


def test_all_of_it_is_also_one_json_document(imds: Imds) -> None:
    """Newer cloud-init reads meta-data/all instead of walking."""
    status, body = imds.ask("/2016-01-01/meta-data/all")
    document = json.loads(body)
    assert status == 200
    assert document["instance-id"] == "i-1"
    assert document["network"]["interfaces"]["macs"]["00:16:3e:00:00:01"]["vpc-id"] == "vpc-1"


def test_user_data_is_answered_as_bytes(imds: Imds) -> None:
    """Prevents user data from arriving as base64 or with replaced characters."""
    assert imds.ask("/latest/user-data") == (200, b"#cloud-config\n\xff")
    assert imds.ask("/latest/user-data", source=OTHER)[0] == 404
    assert imds.ask("/latest/vendor-data")[0] == 404


def test_each_instance_sees_itself(imds: Imds) -> None:
    """Prevents one instance from reading another's user data or credentials."""
    assert imds.ask("/latest/meta-data/instance-id", source=OTHER)[1] == b"i-2"
    assert imds.ask("/latest/meta-data/instance-id", source="127.0.0.3")[0] == 404


def test_the_identity_document_names_the_instance(imds: Imds) -> None:
    """Prevents a client of the identity document from failing."""
    status, body = imds.ask("/latest/dynamic/instance-identity/document")
    assert status == 200
    assert json.loads(body)["instance-id"] == "i-1"


class TestTokens:
    """Hardened mode."""

    @pytest.fixture(autouse=True)
    def required(self, instances: dict[str, dict[str, Any]]) -> None:
        """Require a token on the first instance."""
        instances["i-1"]["MetadataOptions"]["HttpTokens"] = "required"

    def test_hardened_mode_answers_only_with_a_token(self, imds: Imds) -> None:
        """Prevents a node that cannot do the handshake from passing."""
        assert imds.ask("/latest/meta-data/instance-id")[0] == 403
        assert imds.ask("/latest/user-data")[0] == 403
        token = imds.token()
        assert imds.ask("/latest/meta-data/instance-id", token=token) == (200, b"i-1")

    def test_normal_mode_hands_out_tokens_too(self, imds: Imds) -> None:
        """cloud-init always asks for a token first."""
        token = imds.token(source=OTHER)
        assert imds.ask("/latest/meta-data/", source=OTHER, token=token)[0] == 200
        assert imds.ask("/latest/meta-data/", source=OTHER)[0] == 200

    def test_a_token_is_for_one_instance_and_a_time(self, imds: Imds, cloud: RunningCloud) -> None:
        """Prevents a token from working where or when the real one would not."""
        assert imds.ask("/latest/meta-data/", source=OTHER, token=imds.token())[0] == 401
        token = imds.token(ttl="60")
        cloud.clock.advance(61)
        assert imds.ask("/latest/meta-data/", token=token)[0] == 401

    @pytest.mark.parametrize("ttl", ["0", "21601", "-1", "x"])
    def test_a_lifetime_out_of_range_is_refused(self, imds: Imds, ttl: str) -> None:
        """Prevents a client with a wrong lifetime from passing."""
        assert imds.ask("/latest/api/token", method="PUT", ttl=ttl)[0] == 400

    def test_a_proxy_gets_no_token(self, imds: Imds) -> None:
        """A forwarded request must not reach the credentials."""
        status, _ = imds.ask("/latest/api/token", method="PUT", ttl="60", forwarded="192.0.2.1")
        assert status == 403


def test_a_disabled_endpoint_answers_nothing(
    imds: Imds, instances: dict[str, dict[str, Any]]
) -> None:
    """Prevents HttpEndpoint=disabled from being ignored."""
    instances["i-1"]["MetadataOptions"]["HttpEndpoint"] = "disabled"
    assert imds.ask("/latest/meta-data/")[0] == 403
    assert imds.ask("/latest/api/token", method="PUT", ttl="60")[0] == 403


class TestRoleCredentials:
    """ram/security-credentials."""

    PATH = "/latest/meta-data/ram/security-credentials/"

    @pytest.fixture(autouse=True)
    def role(self, cloud: RunningCloud, instances: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """A role on the first instance."""
        instances["i-1"]["RamRoleName"] = "node"
        table = cloud.cloud.account(cloud.cloud.settings.account).table("ram_roles")
        table["node"] = {
            "RoleName": "node",
            "RoleId": "300000000000000001",
            "AssumeRolePolicyDocument": json.dumps(ECS_TRUST),
        }
        return table["node"]

    def credentials(self, imds: Imds) -> dict[str, str]:
        """The credentials document."""
        status, body = imds.ask(f"{self.PATH}node")
        assert status == 200
        document: dict[str, str] = json.loads(body)
        return document

    def test_they_sign_api_calls(self, imds: Imds, cloud: RunningCloud) -> None:
        """Prevents an instance whose role does not work from passing."""
        assert imds.ask(self.PATH) == (200, b"node")
        document = self.credentials(imds)
        assert document["Code"] == "Success"
        client = cloud.client(
            "sts",
            access_key_id=document["AccessKeyId"],
            access_key_secret=document["AccessKeySecret"],
            security_token=document["SecurityToken"],
        )
        assert "assumed-role/node/" in client.get_caller_identity().body.arn

    def test_they_stay_the_same_until_they_are_about_to_end(
        self, imds: Imds, cloud: RunningCloud
    ) -> None:
        """Prevents a new session at each look, and keys that end under a client's hands."""
        first = self.credentials(imds)
        cloud.clock.advance(5 * 3600)
        assert self.credentials(imds) == first
        cloud.clock.advance(1800 + 60)
        assert self.credentials(imds)["AccessKeyId"] != first["AccessKeyId"]

    def test_reading_other_metadata_mints_no_session(self, imds: Imds, cloud: RunningCloud) -> None:
        """Prevents secrets in meta-data/all, and a session for each of cloud-init's looks."""
        assert b"AccessKeySecret" not in imds.ask("/latest/meta-data/all")[1]
        imds.ask("/latest/meta-data/")
        table = cloud.cloud.account(cloud.cloud.settings.account).table("_sts_sessions")
        assert table == {}

    def test_an_instance_without_a_role_has_no_folder(self, imds: Imds) -> None:
        """The SDKs read 404 as 'no role'."""
        assert imds.ask(self.PATH, source=OTHER)[0] == 404
        assert imds.ask(f"{self.PATH}other")[0] == 404

    def test_a_role_that_does_not_trust_ecs_gives_no_keys(
        self, imds: Imds, role: dict[str, Any]
    ) -> None:
        """Prevents a wrong trust policy from working."""
        role["AssumeRolePolicyDocument"] = json.dumps(
            {**ECS_TRUST, "Statement": [{**ECS_TRUST["Statement"][0], "Effect": "Deny"}]}  # type: ignore[dict-item]
        )
        assert self.credentials(imds) == {"Code": "InvalidRamRole.NotEcsRole"}

    def test_the_keys_have_only_the_roles_permissions(
        self, imds: Imds, cloud: RunningCloud
    ) -> None:
        """Prevents a node without policies from reading secrets."""
        document = self.credentials(imds)
        client = cloud.client(
            "oos",
            access_key_id=document["AccessKeyId"],
            access_key_secret=document["AccessKeySecret"],
            security_token=document["SecurityToken"],
        )
        with pytest.raises(ClientException) as refusal:
            client.list_parameters(oos.ListParametersRequest())
        assert refusal.value.code == "Forbidden.RAM"
