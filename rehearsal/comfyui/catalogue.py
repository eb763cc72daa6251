"""Node classes, as GET /object_info lists them.

The definitions are a recording of a real server (`data/README.md`); lists that a real server fills
from its folders are filled from the folders of this one.
"""

from __future__ import annotations

import copy
import gzip
import json
import threading
from pathlib import Path
from typing import Any, cast

from rehearsal.comfyui.folders import Folders

DATA = Path(__file__).with_name("data") / "object_info.json.gz"

Definition = dict[str, Any]


class Catalogue:
    """Looks up node classes; reads its data when it is first asked, so that the start is quick."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._lock = threading.Lock()
        self._raw: dict[str, Definition] | None = None

    def _definitions(self) -> dict[str, Definition]:
        with self._lock:
            if self._raw is None:
                recorded: dict[str, Definition] = json.loads(gzip.decompress(DATA.read_bytes()))
                self._raw = {
                    name: definition
                    for name, definition in recorded.items()
                    if self._folders.has_nodes(definition["python_module"])
                }
            return self._raw

    def __contains__(self, class_type: object) -> bool:
        return class_type in self._definitions()

    def names(self) -> list[str]:
        """All node classes."""
        return list(self._definitions())

    def definition(self, class_type: str) -> Definition:
        """One class as /object_info shows it, with the lists of files as they are now.

        Raises:
            KeyError: there is no such class.
        """
        return cast(Definition, self._fill(copy.deepcopy(self._definitions()[class_type])))

    def everything(self) -> dict[str, Definition]:
        """The whole answer of GET /object_info."""
        return {name: self.definition(name) for name in self._definitions()}

    def is_output(self, class_type: str) -> bool:
        """Whether the class ends a graph (it saves or shows something)."""
        return bool(self._definitions()[class_type].get("output_node"))

    def output_types(self, class_type: str) -> tuple[str, ...]:
        """Types of the class's outputs, in the order of their slots."""
        return tuple(self._definitions()[class_type]["output"])

    def wants_node_id(self, class_type: str) -> bool:
        """Whether a hidden input holds the node's id (then its results are its own)."""
        hidden = self._definitions()[class_type]["input"].get("hidden") or {}
        return "UNIQUE_ID" in hidden.values()

    def hidden(self, class_type: str) -> dict[str, str]:
        """Hidden inputs of a class: name to kind (``UNIQUE_ID``, ``PROMPT`` ...)."""
        return dict(self._definitions()[class_type]["input"].get("hidden") or {})

    def inputs(self, class_type: str) -> dict[str, tuple[str, Any, dict[str, Any]]]:
        """Declared inputs: name to (``required`` or ``optional``, type or list, configuration)."""
        definition = self.definition(class_type)
        result = {}
        for section in ("required", "optional"):
            for name, spec in (definition["input"].get(section) or {}).items():
                config = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
                result[name] = (section, spec[0], config)
        return result

    def _fill(self, value: Any) -> Any:
        if isinstance(value, dict):
            if "$folder" in value:
                return self._listing(value["$folder"]) + value.get("then", [])
            return {key: self._fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._fill(item) for item in value]
        return value

    def _listing(self, folder: str) -> list[str]:
        kind, _, name = folder.partition("/")
        return self._folders.model_names(name) if kind == "models" else self._folders.inputs(name)
