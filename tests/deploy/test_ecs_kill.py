"""Kill the engine at any moment: recovery, the next `up`, and `destroy` leave nothing."""

import os
import signal
import time

import pytest

from tests.deploy.conftest import Deployment

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

DEADLINE = 60.0


@pytest.mark.parametrize(
    "action", ["CreateVSwitch", "AllocateEipAddress", "RunInstances", "AttachDisk", "RunCommand"]
)
def test_a_killed_up_is_resumed_and_destroyed(deployment: Deployment, action: str) -> None:
    """The engine dies the moment the cloud has answered: a creation that it never heard of."""
    process = deployment.workspace.start("up", "--yes", "--skip-preview", capture=True)
    deadline = time.monotonic() + DEADLINE
    while not any(call["action"] == action for call in deployment.calls()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"{action} was never called"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    recovered = deployment.recover()
    assert "Go on with `pulumi up`" in recovered
    deployment.pulumi("up", "--yes", "--skip-preview")
    deployment.pulumi("preview", "--expect-no-changes")
    deployment.pulumi("destroy", "--yes", "--skip-preview")
    left = deployment.left()
    assert left == {}, left
