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


REFUSALS = {
    ("ecs", "CreateDisk", "InvalidDiskCategory.NotSupported"): (
        "storage: InvalidDiskCategory.NotSupported: the instance type or zone does not take this "
        "kind of disk"
    ),
    ("vpc", "CreateVSwitch", "InvalidCidrBlock.Overlapped"): (
        "network: InvalidCidrBlock.Overlapped: the vSwitch's network overlaps one that is already"
    ),
    ("ecs", "RunInstances", "QuotaExceed.ElasticQuota"): (
        "node: QuotaExceed.ElasticQuota: the account's quota of this instance type is used up"
    ),
    ("ecs", "AttachInstanceRamRole", "InvalidRamRole.NotEcsRole"): (
        "node: InvalidRamRole.NotEcsRole: the node's role does not let ECS assume it"
    ),
}


def test_busy_answers_are_waited_out_and_refusals_explained_and_gone_on_from(
    deployment: Deployment,
) -> None:
    """The provider prints codes; the sentence beside each says why and what to do.

    Everything goes wrong once, in one stack: what passes shows nowhere, each refusal ends a run,
    and the next run goes on where it ended.
    """

    def plan(product: str, action: str, kind: str, **fields: Any) -> None:
        body = {"product": product, "action": action, "kind": kind, **fields}
        deployment.control("POST", "/faults", body)

    plan("ecs", "RunInstances", "throttle", times=2)
    plan("vpc", "CreateVpc", "throttle", times=2)
    # The provider retries this code; an InternalError it hands to the user.
    unavailable = {"code": "ServiceUnavailable", "http_status": 503}
    plan("vpc", "CreateVSwitch", "error5xx", times=2, **unavailable)
    for product, action, code in REFUSALS:
        plan(product, action, "error", code=code, message=f"{action} refused.", http_status=403)

    printed = []
    for _ in range(len(REFUSALS) + 1):
        process = deployment.workspace.start("up", "--yes", "--skip-preview", capture=True)
        printed.append(process.communicate(timeout=110)[0])
        if process.returncode == 0:
            break
    assert process.returncode == 0, printed[-1]
    assert deployment.control("GET", "/faults") == [], "a fault never struck"
    for (_, _, code), words in REFUSALS.items():
        output = next(text for text in printed if f"Code: {code}" in text)
        assert f"error: {words}" in output
    assert not any("ServiceUnavailable" in text or "Throttling" in text for text in printed)

    deployment.pulumi("preview", "--expect-no-changes")
    # Without the program nobody explains; that must not hide the cloud's own word.
    plan("vpc", "DeleteVpc", "error", code="Forbidden.RAM", message="No.", http_status=403)
    output = deployment.fails("destroy", "--yes", "--skip-preview")
    assert "Code: Forbidden.RAM" in output
    deployment.pulumi("destroy", "--yes", "--skip-preview")
    assert deployment.left() == {}


def test_wrong_credentials_and_regions_are_one_sentence_and_nothing_is_made(
    deployment: Deployment,
) -> None:
    good = dict(deployment.workspace.cloud)
    cloud = deployment.emulator.cloud
    expired = cloud.credentials.create_session(cloud.settings.account, "ci", "run-1", -60)
    cases: dict[str, dict[str, str]] = {
        "SignatureDoesNotMatch: the access key exists, but its secret is wrong; check": {
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "wrong"
        },
        "InvalidAccessKeyId.NotFound: the cloud does not know the access key": {
            "ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAI-unknown"
        },
        "InvalidSecurityToken.Expired: the temporary credentials have expired; get new ones": {
            "ALIBABA_CLOUD_ACCESS_KEY_ID": expired.access_key_id,
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": expired.secret,
            "ALIBABA_CLOUD_SECURITY_TOKEN": str(expired.security_token),
        },
        "no credentials were found, neither in the environment nor in a profile": {
            "ALIBABA_CLOUD_ACCESS_KEY_ID": "",
            "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true",
        },
    }
    for sentence, environment in cases.items():
        deployment.workspace.cloud = {**good, **environment}
        output = deployment.fails("preview")
        assert f"error: {sentence}" in output
        assert "Traceback" not in output
    deployment.workspace.cloud = good

    deployment.workspace.configure({"region": "xx-nowhere"})
    output = deployment.fails("up", "--yes", "--skip-preview")
    assert 'region: "xx-nowhere" does not exist or is not open to this account' in output
    assert "cn-beijing, cn-hangzhou" in output
    assert "Traceback" not in output
    assert deployment.left() == {}


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
