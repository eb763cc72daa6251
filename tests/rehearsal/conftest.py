"""One real stack with a machine, shared by all tests here; each leaves it as it found it.

The engine, the provider, the machine's systemd and cloud-init, podman, gateway and client are
real; see ``rehearsal/README.md`` for what is not.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest

from rehearsal.cli import clean
from rehearsal.machine.prerequisites import find_missing
from rehearsal.workspace import end_leftovers
from smoke_tests import reference
from smoke_tests.comfy_client import Deadline, OutputFile
from tests.rehearsal.stack import Stack

ORDER = (
    "test_wrong_image",  # makes the stack from nothing
    "test_node_secrets",
    "test_results",  # makes a video, which the later files expect to survive
    "test_access",
    "test_rotation",
    "test_restart",
    "test_data_disk",
    "test_cloud_crash",
    "test_cleanup",  # leaves nothing
)
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files along a node's life, and skip loudly what this computer cannot run."""
    mine = sorted(
        (item for item in items if item.path.parent == HERE),
        key=lambda item: ORDER.index(item.path.stem),
    )
    places = [index for index, item in enumerate(items) if item.path.parent == HERE]
    for index, item in zip(places, mine, strict=True):
        items[index] = item
    missing = find_missing(Path.cwd()) if mine else []
    if missing:
        reason = "NO REHEARSAL TESTS: " + "; ".join(f"{m.what}: {m.remedy}" for m in missing)
        for item in mine:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="package")
def stack() -> Iterator[Stack]:
    """A configured stack on an empty cloud; everything of it is removed at the end."""
    # Not pytest's own temporary folder: that one may lie on a tmpfs too small for containers.
    root = Path(os.environ.get("TMPDIR", "/var/tmp")) / f"vace-rehearsal-test-{os.getpid()}"
    root.mkdir()
    made: Stack | None = None
    try:
        made = Stack(root)
        yield made
    finally:
        _remove(root)


def _remove(root: Path) -> None:
    # By the folder alone: a stack that failed while it was made has left things, too.
    from rehearsal.display import Display  # noqa: PLC0415
    from rehearsal.journey import EcsJourney  # noqa: PLC0415

    journey = EcsJourney(root / "ecs", Display())
    end_leftovers(journey.workspace_folder)
    clean(journey, journey.display, quiet=True)
    shutil.rmtree(root)


@pytest.fixture(scope="package")
def node(stack: Stack) -> Stack:
    """The stack with its machine up and serving."""
    if not stack.outputs:
        stack.up()
    return stack


@dataclass(frozen=True)
class Video:
    """A result that the service made, and a local copy of it."""

    file: OutputFile
    sha256: str
    content: bytes


@pytest.fixture(scope="package")
def video(node: Stack) -> Video:
    """The reference workflow's video, made once."""
    with node.client() as client:
        image = client.upload(BytesIO(reference.example_image()), reference.IMAGE_NAME)
        graph = reference.workflow().with_inputs(
            seed=1, image=image.reference, filename_prefix="life"
        )
        result = client.run(graph.graph, Deadline(120))
        path = node.root / "video.mp4"
        download = client.download(result.videos[0], path)
    return Video(result.videos[0], download.sha256, path.read_bytes())
