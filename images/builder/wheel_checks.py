"""Checks the Python packages in an image against the lock's wheels."""

from __future__ import annotations

import base64
import binascii
import csv
import posixpath
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from packaging.utils import canonicalize_name

from images.builder.tree import Tree
from images.lock import Wheel

_DIST_INFO = re.compile(r"(?P<site>(?:opt|usr/local)/.*?site-packages)/(?P<info>[^/]+)\.dist-info")
_PIP_NOTES = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
Finder = Callable[[Wheel], Path | None]
"""Finds a wheel's file on this machine."""


def installed(tree: Tree) -> dict[str, tuple[str, str]]:
    """Version and dist-info folder of each package installed by pip, by canonical name."""
    found: dict[str, tuple[str, str]] = {}
    for path in tree.files:
        match = _DIST_INFO.fullmatch(path.removesuffix("/METADATA"))
        if match and path.endswith("/METADATA"):
            fields = _fields(tree.text(path) or "")
            name = fields.get("name", match["info"].partition("-")[0])
            found[canonicalize_name(name)] = (fields.get("version", ""), path.rpartition("/")[0])
    return found


def version_problems(tree: Tree, wheels: list[Wheel]) -> list[str]:
    """Packages that are missing, superfluous, or of another version than the lock's."""
    have = installed(tree)
    wanted: dict[str, str] = {canonicalize_name(wheel.name): wheel.version for wheel in wheels}
    problems = [
        f"{name} {version} is missing" for name, version in wanted.items() if name not in have
    ]
    for name, (version, _) in have.items():
        if name not in wanted:
            problems.append(f"{name} {version} is not in the lock")
        elif version != wanted[name]:
            problems.append(f"{name} is {version}, the lock says {wanted[name]}")
    return sorted(problems)


def record_problems(tree: Tree) -> list[str]:
    """Files that are not as the RECORD of their package says, or that no RECORD names."""
    problems: list[str] = []
    named: set[str] = set()
    sites: set[str] = set()
    for _, folder in installed(tree).values():
        site = folder.rpartition("/")[0]
        sites.add(site)
        named.add(f"{folder}/RECORD")
        record = tree.text(f"{folder}/RECORD")
        if record is None:
            problems.append(f"{folder} has no RECORD")
            continue
        for path, sha256 in _record(record, site):
            named.add(path)
            file = tree.files.get(path)
            if file is None:
                # pip lists byte code that it compiled; the build compiles anew.
                if sha256 is not None:
                    problems.append(f"{path} is missing")
            elif sha256 is not None and file.sha256 != sha256:
                problems.append(f"{path} has sha256 {file.sha256[:16]}…, not {sha256[:16]}…")
    for site in sorted(sites):
        for path, file in tree.below(f"{site}/"):
            if file.kind == "folder" or "__pycache__" in path.split("/"):
                continue
            if f"{site}/{path}" not in named:
                problems.append(f"{site}/{path} belongs to no package")
    return sorted(problems)


def recorded(tree: Tree) -> frozenset[str]:
    """Paths that the packages' records name."""
    return frozenset(
        path
        for _, folder in installed(tree).values()
        for path, _ in _record(tree.text(f"{folder}/RECORD") or "", folder.rpartition("/")[0])
    )


def _superfluous(tree: Tree, folder: str, wheel_record: str) -> list[str]:
    """What an installed package's record names, but neither its wheel nor pip adds.

    pip writes its own notes beside the record, and scripts for entry points into ``bin``.
    """
    site = folder.rpartition("/")[0]
    prefix = posixpath.normpath(f"{site}/../../..")
    known = {f"{folder}/{name}" for name in _PIP_NOTES}
    for path, _ in _record(wheel_record, site):
        known.add(path)
        _, data, rest = path.partition(".data/")
        kind, _, rest = rest.partition("/")
        if data:
            known.add(f"{site if kind.endswith('lib') else prefix}/{rest}")
    return [
        path
        for path, _ in _record(tree.text(f"{folder}/RECORD") or "", site)
        if path in tree.files
        and path not in known
        and "/__pycache__/" not in path
        and not path.startswith((f"{prefix}/bin/", f"{prefix}/include/"))
    ]


def wheel_problems(tree: Tree, wheels: list[Wheel], find: Finder) -> tuple[int, list[str]]:
    """Compare with the locked wheels themselves, where this machine has them.

    An image's own RECORD could have been changed together with a file; a wheel's cannot, because
    the lock names its hash. Returns how many wheels were compared, and what differs.
    """
    problems = []
    compared = 0
    have = installed(tree)
    for wheel in wheels:
        path = find(wheel)
        place = have.get(canonicalize_name(wheel.name))
        if path is None or place is None:
            continue
        compared += 1
        site = place[1].rpartition("/")[0]
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".dist-info/RECORD")]
            record = archive.read(min(names, key=len)).decode()
        for name, sha256 in _record(record, site):
            # Files of the data folder are placed elsewhere, some with another first line.
            if sha256 is None or ".data/" in name:
                continue
            file = tree.files.get(name)
            if file is None or file.sha256 != sha256:
                problems.append(f"{name} is not the one in {wheel.filename}")
        problems += [
            f"{name} is not in {wheel.filename}" for name in _superfluous(tree, place[1], record)
        ]
    return compared, sorted(problems)


def _record(text: str, site: str) -> Iterator[tuple[str, str | None]]:
    """Paths in the image and SHA-256 in hexadecimal of each line; None where there is no hash."""
    for row in csv.reader(text.splitlines()):
        if len(row) < 2:
            continue
        path = posixpath.normpath(posixpath.join(site, row[0]))
        algorithm, _, value = row[1].partition("=")
        if algorithm != "sha256":
            yield path, None
            continue
        try:
            yield path, base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
        except (ValueError, binascii.Error):
            yield path, value


def _fields(metadata: str) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    for line in metadata.splitlines():
        if not line:
            break
        key, separator, value = line.partition(":")
        if separator:
            fields.setdefault(key.strip().lower(), value.strip())
    return fields
