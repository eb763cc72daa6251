"""The bootstrap: runs only the agent that the user data names, and waits for what comes late."""

from collections.abc import Callable

import pytest

from infra.node import render
from infra.node.vace_node.bootstrap import PATIENCE, Source, obtain
from infra.node.vace_node.cloud import Credentials
from infra.node.vace_node.errors import CloudError

AGENT = render.agent_object()
SOURCE = Source("cn-hangzhou", "https://oss.example", "bucket", AGENT.key, AGENT.sha256)
KEYS = Credentials("role", "id", "secret", "token")


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def run(download: Callable[[Source, Credentials], bytes]) -> dict[str, str]:
    clock = Clock()
    return obtain(SOURCE, lambda: KEYS, download=download, clock=clock, sleep=clock.sleep)


def test_the_named_agent_is_unpacked() -> None:
    assert "__main__.py" in run(lambda _source, _keys: AGENT.content.encode())


def test_a_changed_agent_is_refused_at_once_and_nothing_of_it_runs() -> None:
    """Whoever may write to the bucket must not become root on the node."""
    tries = []

    def download(_source: Source, _keys: Credentials) -> bytes:
        tries.append(1)
        return AGENT.content.encode() + b"x"

    with pytest.raises(CloudError, match="nothing of it was run"):
        run(download)
    assert len(tries) == 1


def test_a_permission_that_comes_late_is_waited_for() -> None:
    answers = [CloudError("AccessDenied", code="HTTP 403"), AGENT.content.encode()]

    def download(_source: Source, _keys: Credentials) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, CloudError):
            raise answer
        return answer

    assert run(download)


def test_what_never_comes_ends_after_the_patience_with_the_last_answer() -> None:
    def download(_source: Source, _keys: Credentials) -> bytes:
        raise CloudError("NoSuchKey", code="HTTP 404")

    clock = Clock()
    with pytest.raises(CloudError, match="NoSuchKey"):
        obtain(SOURCE, lambda: KEYS, download=download, clock=clock, sleep=clock.sleep)
    assert clock.now >= PATIENCE
