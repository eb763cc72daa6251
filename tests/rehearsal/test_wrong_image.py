"""An image that does not exist: in a first deployment, and in a change of a running one."""

import json

import pytest

from tests.rehearsal.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.machine, pytest.mark.timeout(300)]

READY_TIMEOUT_S = 60


def wrong(image: str) -> str:
    """The image's name with a digest that the registry does not have."""
    name, _, _ = image.partition("@")
    return f"{name}@sha256:{'0' * 64}"


def test_an_image_that_the_registry_lacks_fails_up_with_the_nodes_log(stack: Stack) -> None:
    """Prevents an `up` that waits for ever, or fails without saying which image, on a typing error.

    The corrected config must then be applied on the machine that is there already.
    """
    if stack.outputs:
        pytest.skip("the stack is up already; this is about the first deployment")
    missing = wrong(stack.images.comfyui)
    stack.workspace.configure({"comfyuiImage": missing, "readyTimeoutSeconds": READY_TIMEOUT_S})
    output = stack.fails("up", "--yes", "--skip-preview")
    assert "does not serve with these settings" in output
    assert f"{missing} could not be pulled" in output
    assert "The registry has no such digest: was the image pushed?" in output
    assert "lines of vace-node.service" in output
    assert "Traceback" not in output
    instance = stack.instance()["InstanceId"]

    stack.workspace.configure({"comfyuiImage": stack.images.comfyui, "readyTimeoutSeconds": 180})
    stack.up()
    assert stack.outputs["instanceId"] == instance, "a mistyped image made a second machine"
    assert stack.status("/readyz") == 200


def test_a_failed_change_keeps_the_service_and_going_back_is_waited_for(node: Stack) -> None:
    """Prevents an outage by a mistyped image, and an `up` that succeeds on a node that failed.

    After the failure, the config that was in force before must be applied again, although to the
    engine it looks as if it had never been left.
    """
    node.workspace.configure({"gatewayImage": wrong(node.images.gateway)})
    assert "could not be pulled" in node.fails("up", "--yes", "--skip-preview")
    assert node.status() == 200
    node.workspace.configure({"gatewayImage": node.images.gateway})
    node.up()
    assert json.loads(node.on_node("vace-node status --json"))["phase"] == "ready"
    node.pulumi("preview", "--expect-no-changes")
