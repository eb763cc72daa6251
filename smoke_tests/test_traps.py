"""Answers of ComfyUI that look like success and are none: each must end in its own error.

They cost the service milliseconds, since no model is loaded for any of them.
"""

import io
import uuid

import pytest

from smoke_tests import reference
from smoke_tests.comfy_client import (
    ComfyClient,
    Deadline,
    ExecutionError,
    LostByRestart,
    NoOutput,
    PartlyRejected,
    RejectedGraph,
)
from smoke_tests.comfy_client.follow import Follower

LIMIT_S = 120.0  # there may be other people's jobs in front


def _preview(image: str, first: int = 1) -> dict[str, object]:
    """A graph that only shows a picture; `first` keeps node ids of two such graphs apart."""
    return {
        str(first): {"class_type": "LoadImage", "inputs": {"image": image}},
        str(first + 1): {"class_type": "PreviewImage", "inputs": {"images": [str(first), 0]}},
    }


@pytest.fixture
def picture(client: ComfyClient) -> str:
    """The example image, uploaded."""
    return client.upload(io.BytesIO(reference.example_image()), reference.IMAGE_NAME).reference


def test_a_graph_without_outputs_is_refused(client: ComfyClient) -> None:
    """A graph that cannot run is refused with a reason (400)."""
    with pytest.raises(RejectedGraph):
        client.run({}, Deadline(LIMIT_S))


def test_a_graph_with_one_bad_output_is_not_taken_for_accepted(
    client: ComfyClient, picture: str
) -> None:
    """A 200 that carries node_errors is an error that names them."""
    nowhere = f"smoke-{uuid.uuid4().hex}.png"
    with pytest.raises(PartlyRejected, match=nowhere):
        client.run({**_preview(picture), **_preview(nowhere, 3)}, Deadline(LIMIT_S))


def test_an_error_that_only_the_history_knows_is_found(client: ComfyClient) -> None:
    """An accepted job that fails while it runs ends in the node's own words."""
    broken = client.upload(io.BytesIO(b"no picture at all"), "vace-smoke-broken.png").reference
    with pytest.raises(ExecutionError) as caught:
        client.run(_preview(broken), Deadline(LIMIT_S))
    assert caught.value.node_type == "LoadImage"


def test_success_without_a_video_is_not_taken_for_one(client: ComfyClient, picture: str) -> None:
    """A job that succeeds with pictures only has made no video."""
    with pytest.raises(NoOutput):
        client.run(_preview(picture), Deadline(LIMIT_S))


def test_an_unknown_job_is_not_waited_for(client: ComfyClient) -> None:
    """An id of which the history says {} and the queue nothing is lost, not pending."""
    follower = Follower(client, {}, uuid.uuid4().hex, Deadline(LIMIT_S), stall_s=LIMIT_S)
    with pytest.raises(LostByRestart):
        follower.follow(str(uuid.uuid4()), lambda progress: None)
    follower.close()
