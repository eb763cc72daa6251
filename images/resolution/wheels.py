"""Python packages: requirements to exact wheels, by uv, from the index that pip is set up for."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from images.errors import ResolveError, UnreachableError
from images.pins import Pins, PythonPin
from images.resolution.metadata import licences

_TIMEOUT_S = 300
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^ \\;]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_OFFLINE = (
    "dns error",
    "error sending request",
    "timed out",
    "Connection refused",
    "Failed to fetch",
)


@dataclass(frozen=True)
class FoundWheel:
    """A wheel as the index describes it; the address is used and then forgotten."""

    name: str
    version: str
    filename: str
    sha256: str
    size: int
    url: str


Resolution = Mapping[str, FoundWheel]
"""Wheels by normalised package name."""


def compile_requirements(
    requirements: Iterable[str],
    python: PythonPin,
    *,
    constraints: Iterable[str] = (),
    dependencies: bool = True,
) -> Resolution:
    """Resolve ``requirements`` for the image's interpreter and choose one wheel for each package.

    Raises:
        ResolveError: they contradict each other, or a package has no wheel for the image.
        UnreachableError: the index cannot be asked.
    """
    with tempfile.TemporaryDirectory(prefix="resolve-") as folder:
        wanted, limits = Path(folder, "requirements.in"), Path(folder, "constraints.txt")
        result = Path(folder, "pylock.toml")
        wanted.write_text("\n".join(requirements) + "\n")
        limits.write_text("\n".join(constraints) + "\n")
        command = [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--format", "pylock.toml"),
            *("--python-version", python.version, "--python-platform", python.platform),
            *("--only-binary", ":all:", "--no-header", "--constraint", str(limits)),
            *(() if dependencies else ("--no-deps",)),
            *("--output-file", str(result), str(wanted)),
        ]
        finished = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
            env=_settings(),
        )
        if finished.returncode:
            raise _failure(finished.stderr)
        document = tomllib.loads(result.read_text(encoding="utf-8"))
    tags = supported_tags(python)
    return {canonicalize_name(row["name"]): choose_wheel(row, tags) for row in document["packages"]}


def _settings() -> dict[str, str]:
    # uv does not read pip's configuration; the index that pip uses is the one to ask.
    environment = dict(os.environ)
    for name, option in (("UV_DEFAULT_INDEX", "index-url"), ("UV_INDEX", "extra-index-url")):
        value = _pip_setting(option)
        if value:
            environment.setdefault(name, value)
    certificates = _pip_setting("cert")
    if certificates:
        environment.setdefault("SSL_CERT_FILE", certificates)
    return environment


def _pip_setting(option: str) -> str:
    from_environment = os.environ.get(f"PIP_{option.upper().replace('-', '_')}")
    if from_environment:
        return from_environment
    command = [sys.executable, "-m", "pip", "config", "get", f"global.{option}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _failure(text: str) -> ResolveError:
    # An index may have credentials in its address.
    said = re.sub(r"//[^/@\s]+@", "//***@", text.strip())[-1500:]
    if any(word in text for word in _OFFLINE):
        return UnreachableError(f"the Python package index cannot be asked: {said}")
    return ResolveError(
        f"the Python requirements cannot be met together: {said}\nAll must fit one another, "
        "because they share one environment. Change the requirement in pins.toml that is named "
        "above"
    )


def supported_tags(python: PythonPin) -> list[Tag]:
    """Return the wheel tags that run in the image, best first."""
    version = (3, int(python.version.partition(".")[2]))
    newest = int(python.platform.rpartition("_")[2])
    aliases = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
    platforms = []
    for level in range(newest, 4, -1):
        platforms.append(f"manylinux_2_{level}_x86_64")
        if level in aliases:
            platforms.append(f"{aliases[level]}_x86_64")
    platforms.append("linux_x86_64")
    interpreter = f"cp{version[0]}{version[1]}"
    return [
        *cpython_tags(version, platforms=platforms),
        *compatible_tags(version, interpreter=interpreter, platforms=platforms),
    ]


def choose_wheel(row: Mapping[str, Any], tags: Sequence[Tag]) -> FoundWheel:
    """Return the wheel that pip would take: the best tag, then the highest build number.

    Raises:
        ResolveError: none fits, or the index does not say its size or hash.
    """
    ranks = {tag: rank for rank, tag in reversed(list(enumerate(tags)))}
    best: tuple[tuple[int, tuple[int, str] | tuple[()]], Mapping[str, Any], str] | None = None
    for wheel in row.get("wheels", ()):
        filename = wheel.get("name") or wheel["url"].rpartition("/")[2]
        _, _, build, wheel_tags = parse_wheel_filename(filename)
        fitting = [ranks[tag] for tag in wheel_tags if tag in ranks]
        if fitting and (best is None or (-min(fitting), build) > best[0]):
            best = ((-min(fitting), build), wheel, filename)
    if best is None:
        offered = [wheel["url"].rpartition("/")[2] for wheel in row.get("wheels", ())]
        raise ResolveError(
            f"{row['name']} {row['version']} has no wheel for the image's Python and platform; "
            f"the index offers {offered or 'none'}. Images are built without compilers. Pin "
            "another version in pins.toml"
        )
    _, wheel, filename = best
    sha256, size = wheel.get("hashes", {}).get("sha256"), wheel.get("size")
    if not sha256 or not size:
        raise ResolveError(
            f"the index does not tell the SHA-256 and the size of {filename}, and the lock needs "
            "both. Use an index with the JSON form of the simple API (PEP 691 and 700)"
        )
    return FoundWheel(row["name"], row["version"], filename, sha256, size, wheel["url"])


def resolve(pins: Pins, gateway_lock: Path, old: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the lock's ``wheels``, ``groups``, ``variants`` and ``omitted``.

    Raises:
        ResolveError: see :func:`compile_requirements`.
    """
    resolved = resolve_variants(pins)
    groups = split(pins, resolved)
    groups["gateway"] = list(resolve_gateway(gateway_lock, pins.python).values())
    groups["pip"] = list(compile_requirements(pins.wheels.pip, pins.python).values())
    found = {wheel.sha256: wheel for members in groups.values() for wheel in members}
    known = {
        sha256: row["licence"]
        for sha256, row in (old or {}).get("wheels", {}).items()
        if row["licence"] is not None
    }
    asked = licences({key: each.url for key, each in found.items() if key not in known})
    return {
        "wheels": {
            sha256: {
                "name": canonicalize_name(each.name),
                "version": each.version,
                "filename": each.filename,
                "size": each.size,
                "licence": known.get(sha256, asked.get(sha256)),
            }
            for sha256, each in sorted(found.items(), key=lambda item: item[1].filename)
        },
        "groups": {
            name: [each.sha256 for each in sorted(members, key=lambda wheel: wheel.filename)]
            for name, members in groups.items()
        },
        "variants": {
            name: {
                "groups": [
                    *((f"cuda-{name}", f"torch-{name}") if variant.torch else ()),
                    *("python", "comfy"),
                ]
            }
            for name, variant in pins.variants.items()
        },
        "omitted": dict(sorted(pins.wheels.omit.items())),
    }


def resolve_variants(pins: Pins) -> dict[str, Resolution]:
    """Resolve each variant that has torch, all with the same packages beside it."""
    wanted = [*pins.wheels.comfy, *pins.wheels.python]
    shared: list[str] = []
    resolved: dict[str, Resolution] = {}
    for name, variant in pins.variants.items():
        if not variant.torch:
            continue
        found = compile_requirements(
            [*wanted, *variant.torch], pins.python, constraints=[*variant.constraints, *shared]
        )
        resolved[name] = {key: wheel for key, wheel in found.items() if key not in pins.wheels.omit}
        if not shared:
            # The layer with these packages is then the same in all variants.
            shared = [
                f"{wheel.name}=={wheel.version}"
                for key, wheel in found.items()
                if group_of(key, pins) == "python"
            ]
    return resolved


def group_of(name: str, pins: Pins) -> str:
    """Return the kind of layer that a package belongs to: comfy, python or one of [groups]."""
    if any(canonicalize_name(pin.partition("==")[0]) == name for pin in pins.wheels.comfy):
        return "comfy"
    for group, patterns in pins.groups.items():
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            return group
    return "python"


def split(pins: Pins, resolved: Mapping[str, Resolution]) -> dict[str, list[FoundWheel]]:
    """Distribute each variant's wheels to groups; what not all variants need goes with torch."""
    everywhere = set.intersection(*(set(found) for found in resolved.values()))
    groups: dict[str, dict[str, FoundWheel]] = {}
    for variant, found in resolved.items():
        for name, wheel in found.items():
            group = group_of(name, pins)
            if group in pins.groups:
                group = f"{group}-{variant}"
            elif name not in everywhere:
                group = f"torch-{variant}"
            groups.setdefault(group, {})[name] = wheel
    return {group: list(members.values()) for group, members in groups.items()}


def resolve_gateway(lock: Path, python: PythonPin) -> Resolution:
    """Return the wheels that the gateway's own lock pins.

    Raises:
        ResolveError: the index's wheel is none of those whose hashes that lock holds.
    """
    allowed = gateway_hashes(lock.read_text(encoding="utf-8"))
    found = compile_requirements(allowed, python, dependencies=False)
    for pin, hashes in allowed.items():
        wheel = found[canonicalize_name(pin.partition("==")[0])]
        if wheel.sha256 not in hashes:
            raise ResolveError(
                f"{wheel.filename} has sha256 {wheel.sha256} on the index, and {lock} allows "
                f"{len(hashes)} others for {pin}; the two must be the same file. Lock the "
                "gateway again (see images/gateway/README.md), and look why it changed"
            )
    return found


def gateway_hashes(text: str) -> dict[str, set[str]]:
    """Return ``name==version`` -> allowed hashes of a requirements file with hashes."""
    allowed: dict[str, set[str]] = {}
    current: set[str] = set()
    for line in text.splitlines():
        pinned = _PINNED.match(line)
        if pinned:
            current = allowed.setdefault(f"{pinned[1]}=={pinned[2]}", set())
        current.update(_HASH.findall(line))
    return allowed
