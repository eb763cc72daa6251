"""Checks of an image that need no lock: its settings, and files that no image of ours may hold.

Pure: they compare, and say what they found; `verify` reads and reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from images.builder.tree import Tree
from images.builder.wiring import Wiring

_BASE_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}
"""What bases and builders set; harmless with these values."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: its name.
        problems: a sentence each; none when all is well.
        fine: the sentence for an image that passes.
    """

    check: str
    problems: list[str]
    fine: str


def setting_findings(config: Mapping[str, Any], wiring: Wiring) -> Iterator[Finding]:
    """User, start, folder, environment and platform against what the Containerfile sets.

    Args:
        config: the image's configuration in OCI form.
        wiring: what the Containerfile says.
    """
    settings = config.get("config") or {}
    user = str(settings.get("User") or "")
    problems = [] if user == wiring.user else [f"user is {user!r}, {wiring.user!r} is expected"]
    yield Finding("user", problems, f"runs as {user}" if user else "data only, nothing runs")
    for name, key, expected in (
        ("entry point", "Entrypoint", wiring.entry_point),
        ("command", "Cmd", wiring.command),
    ):
        have = list(settings.get(key) or [])
        problems = [] if have == expected else [f"{name} is {have}, expected {expected}"]
        yield Finding(name, problems, " ".join(have) or "none")
    folder = str(settings.get("WorkingDir") or "").rstrip("/")
    problems = [] if folder == wiring.folder else [f"is {folder!r}, not {wiring.folder!r}"]
    yield Finding("working folder", problems, folder or "/")
    yield _environment([str(row) for row in settings.get("Env") or []], wiring.environment)
    platform = f"{config.get('os')}/{config.get('architecture')}"
    problems = [] if platform == "linux/amd64" else [f"platform is {platform}"]
    yield Finding("platform", problems, platform)


def _environment(rows: list[str], expected: Mapping[str, str]) -> Finding:
    pairs = [row.partition("=") for row in rows]
    env = {key: value for key, _, value in pairs}
    inherited = {key: value for key, value in _BASE_ENVIRONMENT.items() if key in env}
    wanted = {**inherited, **expected}
    names = sorted(key for key in {*env, *wanted} if env.get(key) != wanted.get(key))
    problems = [f"{key} is {env.get(key)!r}, not {wanted.get(key)!r}" for key in names]
    if len(rows) != len(env):
        problems.append("a variable is set twice")
    fine = f"{len(env)} variables, as the Containerfile sets them"
    return Finding("environment", problems, fine)


def leftover_findings(tree: Tree) -> Iterator[Finding]:
    """Files that no image of ours may hold: setuid programs, histories, caches, a node manager."""

    def named(test: Callable[[str], bool]) -> list[str]:
        return sorted({path for path in tree.files if test(path)})

    special = [
        f"{path} ({file.mode:o})"
        for path, file in sorted(tree.files.items())
        if file.kind == "file" and file.mode & 0o6000
    ]
    yield Finding("setuid", special, "no file is setuid or setgid")
    repositories = named(lambda path: path.endswith("/.git") or path == ".git")
    yield Finding("git history", repositories, "no .git folder")
    yield Finding("caches", named(_is_cached), "no cache of pip or apt")
    manager = named(lambda path: "comfyui-manager" in path.lower().replace("_", "-").split("/"))
    yield Finding("manager", manager, "ComfyUI-Manager is absent")


def _is_cached(path: str) -> bool:
    package = path.startswith("var/cache/apt/archives/") and path.endswith(".deb")
    return package or "/.cache/pip" in f"/{path}"
