"""Git sources on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from images.lock import GitSource
from rehearsal.images.git_server import GitServer, serve_git
from rehearsal.images.repositories import make_repository

FILES = {"main.py": b"print('hello')\n", "folder/data.txt": b"data\n", ".gitattributes": b""}


@dataclass(frozen=True)
class Remote:
    """A served repository, and the lock's entry for it."""

    server: GitServer
    repository: Path
    source: GitSource


def source(
    url: str, commit: str, *, tree: str | None = None, mirrors: tuple[str, ...] = ()
) -> GitSource:
    return GitSource(
        name="sample", url=url, mirrors=mirrors, commit=commit, version="1", tree=tree,
        licence="MIT", path="",
    )  # fmt: skip


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Remote]]:
    """Serves a repository with these files; ``old_protocol`` as in ``serve_git``."""
    with ExitStack() as stack:
        count = 0

        def begin(files: dict[str, bytes] | None = None, *, old_protocol: bool = False) -> Remote:
            nonlocal count
            count += 1
            root = tmp_path / f"served-{count}"
            root.mkdir()
            commit = make_repository(root / "sample.git", FILES if files is None else files)
            server = stack.enter_context(serve_git(root, old_protocol=old_protocol))
            return Remote(server, root / "sample.git", source(server.url("sample"), commit))

        yield begin
