"""`ComfyClient` for asyncio: the same methods and errors, any number of jobs at once."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from smoke_tests.comfy_client import answers, protocol
from smoke_tests.comfy_client.answers import Download, UploadedFile
from smoke_tests.comfy_client.async_follow import AsyncFollower
from smoke_tests.comfy_client.async_transport import AsyncTransport, Pause
from smoke_tests.comfy_client.client import RECENT_JOBS
from smoke_tests.comfy_client.deadline import Deadline
from smoke_tests.comfy_client.errors import (
    ComfyError,
    ConnectionProblem,
    PartlyRejected,
    RejectedGraph,
)
from smoke_tests.comfy_client.following import (
    CLEANUP_S,
    LATE_S,
    cancel_failed,
    leave_word,
    may_run_on,
)
from smoke_tests.comfy_client.progress import Progress
from smoke_tests.comfy_client.protocol import Answer, JobResult, OutputFile
from smoke_tests.comfy_client.rejection import needs_object_info
from smoke_tests.comfy_client.target import Target
from smoke_tests.comfy_client.transport import TimedFile


class AsyncComfyClient:
    """A ComfyUI service, as `ComfyClient`. Use as an asynchronous context manager.

    >>> async with AsyncComfyClient(Target.of("https://host", token_file=path)) as client:
    ...     first, second = await asyncio.gather(
    ...         client.run(one, Deadline(900)), client.run(two, Deadline(900))
    ...     )

    A cancelled task cancels its job on the server, as Ctrl-C does with the other client.
    """

    def __init__(self, target: Target, *, pause: Pause = asyncio.sleep) -> None:
        self.target = target
        self._transport = AsyncTransport(target, pause=pause)
        self._pause = pause
        self._abandoning: set[asyncio.Future[str]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections, after the jobs of cancelled tasks have been cancelled."""
        await asyncio.gather(*self._abandoning, return_exceptions=True)
        await self._transport.close()

    async def call(self, method: str, path: str, **options: Any) -> Answer:
        """One raw request, whatever it answers; for checks of the protocol itself."""
        return await self._transport.call(method, path, **options)

    async def system_stats(self, deadline: Deadline | None = None) -> tuple[dict[str, Any], bool]:
        """As `ComfyClient.system_stats`."""
        return answers.stats(await self._get("/system_stats", deadline))

    async def object_info(self, deadline: Deadline | None = None) -> dict[str, Any]:
        """GET /object_info: every node class of the server with its inputs."""
        return (await self._get("/object_info", deadline)).json_object()

    async def queue(self, deadline: Deadline | None = None) -> dict[str, Any]:
        """GET /queue."""
        return answers.queue(await self._get("/queue", deadline))

    async def history(
        self, prompt_id: str, deadline: Deadline | None = None
    ) -> dict[str, Any] | None:
        """The history entry of one job; None while it waits, while it runs, and if unknown."""
        return answers.history_entry(await self._get(f"/history/{prompt_id}", deadline), prompt_id)

    async def known_jobs(self, deadline: Deadline | None = None) -> set[str]:
        """As `ComfyClient.known_jobs`."""
        known = set[str]()
        with contextlib.suppress(ConnectionProblem):
            known |= protocol.queue_ids(await self.queue(deadline))
            recent = await self._transport.call(
                "GET", "/history", params={"max_items": RECENT_JOBS}, deadline=deadline
            )
            known |= set(protocol.expect_ok(recent).json_object())
        return known

    async def upload(
        self,
        source: Path | BinaryIO,
        name: str,
        deadline: Deadline | None = None,
        *,
        subfolder: str = "",
    ) -> UploadedFile:
        """POST /upload/image, streamed; as `ComfyClient.upload`."""
        if isinstance(source, Path):
            with source.open("rb") as file:  # read in pieces of 64 KiB between awaits
                return await self.upload(file, name, deadline, subfolder=subfolder)
        deadline = deadline or Deadline(600)
        fields: dict[str, Any] = {"image": (name, TimedFile(source, deadline, name).as_file())}
        if subfolder:
            fields["subfolder"] = (None, subfolder)
        return answers.uploaded(
            await self._transport.call("POST", "/upload/image", files=fields, deadline=deadline)
        )

    async def submit(
        self,
        graph: Mapping[str, Any],
        client_id: str,
        deadline: Deadline | None = None,
        *,
        prompt_id: str = "",
    ) -> str:
        """POST /prompt, once and only once; as `ComfyClient.submit`."""
        body = answers.order(graph, client_id, prompt_id)
        answer = await self._transport.call("POST", "/prompt", json=body, deadline=deadline)
        try:
            return protocol.submission(answer)
        except (RejectedGraph, PartlyRejected):
            if not needs_object_info(answer.json_object()):
                raise
            known = None
            with contextlib.suppress(ComfyError):  # the refusal is the news, not this
                known = await self.object_info(deadline)
            return protocol.submission(answer, known)

    async def run(
        self,
        graph: Mapping[str, Any],
        deadline: Deadline,
        *,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        stall_s: float = 300.0,
    ) -> JobResult:
        """Submit a graph and follow it to its end; as `ComfyClient.run`.

        A cancelled task cancels the job first, for `CLEANUP_S` seconds at most.
        """
        # an id of our own: a job whose acceptance was never answered can be cancelled by it
        client_id, prompt_id, taken = uuid.uuid4().hex, str(uuid.uuid4()), False
        follower = AsyncFollower(
            self, graph, client_id, deadline, pause=self._pause, stall_s=stall_s
        )
        try:
            await follower.listen()  # before submitting, so that no event is missed
            try:
                prompt_id = await self.submit(graph, client_id, deadline, prompt_id=prompt_id)
                taken = True
                result = await follower.follow(prompt_id, on_progress)
            except BaseException as error:
                await self._leave(error, prompt_id, taken=taken)
                raise
            return replace(result, notes=await self._tidy(prompt_id))
        finally:
            await follower.close()

    async def download(
        self, file: OutputFile, destination: Path, deadline: Deadline | None = None
    ) -> Download:
        """GET /view into `destination`; as `ComfyClient.download`."""
        deadline = deadline or Deadline(600)
        partial = destination.with_name(f".{destination.name}.partial")
        digest, size = hashlib.sha256(), 0
        started = time.monotonic()
        try:
            async with self._transport.download("/view", file.query(), deadline) as (
                answer,
                pieces,
            ):
                protocol.expect_ok(answer)
                with partial.open("wb") as out:
                    async for piece in pieces:
                        out.write(piece)
                        digest.update(piece)
                        size += len(piece)
            answers.expect_whole(file, answer, size)
            partial.replace(destination)
        finally:
            partial.unlink(missing_ok=True)
        seconds = round(time.monotonic() - started, 3)
        return Download(destination, size, digest.hexdigest(), seconds)

    async def cancel(self, prompt_id: str, deadline: Deadline | None = None) -> None:
        """Take a job out of the queue, and stop it if it runs. Other jobs are not touched."""
        for path, body in answers.cancellation(prompt_id):
            protocol.expect_ok(
                await self._transport.call("POST", path, json=body, deadline=deadline)
            )

    async def forget(self, prompt_id: str, deadline: Deadline | None = None) -> None:
        """Delete a job's history entry (POST /history); each keeps a whole graph in memory."""
        body = {"delete": [prompt_id]}
        protocol.expect_ok(
            await self._transport.call("POST", "/history", json=body, deadline=deadline)
        )

    async def _get(self, path: str, deadline: Deadline | None) -> Answer:
        return protocol.expect_ok(await self._transport.call("GET", path, deadline=deadline))

    async def _leave(self, error: BaseException, prompt_id: str, *, taken: bool) -> None:
        """Leave nothing behind of a job that ends with an error; the error tells what stays."""
        if isinstance(error, PartlyRejected):
            prompt_id, taken = error.prompt_id, True
        if may_run_on(error, taken=taken):
            # shielded: a second cancellation must not leave the job on the GPU
            abandoning = asyncio.ensure_future(self._abandon(prompt_id, taken=taken))
            self._abandoning.add(abandoning)
            abandoning.add_done_callback(self._abandoning.discard)
            leave_word(error, await asyncio.shield(abandoning))
        elif taken:
            await self._tidy(prompt_id)

    async def _abandon(self, prompt_id: str, *, taken: bool) -> str:
        """Cancel, wait for the end that this brings, delete; what of it failed, or nothing."""
        deadline, asked = Deadline(CLEANUP_S), False
        try:
            await self.cancel(prompt_id, deadline)
            asked = taken
            while await self.history(prompt_id, deadline) is None:
                queue = await self.queue(deadline)
                queued = protocol.queue_position(queue, prompt_id) is not None
                if not queued and (taken or deadline.elapsed() > LATE_S):
                    break
                if not taken:  # it may come into the queue only now
                    await self.cancel(prompt_id, deadline)
                await self._pause(min(0.2, deadline.remaining()))
        except ComfyError as problem:
            return cancel_failed(prompt_id, problem, asked=asked)
        await self._tidy(prompt_id)
        return ""

    async def _tidy(self, prompt_id: str) -> tuple[str, ...]:
        try:
            await self.forget(prompt_id, Deadline(CLEANUP_S))
        except ComfyError as error:
            return (f"The job's history entry could not be deleted: {error.what}",)
        return ()
