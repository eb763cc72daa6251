"""The allow-list: which routes of ComfyUI are open, with which methods, body sizes and rules.

Routes were taken from ComfyUI 0.33.0's own description of its API, the front end's calls and
VideoHelperSuite's previews. A route that is not in ROUTES is closed (404), among them:

- ``/internal/*`` (logs, folder paths, listings of server folders), ``/view_metadata`` (reads any
  model file's header), ``/experiment/models/preview`` (pictures beside model files);
- ``/api/assets*`` (registers and deletes files of the server), ``POST /users``, ``/v2/userdata``;
- ``/manager``, ``/customnode``, ``/snapshot``, ``/externalmodel``, ``/comfyui_manager`` and other
  routes that custom nodes add: several of them were remote code execution (CVE-2025-67303,
  CVE-2026-22777);
- ``/vhs/getpath`` (lists any folder of the machine).

``/userdata`` is open for workflows and subgraphs only (queries.py): the interface can't load or
save a workflow without it. Deleting and renaming are part of that, and stay inside the same
folders. ``/settings`` is open because the interface does not start without it; the values are
read by the interface alone. ``/free`` is open: it frees GPU memory, which the next job takes back,
and it is the only remedy after an out-of-memory error short of a restart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from vace_gateway import queries
from vace_gateway.errors import Refusal
from vace_gateway.paths import Target
from vace_gateway.queries import QueryRule


class Body(Enum):
    """How large a request body may be; app.py turns the name into bytes."""

    NONE = "none"
    SMALL = "small"  # a few ids or settings: 1 MiB
    PROMPT = "prompt"  # a graph or a saved workflow: VACE_GATEWAY_MAX_PROMPT_MIB
    UPLOAD = "upload"  # a file: VACE_GATEWAY_MAX_UPLOAD_MIB


class Kind(Enum):
    """How a route is served."""

    HTTP = "http"
    PROMPT = "prompt"  # passes the queue limit first
    WEBSOCKET = "websocket"


@dataclass(frozen=True)
class Route:
    """One open route. ``user_content`` marks answers that carry bytes somebody uploaded."""

    name: str  # label in metrics and logs: few, stable values
    methods: tuple[str, ...]
    pattern: str
    body: Body = Body.NONE
    query: QueryRule = queries.unchecked
    kind: Kind = Kind.HTTP
    user_content: bool = False
    api_prefix: bool = True  # also served below /api, as ComfyUI does for all but static files

    def allowed_methods(self) -> tuple[str, ...]:
        """GET brings HEAD along."""
        return ("GET", "HEAD", *self.methods[1:]) if self.methods[0] == "GET" else self.methods


def _get(name: str, pattern: str, query: QueryRule = queries.unchecked) -> Route:
    return Route(name, ("GET",), pattern, query=query)


def _view(name: str, pattern: str, query: QueryRule) -> Route:
    return Route(name, ("GET",), pattern, query=query, user_content=True)


def _post(name: str, pattern: str, body: Body = Body.SMALL, kind: Kind = Kind.HTTP) -> Route:
    return Route(name, ("POST",), pattern, body, queries.unchecked, kind)


def _static(pattern: str) -> Route:
    return Route("ui", ("GET",), pattern, query=queries.no_query, api_prefix=False)


ROUTES: Final = (
    # The service that programs use
    Route("ws", ("GET",), "/ws", kind=Kind.WEBSOCKET),
    _get("prompt_status", "/prompt"),
    _post("prompt", "/prompt", Body.PROMPT, Kind.PROMPT),
    _get("queue", "/queue"),
    _post("queue_edit", "/queue"),
    _post("interrupt", "/interrupt"),
    _post("free", "/free"),
    _get("history", "/history"),
    _post("history_edit", "/history"),
    _get("history", "/history/{id}"),
    _get("jobs", "/jobs"),
    _get("jobs", "/jobs/{id}"),
    _post("jobs_cancel", "/jobs/cancel"),
    _post("jobs_cancel", "/jobs/{id}/cancel"),
    _post("upload", "/upload/image", Body.UPLOAD),
    _post("upload", "/upload/mask", Body.UPLOAD),
    _view("view", "/view", queries.view),
    _view("video_preview", "/vhs/viewvideo", queries.video_preview),
    _view("video_preview", "/vhs/viewaudio", queries.video_preview),
    _view("video_preview", "/vhs/queryvideo", queries.video_preview),
    # What the machine offers
    _get("object_info", "/object_info", queries.no_query),
    _get("object_info", "/object_info/{class}", queries.no_query),
    _get("system_stats", "/system_stats", queries.no_query),
    _get("features", "/features", queries.no_query),
    _get("models", "/embeddings", queries.no_query),
    _get("models", "/models", queries.no_query),
    _get("models", "/models/{folder}", queries.no_query),
    _get("models", "/experiment/models", queries.no_query),
    _get("models", "/experiment/models/{folder}", queries.no_query),
    # What the web interface needs to start, and to load and save workflows
    _get("ui_data", "/extensions", queries.no_query),
    _get("ui_data", "/i18n", queries.no_query),
    _get("ui_data", "/users", queries.no_query),
    _get("ui_data", "/workflow_templates", queries.no_query),
    _get("ui_data", "/global_subgraphs", queries.no_query),
    _get("ui_data", "/global_subgraphs/{id}", queries.no_query),
    _get("ui_data", "/node_replacements", queries.no_query),
    _get("settings", "/settings", queries.no_query),
    _get("settings", "/settings/{setting}", queries.no_query),
    _post("settings", "/settings"),
    _post("settings", "/settings/{setting}"),
    _get("userdata", "/userdata", queries.user_folder),
    Route("userdata", ("GET",), "/userdata/{user_file}", user_content=True),
    _post("userdata", "/userdata/{writable_user_file}", Body.PROMPT),
    Route("userdata", ("DELETE",), "/userdata/{writable_user_file}"),
    _post("userdata", "/userdata/{writable_user_file}/move/{writable_user_file}"),
    # Static files of the web interface and of its extensions
    _static("/"),
    _static("/{file}"),
    *(
        _static(f"/{folder}/{{files}}")
        for folder in (
            *("assets", "css", "cursor", "docs", "extensions", "fonts", "lib"),
            *("scripts", "templates"),
        )
    ),
)

_STATIC_EXTENSIONS: Final = frozenset(
    {
        "html",
        "js",
        "mjs",
        "css",
        "map",
        "json",
        "wasm",
        "txt",
        "md",
        "ico",
        "png",
        "jpg",
        "jpeg",
        "gif",
        "svg",
        "webp",
        "avif",
        "mp4",
        "webm",
        "mp3",
        "wav",
        "woff",
        "woff2",
        "ttf",
        "otf",
        "webmanifest",
    }
)
_PLACEHOLDERS: Final = {
    "{id}": r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}",
    "{folder}": r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}",
    "{class}": r"[^/\x00-\x1f]{1,128}",
    "{setting}": r"[A-Za-z0-9][A-Za-z0-9_. -]{0,199}",
}


@dataclass(frozen=True)
class Match:
    """An open route together with the query that may go to ComfyUI."""

    route: Route
    query: tuple[tuple[str, str], ...]


def find_route(target: Target, method: str) -> Match:
    """Find the open route for a checked target.

    Raises Refusal ``route_closed`` (404), ``method_closed`` (405 with Allow) or ``bad_query``.
    """
    allowed: set[str] = set()
    for route in ROUTES:
        if not _matches(route, target.segments):
            continue
        if method in route.allowed_methods():
            return Match(route, route.query(target.query))
        allowed.update(route.allowed_methods())
    if allowed:
        raise Refusal("method_closed", headers={"Allow": ", ".join(sorted(allowed))})
    raise Refusal("route_closed")


def _matches(route: Route, segments: tuple[str, ...]) -> bool:
    pattern = _split(route.pattern)
    if _segments_match(pattern, segments):
        return True
    return route.api_prefix and segments[:1] == ("api",) and _segments_match(pattern, segments[1:])


def _split(pattern: str) -> tuple[str, ...]:
    return tuple(part for part in pattern.split("/") if part)


def _segments_match(pattern: tuple[str, ...], segments: tuple[str, ...]) -> bool:
    if pattern[-1:] == ("{files}",):
        head, rest = pattern[:-1], segments[len(pattern) - 1 :]
        return segments[: len(head)] == head and bool(rest) and _is_static(rest)
    return len(pattern) == len(segments) and all(map(_segment_matches, pattern, segments))


def _segment_matches(pattern: str, segment: str) -> bool:
    if pattern == "{file}":
        return _is_static((segment,))
    if pattern == "{user_file}":
        return queries.is_user_file(segment, write=False)
    if pattern == "{writable_user_file}":
        return queries.is_user_file(segment, write=True)
    if pattern in _PLACEHOLDERS:
        return re.fullmatch(_PLACEHOLDERS[pattern], segment) is not None
    return pattern == segment


def _is_static(parts: Iterable[str]) -> bool:
    """Static files have a known extension and no hidden part (``.git``, ``.env``)."""
    *_, last = names = tuple(parts)
    extension = last.rpartition(".")[2].lower() if "." in last else ""
    return extension in _STATIC_EXTENSIONS and not any(name.startswith(".") for name in names)
