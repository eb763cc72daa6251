"""Prompts, queue, history, interrupt and the WebSocket."""

from __future__ import annotations

import json
import logging
import time
import uuid
from typing import Any

from aiohttp import web

from rehearsal.comfyui.simulation import SIMULATION
from rehearsal.comfyui.validation import validate

log = logging.getLogger(__name__)


async def websocket(request: web.Request) -> web.StreamResponse:
    """GET /ws?clientId=."""
    simulation = request.app[SIMULATION]
    return await simulation.hub.serve(
        request,
        status=simulation.queue_info,
        current=lambda: simulation.executor.current,
        features=simulation.features,
    )


async def queue_info(request: web.Request) -> web.Response:
    """GET /prompt."""
    return web.json_response(request.app[SIMULATION].queue_info())


async def submit(request: web.Request) -> web.Response:
    """POST /prompt. A body that is no JSON is status 500, as at the real server."""
    simulation = request.app[SIMULATION]
    body: dict[str, Any] = await request.json()
    if "number" in body:
        number: float = float(body["number"])
    else:
        number = -simulation.next_number if body.get("front") else simulation.next_number
        simulation.next_number += 1
    if "prompt" not in body:
        error = {
            "type": "no_prompt",
            "message": "No prompt provided",
            "details": "No prompt provided",
            "extra_info": {},
        }
        return web.json_response({"error": error, "node_errors": {}}, status=400)
    graph = body["prompt"]
    targets = body.get("partial_execution_targets")
    verdict = validate(graph, simulation.catalogue, simulation.folders, targets)
    if verdict.error is not None:
        log.warning("invalid prompt: %s", verdict.error["type"])
        answer = {"error": verdict.error, "node_errors": verdict.node_errors}
        return web.json_response(answer, status=400)
    prompt_id = str(body.get("prompt_id") or uuid.uuid4())
    extra: dict[str, Any] = dict(body.get("extra_data") or {})
    if "client_id" in body:
        extra["client_id"] = body["client_id"]
    extra["create_time"] = int(time.time() * 1000)
    simulation.queue.put((number, prompt_id, graph, extra, verdict.outputs))
    log.info("got prompt %s", prompt_id)
    return web.json_response(
        {"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors}
    )


async def queue(request: web.Request) -> web.Response:
    """GET /queue."""
    running, pending = request.app[SIMULATION].queue.listing()
    return web.json_response({"queue_running": running, "queue_pending": pending})


async def change_queue(request: web.Request) -> web.Response:
    """POST /queue: ``clear`` and ``delete``; unknown ids are ignored."""
    prompt_queue = request.app[SIMULATION].queue
    body = await request.json()
    if body.get("clear"):
        prompt_queue.clear()
    for prompt_id in body.get("delete", ()):
        prompt_queue.delete(prompt_id)
    return web.Response()


async def history(request: web.Request) -> web.Response:
    """GET /history?max_items=&offset=."""
    limit, offset = request.query.get("max_items"), request.query.get("offset")
    entries = request.app[SIMULATION].queue.history(
        max_items=int(limit) if limit is not None else None,
        offset=int(offset) if offset is not None else -1,
    )
    return web.json_response(entries)


async def history_entry(request: web.Request) -> web.Response:
    """GET /history/{prompt_id}: empty while it waits or runs, and when it is unknown."""
    entries = request.app[SIMULATION].queue.history(request.match_info["prompt_id"])
    return web.json_response(entries)


async def change_history(request: web.Request) -> web.Response:
    """POST /history: ``clear`` and ``delete``."""
    prompt_queue = request.app[SIMULATION].queue
    body = await request.json()
    if body.get("clear"):
        prompt_queue.clear_history()
    for prompt_id in body.get("delete", ()):
        prompt_queue.delete_history(prompt_id)
    return web.Response()


async def interrupt(request: web.Request) -> web.Response:
    """POST /interrupt: what runs, or only if it is the prompt named in the body."""
    simulation = request.app[SIMULATION]
    try:
        prompt_id = (await request.json()).get("prompt_id")
    except json.JSONDecodeError:
        prompt_id = None
    running, _ = simulation.queue.listing()
    if prompt_id is None or any(item[1] == prompt_id for item in running):
        simulation.executor.interrupt.set()
    return web.Response()


async def free(request: web.Request) -> web.Response:
    """POST /free: ``free_memory`` empties the cache of results."""
    body = await request.json()
    if body.get("free_memory"):
        request.app[SIMULATION].queue.set_flag("free_memory")
    return web.Response()


ROUTES = (
    ("GET", "/ws", websocket),
    ("GET", "/prompt", queue_info),
    ("POST", "/prompt", submit),
    ("GET", "/queue", queue),
    ("POST", "/queue", change_queue),
    ("GET", "/history", history),
    ("GET", "/history/{prompt_id}", history_entry),
    ("POST", "/history", change_history),
    ("POST", "/interrupt", interrupt),
    ("POST", "/free", free),
)
