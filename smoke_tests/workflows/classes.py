"""Keeps ``node_classes.json``: what the definitions need of a real server's /object_info."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from smoke_tests.workflows.graph import CLASSES_FILE

#: All that the builder and the browser interface's file depend on.
KEPT = ("input", "input_order", "output", "output_name", "display_name", "python_module")
VIDEO_FORMAT = "video/h264-mp4"


def read_object_info(path: Path) -> dict[str, Any]:
    """An answer of GET /object_info from a file, gzipped or not."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    answer: dict[str, Any] = json.loads(content)
    return answer


def extract(object_info: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The kept part of some classes; of VHS_VideoCombine's formats the one that is used.

    Raises:
        KeyError: the server has no such class.
    """
    result = {}
    for name in sorted(names):
        definition = json.loads(json.dumps({key: object_info[name].get(key) for key in KEPT}))
        formats = definition["input"].get("required", {}).get("format", [None, {}])[1]
        if "formats" in formats:
            formats["formats"] = {VIDEO_FORMAT: formats["formats"][VIDEO_FORMAT]}
        definition["input"].pop("hidden", None)
        result[name] = definition
    return result


def write(classes: dict[str, Any]) -> None:
    """Replace ``node_classes.json``."""
    text = json.dumps(classes, ensure_ascii=False, indent=1, sort_keys=True)
    CLASSES_FILE.write_text(text + "\n", encoding="utf-8")
