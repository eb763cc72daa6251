"""The emulator as a whole: its command line, the machines' network, and object storage's place."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from rehearsal.cloud.__main__ import main
from rehearsal.cloud.emulator import Emulator
from rehearsal.cloud.http import HttpRequest
from rehearsal.cloud.hypervisor import NodeNetwork, NullHypervisor
from rehearsal.cloud.protocols import is_oss
from rehearsal.cloud.state import Cloud
from rehearsal.cloud.transitions import GONE, Transition, begin

from .conftest import RunningCloud


class NetworkedHypervisor(NullHypervisor):
    """No machines, but the network that they would use, on loopback."""

    def __init__(self) -> None:
        super().__init__()
        self.network = NodeNetwork(
            imds=socket.create_server(("127.0.0.1", 0)), api=socket.create_server(("127.0.0.1", 0))
        )

    def network_sockets(self) -> NodeNetwork:
        """Two listening sockets."""
        return self.network


def test_machines_reach_metadata_and_api_in_their_own_network(tmp_path: Path) -> None:
    """Prevents instances from booting into a network where nobody answers."""
    hypervisor = NetworkedHypervisor()
    imds_port = hypervisor.network.imds.getsockname()[1]
    api_port = hypervisor.network.api.getsockname()[1]
    emulator = Emulator(Cloud(tmp_path, hypervisor=hypervisor))
    endpoints = emulator.start()
    try:
        table = emulator.cloud.region("1234567890123456", "cn-hangzhou").table("instances")
        table["i-1"] = {"InstanceId": "i-1", "PrivateIp": "127.0.0.1"}
        plain = http.client.HTTPConnection("127.0.0.1", imds_port, timeout=5)
        plain.request("GET", "/latest/meta-data/instance-id")
        assert plain.getresponse().read() == b"i-1"
        plain.close()
        context = ssl.create_default_context(cafile=str(endpoints.ca))
        secure = http.client.HTTPSConnection("localhost", api_port, timeout=5, context=context)
        secure.request("GET", "/", headers={"Accept": "application/json"})
        assert json.load(secure.getresponse())["Code"] == "MissingAction"
        secure.close()
    finally:
        emulator.stop()


def test_a_stray_request_is_no_unknown_action(cloud: RunningCloud) -> None:
    """A check whether TLS works asks for nothing; it must not look like a gap of the emulator."""
    host, port = cloud.endpoint.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    connection.request("GET", "/")
    assert connection.getresponse().status == 400
    connection.close()
    assert cloud.control("GET", "/status")["unknown_actions"] == []


def test_a_path_style_product_is_an_unknown_action(cloud: RunningCloud) -> None:
    """Prevents calls of a container service from being taken for something else."""
    host, port = cloud.endpoint.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    connection.request("GET", "/api/v1/nothing", headers={"Accept": "application/json"})
    assert "path-style" in json.load(connection.getresponse())["Message"]
    connection.close()
    (entry,) = cloud.control("GET", "/status")["unknown_actions"]
    assert entry["action"] == "/api/v1/nothing"


def test_an_address_belongs_to_the_living_instance(cloud: RunningCloud) -> None:
    """Prevents a new instance from getting the identity of one that was released before it."""
    table = cloud.cloud.region(cloud.cloud.settings.account, "cn-hangzhou").table("instances")
    table["i-old"] = {"InstanceId": "i-old", "PrivateIp": "10.0.1.5"}
    begin(table["i-old"], cloud.cloud.clock() - 10, Transition("Stopping", GONE, 1))
    assert cloud.cloud.instance_by_private_ip("10.0.1.5") is None
    table["i-new"] = {"InstanceId": "i-new", "PrivateIp": "10.0.1.5"}
    found = cloud.cloud.instance_by_private_ip("10.0.1.5")
    assert found is not None
    assert (found["InstanceId"], found["RegionId"]) == ("i-new", "cn-hangzhou")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "8080"], "expected HOST:PORT"),
        (["--slot", "16"], "allowed: 0 to 15"),
        (["--time-scale", "0"], "must be above 0"),
    ],
)
def test_a_wrong_option_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """Prevents an emulator that starts with something else than was asked for."""
    assert main(["serve", "--state", str(tmp_path), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_directory_in_use_is_one_sentence(
    cloud: RunningCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents a stack trace where a sentence would do."""
    assert main(["serve", "--state", str(cloud.state_dir)]) == 1
    assert re.match(r"rehearsal\.cloud: .* is in use", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"headers": {"authorization": "OSS4-HMAC-SHA256 Credential=a"}}, True),
        ({"headers": {"authorization": "OSS LTAI:sig"}}, True),
        ({"target": "/b/k?x-oss-signature=1"}, True),
        ({"target": "/b/k?OSSAccessKeyId=a&Signature=b&Expires=1"}, True),
        ({"headers": {"host": "b.oss-cn-hangzhou-internal.aliyuncs.com"}}, True),
        ({"headers": {"host": "oss-cn-hangzhou.aliyuncs.com:443"}}, True),
        ({"headers": {"host": "oos.cn-hangzhou.aliyuncs.com"}}, False),
        ({"headers": {"authorization": "ACS3-HMAC-SHA256 Credential=a"}}, False),
        ({"target": "/?Action=GetRole&Signature=a&AccessKeyId=b"}, False),
    ],
)
def test_object_storage_is_told_apart(changes: dict[str, Any], expected: bool) -> None:
    """Prevents an upload from being read as an API call, or the other way round."""
    request = HttpRequest(
        **{
            "method": "GET",
            "target": "/",
            "headers": {},
            "body": b"",
            "secure": True,
            "source_ip": "127.0.0.1",
            **changes,
        }
    )
    assert is_oss(request) is expected


class TestObjectStorageFaults:
    """Object storage answers faults in its own words, and its gaps are loud too."""

    def ask(self, cloud: RunningCloud, target: str = "/") -> tuple[int, str]:
        """Status and body of an unsigned request to OSS."""
        host, port = cloud.endpoint.split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        try:
            connection.request("GET", target, headers={"Host": "oss-cn-hangzhou.aliyuncs.com"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def test_a_throttle_is_a_503(self, cloud: RunningCloud) -> None:
        """The OSS clients retry on 503, not on an RPC code."""
        cloud.control("POST", "/faults", {"product": "oss", "kind": "throttle"})
        status, body = self.ask(cloud)
        assert (status, "<Code>QpsLimitExceeded</Code>" in body) == (503, True)

    def test_a_fault_for_another_product_leaves_it_alone(self, cloud: RunningCloud) -> None:
        """Prevents a throttle of ECS from hitting an upload."""
        cloud.control("POST", "/faults", {"product": "ecs", "kind": "throttle"})
        assert self.ask(cloud)[0] == 403

    def test_its_calls_are_in_the_journal(self, cloud: RunningCloud) -> None:
        """Prevents uploads from going unseen."""
        self.ask(cloud, "/?prefix=a")
        entry = cloud.control("GET", "/calls")[-1]
        assert (entry["product"], entry["action"], entry["status"]) == ("oss", "GET", 403)
        assert entry["parameters"] == ["prefix"]
