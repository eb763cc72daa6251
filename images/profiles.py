"""Speed profiles of the service: flags of ComfyUI with their reasons, and pairs known to be bad.

The table is ``profiles.toml``. Pure: standard library only. The image cannot read it, so what it
needs is written beside its program: ``python -m images.profiles --write`` (a test compares).
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from images.errors import ImagesError
from images.variants import version

TABLE = Path(__file__).with_name("profiles.toml")
RENDERED = Path(__file__).parent / "comfyui" / "vace_comfyui" / "profiles.json"
DEFAULT = "safe"


class ProfileError(ImagesError):
    """A profile, or a graph, that must not run on this GPU; or no profile at all."""


@dataclass(frozen=True)
class Option:
    """One optimisation of ComfyUI: a value of ``flag``.

    Attributes:
        least_compute_capability: first GPU that may use it; empty for all.
        needs: what that GPU has and older ones lack.
    """

    name: str
    flag: str
    reason: str
    source: str
    least_compute_capability: str = ""
    needs: str = ""

    def runs_on(self, compute_capability: str) -> bool:
        """Whether a GPU may use it."""
        least = self.least_compute_capability
        return not least or version(compute_capability) >= version(least)


@dataclass(frozen=True)
class Profile:
    """A named choice of options."""

    name: str
    summary: str
    options: tuple[Option, ...] = ()

    @property
    def words(self) -> list[str]:
        """What it adds to ComfyUI's command line: each flag once, with all its values."""
        flags = dict.fromkeys(option.flag for option in self.options)
        return [
            word
            for flag in flags
            for word in (flag, *(each.name for each in self.options if each.flag == flag))
        ]


@dataclass(frozen=True)
class BadPair:
    """Two things that do not go together; see the table for what the keys mean."""

    what: str
    nodes: tuple[str, ...]
    why: str
    source: str
    advice: str
    option: str = ""
    below: str = ""
    beside: tuple[str, ...] = ()


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


@cache
def options() -> dict[str, Option]:
    """Every option that a profile may use, by name."""
    return {row["name"]: Option(**row) for row in _table()["options"]}


@cache
def profiles() -> tuple[Profile, ...]:
    """All profiles, most careful first.

    Raises:
        ProfileError: one names an option that the table does not explain.
    """
    known = options()
    found = []
    for row in _table()["profiles"]:
        names = row.get("options", [])
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ProfileError(
                f"profile {row['name']!r} has the options {', '.join(unknown)}; allowed are "
                f"{', '.join(known)}. An option without a reason cannot be judged later. Add it to "
                "[[options]] in images/profiles.toml"
            )
        found.append(Profile(row["name"], row["summary"], tuple(known[name] for name in names)))
    return tuple(found)


@cache
def bad_pairs() -> tuple[BadPair, ...]:
    """Everything that is known not to go together."""
    return tuple(
        BadPair(
            what=row["what"],
            nodes=tuple(row["nodes"]),
            why=row["why"],
            source=row["source"],
            advice=row["advice"],
            option=row.get("option", ""),
            below=row.get("below", ""),
            beside=tuple(row.get("beside", ())),
        )
        for row in _table()["bad_pairs"]
    )


def find(name: str) -> Profile:
    """Return the profile of this name.

    Raises:
        ProfileError: there is none.
    """
    for profile in profiles():
        if profile.name == name:
            return profile
    raise ProfileError(
        f"there is no speed profile {name!r}; there are {', '.join(names())}. Each stands for "
        "flags that were looked at one by one. Name one of these (images/profiles.toml)"
    )


def names() -> tuple[str, ...]:
    """Names of all profiles, most careful first."""
    return tuple(each.name for each in profiles())


def refusal(name: str, compute_capability: str, gpu: str = "") -> str:
    """Why a profile must not run on a GPU, and what to do instead; empty when it may.

    Raises:
        ProfileError: there is no such profile.
    """
    unfit = [each for each in find(name).options if not each.runs_on(compute_capability)]
    if not unfit:
        return ""
    fitting = [each.name for each in profiles() if fits(each.name, compute_capability)]
    reasons = "; ".join(
        f"its {each.flag} {each.name} needs compute capability {each.least_compute_capability} or "
        f"newer ({each.needs})"
        for each in unfit
    )
    return (
        f'"{name}" was given for {gpu or "a GPU"} of compute capability '
        f"{compute_capability}; allowed there: {', '.join(fitting)}, because {reasons}. Use one of "
        "these speed profiles, or a newer GPU"
    )


def fits(name: str, compute_capability: str) -> bool:
    """Whether a GPU may run a profile."""
    return all(option.runs_on(compute_capability) for option in find(name).options)


def refused_flags() -> dict[str, str]:
    """Flags of ComfyUI that are half of a bad pair with the shipped weights, with the reason."""
    return {pair.option: f"{pair.what}: {pair.why}" for pair in bad_pairs() if pair.option}


def graph_refusals(classes: Collection[str], compute_capability: str | None) -> list[str]:
    """Why a graph with these node classes must not run with the shipped FP8 weights.

    Args:
        compute_capability: of the GPU; pairs that depend on it are left out when it is None.
    """
    found = []
    for pair in bad_pairs():
        nodes = sorted(set(pair.nodes) & set(classes))
        if not nodes or (pair.beside and not set(pair.beside) & set(classes)):
            continue
        if pair.below and (
            compute_capability is None or version(compute_capability) >= version(pair.below)
        ):
            continue
        found.append(
            f"the graph has {', '.join(nodes)}; allowed are graphs without, because "
            f"{pair.what} is known to be bad: {pair.why} ({pair.source}). {pair.advice}"
        )
    return found


def of_command_line(words: Sequence[str]) -> str | None:
    """The profile that ComfyUI was started with, by its command line; None when it is none."""
    values: dict[str, list[str]] = {}
    flag = ""
    for word in words:
        if word.startswith("--"):
            flag, _, value = word.partition("=")
            values.setdefault(flag, []).extend([value] if value else [])
        elif flag:
            values[flag].append(word)
    flags = {each.flag for each in options().values()}
    given = {(flag, name) for flag in flags & set(values) for name in values[flag]}
    if any(not values[flag] for flag in flags & set(values)) or set(refused_flags()) & set(values):
        return None
    for profile in profiles():
        if {(option.flag, option.name) for option in profile.options} == given:
            return profile.name
    return None


def rendered() -> str:
    """What the image's program reads: the profiles with their options, and refused flags."""
    document = {
        "profiles": [
            {
                "name": each.name,
                "options": [
                    {
                        "name": option.name,
                        "flag": option.flag,
                        "reason": option.reason,
                        "least_compute_capability": option.least_compute_capability,
                        "needs": option.needs,
                    }
                    for option in each.options
                ],
            }
            for each in profiles()
        ],
        "refused_flags": refused_flags(),
    }
    return json.dumps(document, indent=1) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the rendered table, write it, or compare it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m images.profiles", description=__doc__)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--write", action="store_true", help="write it beside the image's program")
    group.add_argument("--check", action="store_true", help="status 1 when that file is stale")
    choice = parser.parse_args(arguments)
    text = rendered()
    if choice.write:
        RENDERED.write_text(text, encoding="utf-8")
    elif choice.check:
        if RENDERED.read_text(encoding="utf-8") != text:
            print("profiles.json is stale; run: python -m images.profiles --write", file=sys.stderr)
            return 1
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
