"""The browser interface: ComfyUI's own, from the Python package comfyui_frontend_package.

Without the package `/` is a short page that says what this is, as it always did.
"""

from __future__ import annotations

import importlib.util
import mimetypes
from pathlib import Path

from aiohttp import web

from rehearsal.comfyui import COMFYUI_VERSION
from rehearsal.comfyui.folders import OutsideFolderError, inside
from rehearsal.comfyui.simulation import SIMULATION

PACKAGE = "comfyui_frontend_package"
#: Scripts of node packs for the browser: folder of the URL to (module of the nodes, our stand-in).
PACK_SCRIPTS = {
    "ComfyUI-VideoHelperSuite": (
        "custom_nodes.ComfyUI-VideoHelperSuite",
        Path(__file__).parents[1] / "web" / "video_helper.js",
    ),
}
#: A start page must be asked for again after every update.
NEVER_CACHED = {"Cache-Control": "no-cache", "Pragma": "no-cache", "Expires": "0"}
#: The system's own table may lack these or know them differently; a browser refuses a module
#: script whose type is not JavaScript.
CONTENT_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".map": "application/json",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".ttf": "font/ttf",
    ".webp": "image/webp",
    ".webm": "video/webm",
}
DAY_SECONDS, HOUR_SECONDS = 86_400, 3_600
#: What the real server lets a browser keep.
KEPT_PICTURES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff",
                           ".webp"})  # fmt: skip

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Simulated ComfyUI</title>
<h1>Simulated ComfyUI {version}</h1>
<p>This is <strong>not</strong> ComfyUI: no model runs here, and the pictures in the videos are
drawn. It answers the same calls, so that everything around ComfyUI can be tested without a GPU.
There is no graphical editor: the Python package comfyui_frontend_package is not installed.</p>
<ul><li><a href="system_stats">system_stats</a> <li><a href="queue">queue</a>
<li><a href="history">history</a> <li><a href="object_info">object_info</a></ul>
</html>
"""


def installed() -> Path | None:
    """Folder of the interface's static files, or None when the package is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).with_name("static")
    return folder if (folder / "index.html").is_file() else None


async def page(request: web.Request) -> web.StreamResponse:
    """GET /: the interface, or a page that says what this is."""
    root = request.app[SIMULATION].interface
    if root is not None:
        return web.FileResponse(root / "index.html", headers=NEVER_CACHED)
    text = PAGE.format(version=COMFYUI_VERSION)
    return web.Response(text=text, content_type="text/html", headers=NEVER_CACHED)


async def extensions(request: web.Request) -> web.Response:
    """GET /extensions: scripts that the interface loads besides its own."""
    root = request.app[SIMULATION].interface
    if root is None:
        return web.json_response([])
    scripts = sorted((root / "extensions").rglob("*.js"))
    own = [f"/{path.relative_to(root).as_posix()}" for path in scripts]
    folders = request.app[SIMULATION].folders
    packs = [
        f"/extensions/{pack}/{script.name}"
        for pack, (module, script) in PACK_SCRIPTS.items()
        if script.is_file() and folders.has_nodes(module)
    ]
    return web.json_response(own + packs)


async def pack_script(request: web.Request) -> web.StreamResponse:
    """GET /extensions/{pack}/{script}: what a node pack adds to the interface."""
    _, script = PACK_SCRIPTS.get(request.match_info["pack"], ("", None))
    if script is None or script.name != request.match_info["script"]:
        return await static(request)
    headers = {"Content-Type": CONTENT_TYPES[".js"], "Cache-Control": "no-cache"}
    return web.FileResponse(script, headers=headers)


async def templates(_: web.Request) -> web.Response:
    """GET /templates/index.json: example workflows, whose package is not part of the simulation."""
    return web.json_response([])


async def template_logos(_: web.Request) -> web.Response:
    """GET /templates/index_logo.json: logos of the example workflows' makers."""
    return web.json_response({})


async def static(request: web.Request) -> web.StreamResponse:
    """GET of any other path: a file of the interface, else 404. Anything but GET is 405."""
    name = request.match_info.get("file") or request.path.lstrip("/")
    suffix = Path(name).suffix.lower()
    path = _file(request.app[SIMULATION].interface, name)
    if path is None:
        kept = {"Cache-Control": f"public, max-age={HOUR_SECONDS}"}
        return web.Response(
            status=404,
            text="404: Not Found",
            headers=kept if suffix in KEPT_PICTURES else None,
        )
    kind = CONTENT_TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = {"Content-Type": kind}
    if suffix in (".js", ".css") or path.name == "index.json":
        headers["Cache-Control"] = "no-cache"
    elif suffix in KEPT_PICTURES:
        headers["Cache-Control"] = f"public, max-age={DAY_SECONDS}"
    return web.FileResponse(path, headers=headers)


def _file(root: Path | None, name: str) -> Path | None:
    if root is None or "\0" in name:
        return None
    try:
        path = inside(root, name)
    except OutsideFolderError:
        return None
    return path if path.is_file() else None


ROUTES = (
    ("GET", "/", page),
    ("GET", "/extensions", extensions),
    ("GET", "/extensions/{pack}/{script}", pack_script),
    ("GET", "/templates/index.json", templates),
    ("GET", "/templates/index_logo.json", template_logos),
)
#: Must come after all other routes: it takes every path that none of them took.
LAST = ("GET", "/{file:.+}", static)
