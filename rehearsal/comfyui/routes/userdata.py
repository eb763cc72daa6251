"""Settings and files of the one user, below ``user/default``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from rehearsal.comfyui.folders import OutsideFolderError, inside
from rehearsal.comfyui.simulation import SIMULATION

USER = "default"


def _root(request: web.Request) -> Path:
    root = request.app[SIMULATION].folders.user / USER
    root.mkdir(parents=True, exist_ok=True)
    return root


def _settings_file(request: web.Request) -> Path:
    return _root(request) / "comfy.settings.json"


def _settings(request: web.Request) -> dict[str, Any]:
    try:
        stored = json.loads(_settings_file(request).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return dict(stored)


def _store(request: web.Request, settings: dict[str, Any]) -> web.Response:
    _settings_file(request).write_text(json.dumps(settings, indent=4), encoding="utf-8")
    return web.Response()


async def settings(request: web.Request) -> web.Response:
    """GET /settings."""
    return web.json_response(_settings(request))


async def setting(request: web.Request) -> web.Response:
    """GET /settings/{id}: null when it is not set."""
    return web.json_response(_settings(request).get(request.match_info["id"]))


async def change_settings(request: web.Request) -> web.Response:
    """POST /settings: adds to what is there."""
    return _store(request, {**_settings(request), **await request.json()})


async def change_setting(request: web.Request) -> web.Response:
    """POST /settings/{id}."""
    changed = {request.match_info["id"]: await request.json()}
    return _store(request, {**_settings(request), **changed})


async def users(request: web.Request) -> web.Response:
    """GET /users."""
    return web.json_response({"storage": "server", "migrated": _root(request).is_dir()})


def _path(request: web.Request, name: str) -> Path | None:
    """A file of the user; None when the name leaves the user's folder."""
    try:
        return inside(_root(request), unquote(name))
    except OutsideFolderError:
        return None


def _facts(path: Path, root: Path) -> dict[str, Any]:
    facts = path.stat()
    return {
        "path": path.relative_to(root).as_posix(),
        "size": facts.st_size,
        "modified": int(facts.st_mtime * 1000),
        "created": int(facts.st_ctime * 1000),
    }


async def list_files(request: web.Request) -> web.Response:
    """GET /userdata?dir=&recurse=&full_info=&split=."""
    query = request.query
    if not query.get("dir"):
        return web.Response(status=400, text="Directory not provided")
    folder = _path(request, query["dir"])
    if folder is None:
        return web.Response(status=403, text="Invalid directory")
    if not folder.exists():
        return web.Response(status=404, text="Directory not found")
    recurse = query.get("recurse", "").lower() == "true"
    found = sorted(p for p in (folder.rglob("*") if recurse else folder.iterdir()) if p.is_file())
    if query.get("full_info", "").lower() == "true":
        return web.json_response([_facts(path, folder) for path in found])
    names = [path.relative_to(folder).as_posix() for path in found]
    if query.get("split", "").lower() == "true":
        return web.json_response([[name, *name.split("/")] for name in names])
    return web.json_response(names)


async def read_file(request: web.Request) -> web.StreamResponse:
    """GET /userdata/{file}."""
    path = _path(request, request.match_info["file"])
    if path is None:
        return web.Response(status=403)
    return web.FileResponse(path) if path.is_file() else web.Response(status=404)


def _written(request: web.Request, path: Path) -> web.Response:
    root = _root(request)
    if request.query.get("full_info", "false").lower() == "true":
        return web.json_response(_facts(path, root))
    return web.json_response(path.relative_to(root).as_posix())


async def write_file(request: web.Request) -> web.Response:
    """POST /userdata/{file}?overwrite=&full_info=."""
    path = _path(request, request.match_info["file"])
    if path is None:
        return web.Response(status=403)
    if request.query.get("overwrite", "true") == "false" and path.exists():
        return web.Response(status=409, text="File already exists")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(await request.read())
    return _written(request, path)


async def delete_file(request: web.Request) -> web.Response:
    """DELETE /userdata/{file}."""
    path = _path(request, request.match_info["file"])
    if path is None:
        return web.Response(status=403)
    if not path.is_file():
        return web.Response(status=404)
    path.unlink()
    return web.Response(status=204)


async def move_file(request: web.Request) -> web.Response:
    """POST /userdata/{file}/move/{dest}."""
    source = _path(request, request.match_info["file"])
    target = _path(request, request.match_info["dest"])
    if source is None or target is None:
        return web.Response(status=403)
    if not source.is_file():
        return web.Response(status=404)
    if request.query.get("overwrite", "true") == "false" and target.exists():
        return web.Response(status=409, text="File already exists")
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)
    return _written(request, target)


ROUTES = (
    ("GET", "/settings", settings),
    ("GET", "/settings/{id}", setting),
    ("POST", "/settings", change_settings),
    ("POST", "/settings/{id}", change_setting),
    ("GET", "/users", users),
    ("GET", "/userdata", list_files),
    ("GET", "/userdata/{file}", read_file),
    ("POST", "/userdata/{file}", write_file),
    ("DELETE", "/userdata/{file}", delete_file),
    ("POST", "/userdata/{file}/move/{dest}", move_file),
)
