"""The files of an image: its layers laid over each other, read as streams and hashed.

Nothing is written to disk. For each file there is its SHA-256, for sources also git's id, and the
content of the few files that checks read.
"""

from __future__ import annotations

import hashlib
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from images.builder.layers import CHUNK, open_layer
from images.builder.oci import Image

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_KEPT_LIMIT = 16 << 20
_KEPT_NAMES = {"RECORD", "METADATA"}
_KEPT_PATHS = {"var/lib/dpkg/status", "opt/models/manifest.json", "opt/vace/image.json"}
SOURCES = "opt/comfyui/"
WRAPPERS = "usr/local/bin/"
_LINKS = 8


@dataclass(frozen=True)
class File:
    """One file, folder or link.

    Attributes:
        kind: ``file``, ``folder``, ``link`` or ``other`` (devices, pipes).
        mode: permission bits with setuid and setgid.
        sha256: of a file's content; empty for others.
        git_id: git's id of the blob, below ``opt/comfyui`` only.
        link: where a symbolic link points to.
        content: kept for files that checks read.
        layer: number of the layer that it comes from, from 0.
    """

    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    layer: int
    sha256: str = ""
    git_id: str = ""
    link: str = ""
    content: bytes | None = None


@dataclass
class Tree:
    """Files by their path without a leading slash.

    Attributes:
        files: what the layers hold together.
        problems: members of layers that runtimes may unpack in different ways; they are not in
            ``files``, so an image that has any was not checked wholly.
    """

    files: dict[str, File] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def below(self, folder: str) -> Iterator[tuple[str, File]]:
        """Everything below a folder (given with its final slash), by path relative to it."""
        for path, file in self.files.items():
            if path.startswith(folder):
                yield path[len(folder) :], file

    def text(self, path: str) -> str | None:
        """Content of a file that was kept, or None."""
        file = self.files.get(path)
        if file is None or file.content is None:
            return None
        return file.content.decode(errors="replace")

    def resolve(self, path: str) -> File | None:
        """The file that a path names after its last part's symbolic links, or None."""
        for _ in range(_LINKS):
            file = self.files.get(path)
            if file is None or file.kind != "link":
                return file
            path = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), file.link))[1:]
        return None

    def remove(self, path: str) -> None:
        """Remove a path and everything below it."""
        self.files.pop(path, None)
        self.remove_below(path)

    def remove_below(self, path: str) -> None:
        """Remove everything below a folder."""
        prefix = f"{path}/"
        for name in [name for name in self.files if name.startswith(prefix)]:
            del self.files[name]


def read_tree(image: Image, *, byte_code: bool = False) -> Tree:
    """Read all layers to their ends.

    ``byte_code`` keeps Python's sources and byte code, some hundred megabytes for torch.
    Raises LayerError when a layer is not what manifest and config say.
    """
    tree = Tree()
    diff_ids = image.diff_ids
    for number, descriptor in enumerate(image.layers):
        diff_id = diff_ids[number] if number < len(diff_ids) else None
        with open_layer(image.source, descriptor, diff_id) as tar:
            _apply(tree, tar, number, byte_code)
    return tree


def _apply(tree: Tree, tar: tarfile.TarFile, layer: int, byte_code: bool) -> None:
    added: dict[str, File] = {}
    hidden: list[str] = []
    emptied: list[str] = []
    for member in tar:
        path = member.name.removeprefix("./").removesuffix("/")
        if not path or path == ".":
            continue
        if {"", ".", ".."} & set(path.split("/")):
            tree.problems.append(f"layer {layer} has a member named {member.name!r}")
            continue
        name = PurePosixPath(path).name
        parent = path.rpartition("/")[0]
        if name == _OPAQUE:
            emptied.append(parent)
        elif name.startswith(_WHITEOUT):
            hidden.append(f"{parent}/{name[len(_WHITEOUT) :]}".lstrip("/"))
        elif member.islnk():
            target = member.linkname.removeprefix("./")
            linked = added.get(target) or tree.files.get(target)
            if linked is not None and linked.kind in ("file", "link"):
                added[path] = _linked(linked, path, layer)
                continue
            tree.problems.append(
                f"layer {layer}: hard link {path} to {member.linkname!r}, which is no file"
            )
        else:
            added[path] = _read(tar, member, path, layer, byte_code)
    _lay_over(tree, added, hidden, emptied)


def _lay_over(tree: Tree, added: dict[str, File], hidden: list[str], emptied: list[str]) -> None:
    # What a layer removes lies in the layers below it, whatever the order in the archive.
    for path in hidden:
        tree.remove(path)
    for path in emptied:
        tree.remove_below(path)
    folders = {str(parent) for path in tree.files for parent in PurePosixPath(path).parents}
    for path, file in added.items():
        if file.kind != "folder" and path in folders:
            tree.remove_below(path)
        tree.files[path] = file


def _linked(target: File, path: str, layer: int) -> File:
    """A hard link's file: the target's content, but of the layer that made the link."""
    if path.startswith(SOURCES) and not target.git_id:
        # Its git id is not known, and no source has hard links: never equal to a commit's.
        return replace(target, layer=layer, git_id="0" * 40)
    return replace(target, layer=layer)


def _read(
    tar: tarfile.TarFile, member: tarfile.TarInfo, path: str, layer: int, byte_code: bool
) -> File:
    common = (member.mode & 0o7777, member.uid, member.gid, member.size, layer)
    if member.isdir():
        return File("folder", *common)
    if member.issym():
        target = member.linkname
        git_id = _git_blob(len(target.encode()))
        git_id.update(target.encode())
        return File("link", *common, link=target, git_id=git_id.hexdigest())
    stream = tar.extractfile(member) if member.isfile() else None
    if stream is None:
        return File("other", *common)
    sha256 = hashlib.sha256()
    git = _git_blob(member.size) if path.startswith(SOURCES) else None
    kept: bytearray | None = bytearray() if _keep(path, member.size, byte_code) else None
    while chunk := stream.read(CHUNK):
        sha256.update(chunk)
        if git is not None:
            git.update(chunk)
        if kept is not None:
            kept += chunk
    return File(
        "file",
        *common,
        sha256=sha256.hexdigest(),
        git_id=git.hexdigest() if git is not None else "",
        content=bytes(kept) if kept is not None else None,
    )


def _git_blob(size: int) -> hashlib._Hash:
    # git names its objects by SHA-1; this is no signature of ours.
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def _keep(path: str, size: int, byte_code: bool) -> bool:
    if size > _KEPT_LIMIT:
        return False
    if path in _KEPT_PATHS or path.startswith(WRAPPERS):
        return True
    if byte_code and path.endswith((".py", ".pyc")):
        return True
    folder, _, name = path.rpartition("/")
    return name in _KEPT_NAMES and folder.endswith(".dist-info")


def git_tree_id(tree: Tree, folder: str, without: tuple[str, ...] = ()) -> str:
    """Git's id of the tree that a folder of the image holds.

    ``folder`` ends with a slash; ``without`` are folders below it that other sources fill. Byte
    code is left out: the build makes it, no commit holds it.
    """
    root: dict[str, object] = {}
    for path, file in tree.below(folder):
        if file.kind not in ("file", "link") or "/__pycache__/" in f"/{path}":
            continue
        if any(path.startswith(f"{other}/") for other in without):
            continue
        parts = path.split("/")
        node = root
        for part in parts[:-1]:
            child = node.setdefault(part, {})
            if not isinstance(child, dict):
                break
            node = child
        node[parts[-1]] = file
    return _tree_id(root)


def _tree_id(node: dict[str, object]) -> str:
    rows = []
    for name, child in node.items():
        if isinstance(child, dict):
            # Git sorts folders as if their names ended with a slash.
            rows.append((f"{name}/", f"40000 {name}", _tree_id(child)))
        elif isinstance(child, File):
            mode = "120000" if child.kind == "link" else "100644"
            if child.kind == "file" and child.mode & 0o100:
                mode = "100755"
            rows.append((name, f"{mode} {name}", child.git_id))
    content = b"".join(
        head.encode() + b"\0" + bytes.fromhex(value)
        for _, head, value in sorted(rows, key=lambda row: row[0].encode())
    )
    digest = hashlib.sha1(b"tree %d\0" % len(content), usedforsecurity=False)
    digest.update(content)
    return digest.hexdigest()
