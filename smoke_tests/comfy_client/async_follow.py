"""Follow one job to its end with asyncio; every decision is in `following`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from smoke_tests.comfy_client import protocol
from smoke_tests.comfy_client.async_events import AsyncEventStream
from smoke_tests.comfy_client.async_transport import Pause
from smoke_tests.comfy_client.deadline import Deadline
from smoke_tests.comfy_client.errors import (
    ConnectionProblem,
    NotReady,
    Unreachable,
    WrongCertificate,
    WrongToken,
)
from smoke_tests.comfy_client.following import CATCH_UP_S, HEARTBEAT_S, REOPEN_S, Following
from smoke_tests.comfy_client.progress import Progress
from smoke_tests.comfy_client.protocol import JobResult

if TYPE_CHECKING:
    from smoke_tests.comfy_client.async_client import AsyncComfyClient


class AsyncFollower:
    """Watches one job for `AsyncComfyClient.run`; arguments as of `Follower`."""

    def __init__(
        self,
        client: AsyncComfyClient,
        graph: Mapping[str, Any],
        client_id: str,
        deadline: Deadline,
        *,
        pause: Pause,
        stall_s: float,
    ) -> None:
        self._client = client
        self._graph = graph
        self._client_id = client_id
        self._deadline = deadline
        self._pause = pause
        self._stall_s = stall_s
        self._stream: AsyncEventStream | None = None
        self._next_open = 0.0

    async def listen(self) -> None:
        """Open the event stream, or leave it to polling; raises as `Follower.listen`."""
        self._next_open = time.monotonic() + REOPEN_S
        try:
            self._stream = await AsyncEventStream.open(
                self._client.target, self._client_id, self._deadline
            )
        except (WrongToken, WrongCertificate):
            raise
        except ConnectionProblem:
            self._stream = None

    async def close(self) -> None:
        """Close the event stream."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            await stream.close()

    async def follow(self, prompt_id: str, on_progress: Callable[[Progress], None]) -> JobResult:
        """Return the job's result, or raise what became of it; see `ComfyClient.run`."""
        job = Following(
            self._graph,
            prompt_id,
            stall_s=self._stall_s,
            now=time.monotonic(),
            listening=self._stream is not None,
        )
        while True:
            self._deadline.check(job.doing)
            await self._wait(job, job.wait_s(time.monotonic()))
            on_progress(job.moment(time.monotonic(), listening=self._stream is not None))
            if job.poll_due(time.monotonic()):
                try:
                    entry, queue = await self._look(prompt_id)
                except (NotReady, Unreachable) as problem:
                    job.unanswered(problem, time.monotonic())
                    continue
                if entry is not None:
                    job.found()
                    await self._catch_up(job)
                    on_progress(job.progress)
                    return job.result(entry, time.monotonic())
                job.not_found(queue, time.monotonic())
            if job.is_gone(time.monotonic()):
                raise job.gone(await self._client.known_jobs(self._deadline))
            job.check_stall(time.monotonic())

    async def _wait(self, job: Following, seconds: float) -> None:
        seconds = max(0.0, min(seconds, HEARTBEAT_S, self._deadline.remaining()))
        if self._stream is None and time.monotonic() >= self._next_open and not job.ended:
            await self.listen()
        if self._stream is None:
            await self._pause(seconds)
            return
        messages = await self._stream.receive(seconds)
        job.heard(messages)
        if messages is None:
            await self.close()
            self._next_open = time.monotonic() + REOPEN_S

    async def _catch_up(self, job: Following) -> None:
        until = time.monotonic() + CATCH_UP_S
        while self._stream and not job.ended and (left := until - time.monotonic()) > 0:
            await self._wait(job, left)

    async def _look(self, prompt_id: str) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        entry = await self._client.history(prompt_id, self._deadline)
        if entry is not None:
            return entry, {}
        queue = await self._client.queue(self._deadline)
        if protocol.queue_position(queue, prompt_id) is None:
            entry = await self._client.history(prompt_id, self._deadline)
        return entry, queue
