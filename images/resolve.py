"""``python -m images resolve``: pins.toml to pins.lock.json. The only step that needs a network.

The lock has five parts: base, debian, git, wheels and weights. A part whose source cannot be
reached keeps what the old lock says, but only if its pins are still the same, and never silently.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from images import lock as lock_module
from images.errors import LockError, ResolveError, UnreachableError
from images.lock import GATEWAY_REQUIREMENTS, LOCK, PINS, SCHEMA
from images.pins import PARTS, Pins
from images.pins import load as load_pins
from images.resolution import base, debian, git, weights, wheels

WHEEL_KEYS = ("wheels", "groups", "variants", "omitted")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How to resolve.

    Attributes:
        only: the parts to resolve; the others are kept from the old lock.
        git_mirrors: source name -> repository to ask instead of the pinned address.
        registry: address of the registry that knows the base image.
    """

    only: Sequence[str] = PARTS
    git_mirrors: Mapping[str, str] = field(default_factory=dict)
    registry: str | None = None


def resolve(
    pins: Pins,
    old: Mapping[str, Any] | None,
    options: Options,
    say: Say,
    *,
    pins_file: Path = PINS,
    gateway_lock: Path = GATEWAY_REQUIREMENTS,
) -> dict[str, Any]:
    """Return the lock's document for ``pins``.

    Args:
        pins: what to resolve.
        old: the document of the lock before, if there is one.
        options: see :class:`Options`.
        say: gets one line for each part, and for everything that was kept.
        pins_file: the file that ``pins`` came from; its hash goes into the lock.
        gateway_lock: the gateway's requirements with hashes.

    Raises:
        ResolveError: a pin cannot be resolved, or a part whose pins changed cannot be asked for.
    """
    resolved: dict[str, Any] = {}
    for name in PARTS:
        before = _old_part(name, old)
        fresh = before is not None and _inputs(name, pins, gateway_lock) == old_inputs(name, old)
        if name not in options.only:
            if not fresh or before is None:
                raise ResolveError(
                    f"part {name} is not resolved now (--only {' --only '.join(options.only)}), "
                    "and the old lock has none for the pins as they are. Leave out --only, or "
                    f"add --only {name}"
                )
            say(f"{name}: kept as it is, not asked for")
            resolved.update(before)
            continue
        try:
            # What a commit's tree is stays true whatever else changed in pins.toml.
            usable = before if fresh or name == "git" else None
            resolved.update(_resolve_part(name, pins, usable, options, say, gateway_lock))
        except UnreachableError as error:
            if not fresh or before is None:
                raise ResolveError(
                    f"part {name} cannot be resolved: {error}. The old lock cannot stand in for "
                    "it, because its pins changed since. Run this where the source can be reached"
                ) from None
            say(f"{name}: KEPT FROM THE OLD LOCK, its source cannot be reached: {error}")
            resolved.update(before)
    document = {
        "schema": SCHEMA,
        "pins_sha256": lock_module.file_sha256(pins_file),
        "gateway_requirements_sha256": lock_module.file_sha256(gateway_lock),
        "parts": {name: _inputs(name, pins, gateway_lock) for name in PARTS},
        "resolved_at": datetime.now(UTC).date().isoformat(),
        **resolved,
    }
    if old is not None and {**document, "resolved_at": None} == {**old, "resolved_at": None}:
        # Another day alone must not change the lock's hash, which images carry.
        document["resolved_at"] = old["resolved_at"]
    return document


def _inputs(name: str, pins: Pins, gateway_lock: Path) -> str:
    own = pins.part_sha256(name)
    return own if name != "wheels" else f"{own}+{lock_module.file_sha256(gateway_lock)}"


def old_inputs(name: str, old: Mapping[str, Any] | None) -> str | None:
    """Return what a part of the old lock was resolved from, as a hash."""
    value = (old or {}).get("parts", {}).get(name)
    return value if isinstance(value, str) else None


def _old_part(name: str, old: Mapping[str, Any] | None) -> dict[str, Any] | None:
    keys = WHEEL_KEYS if name == "wheels" else (name,)
    if old is None or any(key not in old for key in keys):
        return None
    return {key: old[key] for key in keys}


def _resolve_part(  # noqa: PLR0917
    name: str,
    pins: Pins,
    before: Mapping[str, Any] | None,
    options: Options,
    say: Say,
    gateway_lock: Path,
) -> dict[str, Any]:
    if name == "base":
        return {"base": _base(pins, before, options, say)}
    if name == "debian":
        found = debian.resolve(pins.debian)
        say(f"debian: {len(found['packages'])} packages of {pins.debian.suite}")
        return {"debian": found}
    if name == "git":
        return {"git": _git(pins, before, options, say)}
    if name == "weights":
        say(f"weights: {len(pins.weights.files)} files, by the hashes in pins.toml")
        return {"weights": weights.resolve(pins.weights)}
    found = wheels.resolve(pins, gateway_lock, before)
    say(f"wheels: {len(found['wheels'])} in {len(found['groups'])} groups")
    return found


def _base(
    pins: Pins, before: Mapping[str, Any] | None, options: Options, say: Say
) -> dict[str, Any]:
    try:
        found = base.resolve(pins.base, options.registry)
    except UnreachableError as error:
        if before is not None:
            raise
        say(f"base: TAKEN FROM pins.toml, not asked ({error})")
        return base.from_pins(pins.base)
    say(f"base: {found['name']}@{found['digest']}")
    return found


def _git(
    pins: Pins, before: Mapping[str, Any] | None, options: Options, say: Say
) -> dict[str, Any]:
    unknown = sorted(set(options.git_mirrors) - set(pins.git))
    if unknown:
        raise ResolveError(
            f"--git-mirror names {', '.join(unknown)}; pins.toml has {', '.join(pins.git)}. A "
            "mirror stands in for one of these. Name one of them"
        )
    rows = {}
    trees = {row["commit"]: row["tree"] for row in before["git"].values()} if before else {}
    for name, pin in pins.git.items():
        known = trees.get(pin.commit)
        try:
            rows[name] = git.resolve(name, pin, options.git_mirrors)
            say(f"git: {name} {pin.commit[:12]} has tree {rows[name]['tree']}")
        except UnreachableError as error:
            rows[name] = git.row(pin, known)
            what = f"tree {known} KEPT FROM THE OLD LOCK" if known else "tree UNKNOWN"
            say(f"git: {name} {pin.commit[:12]} not asked, {what}: {error}")
    return rows


def dumps(document: Mapping[str, Any]) -> str:
    """Return the lock as it stands in the repository: one fact a line, in a fixed order."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def read_old(path: Path = LOCK) -> dict[str, Any] | None:
    """Return the old lock's document, or None when there is none or it is damaged."""
    try:
        return dict(lock_module.load(path).document)
    except LockError:
        return None


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``resolve``."""
    parser = subparsers.add_parser(
        "resolve",
        help="write pins.lock.json from pins.toml (needs a network)",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", action="append", choices=PARTS, help="resolve this part only; may be repeated"
    )
    parser.add_argument(
        "--git-mirror",
        action="append",
        default=[],
        metavar="NAME=REPOSITORY",
        help="ask this repository (address or folder) for a git source; may be repeated",
    )
    parser.add_argument("--registry", help=base.REGISTRY_HELP)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Resolve and write the lock; rendering follows by ``python -m images render``."""
    mirrors = {}
    for text in arguments.git_mirror:
        name, separator, place = text.partition("=")
        if not separator or not place:
            raise ResolveError(
                f"--git-mirror {text!r} is not NAME=REPOSITORY. Name a source of pins.toml and "
                "where to ask for it, for example comfyui=https://example.com/ComfyUI.git"
            )
        mirrors[name] = place
    old = read_old()
    options = Options(arguments.only or PARTS, mirrors, arguments.registry)
    document = resolve(load_pins(), old, options, print)
    lock = lock_module.parse(document)
    temporary = LOCK.with_suffix(".json.new")
    temporary.write_text(dumps(document), encoding="utf-8")
    temporary.replace(LOCK)
    print(f"{LOCK.name}: sha256 {lock.sha256}{' (unchanged)' if document == old else ''}")
    print("now: python -m images render")
    return 0
