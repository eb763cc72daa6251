"""Query rules of the routes whose query names a file or reaches a command line.

Each rule returns the query that ComfyUI gets: only fields that ComfyUI reads, each at most once.

Why so strict: ComfyUI's ``/view`` compares names as text (``server.py``), VideoHelperSuite joins
``subfolder`` without any check, takes ``type=path`` as "any file of this machine" and puts
``force_size`` into an ffmpeg filter graph (its ``server.py``), where other filters read files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from vace_gateway.errors import Refusal
from vace_gateway.paths import Query

QueryRule = Callable[[Query], Query]

FOLDER_TYPES: Final = ("input", "output", "temp")
# Folders of the user directory that the web interface reads and writes, and single files at its
# top. The rest of that directory (databases, logs, other extensions' files) stays closed.
USER_FOLDERS: Final = ("workflows", "subgraphs")
USER_FILES_WRITABLE: Final = ("comfy.templates.json",)
USER_FILES_READABLE: Final = (*USER_FILES_WRITABLE, "user.css")

_NUMBER = r"[0-9]{1,9}(\.[0-9]{1,12})?"
_VIEW_FIELDS: Final = {
    "preview": r"(webp|jpeg)(;[0-9]{1,3})?",
    "channel": r"rgba|rgb|a",
}
_VIDEO_FIELDS: Final = {
    "format": r"(video|image|audio)/[A-Za-z0-9_.+-]{1,40}|video|audio",
    "force_rate": _NUMBER,
    "frame_rate": _NUMBER,
    "custom_width": _NUMBER,
    "custom_height": _NUMBER,
    "frame_load_cap": _NUMBER,
    "skip_first_frames": _NUMBER,
    "select_every_nth": _NUMBER,
    "start_time": _NUMBER,
    "duration": _NUMBER,
    "force_size": rf"({_NUMBER}|\?)x({_NUMBER}|\?)|Disabled",
    "deadline": r"realtime|good",
}


def unchecked(query: Query) -> Query:
    """For routes that take numbers and ids only; ComfyUI parses them itself."""
    return query


def no_query(query: Query) -> Query:
    """For routes that read no query; cache busters (``?t=...``) are dropped."""
    return ()


def view(query: Query) -> Query:
    """``/view``: a file below input, output or temp, optionally as a smaller picture."""
    return _file_fields(query) + _optional_fields(query, _VIEW_FIELDS)


def video_preview(query: Query) -> Query:
    """``/vhs/viewvideo`` and its two siblings: the same files, with numeric options only."""
    fields = _file_fields(query)
    if any("%" in value for name, value in fields if name == "filename"):
        raise Refusal("bad_query", "filename: a percent sign would name a sequence of files")
    return fields + _optional_fields(query, _VIDEO_FIELDS)


def user_folder(query: Query) -> Query:
    """``GET /userdata?dir=...``: list one of the open folders of the user directory."""
    values = _unique(query)
    folder = values.get("dir", "")
    if not _is_relative(folder) or folder.split("/")[0] not in USER_FOLDERS:
        raise Refusal(
            "bad_query", f"dir: allowed are {', '.join(USER_FOLDERS)} and folders below them"
        )
    options = tuple(
        (name, values[name])
        for name in ("recurse", "split", "full_info")
        if values.get(name, "").lower() in {"true", "false"}
    )
    return (("dir", folder), *options)


def _file_fields(query: Query) -> Query:
    values = _unique(query)
    filename = values.get("filename", "")
    if not _is_relative(filename) or "://" in filename or filename.endswith("/"):
        raise Refusal("bad_query", "filename: allowed is a plain relative file name")
    folder_type = values.get("type")
    if folder_type is not None and folder_type not in FOLDER_TYPES:
        raise Refusal("bad_query", f"type: allowed are {', '.join(FOLDER_TYPES)}")
    subfolder = values.get("subfolder")
    if subfolder and not _is_relative(subfolder):
        raise Refusal("bad_query", "subfolder: allowed is a plain relative folder name")
    found = [("filename", filename)]
    if folder_type is not None:
        found.append(("type", folder_type))
    if subfolder is not None:
        found.append(("subfolder", subfolder))
    return tuple(found)


def _optional_fields(query: Query, allowed: Mapping[str, str]) -> Query:
    # Other fields are dropped, not refused: the web interface adds cache busters (rand, t,
    # timestamp) and its own bookkeeping (fullpath, workflow), none of which ComfyUI reads.
    values = _unique(query)
    found = []
    for name, pattern in allowed.items():
        value = values.get(name)
        if value is None:
            continue
        if re.fullmatch(pattern, value) is None:
            raise Refusal("bad_query", f"{name}: the value has a form that is not allowed")
        found.append((name, value))
    return tuple(found)


def _unique(query: Query) -> dict[str, str]:
    values = dict(query)
    if len(values) != len(query):
        raise Refusal("bad_query", "a field is given twice")
    return values


def _is_relative(text: str) -> bool:
    """True for ``a`` and ``a/b`` without empty, dot or backslash parts.

    ``..`` is refused anywhere, not only as a part of its own, because ComfyUI does the same for
    file names and a client should learn it from one place.
    """
    if not text or "\\" in text or ".." in text or len(text) > 512:
        return False
    parts = text.removesuffix("/").split("/")
    return all(part not in {"", "."} for part in parts)


def is_user_file(name: str, *, write: bool) -> bool:
    """Whether ``/userdata/{name}`` is a file that the web interface needs.

    ``name`` is decoded, with ``/`` between folders.
    """
    if not _is_relative(name) or name.endswith("/"):
        return False
    folder, slash, _ = name.partition("/")
    if slash:
        return folder in USER_FOLDERS
    return name in (USER_FILES_WRITABLE if write else USER_FILES_READABLE)
