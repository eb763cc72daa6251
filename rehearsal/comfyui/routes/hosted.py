"""Routes of ComfyUI's API description that a local server answers without doing anything.

The description also covers the hosted service (accounts, billing, shared workflows). A local
ComfyUI has no such routes; the conformance suite lists each with its reason. The asset
database exists in ComfyUI but is off unless it is started with ``--enable-assets``; it then says
so in an answer of its own, which is what these routes give.
"""

from __future__ import annotations

from aiohttp import web

DISABLED = {
    "error": {
        "code": "SERVICE_DISABLED",
        "message": "Assets system is disabled. Start the server with --enable-assets to use this "
        "feature.",
        "details": {},
    }
}


async def assets_are_off(_: web.Request) -> web.Response:
    """503 as of a server that was started without ``--enable-assets``."""
    return web.json_response(DISABLED, status=503)


ROUTES = tuple(
    (method, path, assets_are_off)
    for method, path in (
        ("GET", "/api/assets"),
        ("POST", "/api/assets"),
        ("GET", "/api/assets/{id}"),
        ("PUT", "/api/assets/{id}"),
        ("DELETE", "/api/assets/{id}"),
        ("GET", "/api/assets/{id}/content"),
        ("POST", "/api/assets/{id}/tags"),
        ("DELETE", "/api/assets/{id}/tags"),
        ("POST", "/api/assets/from-hash"),
        ("HEAD", "/api/assets/hash/{hash}"),
        ("POST", "/api/assets/prune"),
        ("POST", "/api/assets/seed"),
        ("POST", "/api/assets/seed/cancel"),
        ("GET", "/api/assets/seed/status"),
        ("GET", "/api/assets/tags/refine"),
        ("GET", "/api/tags"),
    )
)
