"""Git sources: the right commit from somewhere, whole, or a sentence that says why not."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from images.builder.errors import InputError, ToolMissingError
from images.builder.git_tree import TreeError
from images.builder.sources import (
    RemoteRefusedError,
    RemotesFailedError,
    WrongTreeError,
    export,
)
from rehearsal.images.repositories import git_environment, make_repository
from tests.images.supply.conftest import FILES, Remote, source

Serve = Callable[..., Remote]
NOBODY = "http://127.0.0.1:1/nobody.git"


def git(repository: Path, *arguments: str, stdin: bytes = b"") -> str:
    """Run git in a bare repository as the tests' own user."""
    who = {
        f"GIT_{kind}_{key}": value
        for kind in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", "t"), ("EMAIL", "t@t"), ("DATE", "2026-01-02T00:00:00Z"))
    }
    done = subprocess.run(
        ["git", "--git-dir", str(repository), *arguments],
        input=stdin, capture_output=True, check=True, env={**git_environment(), **who},
    )  # fmt: skip
    return done.stdout.decode().strip()


def commit_of(repository: Path, *rows: str) -> str:
    """A commit on master whose tree has these rows, as ``git mktree`` takes them."""
    tree = git(
        repository, "mktree", "--missing", stdin="".join(f"{row}\n" for row in rows).encode()
    )
    commit = git(repository, "commit-tree", tree, "-m", "more")
    git(repository, "update-ref", "refs/heads/master", commit)
    return commit


@pytest.mark.parametrize("old_protocol", [False, True])
def test_a_source_is_exported_as_its_tree_and_nothing_else(
    serve: Serve, tmp_path: Path, old_protocol: bool
) -> None:
    """Prevents: a folder that differs from the commit, also with servers of the first protocol."""
    remote = serve(old_protocol=old_protocol)
    done = export(remote.source, tmp_path / "out", cache=tmp_path / "cache")
    found = {
        str(path.relative_to(tmp_path / "out")): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert found == FILES
    assert done.files == len(FILES)
    for path in (tmp_path / "out", *(tmp_path / "out").rglob("*")):
        assert path.stat().st_mtime == 0
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)


def test_an_older_commit_of_the_branch_is_found(serve: Serve, tmp_path: Path) -> None:
    """Prevents: a lock that only works until somebody pushes."""
    for old_protocol in (False, True):
        remote = serve(old_protocol=old_protocol)
        blob = git(remote.repository, "hash-object", "-w", "--stdin", stdin=b"new")
        tree = git(remote.repository, "mktree", stdin=f"100644 blob {blob}\tnew\n".encode())
        newer = git(
            remote.repository, "commit-tree", tree, "-p", remote.source.commit, "-m", "newer"
        )
        git(remote.repository, "update-ref", "refs/heads/master", newer)
        target = tmp_path / f"out-{old_protocol}"
        export(remote.source, target, cache=tmp_path / f"cache-{old_protocol}")
        assert (target / "main.py").is_file()


def test_the_second_export_needs_no_network(serve: Serve, tmp_path: Path) -> None:
    """Prevents: builds that fail offline although everything is there."""
    remote = serve()
    first = export(remote.source, tmp_path / "a", cache=tmp_path / "cache")
    again = export(remote.source, tmp_path / "b", cache=tmp_path / "cache", remotes=[NOBODY])
    assert (first.remote, again.remote) == (remote.source.url, None)
    assert first.tree == again.tree


def test_the_next_remote_is_tried_when_one_fails(serve: Serve, tmp_path: Path) -> None:
    """Prevents: a build that depends on one host."""
    remote = serve()
    mirrored = replace(remote.source, url=NOBODY, mirrors=(remote.source.url,))
    assert export(mirrored, tmp_path / "out", cache=tmp_path / "c").remote == remote.source.url


def test_a_local_clone_is_a_remote(tmp_path: Path) -> None:
    """Prevents: an air-gapped site that cannot build."""
    commit = make_repository(tmp_path / "clone.git", FILES)
    for remote in (str(tmp_path / "clone.git"), f"file://{tmp_path}/clone.git"):
        target = tmp_path / str(len(remote))
        export(source(remote, commit), target, cache=tmp_path / f"cache-{len(remote)}")
        assert (target / "main.py").is_file()


def test_all_remotes_and_their_answers_are_in_the_error(serve: Serve, tmp_path: Path) -> None:
    """Prevents: "fetch failed" with nothing to look at."""
    remote = serve()
    unknown = replace(remote.source, commit="1" * 40, mirrors=(NOBODY, remote.server.url("none")))
    with pytest.raises(RemotesFailedError) as refused:
        export(unknown, tmp_path / "out", cache=tmp_path / "cache")
    assert list(refused.value.reasons) == [remote.source.url, *unknown.mirrors]
    assert "no branch or tag that contains the commit" in str(refused.value)
    assert "Couldn't connect" in str(refused.value)
    assert "not found" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_another_tree_than_the_locked_one_is_refused(serve: Serve, tmp_path: Path) -> None:
    """Prevents: a lock whose commit was edited without its tree."""
    remote = serve()
    with pytest.raises(WrongTreeError, match="the lock says 22222"):
        export(replace(remote.source, tree="2" * 40), tmp_path / "out", cache=tmp_path / "cache")
    # An override has another tree on purpose.
    other = replace(remote.source, commit="3" * 40, tree="2" * 40)
    export(other, tmp_path / "out", cache=tmp_path / "cache", commit=remote.source.commit)


def test_a_cache_that_was_tampered_with_is_noticed(serve: Serve, tmp_path: Path) -> None:
    """Prevents: changed sources under the right commit."""
    remote = serve()
    export(remote.source, tmp_path / "a", cache=tmp_path / "cache")
    repository = tmp_path / "cache" / "sample.git"
    wanted = git(repository, "rev-parse", f"{remote.source.commit}:main.py")
    evil = git(repository, "hash-object", "-w", "--stdin", stdin=b"evil()\n")
    for pack in repository.glob("objects/pack/*.pack"):
        # Loose objects can be exchanged; a pack would be used first.
        moved = pack.rename(tmp_path / pack.name)
        for index in repository.glob("objects/pack/pack-*"):
            index.unlink()
        git(repository, "unpack-objects", "-q", stdin=moved.read_bytes())
    place = repository / "objects" / wanted[:2] / wanted[2:]
    place.unlink()
    shutil.copy(repository / "objects" / evil[:2] / evil[2:], place)
    with pytest.raises(TreeError, match="was changed"):
        export(remote.source, tmp_path / "b", cache=tmp_path / "cache")
    assert not (tmp_path / "b").exists()
    assert not list(tmp_path.glob(".b*"))


def test_modes_and_links_inside_the_tree_are_kept(tmp_path: Path) -> None:
    """Prevents: scripts that lose their mode, or links that become files."""
    repository = tmp_path / "clone.git"
    make_repository(repository, FILES)
    script = git(repository, "hash-object", "-w", "--stdin", stdin=b"#!/bin/sh\n")
    link = git(repository, "hash-object", "-w", "--stdin", stdin=b"run")
    commit = commit_of(repository, f"100755 blob {script}\trun", f"120000 blob {link}\tlink")
    export(source(str(repository), commit), tmp_path / "out", cache=tmp_path / "cache")
    assert (tmp_path / "out/run").stat().st_mode & 0o777 == 0o755
    assert os.readlink(tmp_path / "out/link") == "run"  # noqa: PTH115 - as it is written
    assert (tmp_path / "out/link").lstat().st_mtime == 0


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "folder/../../outside"])
def test_links_that_leave_the_tree_are_refused(tmp_path: Path, target: str) -> None:
    """Prevents: a source that reads files of the machine that builds."""
    repository = tmp_path / "clone.git"
    make_repository(repository, FILES)
    link = git(repository, "hash-object", "-w", "--stdin", stdin=target.encode())
    commit = commit_of(repository, f"120000 blob {link}\tlink")
    with pytest.raises(TreeError, match="links that stay inside"):
        export(source(str(repository), commit), tmp_path / "out", cache=tmp_path / "cache")
    assert not (tmp_path / "out").exists()


def test_submodules_are_refused(tmp_path: Path) -> None:
    """Prevents: an empty folder where code should be."""
    repository = tmp_path / "clone.git"
    first = make_repository(repository, FILES)
    commit = commit_of(repository, f"160000 commit {first}\tmodule")
    with pytest.raises(TreeError, match="a submodule at"):
        export(source(str(repository), commit), tmp_path / "out", cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("remote", "part"),
    [
        ("http://git.example.com/a.git", "could be read or changed"),
        ("ssh://git@git.example.com/a.git", "credentials"),
        ("git://git.example.com/a.git", "Allowed are https"),
        ("ext::sh -c evil", "Allowed are https"),
        ("https://user:secret@git.example.com/a.git", "netrc"),
    ],
)
def test_unsafe_remotes_are_refused_before_anything_runs(
    tmp_path: Path, remote: str, part: str
) -> None:
    """Prevents: plain text on the way, commands as addresses, passwords in process lists."""
    with pytest.raises(RemoteRefusedError, match=part) as refused:
        export(source(remote, "1" * 40), tmp_path / "out", cache=tmp_path / "cache")
    assert "secret" not in str(refused.value)
    assert not (tmp_path / "cache").exists()


def test_a_branch_name_or_a_used_folder_is_refused(tmp_path: Path) -> None:
    """Prevents: a build from whatever a branch is today, or a mix of two trees."""
    with pytest.raises(InputError, match="40 hexadecimal digits"):
        export(source("/x", "master"), tmp_path / "out", cache=tmp_path / "cache")
    (tmp_path / "used").mkdir()
    (tmp_path / "used/file").touch()
    with pytest.raises(InputError, match="not an empty folder"):
        export(source("/x", "1" * 40), tmp_path / "used", cache=tmp_path / "cache")


def test_a_missing_git_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents: FileNotFoundError."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match="apt-get install"):
        export(source("/x", "1" * 40), tmp_path / "out", cache=tmp_path / "cache")


def test_the_users_git_configuration_has_no_effect(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents: addresses that are rewritten, or line ends that are converted, on one machine."""
    remote = serve()
    (tmp_path / "home").mkdir()
    (tmp_path / "home/.gitconfig").write_text(f'[url "{NOBODY}"]\ninsteadOf = http://127.0.0.1\n')
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    export(remote.source, tmp_path / "out", cache=tmp_path / "cache")
    assert (tmp_path / "out/main.py").read_bytes() == FILES["main.py"]
