"""The program's own client of OpenAPI against the emulator, with failures on the way."""

from __future__ import annotations

from typing import Any

import pytest
from alibabacloud_credentials.utils import auth_util

from infra import assistant, openapi
from rehearsal.cloud.hypervisor import CommandResult

from .ecs_world import REGION, World


@pytest.fixture
def api(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> openapi.Api:
    """ECS as readiness and recovery call it, with short pauses."""
    monkeypatch.setenv("ALIBABA_CLOUD_ENDPOINT_ECS", cloud.endpoint)
    # The SDK has read the environment when it was imported.
    monkeypatch.setattr(auth_util, "environment_access_key_id", cloud.key.access_key_id)
    monkeypatch.setattr(auth_util, "environment_access_key_secret", cloud.key.secret)
    monkeypatch.setenv("SSL_CERT_FILE", str(cloud.ca))
    monkeypatch.setattr(openapi, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(assistant, "POLL_SECONDS", 0.01)
    return openapi.client("ecs", REGION)


def fault(cloud: Any, action: str, kind: str, **fields: Any) -> None:
    body = {"product": "ecs", "action": action, "kind": kind, "times": 2, **fields}
    cloud.control("POST", "/faults", body)


@pytest.mark.parametrize("action", ["RunCommand", "DescribeInvocationResults"])
@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("throttle", {}),
        ("error5xx", {}),
        ("error5xx", {"code": "ServiceUnavailable", "http_status": 503}),
        ("drop", {}),
    ],
    ids=["throttled", "internal error", "unavailable", "dropped connection"],
)
def test_a_script_runs_once_whatever_happens_to_the_calls(
    cloud: Any, api: openapi.Api, action: str, kind: str, fields: dict[str, Any]
) -> None:
    """RuntimeOptions' attempts do nothing in this SDK; a fault once ended a whole `up`."""
    cloud.hypervisor.command_handler = lambda _i, _c: CommandResult(0, b"ready", False)
    instance_id = World(cloud).launch()
    fault(cloud, action, kind, **fields)
    result = assistant.run(api, instance_id, "true", timeout_seconds=30)
    assert result == assistant.Result(0, "ready")
    assert cloud.control("GET", "/faults") == [], "the fault never struck"
    assert len(cloud.hypervisor.commands) == 1


def test_the_same_token_never_runs_a_script_twice(cloud: Any, api: openapi.Api) -> None:
    """What the retries rely on: an answer that was lost is given again."""
    instance_id = World(cloud).launch()
    sent = {
        "Type": "RunShellScript",
        "InstanceId.1": instance_id,
        "CommandContent": "true",
        "ClientToken": "0c593ea1-3bea-11e9-b96b-88e9fe637760",
    }
    assert api("RunCommand", sent)["InvokeId"] == api("RunCommand", sent)["InvokeId"]


def test_a_machine_that_is_off_is_reported_with_the_records_code(
    cloud: Any, api: openapi.Api
) -> None:
    """Prevents the record's failure from being taken for exit code 0."""
    world = World(cloud)
    instance_id = world.launch()
    world.stop(instance_id)
    now = iter(range(0, 100_000, 10))
    with pytest.raises(assistant.AssistantError, match=r"did not come up.*InstanceNotRunning"):
        assistant.run(api, instance_id, "true", timeout_seconds=10, clock=lambda: next(now))


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (CommandResult(124, b"half", True), "(?s)ended as Timeout.*ExecutionTimeout.*half"),
        (None, "did not come up.*ClientNotRunning"),
    ],
    ids=["took too long", "no agent"],
)
def test_failures_of_the_emulated_agent_are_reported(
    cloud: Any, api: openapi.Api, outcome: CommandResult | None, words: str
) -> None:
    def handler(_instance: str, _command: bytes) -> CommandResult:
        if outcome is None:
            raise RuntimeError("no agent answers")
        return outcome

    cloud.hypervisor.command_handler = handler
    instance_id = World(cloud).launch()
    now = iter(range(100_000))
    with pytest.raises(assistant.AssistantError, match=words):
        assistant.run(api, instance_id, "true", timeout_seconds=10, clock=lambda: next(now))


def test_a_wrong_secret_has_its_code(
    cloud: Any, api: openapi.Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth_util, "environment_access_key_secret", "wrong")
    with pytest.raises(Exception, match="Specified signature") as caught:
        openapi.client("ecs", REGION)("DescribeRegions", {})
    assert openapi.code(caught.value) == "SignatureDoesNotMatch"
