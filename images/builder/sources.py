"""Gets git sources of the lock at exactly their commits, as plain folders.

Remotes are tried in order; a bare repository for each source stays in the cache, so a commit is
fetched once. Nothing of the user's git configuration applies, and nobody is asked for a password;
proxies come from the environment as usual, a private authority from ``SSL_CERT_FILE`` or
``GIT_SSL_CAINFO``, and credentials of a private mirror from ``~/.netrc``.

    GitSourceError (an ArtifactError)
    ├── RemoteRefusedError    an address that is not used: plain HTTP, credentials in it
    ├── RemotesFailedError    no remote could be reached, or none has the commit
    └── WrongTreeError        the commit's tree is not the one in the lock
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from images.builder.cache import default_cache_folder, remove_tree
from images.builder.errors import ArtifactError, InputError
from images.builder.git_tree import Objects, walk, write
from images.builder.process import require
from images.builder.progress import Progress, ProgressCallback
from images.lock import GitSource

FETCH_SECONDS = 1800.0
"""Longest time for one fetch from one remote."""
_ESTIMATE_SECONDS = 30.0
_COMMIT = re.compile(r"[0-9a-f]{40}")
# What servers and transports say when only a whole fetch can work.
_NEEDS_WHOLE_FETCH = (
    "unadvertised object",
    "not our ref",
    "dumb http transport does not support",
    "couldn't find remote ref",
    "does not support shallow",
)
_KEPT_VARIABLES = frozenset({"GIT_SSL_CAINFO", "GIT_SSL_CAPATH"})


class GitSourceError(ArtifactError):
    """A git source could not be had as the lock wants it."""


class RemoteRefusedError(GitSourceError):
    """An address that git sources are not fetched from."""


class RemotesFailedError(GitSourceError):
    """No remote gave the commit.

    Attributes:
        reasons: what each remote answered, in the order in which they were tried.
    """

    def __init__(self, source: GitSource, commit: str, reasons: Mapping[str, str]) -> None:
        tried = "\n".join(f"  {remote}: {reason}" for remote, reason in reasons.items())
        super().__init__(
            f"git source {source.name!r}: commit {commit} could not be had from any remote. "
            f"Exactly this commit is in the lock, so no other will do. Tried:\n{tried}\n"
            "Check the network and the proxy, or name a mirror that has the commit "
            "(--git-remote NAME=URL; a local clone works, too)."
        )
        self.reasons = dict(reasons)


class WrongTreeError(GitSourceError):
    """The commit's tree has another id than the lock says."""


@dataclass(frozen=True)
class Export:
    """What was exported.

    Attributes:
        commit: the commit, 40 hexadecimal digits.
        tree: id of its tree.
        remote: where it was fetched from, or None when it was in the cache.
        files: number of files and links.
        size: bytes in the files.
    """

    commit: str
    tree: str
    remote: str | None
    files: int
    size: int


def default_git_cache() -> Path:
    """``$XDG_CACHE_HOME/wan-vace/git``."""
    return default_cache_folder() / "git"


def export(
    source: GitSource,
    target: Path,
    *,
    cache: Path | None = None,
    remotes: Sequence[str] = (),
    commit: str | None = None,
    progress: ProgressCallback = lambda _: None,
) -> Export:
    """Write a source's tree at its commit to ``target``, without ``.git``.

    The same commit gives the same folder: modes 0644 and 0755, time 0. ``target`` appears whole or
    not at all.

    Args:
        source: the lock's entry.
        target: a folder that does not exist yet, or is empty.
        cache: folder of bare repositories; default ``default_git_cache()``.
        remotes: addresses in the order to try; default the source's own and its mirrors.
        commit: another commit than the lock's (then the lock's tree id is not compared).
        progress: receives a sentence at least every two seconds while git fetches.

    Raises:
        RemoteRefusedError: a remote is no https or file address, http on loopback, or local path.
        RemotesFailedError: no remote has the commit; each one's answer is in the message.
        WrongTreeError: the tree is not the one in the lock.
        TreeError: the copy is damaged, or the tree holds a submodule or a link that leaves it.
        InputError: the commit is no full id, or the target is not empty.
        ToolMissingError: git is not installed.
    """
    require("git", "git", "fetch the sources of ComfyUI and its nodes")
    wanted = commit or source.commit
    addresses = list(remotes) or [source.url, *source.mirrors]
    _check(wanted, target)
    protocols = {remote: _protocol(remote) for remote in addresses}
    repository = (cache or default_git_cache()) / f"{source.name}.git"
    with _locked(repository):
        origin = None
        if not _has(repository, wanted):
            origin = _fetch(source, wanted, repository, protocols, progress)
        with Objects(repository, _environment()) as objects:
            tree = objects.tree_of(wanted)
            if wanted == source.commit and source.tree not in (None, tree):
                raise WrongTreeError(
                    f"git source {source.name!r}: commit {wanted} has the tree {tree}, but the "
                    f"lock says {source.tree}. One commit has one tree, so the lock was damaged or "
                    "edited. Restore images/pins.lock.json with git, or resolve it again."
                )
            staging = target.with_name(f".{target.name}.exporting")
            if staging.exists():
                remove_tree(staging)
            try:
                files, size = write(walk(objects, tree), staging)
                if target.exists():
                    target.rmdir()
                staging.rename(target)
            except BaseException:
                if staging.exists():
                    remove_tree(staging)
                raise
    return Export(wanted, tree, origin, files, size)


def _check(commit: str, target: Path) -> None:
    if not _COMMIT.fullmatch(commit):
        raise InputError(
            f"{commit!r} is not a commit; 40 hexadecimal digits are expected. Branches, tags and "
            "short ids can move. Find the full id with `git rev-parse NAME`."
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(
            f"{target} exists and is not an empty folder; a source is exported to a new folder, so "
            "that nothing else gets into the image. Remove it or name another."
        )


def _protocol(remote: str) -> str:
    """Protocol that git may use for this remote, also after redirects."""
    parts = urlsplit(remote)
    if parts.username or parts.password:
        raise RemoteRefusedError(
            f"git remote {parts.scheme}://…@{parts.hostname}{parts.path} has credentials in it; "
            "addresses are shown in process lists and logs. Put them into ~/.netrc, and give the "
            "address without them."
        )
    if parts.scheme == "https":
        return "https"
    if parts.scheme == "http" and _is_loopback(parts.hostname or ""):
        return "http"
    if parts.scheme == "file" or (not parts.scheme and remote.startswith("/")):
        return "file"
    raise RemoteRefusedError(
        f"git remote {remote!r} is not used. Allowed are https://…, file://…, an absolute path, "
        "and http://… on this machine, because others could be read or changed on the way. Give "
        "one of these."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _environment(protocol: str = "file") -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name in _KEPT_VARIABLES
    }
    authority = os.environ.get("SSL_CERT_FILE")
    if authority:
        kept.setdefault("GIT_SSL_CAINFO", authority)
    return {
        **kept,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "GIT_ALLOW_PROTOCOL": protocol,
        "LC_ALL": "C",
    }


@contextlib.contextmanager
def _locked(repository: Path) -> Iterator[None]:
    repository.parent.mkdir(parents=True, exist_ok=True)
    with repository.with_suffix(".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _has(repository: Path, commit: str) -> bool:
    """Whether the repository holds the commit with everything below it."""
    if not (repository / "HEAD").is_file():
        return False
    # An interrupted fetch leaves no reference to what came only in part.
    kept = _git(repository, "rev-parse", "--verify", "--quiet", f"refs/kept/{commit}^{{commit}}")
    return kept.returncode == 0


def _fetch(
    source: GitSource,
    commit: str,
    repository: Path,
    protocols: Mapping[str, str],
    progress: ProgressCallback,
) -> str:
    """Bring the commit into the repository; returns the remote that had it."""
    _git(repository.parent, "init", "--quiet", "--bare", str(repository), there=False)
    reasons: dict[str, str] = {}
    for remote, protocol in protocols.items():
        with Progress(f"fetching {source.name} from {remote}", _ESTIMATE_SECONDS, progress):
            reason = _fetch_from(remote, protocol, commit, repository)
        if reason is None:
            return remote
        reasons[remote] = reason
        progress(f"{remote} did not give {source.name}: {reason}")
    raise RemotesFailedError(source, commit, reasons)


def _fetch_from(remote: str, protocol: str, commit: str, repository: Path) -> str | None:
    """Fetch one commit; returns why that failed, or None when it worked."""
    kept = f"refs/kept/{commit}"
    done = _git(repository, *_FETCH, "--depth=1", remote, f"+{commit}:{kept}", protocol=protocol)
    if done.returncode == 0:
        return None
    if not any(phrase in done.stderr for phrase in _NEEDS_WHOLE_FETCH):
        return _last_line(done.stderr)
    branches = ("+refs/heads/*:refs/fetched/heads/*", "+refs/tags/*:refs/fetched/tags/*")
    done = _git(repository, *_FETCH, remote, *branches, protocol=protocol)
    if done.returncode != 0:
        return _last_line(done.stderr)
    if _git(repository, "update-ref", kept, commit).returncode != 0:
        return "it has no branch or tag that contains the commit"
    return None


_FETCH = (
    *("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60"),
    *("-c", "fetch.fsckObjects=true", "-c", "gc.auto=0", "-c", "core.hooksPath=/dev/null"),
    *("fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head"),
    "--no-recurse-submodules",
)


def _git(
    repository: Path, *arguments: str, protocol: str = "file", there: bool = True
) -> subprocess.CompletedProcess[str]:
    where = ["--git-dir", str(repository)] if there else []
    process = subprocess.Popen(
        ["git", *where, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=_environment(protocol),
        # git starts helpers; an interruption must end them, too.
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
        errors += f"\nnot done after {FETCH_SECONDS:.0f} s"
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "ERR"))]
    return " ".join(telling) or (lines[-1] if lines else "git failed without a message")
