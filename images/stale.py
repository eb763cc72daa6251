"""``python -m images stale``: what is newer than the lock. Changes nothing; needs a network.

Exit codes: 0 nothing is newer, 1 something is, 2 an error, 3 nothing newer was seen, but not
everything could be asked.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from packaging.utils import canonicalize_name

from images import lock as lock_module
from images.errors import UnreachableError
from images.lock import LOCK, Lock
from images.pins import Pins
from images.pins import load as load_pins
from images.resolution import base, debian, git, wheels

NEWER, NOT_ASKED = 1, 3


@dataclass
class Report:
    """What was found: lines for what is newer, and for what could not be asked."""

    newer: list[str] = field(default_factory=list)
    not_asked: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """The command's status, see the module."""
        if self.newer:
            return NEWER
        return NOT_ASKED if self.not_asked else 0


def compare(what: str, have: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Return a line for each name whose version differs, or that came or went."""
    return [
        f"{what} {name}: {have.get(name, 'absent')} -> {found.get(name, 'no longer needed')}"
        for name in sorted({*have, *found})
        if have.get(name) != found.get(name)
    ]


def newer_wheels(pins: Pins, lock: Lock) -> list[str]:
    """Return what resolving the requirements again would change."""
    lines: list[str] = []
    for variant, found in wheels.resolve_variants(pins).items():
        have = {
            wheel.name: wheel.version
            for group in lock.variants[variant].groups
            for wheel in lock.wheels_of(group)
        }
        lines += compare("wheel", have, {name: wheel.version for name, wheel in found.items()})
    return list(dict.fromkeys(lines))


def newer_than_pinned(pins: Pins) -> list[str]:
    """Return the exact pins that have a newer version on the index."""
    exact = [*pins.wheels.comfy, *pins.wheels.pip]
    exact += [pin for variant in pins.variants.values() for pin in variant.torch]
    pinned: dict[str, list[str]] = {}
    for pin in exact:
        name, _, version = pin.partition("==")
        pinned.setdefault(canonicalize_name(name), []).append(version)
    found = wheels.compile_requirements(sorted(pinned), pins.python, dependencies=False)
    return [
        f"pin {name}: {', '.join(dict.fromkeys(versions))} -> {found[name].version}"
        for name, versions in pinned.items()
        if found[name].version not in versions
    ]


def newer_debian(pins: Pins, lock: Lock) -> list[str]:
    """Return what the mirror would install today instead."""
    found = debian.resolve(pins.debian)
    return compare(
        "Debian package",
        {each.name: each.version for each in lock.debian},
        {row["name"]: row["version"] for row in found["packages"]},
    )


def newer_base(pins: Pins, registry: str | None) -> list[str]:
    """Return whether the tag that moves with each rebuild names another image than the pin."""
    moving = re.sub(r"-\d{8}-", "-", pins.base.image)
    digest = base.tag_digest(moving, registry)
    if digest == pins.base.digest:
        return []
    return [f"base {pins.base.image}: {pins.base.digest} -> {moving} is now {digest}"]


def newer_tag(name: str, pins: Pins) -> list[str]:
    """Return the source's highest version tag if it is another commit than the pinned one."""
    pin = pins.git[name]
    tag, identity = git.newest_tag(pin.url)
    if identity == pin.commit or tag.removeprefix("v") == pin.version:
        return []
    return [f"git {name}: {pin.version} ({pin.commit[:12]}) -> tag {tag}"]


def look(questions: Iterable[tuple[str, Callable[[], list[str]]]]) -> Report:
    """Ask every question; one that cannot be asked does not hide the others' answers."""
    report = Report()
    for name, ask in questions:
        try:
            report.newer += ask()
        except UnreachableError as error:
            report.not_asked.append(f"{name}: {error}")
    return report


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``stale``."""
    parser = subparsers.add_parser(
        "stale",
        help="say what is newer than the lock (needs a network)",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--registry", help=base.REGISTRY_HELP)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the report and return its status."""
    pins, lock = load_pins(), lock_module.load(LOCK)
    report = look(
        [
            ("base", lambda: newer_base(pins, arguments.registry)),
            ("wheels", lambda: newer_wheels(pins, lock)),
            ("pinned wheels", lambda: newer_than_pinned(pins)),
            ("Debian", lambda: newer_debian(pins, lock)),
            *((f"git {name}", lambda name=name: newer_tag(name, pins)) for name in pins.git),
        ]
    )
    for line in report.newer:
        print(line)
    for line in report.not_asked:
        print(f"NOT ASKED: {line}")
    if not report.newer and not report.not_asked:
        print(f"nothing is newer than {LOCK.name} of {lock.resolved_at}")
    return report.exit_code
