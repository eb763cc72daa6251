"""Git sources: whether a pinned commit exists, and the id of its tree."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from images.errors import ResolveError, UnreachableError
from images.pins import GitPin

_TIMEOUT_S = 60
_TAG = re.compile(r"refs/tags/(v?(\d+(?:\.\d+)+))$")


def resolve(name: str, pin: GitPin, mirrors: Mapping[str, str]) -> dict[str, Any]:
    """Return the lock's row of a source, with the tree of its commit.

    Args:
        name: the source's name in pins.toml.
        pin: its pin.
        mirrors: name -> a repository (address or folder) to ask first.

    Raises:
        UnreachableError: no repository answers.
        ResolveError: a repository answers and does not have the commit.
    """
    places = [mirrors[name]] if name in mirrors else [pin.url, *pin.mirrors]
    problems = []
    for place in places:
        try:
            return row(pin, tree_of(place, pin.commit))
        except UnreachableError as error:
            problems.append(str(error))
    raise UnreachableError("; ".join(problems))


def row(pin: GitPin, tree: str | None) -> dict[str, Any]:
    """Return the lock's row of a pin; ``tree`` is None where no repository could be asked."""
    return {
        "url": pin.url,
        "mirrors": list(pin.mirrors),
        "commit": pin.commit,
        "version": pin.version,
        # The commit's id already covers the tree, so that a missing one leaves nothing unpinned.
        "tree": tree,
        "licence": pin.licence,
        "path": pin.path,
    }


def tree_of(place: str, commit: str) -> str:
    """Return the id of the tree of ``commit`` in the repository at ``place``.

    Raises:
        UnreachableError: the repository does not answer.
        ResolveError: it does not have the commit.
    """
    with tempfile.TemporaryDirectory(prefix="resolve-") as folder:
        _git(["init", "--quiet", "--bare", folder])
        # The commit only: files are fetched when an image is built. A filter needs a remote with a
        # name, because git notes that the rest can be had there.
        _git(["-C", folder, "remote", "add", "origin", place])
        fetched = _git(
            ["-C", folder, "fetch", "--quiet", "--depth=1", "--filter=tree:0", "origin", commit]
        )
        if fetched.returncode:
            said = fetched.stderr.strip()[-400:]
            if "not our ref" in said or "couldn't find remote ref" in said:
                raise ResolveError(
                    f"{place} has no commit {commit} ({said}); a pin must name a published "
                    "commit. Correct it in pins.toml"
                )
            raise UnreachableError(f"{place} cannot be asked for commit {commit}: {said}")
        shown = _git(["-C", folder, "cat-file", "-p", commit])
    return shown.stdout.split()[1]


def newest_tag(place: str) -> tuple[str, str]:
    """Return the highest version tag of a repository and its object id.

    Raises:
        UnreachableError: the repository does not answer, or has no version tags.
    """
    listed = _git(["ls-remote", "--tags", "--refs", place])
    if listed.returncode:
        raise UnreachableError(f"{place} cannot be asked: {listed.stderr.strip()[-300:]}")
    tags = []
    for line in listed.stdout.splitlines():
        found = _TAG.search(line)
        if found:
            tags.append(
                (tuple(int(part) for part in found[2].split(".")), found[1], line.split()[0])
            )
    if not tags:
        raise UnreachableError(f"{place} has no version tags")
    _, name, identity = max(tags)
    return name, identity


def _git(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    # No question on a terminal, and nothing of the user's own settings.
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_GLOBAL": os.devnull}
    try:
        return subprocess.run(
            ["git", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
            env=environment,
        )
    except FileNotFoundError:
        raise UnreachableError("git is not installed; install it, or keep the old lock") from None
    except subprocess.TimeoutExpired:
        raise UnreachableError(f"git did not answer within {_TIMEOUT_S} s") from None
