"""What can go wrong ends in one sentence: what, why, and what to do."""

from typing import Any

import pytest

from rehearsal.cloud.hypervisor import CommandResult
from tests.deploy.conftest import Deployment

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


def test_config_mistakes_are_all_listed_and_nothing_is_made(deployment: Deployment) -> None:
    deployment.workspace.configure(
        {"vpcCidr": "8.8.8.0/24", "comfyuiImage": "comfyui:latest", "expires": "soon"}
    )
    output = deployment.fails("up", "--yes")
    for key in ("vpcCidr", "comfyuiImage", "expires"):
        assert f"wan-vace:{key}:" in output
    assert "Traceback" not in output
    assert deployment.left() == {}


def test_out_of_stock_everywhere_lists_alternatives_before_anything_is_made(
    deployment: Deployment,
) -> None:
    wanted = "ecs.gn7i-c16g1.4xlarge"
    deployment.workspace.configure({"instanceType": wanted})
    for zone in "abcdefghijklmn":
        deployment.control(
            "POST",
            "/stock",
            {"zone": f"cn-hangzhou-{zone}", "instance_type": wanted, "in_stock": False},
        )
    output = deployment.fails("up", "--yes", "--skip-preview")
    assert f"out of stock in cn-hangzhou: {wanted}" in output
    assert "CNY/hour" in output
    assert deployment.left() == {}


def test_sold_out_in_one_zone_uses_the_next(deployment: Deployment) -> None:
    deployment.pulumi("preview")
    deployment.pulumi("up", "--yes", "--skip-preview")
    outputs = deployment.workspace.outputs()
    deployment.pulumi("destroy", "--yes", "--skip-preview")
    deployment.control(
        "POST",
        "/stock",
        {
            "zone": outputs["zone"],
            "instance_type": outputs["instanceType"],
            "in_stock": False,
        },
    )
    deployment.pulumi("up", "--yes", "--skip-preview")
    again = deployment.workspace.outputs()
    assert again["zone"] != outputs["zone"]
    assert again["instanceType"] == outputs["instanceType"]


def test_throttling_and_server_errors_are_retried(deployment: Deployment) -> None:
    for product, action, kind in (
        ("ecs", "RunInstances", "throttle"),
        ("vpc", "CreateVpc", "throttle"),
        ("vpc", "CreateVSwitch", "error5xx"),
    ):
        fault: dict[str, Any] = {"product": product, "action": action, "kind": kind, "times": 2}
        if kind == "error5xx":
            # The provider retries this code; an InternalError it hands to the user.
            fault |= {"code": "ServiceUnavailable", "http_status": 503}
        deployment.control("POST", "/faults", fault)
    deployment.pulumi("up", "--yes", "--skip-preview")
    assert deployment.control("GET", "/faults") == [] or all(
        fault.get("left", fault.get("times")) == 0 for fault in deployment.control("GET", "/faults")
    )


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            {
                "action": "RunInstances",
                "code": "QuotaExceed.ElasticQuota",
                "message": "The number of the specified ECS instances has exceeded the quota.",
                "http_status": 403,
            },
            "QuotaExceed.ElasticQuota",
        ),
        (
            {
                "action": "AttachInstanceRamRole",
                "code": "InvalidRamRole.NotEcsRole",
                "message": "The specified ram role is not authorized for ecs.",
                "http_status": 400,
            },
            "InvalidRamRole.NotEcsRole",
        ),
    ],
)
def test_a_refusal_of_the_cloud_is_shown_and_can_be_gone_on_from(
    deployment: Deployment, fault: dict[str, Any], words: str
) -> None:
    deployment.control("POST", "/faults", {"product": "ecs", "kind": "error", "times": 50, **fault})
    assert words in deployment.fails("up", "--yes", "--skip-preview")
    deployment.control("DELETE", "/faults")
    deployment.pulumi("up", "--yes", "--skip-preview")
    deployment.pulumi("destroy", "--yes", "--skip-preview")
    assert deployment.left() == {}


def test_wrong_credentials_are_named(deployment: Deployment) -> None:
    deployment.workspace.cloud["ALIBABA_CLOUD_ACCESS_KEY_SECRET"] = "wrong"
    output = deployment.fails("preview")
    assert "SignatureDoesNotMatch" in output
    deployment.workspace.cloud["ALIBABA_CLOUD_ACCESS_KEY_ID"] = "LTAI-unknown"
    assert "InvalidAccessKeyId" in deployment.fails("preview")


def test_a_node_that_does_not_serve_fails_up_with_its_log(deployment: Deployment) -> None:
    handler = deployment.hypervisor.command_handler
    deployment.hypervisor.command_handler = lambda _instance, _command: CommandResult(
        exit_code=1, output=b"vace-gateway.service failed: bind 443: in use", timed_out=False
    )
    output = deployment.fails("up", "--yes", "--skip-preview")
    assert "does not serve" in output
    assert "bind 443: in use" in output
    assert "pulumi destroy" in output

    deployment.hypervisor.command_handler = handler
    deployment.pulumi("up", "--yes", "--skip-preview")
    deployment.pulumi("preview", "--expect-no-changes")
