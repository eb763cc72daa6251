"""Object bodies and their metadata, as files below the emulator's state directory.

They are kept apart from the state file: that one is written as a whole after every change, which
would be too slow with a video in it. Layout: ``oss/<folder of the bucket>/<hash of the key>/`` with
``<version>.body`` and ``<version>.json``; the JSON file is written last and by renaming, so an
object exists completely or not at all.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

NULL_VERSION = "null"


@dataclass
class StoredObject:
    """One version of an object, or a delete marker.

    Attributes:
        order: grows with every write; the largest of a key is the current version.
        modified: seconds since the epoch.
        headers: what the client sent and gets back (Content-Type, x-oss-meta-*, ...).
        encryption: x-oss-server-side-encryption headers, empty for none.
    """

    key: str
    version: str
    order: int
    modified: float
    size: int = 0
    etag: str = ""
    crc64: str = ""
    kind: str = "Normal"
    storage_class: str = "Standard"
    acl: str = "default"
    delete_marker: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    encryption: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class ObjectStore:
    """The objects of one bucket. Callers hold the cloud's lock."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def _folder(self, key: str) -> Path:
        return self._root / hashlib.sha256(key.encode()).hexdigest()

    def body_path(self, item: StoredObject) -> Path:
        """The file that holds an object's bytes."""
        return self._folder(item.key) / f"{item.version}.body"

    def put(self, item: StoredObject, body: bytes | None) -> None:
        """Write a version; one of the same name is replaced. Delete markers have no body."""
        folder = self._folder(item.key)
        folder.mkdir(parents=True, exist_ok=True)
        if body is not None:
            _replace(self.body_path(item), body)
        self.update(item)

    def update(self, item: StoredObject) -> None:
        """Write metadata only."""
        text = json.dumps(asdict(item), separators=(",", ":"))
        _replace(self._folder(item.key) / f"{item.version}.json", text.encode())

    def remove(self, item: StoredObject) -> None:
        """Remove one version for good."""
        folder = self._folder(item.key)
        (folder / f"{item.version}.json").unlink(missing_ok=True)
        (folder / f"{item.version}.body").unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()

    def versions(self, key: str) -> list[StoredObject]:
        """All versions of a key, newest first."""
        return self._read(self._folder(key))

    def current(self, key: str) -> StoredObject | None:
        """The newest version, which may be a delete marker."""
        versions = self.versions(key)
        return versions[0] if versions else None

    def version(self, key: str, version: str) -> StoredObject | None:
        """One version by its id."""
        return next((item for item in self.versions(key) if item.version == version), None)

    def all_versions(self) -> Iterator[tuple[StoredObject, bool]]:
        """Every version with whether it is its key's newest, by key and from new to old."""
        if not self._root.is_dir():
            return
        groups = [self._read(folder) for folder in self._root.iterdir()]
        for group in sorted(filter(None, groups), key=lambda items: items[0].key):
            for index, item in enumerate(group):
                yield item, index == 0

    def current_objects(self) -> list[StoredObject]:
        """What a listing shows: the newest version of each key, without deleted ones."""
        return [item for item, newest in self.all_versions() if newest and not item.delete_marker]

    def is_empty(self) -> bool:
        """Whether there is no version and no delete marker."""
        return next(self.all_versions(), None) is None

    def delete(self) -> None:
        """Remove the bucket's whole folder."""
        shutil.rmtree(self._root, ignore_errors=True)

    @staticmethod
    def _read(folder: Path) -> list[StoredObject]:
        if not folder.is_dir():
            return []
        items = [StoredObject(**json.loads(f.read_bytes())) for f in folder.glob("*.json")]
        return sorted(items, key=lambda item: item.order, reverse=True)


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content)
    temporary.replace(path)
