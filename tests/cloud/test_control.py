"""The control interface: faults on request, unknown actions, stock, keys, and looking inside."""

from __future__ import annotations

import time
from typing import Any

import pytest
from alibabacloud_kms20160120 import models as kms
from alibabacloud_oos20190601 import models as oos
from alibabacloud_tea_openapi.exceptions import ClientException, ServerException
from alibabacloud_tea_openapi.models import OpenApiRequest, Params
from darabonba.runtime import RuntimeOptions

from .conftest import ControlError, RunningCloud


def create(cloud: RunningCloud, name: str = "stack-node", **fields: Any) -> Any:
    """Create a plain parameter."""
    request = oos.CreateParameterRequest(name=name, type="String", value="1", **fields)
    return cloud.client("oos").create_parameter(request).body


def call_unknown(cloud: RunningCloud, action: str, version: str) -> ClientException:
    """Call an action that is not emulated; returns the refusal."""
    params = Params(
        action=action,
        version=version,
        protocol="HTTPS",
        pathname="/",
        method="POST",
        auth_type="AK",
        style="RPC",
        req_body_type="formData",
        body_type="json",
    )
    with pytest.raises(ClientException) as refusal:
        cloud.client("ecs").call_api(params, OpenApiRequest(query={}), RuntimeOptions())
    return refusal.value


class TestFaults:
    """Failures on request."""

    def test_a_throttle_strikes_as_often_as_asked(self, cloud: RunningCloud) -> None:
        """Prevents a client without retries from passing."""
        fault = {"product": "oos", "action": "CreateParameter", "kind": "throttle", "times": 2}
        cloud.control("POST", "/faults", fault)
        for _ in range(2):
            with pytest.raises(ClientException) as refusal:
                create(cloud)
            assert (refusal.value.code, refusal.value.status_code) == ("Throttling.User", 400)
        create(cloud)
        assert cloud.control("GET", "/faults") == []

    def test_an_error_carries_its_code_message_and_status(self, cloud: RunningCloud) -> None:
        """Prevents a test of NoStock from testing something else."""
        fault = {
            "kind": "error",
            "code": "OperationDenied.NoStock",
            "message": "The requested resource is sold out.",
            "http_status": 403,
        }
        cloud.control("POST", "/faults", fault)
        with pytest.raises(ClientException) as refusal:
            create(cloud)
        assert (refusal.value.code, refusal.value.status_code) == ("OperationDenied.NoStock", 403)
        assert "sold out" in refusal.value.message

    def test_a_server_error_is_a_5xx(self, cloud: RunningCloud) -> None:
        """Prevents an outage from looking like a refusal."""
        cloud.control("POST", "/faults", {"kind": "error5xx", "http_status": 503})
        with pytest.raises(ServerException) as failure:
            create(cloud)
        assert failure.value.status_code == 503

    def test_a_dropped_connection_does_nothing_and_answers_nothing(
        self, cloud: RunningCloud
    ) -> None:
        """Prevents a drop that secretly carried out the action."""
        cloud.control("POST", "/faults", {"kind": "drop", "action": "CreateParameter"})
        with pytest.raises(Exception, match=r"(?i)connection|reset|closed|aborted"):
            create(cloud)
        assert cloud.control("GET", "/status")["empty"]
        create(cloud)

    def test_a_slow_answer_is_slow_and_right(self, cloud: RunningCloud) -> None:
        """Prevents a slow fault from failing, or from being fast."""
        cloud.control("POST", "/faults", {"kind": "slow", "seconds": 0.3})
        started = time.monotonic()
        create(cloud)
        assert time.monotonic() - started >= 0.3

    def test_a_fault_strikes_only_what_it_matches(self, cloud: RunningCloud) -> None:
        """Prevents a fault planned for one zone or name from hitting another."""
        fault = {"kind": "throttle", "match": {"Name": "stack-token"}, "times": None}
        cloud.control("POST", "/faults", fault)
        create(cloud, "stack-node")
        with pytest.raises(ClientException):
            create(cloud, "stack-token")
        assert cloud.control("DELETE", "/faults") == {"cleared": 1}
        create(cloud, "stack-token")

    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            ({"kind": "explode"}, "allowed: throttle, error5xx, drop, slow, error"),
            ({"kind": "error"}, "needs a code"),
            ({"kind": "slow"}, "needs seconds"),
            ({"kind": "drop", "often": 3}, "unknown fields often"),
            ({"kind": "drop", "times": 0}, "at least 1"),
        ],
    )
    def test_a_fault_that_cannot_be_is_refused(
        self, cloud: RunningCloud, fault: dict[str, Any], words: str
    ) -> None:
        """Prevents a misspelt fault from never striking."""
        with pytest.raises(ControlError) as refusal:
            cloud.control("POST", "/faults", fault)
        assert refusal.value.status == 400
        assert words in refusal.value.answer["error"]


class TestUnknownActions:
    """What is not emulated must be loud."""

    def test_an_unknown_action_is_a_loud_error_that_names_itself(self, cloud: RunningCloud) -> None:
        """Prevents the emulator from guessing, and a 404 from being read as 'resource is gone'."""
        refusal = call_unknown(cloud, "DescribeUniverse", "2014-05-26")
        assert refusal.code == "InvalidAction.NotFound"
        assert refusal.status_code == 400
        assert "action DescribeUniverse is not emulated" in refusal.message
        (entry,) = cloud.control("GET", "/status")["unknown_actions"]
        assert (entry["product"], entry["action"]) == ("ecs", "DescribeUniverse")

    def test_an_unknown_version_is_recorded_too(self, cloud: RunningCloud) -> None:
        """Prevents calls of a whole product from going unnoticed."""
        assert call_unknown(cloud, "QueryAvailableInstances", "2017-12-14").code == "InvalidVersion"
        (entry,) = cloud.control("GET", "/status")["unknown_actions"]
        assert entry["version"] == "2017-12-14"

    def test_they_are_remembered_across_a_restart(self, cloud: RunningCloud) -> None:
        """Prevents a check at the end from missing what happened before a restart."""
        call_unknown(cloud, "DescribeUniverse", "2014-05-26")
        cloud.restart()
        assert len(cloud.control("GET", "/status")["unknown_actions"]) == 1


class TestIdempotency:
    """ClientToken."""

    def test_the_same_request_gets_the_same_answer(self, cloud: RunningCloud) -> None:
        """Prevents a retry after a lost answer from making a second resource."""
        first = create(cloud, client_token="token-1").to_map()
        second = create(cloud, client_token="token-1").to_map()
        assert first.pop("RequestId") != second.pop("RequestId")
        assert first == second
        assert cloud.control("GET", "/status")["resources"] == {"cn-hangzhou/oos_parameters": 1}

    def test_it_is_remembered_across_a_restart(self, cloud: RunningCloud) -> None:
        """Prevents a restart in the middle of a retry from making a second resource."""
        first = create(cloud, client_token="token-1").parameter.id
        cloud.restart()
        assert create(cloud, client_token="token-1").parameter.id == first

    def test_another_request_with_the_same_token_is_refused(self, cloud: RunningCloud) -> None:
        """Prevents a token that is used for everything from passing."""
        create(cloud, client_token="token-1")
        with pytest.raises(ClientException) as refusal:
            create(cloud, "stack-other", client_token="token-1")
        assert refusal.value.code == "IdempotentParameterMismatch"

    def test_a_failed_request_may_be_repeated(self, cloud: RunningCloud) -> None:
        """Prevents a refusal from being remembered as the answer."""
        with pytest.raises(ClientException):
            create(cloud, "x" * 200, client_token="token-1")
        create(cloud, client_token="token-1")


def test_calls_are_listed_with_parameter_names_and_no_values(cloud: RunningCloud) -> None:
    """Prevents secrets from reaching the log, and calls from going unseen."""
    create(cloud)
    before = cloud.control("GET", "/calls")[-1]["seq"]
    client = cloud.client("kms")
    client.create_secret(
        kms.CreateSecretRequest(secret_name="stack", secret_data="s3cret", version_id="v1")
    )
    (entry,) = cloud.control("GET", f"/calls?since={before}")
    assert (entry["product"], entry["action"], entry["status"]) == ("kms", "CreateSecret", 200)
    assert "SecretData" in entry["parameters"]
    assert "s3cret" not in (cloud.state_dir / "calls.jsonl").read_text()


def test_reset_empties_the_cloud_and_keeps_the_keys(cloud: RunningCloud) -> None:
    """Prevents one test's leftovers from reaching the next."""
    create(cloud)
    call_unknown(cloud, "DescribeUniverse", "2014-05-26")
    assert not cloud.control("GET", "/status")["empty"]
    cloud.control("POST", "/reset")
    status = cloud.control("GET", "/status")
    assert status["empty"]
    assert status["unknown_actions"] == []
    create(cloud)


def test_stock_can_be_taken_away_and_given_back(cloud: RunningCloud) -> None:
    """Prevents a sold-out test from depending on the catalogue."""
    offer = {"zone": "cn-hangzhou-i", "instance_type": "ecs.gn7i-c8g1.2xlarge"}
    cloud.control("POST", "/stock", {**offer, "in_stock": False})
    assert cloud.cloud.stock_overrides == {"cn-hangzhou-i/ecs.gn7i-c8g1.2xlarge": False}
    cloud.restart()
    assert cloud.cloud.stock_overrides == {"cn-hangzhou-i/ecs.gn7i-c8g1.2xlarge": False}
    cloud.control("POST", "/stock", {**offer, "in_stock": None})
    assert cloud.cloud.stock_overrides == {}


def test_keys_come_and_go(cloud: RunningCloud) -> None:
    """Prevents a test of least privilege from needing a RAM user."""
    policy = {
        "Version": "1",
        "Statement": [{"Effect": "Allow", "Action": "oos:CreateParameter", "Resource": "*"}],
    }
    made = cloud.control("POST", "/keys", {"name": "deployer", "policy": policy})
    key = cloud.cloud.credentials.find(made["access_key_id"])
    assert key is not None
    assert key.secret == made["access_key_secret"]
    assert made["arn"].endswith(":user/deployer")
    client = cloud.client("oos", key=key)
    client.create_parameter(oos.CreateParameterRequest(name="mine", type="String", value="1"))
    with pytest.raises(ClientException) as refusal:
        client.delete_parameter(oos.DeleteParameterRequest(name="mine"))
    assert (refusal.value.code, refusal.value.status_code) == ("Forbidden.RAM", 403)
    cloud.control("DELETE", f"/keys?access_key_id={made['access_key_id']}")
    with pytest.raises(ClientException) as unknown:
        client.delete_parameter(oos.DeleteParameterRequest(name="mine"))
    assert unknown.value.code == "InvalidAccessKeyId.NotFound"


def test_an_unknown_control_path_lists_the_known_ones(cloud: RunningCloud) -> None:
    """Prevents guessing."""
    with pytest.raises(ControlError) as refusal:
        cloud.control("GET", "/nothing")
    assert refusal.value.status == 404
    assert "POST /faults" in refusal.value.answer["error"]
