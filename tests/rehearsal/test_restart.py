"""Stopping, starting and rebooting the machine in the console or by the API."""

import hashlib

import pytest

from smoke_tests.comfy_client import OutputFile
from tests.rehearsal.conftest import Video
from tests.rehearsal.polling import eventually
from tests.rehearsal.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.machine, pytest.mark.timeout(240)]


def content_of(node: Stack, file: OutputFile) -> str:
    """SHA-256 of a result, as the service gives it out."""
    with node.client() as client:
        path = node.root / "again.mp4"
        sha256 = client.download(file, path).sha256
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    return sha256


def status_is(node: Stack, wanted: str) -> bool:
    return bool(node.instance()["Status"] == wanted)


def test_a_stopped_machine_comes_back_with_its_results(node: Stack, video: Video) -> None:
    """A machine stopped to save money must serve after its start, without anybody's help."""
    instance = node.outputs["instanceId"]
    node.api("ecs", "StopInstance", InstanceId=instance)
    eventually("the machine has stopped", lambda: status_is(node, "Stopped"))
    assert node.status() is None
    node.api("ecs", "StartInstance", InstanceId=instance)
    eventually("the machine runs", lambda: status_is(node, "Running"))
    node.await_service()
    assert node.status() == 200
    assert content_of(node, video.file) == video.sha256


def test_a_rebooted_machine_comes_back_with_its_results(node: Stack, video: Video) -> None:
    """The cloud reboots machines for maintenance; nobody is there to start services by hand."""
    boot = node.on_node("cat /run/vace-boot-id")
    node.api("ecs", "RebootInstance", InstanceId=node.outputs["instanceId"])
    eventually("the service went away with the reboot", lambda: node.status() is None)
    node.await_service()
    assert node.on_node("cat /run/vace-boot-id") != boot
    assert content_of(node, video.file) == video.sha256
