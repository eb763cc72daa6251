"""HTTP routes, one module a subject."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from aiohttp import web

from rehearsal.comfyui.routes import (
    discovery,
    files,
    hosted,
    interface,
    jobs,
    prompts,
    userdata,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Route = tuple[str, str, Handler]


def all_routes() -> Iterator[Route]:
    """Every route with its method: once as is and once below ``/api``, but some only there.

    The order matters: the interface's files come last, because their route takes every path.
    """
    for module in (interface, discovery, prompts, files, userdata):
        for method, path, handler in module.ROUTES:
            yield method, path, handler
            if path != "/":
                yield method, f"/api{path}", handler
    yield from jobs.ROUTES
    yield from hosted.ROUTES
    yield interface.LAST
