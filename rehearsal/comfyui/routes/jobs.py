"""ComfyUI's newer view of queue and history: /api/jobs (only below /api)."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from rehearsal.comfyui.prompt_queue import Item
from rehearsal.comfyui.simulation import SIMULATION, Simulation

STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")
PREVIEWABLE = frozenset({"images", "video", "audio", "3d", "text"})
MAXIMUM_LIMIT = 1000


def _previewable(media: str, item: dict[str, Any]) -> bool:
    return media in PREVIEWABLE or str(item.get("format", "")).startswith(("video/", "audio/"))


def _summary(outputs: dict[str, Any]) -> tuple[int, int, dict[str, Any] | None]:
    """Number of outputs, of those that can be shown, and the one to show."""
    count, shown = 0, []
    for node_id, node in outputs.items():
        for media, items in node.items():
            if media == "animated":
                continue
            count += len(items)
            shown += [
                {**item, "nodeId": node_id, "mediaType": media}
                for item in items
                if _previewable(media, item)
            ]
    saved = (item for item in shown if item.get("type") == "output")
    return count, len(shown), next(saved, shown[0] if shown else None)


def _pruned(job: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in job.items() if value is not None}


def _workflow_id(extra: dict[str, Any]) -> Any:
    return ((extra.get("extra_pnginfo") or {}).get("workflow") or {}).get("id")


def _queued(item: Item, status: str) -> dict[str, Any]:
    number, prompt_id, _, extra, _ = item
    return _pruned(
        {
            "id": prompt_id,
            "status": status,
            "priority": number,
            "create_time": extra.get("create_time"),
            "outputs_count": 0,
            "previewable_outputs_count": 0,
            "workflow_id": _workflow_id(extra),
        }
    )


def _ended(prompt_id: str, entry: dict[str, Any], *, detail: bool) -> dict[str, Any]:
    number, _, graph, extra, _ = entry["prompt"]
    messages = dict(entry["status"]["messages"])
    ends = ("execution_success", "execution_error", "execution_interrupted")
    final: dict[str, Any] = next((messages[name] for name in ends if name in messages), {})
    status = "completed"
    if entry["status"]["status_str"] == "error":
        status = "cancelled" if "execution_interrupted" in messages else "failed"
    count, previewable, preview = _summary(entry["outputs"])
    job = _pruned(
        {
            "id": prompt_id,
            "status": status,
            "priority": number,
            "create_time": extra.get("create_time"),
            "execution_start_time": messages.get("execution_start", {}).get("timestamp"),
            "execution_end_time": final.get("timestamp"),
            "execution_error": messages.get("execution_error"),
            "outputs_count": count,
            "previewable_outputs_count": previewable,
            "preview_output": preview,
            "workflow_id": _workflow_id(extra),
        }
    )
    if detail:
        job["outputs"] = entry["outputs"]
        job["execution_status"] = entry["status"]
        job["workflow"] = {"prompt": graph, "extra_data": extra}
    return job


def _everything(simulation: Simulation) -> list[dict[str, Any]]:
    running, pending = simulation.queue.listing()
    return [
        *(_queued(item, "in_progress") for item in running),
        *(_queued(item, "pending") for item in pending),
        *(_ended(key, entry, detail=False) for key, entry in simulation.queue.history().items()),
    ]


def _bad(message: str) -> web.Response:
    return web.json_response({"error": message}, status=400)


def _duration(job: dict[str, Any]) -> int:
    return int(job.get("execution_end_time", 0)) - int(job.get("execution_start_time", 0))


async def listing(request: web.Request) -> web.Response:
    """GET /api/jobs: newest first; status, sort_by, sort_order, limit and offset as parameters."""
    query = request.query
    wanted = [part for part in query.get("status", "").split(",") if part]
    unknown = [part for part in wanted if part not in STATUSES]
    if unknown:
        return _bad(f"Invalid status value(s): {unknown}. Valid values: {list(STATUSES)}")
    try:
        offset = max(0, int(query.get("offset", "0")))
        limit = int(query["limit"]) if "limit" in query else None
    except ValueError:
        return _bad("limit and offset must be integers")
    if limit is not None and not 1 <= limit <= MAXIMUM_LIMIT:
        return _bad(f"limit must be between 1 and {MAXIMUM_LIMIT}")
    by_time = query.get("sort_by", "create_time") == "create_time"
    jobs = [job for job in _everything(request.app[SIMULATION]) if not wanted
            or job["status"] in wanted]  # fmt: skip
    if "workflow_id" in query:
        jobs = [job for job in jobs if job.get("workflow_id") == query["workflow_id"]]
    jobs.sort(
        key=(lambda job: job.get("create_time", 0)) if by_time else _duration,
        reverse=query.get("sort_order", "desc") != "asc",
    )
    end = len(jobs) if limit is None else offset + limit
    pagination = {
        "offset": offset,
        "limit": limit,
        "total": len(jobs),
        "has_more": end < len(jobs),
    }
    return web.json_response({"jobs": jobs[offset:end], "pagination": pagination})


def _find(simulation: Simulation, job_id: str) -> dict[str, Any] | None:
    entry = simulation.queue.history(job_id).get(job_id)
    if entry is not None:
        return _ended(job_id, entry, detail=True)
    running, pending = simulation.queue.listing()
    for items, status in ((running, "in_progress"), (pending, "pending")):
        for item in items:
            if item[1] == job_id:
                workflow = {"prompt": item[2], "extra_data": item[3]}
                return {**_queued(item, status), "workflow": workflow}
    return None


async def job(request: web.Request) -> web.Response:
    """GET /api/jobs/{job_id}: 404 when there is no such job."""
    found = _find(request.app[SIMULATION], request.match_info["job_id"])
    if found is None:
        return web.json_response({"error": "Job not found"}, status=404)
    return web.json_response(found)


def _cancel(simulation: Simulation, job_id: str) -> bool:
    """Stop a job wherever it is; False when there is no such job."""
    found = _find(simulation, job_id)
    if found is None:
        return False
    if not simulation.queue.delete(job_id) and found["status"] == "in_progress":
        simulation.executor.interrupt.set()
    return True


async def cancel(request: web.Request) -> web.Response:
    """POST /api/jobs/{job_id}/cancel: also fine for a job that has ended."""
    if not _cancel(request.app[SIMULATION], request.match_info["job_id"]):
        return web.json_response({"error": "Job not found"}, status=404)
    return web.json_response({"cancelled": True})


async def cancel_several(request: web.Request) -> web.Response:
    """POST /api/jobs/cancel: all of ``job_ids`` or, when one is unknown, none of them."""
    simulation = request.app[SIMULATION]
    try:
        wanted = (await request.json()).get("job_ids")
    except (json.JSONDecodeError, AttributeError):
        wanted = None
    if not isinstance(wanted, list) or not wanted or not all(isinstance(x, str) for x in wanted):
        return web.json_response({"error": "job_ids must be a non-empty list"}, status=400)
    found = [_find(simulation, job_id) for job_id in wanted]
    if None in found:
        return web.json_response({"error": "Job not found"}, status=404)
    open_jobs = [job["id"] for job in found if job and job["status"] in STATUSES[:2]]
    return web.json_response({"cancelled": [one for one in open_jobs if _cancel(simulation, one)]})


ROUTES = (
    ("GET", "/api/jobs", listing),
    ("GET", "/api/jobs/{job_id}", job),
    ("POST", "/api/jobs/cancel", cancel_several),
    ("POST", "/api/jobs/{job_id}/cancel", cancel),
)
