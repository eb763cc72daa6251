"""Uploads and downloads, with the real server's names and refusals."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import mimetypes
import os
from pathlib import Path
from typing import Any

from aiohttp import web

from rehearsal.comfyui.folders import Folders, OutsideFolderError, inside
from rehearsal.comfyui.simulation import SIMULATION

#: Never shown by a browser, always downloaded.
ACTIVE_CONTENT = frozenset(
    {"text/html", "text/html-sandboxed", "application/xhtml+xml", "text/javascript", "text/css"}
)


class _RefusedError(Exception):
    """An answer with an empty body and this status."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


def _place(folders: Folders, post: Any) -> tuple[web.FileField, Path, str, str]:
    """Where an upload goes: the part, its folder, the subfolder as sent and the type."""
    part = post.get("image")
    kind = post.get("type") or "input"
    root = folders.by_type(kind)
    if not isinstance(part, web.FileField) or not part.filename or root is None:
        raise _RefusedError(400)
    subfolder = post.get("subfolder", "")
    try:
        folder = inside(root, os.path.normpath(subfolder))
        inside(root, str(folder / part.filename))
    except OutsideFolderError as error:
        raise _RefusedError(400) from error
    folder.mkdir(parents=True, exist_ok=True)
    return part, folder, subfolder, kind


def _free_name(folder: Path, filename: str, content: bytes) -> tuple[str, bool]:
    """A name that is not taken, and whether exactly this content is there already."""
    stem, suffix = os.path.splitext(filename)  # noqa: PTH122 - 'a.tar.gz' splits as ComfyUI does
    digest = hashlib.sha256(content).digest()
    name, number = filename, 0
    while (folder / name).exists():
        if hashlib.sha256((folder / name).read_bytes()).digest() == digest:
            return name, True
        number += 1
        name = f"{stem} ({number}){suffix}"
    return name, False


async def upload_image(request: web.Request) -> web.Response:
    """POST /upload/image: any file, despite its name; a taken name gets " (1)" added."""
    folders = request.app[SIMULATION].folders
    post = await request.post()
    try:
        part, folder, subfolder, kind = _place(folders, post)
    except _RefusedError as refused:
        return web.Response(status=refused.status)
    content = part.file.read()
    name, present = part.filename, False
    if post.get("overwrite") not in ("true", "1"):
        name, present = await asyncio.to_thread(_free_name, folder, part.filename, content)
    if not present:
        await asyncio.to_thread((folder / name).write_bytes, content)
    return web.json_response({"name": name, "subfolder": subfolder, "type": kind})


async def upload_mask(request: web.Request) -> web.Response:
    """POST /upload/mask: saves the original picture with the alpha channel of the upload."""
    folders = request.app[SIMULATION].folders
    post = await request.post()
    try:
        part, folder, subfolder, kind = _place(folders, post)
        reference = json.loads(str(post["original_ref"]))
        source = _find(
            folders,
            {"type": "output", **{key: str(value) for key, value in reference.items()}},
        )
    except _RefusedError as refused:
        return web.Response(status=refused.status)
    name = part.filename
    if source.is_file():
        await asyncio.to_thread(_save_masked, source, part.file.read(), folder / name)
    return web.json_response({"name": name, "subfolder": subfolder, "type": kind})


def _save_masked(source: Path, mask: bytes, target: Path) -> None:
    from PIL import Image  # noqa: PLC0415 - keeps the start quick

    with Image.open(source) as opened, Image.open(io.BytesIO(mask)) as alpha:
        picture = opened.convert("RGBA")
        picture.putalpha(alpha.convert("RGBA").getchannel("A"))
        picture.save(target, compress_level=4)


def _find(folders: Folders, query: Any) -> Path:
    """The file that a query names; it need not exist."""
    if "filename" not in query:
        raise _RefusedError(404)
    name, root = folders.split_annotation(query["filename"])
    if not name or name.startswith("/") or ".." in name:
        raise _RefusedError(400)
    root = root or folders.by_type(query.get("type", "output"))
    if root is None:
        raise _RefusedError(400)
    try:
        folder = inside(root, query.get("subfolder", ""))
    except OutsideFolderError as error:
        raise _RefusedError(403) from error
    return folder / Path(name).name


async def view(request: web.Request) -> web.StreamResponse:
    """GET /view: a file, also in parts (Range); a picture also as preview or by channel."""
    try:
        path = _find(request.app[SIMULATION].folders, request.query)
    except _RefusedError as refused:
        return web.Response(status=refused.status)
    if not path.is_file():
        return web.Response(status=404)
    disposition = {"Content-Disposition": f'filename="{path.name}"'}
    channel = request.query.get("channel", "rgba")
    if "preview" in request.query or channel in ("rgb", "a"):
        preview, wanted = request.query.get("preview"), request.query.get("channel", "")
        body, kind = await asyncio.to_thread(_converted, path, preview, wanted)
        return web.Response(body=body, content_type=f"image/{kind}", headers=disposition)
    content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if content_type in ACTIVE_CONTENT:
        content_type = "application/octet-stream"
    return web.FileResponse(path, headers={**disposition, "Content-Type": content_type})


def _converted(path: Path, preview: str | None, channel: str) -> tuple[bytes, str]:
    """A picture as a smaller preview (``webp;90``), without its alpha channel, or only that."""
    from PIL import Image  # noqa: PLC0415 - keeps the start quick

    buffer = io.BytesIO()
    with Image.open(path) as opened:
        if preview is not None:
            wanted = preview.split(";")
            # JPEG has no alpha, so asking for that channel gives WebP whatever was wanted.
            kind = "jpeg" if wanted[0] == "jpeg" and "a" not in channel else "webp"
            picture = opened.convert("RGB") if kind == "jpeg" or channel == "rgb" else opened
            picture.save(buffer, kind, quality=int(wanted[-1]) if wanted[-1].isdigit() else 90)
            return buffer.getvalue(), kind
        if channel == "rgb":
            opened.convert("RGB").save(buffer, "PNG")
        else:
            alpha = Image.new("RGBA", opened.size)
            alpha.putalpha(opened.convert("RGBA").getchannel("A"))
            alpha.save(buffer, "PNG")
    return buffer.getvalue(), "png"


ROUTES = (
    ("POST", "/upload/image", upload_image),
    ("POST", "/upload/mask", upload_mask),
    ("GET", "/view", view),
)
