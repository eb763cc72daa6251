"""Reads a commit's files out of a git repository and writes them as a plain folder.

Every object is hashed here again, from the commit down to each file, so the result is the commit's
tree to the byte, whatever wrote the repository. Attributes such as ``export-ignore`` and
``export-subst`` are not applied: they would make the folder differ from the tree.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType

from images.builder.errors import ArtifactError

_FOLDER = "40000"
_LINK = "120000"
_SUBMODULE = "160000"
#: File modes of git, and those in the exported folder; git once wrote 100664, too.
_FILES = {"100644": 0o644, "100664": 0o644, "100755": 0o755}
_ID_BYTES = 20
_ROOT = PurePosixPath()


class TreeError(ArtifactError):
    """A commit's content is damaged, or holds something that an image must not get."""


@dataclass(frozen=True)
class Entry:
    """One file or link of a tree.

    Attributes:
        path: relative to the tree's root.
        mode: file mode, or None for a symbolic link.
        content: the file's bytes, or where the link points to.
    """

    path: PurePosixPath
    mode: int | None
    content: bytes


class Objects:
    """Objects of one repository, each checked against its id; use it in a ``with`` block."""

    def __init__(self, repository: Path, environment: Mapping[str, str]) -> None:
        self._repository = repository
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Objects:
        self._process = subprocess.Popen(
            ["git", "--git-dir", str(self._repository), "cat-file", "--batch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(self._environment),
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def read(self, object_id: str, kind: str) -> bytes:
        """Content of an object of this kind (``commit``, ``tree``, ``blob``).

        Raises:
            TreeError: it is missing, of another kind, or its content does not have this id.
        """
        if self._process is None or self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("Objects.read outside of its with block")
        try:
            self._process.stdin.write(f"{object_id}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._damaged(object_id, kind, "git ended before it was read") from None
        header = self._process.stdout.readline().decode().split()
        if len(header) != 3:
            raise self._damaged(object_id, kind, "it is missing or cannot be read")
        _, found, size = header
        content = self._process.stdout.read(int(size))
        self._process.stdout.read(1)
        actual = hashlib.sha1(b"%s %d\0" % (found.encode(), len(content)), usedforsecurity=False)
        actual.update(content)
        if actual.hexdigest() != object_id:
            raise self._damaged(object_id, kind, f"its content has the id {actual.hexdigest()}")
        if found != kind:
            raise self._damaged(object_id, kind, f"it is a {found}")
        return content

    def tree_of(self, commit: str) -> str:
        """Id of a commit's tree. Raises TreeError when the commit is damaged."""
        first = self.read(commit, "commit").split(b"\n", 1)[0]
        return first.removeprefix(b"tree ").decode()

    def _damaged(self, object_id: str, kind: str, what: str) -> TreeError:
        return TreeError(
            f"git object {object_id} in {self._repository} is expected to be a {kind} with exactly "
            f"that SHA-1, but {what}. The copy is damaged or was changed: remove "
            f"{self._repository} and run the command again."
        )


def walk(objects: Objects, tree: str, below: PurePosixPath = _ROOT) -> Iterator[Entry]:
    """Files and links of a tree in git's order.

    Raises:
        TreeError: an object is damaged, or an entry is a submodule or has an impossible name.
    """
    content = objects.read(tree, "tree")
    seen: set[str] = set()
    position = 0
    while position < len(content):
        space = content.index(b" ", position)
        end = content.index(b"\0", space)
        mode = content[position:space].decode()
        name = os.fsdecode(content[space + 1 : end])
        object_id = content[end + 1 : end + 1 + _ID_BYTES].hex()
        position = end + 1 + _ID_BYTES
        path = below / name
        if name.lower() in ("", ".", "..", ".git") or "/" in name or name in seen:
            raise _refused(path, f"the name {name!r}", "one plain name, each once, and not .git")
        seen.add(name)
        if mode == _FOLDER:
            yield from walk(objects, object_id, path)
        elif mode == _LINK:
            yield Entry(path, None, objects.read(object_id, "blob"))
        elif mode in _FILES:
            yield Entry(path, _FILES[mode], objects.read(object_id, "blob"))
        elif mode == _SUBMODULE:
            raise _refused(path, f"a submodule at {object_id}", "files, folders and links")
        else:
            raise _refused(path, f"the mode {mode}", "files, folders and links")


def write(entries: Iterator[Entry], target: Path) -> tuple[int, int]:
    """Write entries into the new folder ``target``; returns the number of files and their bytes.

    Files get the mode 0644 or 0755, folders 0755, and everything the time 0.

    Raises:
        TreeError: a link leads out of the folder.
    """
    target.mkdir(parents=True)
    links: list[Entry] = []
    count = size = 0
    for entry in entries:
        count += 1
        if entry.mode is None:
            links.append(entry)
            continue
        path = target / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry.content)
        path.chmod(entry.mode)
        size += len(entry.content)
    # After the files, so that nothing is ever written through a link.
    for link in links:
        path = target / link.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.fsdecode(link.content))
    _check_links(target, links)
    for folder, folders, names in os.walk(target, topdown=False):
        # Folders below have been visited; only links to folders are left of them.
        links_to_folders = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in [*names, *links_to_folders]:
            os.utime(Path(folder) / name, (0, 0), follow_symlinks=False)
        Path(folder).chmod(0o755)
        os.utime(folder, (0, 0))
    return count, size


def _check_links(root: Path, links: list[Entry]) -> None:
    top = Path(os.path.realpath(root))
    for link in links:
        pointed = os.fsdecode(link.content)
        end = Path(os.path.realpath(root / link.path))
        if PurePosixPath(pointed).is_absolute() or not end.is_relative_to(top):
            raise _refused(link.path, f"a link to {pointed!r}", "links that stay inside the tree")


def _refused(path: PurePosixPath, what: str, allowed: str) -> TreeError:
    return TreeError(
        f"the git tree holds {what} at {str(path)!r}; allowed are {allowed}. Anything else would "
        "bring content into the image that the commit does not pin. Pin another commit, or take "
        "the source out of images/pins.toml."
    )
