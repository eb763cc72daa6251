"""HTTP answers as a broken server gives them: the faults that hit requests (see `faults`).

`install` adds one middleware and the control socket to the application; the routes know nothing of
either.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from rehearsal.comfyui import control
from rehearsal.comfyui.faults import Fault
from rehearsal.comfyui.prompt_queue import REFUSED_OUTPUTS
from rehearsal.comfyui.simulation import SIMULATION
from rehearsal.comfyui.validation import problem

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
CHUNKS = 40
RETRY_AFTER_SECONDS = 5
#: Output nodes that write videos.
VIDEO_NODES = frozenset({"VHS_VideoCombine", "SaveVideo", "SaveWEBM"})

#: The body of the gateway's 429, so that clients can be tested without a gateway.
QUEUE_FULL = {
    "error": {
        "type": "queue_full",
        "message": "The queue is full. Send the same prompt again after the time in Retry-After.",
        "message_zh": "任务队列已满。请在 Retry-After 指定的时间之后重新提交。",
        "details": "simulated",
        "request_id": "simulated",
    },
    "node_errors": {},
}
ERROR_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sign in</title></head>
<body><h1>Sign in to continue</h1><p>Simulated: a page that a proxy puts in front.</p></body></html>
"""

log = logging.getLogger(__name__)


def install(app: web.Application) -> None:
    """Add faults of answers and the control socket to an application."""
    outage = control.Outage()

    @web.middleware
    async def misbehave(request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path.removeprefix("/api") or "/"
        if outage:
            raise cut(request)
        if path == "/ws":
            return await handler(request)
        fault = request.app[SIMULATION].executor.faults.for_request(request.method, path)
        return await (handler(request) if fault is None else _answer(fault, request, handler))

    async def listen(listening: web.Application) -> AsyncIterator[None]:
        async for _ in control.serve(listening, outage):
            yield

    app.middlewares.append(misbehave)
    app.cleanup_ctx.append(listen)


def cut(request: web.Request) -> ConnectionResetError:
    """Cut a request's connection without an answer; the exception ends its handler."""
    if request.transport is not None:
        request.transport.abort()
    return ConnectionResetError("simulated: connection cut")


async def _answer(fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
    if fault.name == "hang":
        await asyncio.sleep(fault.seconds)
        raise cut(request)
    if fault.name == "partial":
        return await _partial(request, handler)
    if fault.name in ("truncated_view", "slow_view"):
        return await _download(fault, request, await handler(request))
    return _instead(fault)


def _instead(fault: Fault) -> web.Response:
    """What is answered without asking the route."""
    match fault.name:
        case "queue_full":
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            return web.json_response(QUEUE_FULL, status=429, headers=headers)
        case "html":
            return web.Response(text=ERROR_PAGE, content_type="text/html")
    return web.Response(status=500, text="500 Internal Server Error\n\nSimulated.")


async def _partial(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Accept the prompt without its video outputs, which are refused beside status 200."""
    body: dict[str, Any] = await request.json()
    graph = body.get("prompt")
    classes = {
        node_id: node.get("class_type")
        for node_id, node in (graph if isinstance(graph, dict) else {}).items()
        if isinstance(node, dict)
    }
    refused = [node_id for node_id, name in classes.items() if name in VIDEO_NODES]
    token = REFUSED_OUTPUTS.set(frozenset(refused))
    try:
        response = await handler(request)
    finally:
        REFUSED_OUTPUTS.reset(token)
    if response.status != 200 or not isinstance(response, web.Response):
        return response
    answer = json.loads(response.text or "{}")
    for node_id in refused:
        answer["node_errors"][node_id] = {
            "errors": [
                problem(
                    "custom_validation_failed", "Custom validation failed for node",
                    "images - simulated refusal", input_name="images",
                )
            ],
            "dependent_outputs": [node_id],
            "class_type": classes[node_id],
        }  # fmt: skip
    return web.json_response(answer)


async def _download(
    fault: Fault, request: web.Request, answer: web.StreamResponse
) -> web.StreamResponse:
    """Send a file with its Content-Length, but only half of it, or slowly."""
    path = getattr(answer, "_path", None)
    if answer.status != 200 or not isinstance(path, Path):
        return answer
    content_type = answer.content_type
    content = await asyncio.to_thread(path.read_bytes)
    response = web.StreamResponse(headers={"Content-Type": content_type})
    response.content_length = len(content)
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    if fault.name == "truncated_view":
        await response.write(content[: len(content) // 2])
        # Only closing, not aborting: what was written must arrive.
        if request.transport is not None:
            request.transport.close()
        return response
    size = max(1, -(-len(content) // CHUNKS))
    parts = range(0, len(content), size)
    for start in parts:
        await response.write(content[start : start + size])
        await asyncio.sleep(fault.seconds / len(parts))
    await response.write_eof()
    return response
