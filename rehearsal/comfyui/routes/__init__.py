"""HTTP routes, one module a subject."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from aiohttp import web

from rehearsal.comfyui.routes import discovery, files, jobs, prompts, userdata

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Route = tuple[str, str, Handler]


def all_routes() -> Iterator[Route]:
    """Every route with its method: once as is and once below ``/api``, except `jobs`."""
    for module in (discovery, prompts, files, userdata):
        for method, path, handler in module.ROUTES:
            yield method, path, handler
            if path != "/":
                yield method, f"/api{path}", handler
    yield from jobs.ROUTES
