"""Git repositories with one commit each, the same for the same files on every machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from rehearsal.images.errors import RepositoryError
from rehearsal.images.source_tree import Tree

BRANCH = "master"
# Everything that goes into a commit's id besides its files.
_AUTHOR = {"NAME": "rehearsal", "EMAIL": "rehearsal@localhost", "DATE": "2026-01-01T00:00:00Z"}
_MESSAGE = "Source tree of a rehearsal"


def make_repository(folder: Path, tree: Tree) -> str:
    """Make the bare repository ``folder`` with one commit on ``master``; returns the commit's id.

    Raises:
        RepositoryError: git failed.
    """
    _git("init", "--quiet", "--bare", f"--initial-branch={BRANCH}", str(folder))
    blobs = {name: _object(folder, tree[name]) for name in sorted(tree)}
    listing = "".join(f"100644 {blobs[name]}\t{name}\n" for name in sorted(tree))
    # An index of its own takes the files without a working tree; it is not part of the result.
    index = {"GIT_INDEX_FILE": str(folder / "index.building")}
    _git("update-index", "--add", "--index-info", at=folder, stdin=listing.encode(), more=index)
    root = _git("write-tree", at=folder, more=index)
    (folder / "index.building").unlink()
    people = {
        f"GIT_{who}_{key}": _AUTHOR[key] for who in ("AUTHOR", "COMMITTER") for key in _AUTHOR
    }
    commit = _git("commit-tree", root, "-m", _MESSAGE, at=folder, more=people)
    _git("update-ref", f"refs/heads/{BRANCH}", commit, at=folder)
    # Lets the repository be served as plain files, too.
    _git("update-server-info", at=folder)
    return commit


def _object(folder: Path, content: bytes) -> str:
    return _git("hash-object", "-w", "--stdin", at=folder, stdin=content)


def _git(
    *arguments: str,
    at: Path | None = None,
    stdin: bytes = b"",
    more: Mapping[str, str] | None = None,
) -> str:
    where = ["--git-dir", str(at)] if at else []
    done = subprocess.run(
        ["git", *where, *arguments],
        input=stdin,
        capture_output=True,
        env={**git_environment(), **(more or {})},
        check=False,
    )
    if done.returncode != 0:
        raise RepositoryError(
            f"`git {arguments[0]}` ended with status {done.returncode} while it made a repository "
            f"in {at}: {done.stderr.decode(errors='replace').strip()}. It needs git 2.28 or newer "
            "and a folder that can be written; check both and run the command again."
        )
    return done.stdout.decode().strip()


def git_environment() -> dict[str, str]:
    """The environment without anything that would change what git does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {
        **kept,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }
