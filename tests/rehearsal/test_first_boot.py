"""A first deployment with a mistake, and the next one without it."""

import pytest

from tests.rehearsal.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.machine, pytest.mark.timeout(300)]

READY_TIMEOUT_S = 60


def test_an_image_that_the_registry_lacks_fails_up_with_the_nodes_log(stack: Stack) -> None:
    """Prevents an `up` that waits for ever, or fails without saying which image, on a typing error.

    The corrected config must then be applied on the machine that is there already.
    """
    if stack.outputs:
        pytest.skip("the stack is up already; this is about the first deployment")
    name, _, _ = stack.images.comfyui.partition("@")
    missing = f"{name}@sha256:{'0' * 64}"
    stack.workspace.configure({"comfyuiImage": missing, "readyTimeoutSeconds": READY_TIMEOUT_S})
    output = stack.fails("up", "--yes", "--skip-preview")
    assert "does not serve. It was created and costs money" in output
    assert f"{missing} could not be pulled" in output
    assert "The registry has no such digest: was the image pushed?" in output
    assert "lines of vace-node.service" in output
    assert "Traceback" not in output
    instance = stack.instance()["InstanceId"]

    stack.workspace.configure({"comfyuiImage": stack.images.comfyui, "readyTimeoutSeconds": 180})
    stack.up()
    assert stack.outputs["instanceId"] == instance, "a mistyped image made a second machine"
    assert stack.status("/readyz") == 200
