"""The emulator dies and is started again on the same folder."""

from io import BytesIO

import pytest

from tests.rehearsal.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.machine, pytest.mark.timeout(180)]


def test_the_machine_serves_on_and_the_cloud_remembers_it(node: Stack) -> None:
    """Prevents a kept rehearsal that is lost with its process, and state that was not saved."""
    node.kill_cloud()
    assert node.status() == 200
    with node.client() as client:
        client.upload(BytesIO(b"without a cloud"), "alone.png")
    node.start_cloud()
    assert node.status() == 200
    node.pulumi("preview", "--refresh", "--expect-no-changes")
    # Metadata service, API, registry and Cloud Assistant are the new process's.
    assert "ready" in node.on_node("vace-node converge && vace-node status")
