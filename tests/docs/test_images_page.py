"""What images/README.md says can be typed, and what it names is there."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator

import pytest
import yaml
from vace_comfyui import cli as comfyui_cli
from vace_weights import cli as weights_cli

from images.__main__ import build_parser
from images.builder.request import IMAGES
from images.table import lines
from tests.docs.test_readme import REPOSITORY

FOLDER = REPOSITORY / "images"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
SPANS = re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```$", "", PAGE, flags=re.M | re.S))
WEIGHTS = ("python -m vace_weights", "vace-weights")
OTHERS = {"PIP_INDEX_URL": "pip"}
"""Variables of programs that are started with our environment."""
UPSTREAM = {"--help"}
"""Flags of ComfyUI that the page speaks of."""


def _typed() -> Iterator[str]:
    """Every command of the code blocks, and of the text where it is written out."""
    for language, block in BLOCKS:
        for line in block.splitlines():
            text = line.strip()
            if language == "console" and not text.startswith("$ "):
                continue
            if language in ("sh", "console"):
                yield from text.removeprefix("$ ").partition("  #")[0].strip().split(" && ")
    for span in SPANS:
        yield from (part for part in span.split(" && ") if part.startswith("python -m "))


def _words(command: str, programs: tuple[str, ...]) -> list[str] | None:
    for program in programs:
        if command.startswith(f"{program} "):
            return shlex.split(command.removeprefix(program))
    return None


COMMANDS = sorted(set(_typed()))
SHORT = [
    span
    for span in SPANS
    if " " in span and re.match(r"(build|push|save|verify|sbom|resolve|render|stale) ", span)
]
"""Commands of `python -m images` that a table or sentence gives without the program."""


def _flags(parser: argparse.ArgumentParser) -> set[str]:
    found = set()
    for row in parser._actions:
        found |= set(row.option_strings)
        if isinstance(row, argparse._SubParsersAction):
            for inner in row.choices.values():
                found |= _flags(inner)
    return found


def _parses(parser: argparse.ArgumentParser, words: list[str], command: str) -> None:
    try:
        parser.parse_args(words)
    except SystemExit:
        pytest.fail(f"the parser refuses what the page says: {command}")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_taken_by_its_parser(command: str) -> None:
    """Prevents: an operator who copies a flag that was renamed."""
    if (words := _words(command, ("python -m images",))) is not None:
        _parses(build_parser(), words, command)
    elif (words := _words(command, WEIGHTS)) is not None:
        _parses(weights_cli._parser(words), words, command)
    elif (words := _words(command, ("vace-comfyui",))) is not None:
        _parses(comfyui_cli.parser(), words, command)
    else:
        # Programs of others; `make` is looked at with the other pages.
        assert command.split(maxsplit=1)[0] in ("podman", "pulumi", "make"), command


@pytest.mark.parametrize("command", SHORT)
def test_every_shortened_command_names_flags_that_it_has(command: str) -> None:
    """Prevents: the same in tables, where the rest of the command is left out."""
    name, *words = shlex.split(command)
    actions = build_parser()._subparsers
    assert actions is not None
    chosen = actions._group_actions[0].choices
    assert isinstance(chosen, dict)
    assert {word for word in words if word.startswith("--")} <= _flags(chosen[name])


def test_commands_of_every_kind_were_found() -> None:
    """Prevents: a page in another form, of which these tests see nothing."""
    for start in ("python -m images build", "python -m images push", "python -m vace_weights",
                  "python -m images verify", "python -m images resolve"):  # fmt: skip
        assert any(command.startswith(start) for command in COMMANDS), start
    assert SHORT


def test_every_flag_exists() -> None:
    """Prevents: a flag in a sentence that no command has."""
    known = _flags(build_parser()) | _flags(comfyui_cli.parser()) | UPSTREAM
    for command in ("fetch", "convert", "generate"):
        known |= _flags(weights_cli._parser([command]))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) <= known


def test_every_file_exists() -> None:
    """Prevents: a file that was moved and is looked for where it was."""
    names = {span.rstrip("/") for span in SPANS if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", span)}
    files = {name for name in names if re.search(r"\.(toml|json|py|md)$|/", name)}
    absent = {
        name
        for name in files
        if not any((place / name).exists() for place in (FOLDER, FOLDER / "weights", REPOSITORY))
    }
    assert {"pins.toml", "pins.lock.json", "variants.toml", "templates"} <= names
    assert not absent


def test_every_variable_is_read() -> None:
    """Prevents: a setting that is obeyed by nothing."""
    code = "".join(path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.py"))
    named = set(re.findall(r"(?<![\w$])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", " ".join(SPANS)))
    assert "VACE_REGISTRY_HOST" in named
    for name in named - set(OTHERS):
        assert f'"{name}"' in code, name


def test_every_setting_of_the_stack_exists() -> None:
    """Prevents: `pulumi config set` of a key that nothing reads."""
    known = yaml.safe_load((REPOSITORY / "Pulumi.yaml").read_text(encoding="utf-8"))["config"]
    keys = {name.rpartition(":")[2] for name in known}
    named = set(re.findall(r"pulumi config set (\w+)", PAGE)) | set(
        re.findall(r"`(\w+Image)`", PAGE)
    )
    assert named | {"imageVariant"} <= keys


def test_the_variants_are_those_of_the_table() -> None:
    """Prevents: an image for a driver that it no longer runs on."""
    shown = next(block for _, block in BLOCKS if "python -m images variants" in block)
    rows = shown.splitlines()[1:]
    assert rows[-1] == "..."
    assert rows[:-1] == lines()[: lines().index("")]


def test_the_images_are_those_that_are_built() -> None:
    """Prevents: an image that no page knows, or one that is no longer built."""
    first = PAGE[PAGE.index("| image |") : PAGE.index("None has a pip")]
    assert tuple(re.findall(r"^\| `([\w-]+)` \|", first, re.MULTILINE)) == IMAGES
    named = set(re.findall(r"images (?:build|verify|push) ([a-z-]+) ", PAGE))
    assert {"all", "comfyui-vace", "gateway"} <= named <= {"all", *IMAGES}
