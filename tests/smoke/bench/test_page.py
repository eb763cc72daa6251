"""What the benchmark's page says can be typed, and the figures that it derives."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from images import profiles
from smoke_tests.bench import cli, flops

PAGE = (Path(cli.__file__).parent / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python -m smoke_tests\.bench(.*)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("arguments", COMMANDS)
def test_every_command_is_taken_by_the_parser(arguments: str) -> None:
    """Prevents: an operator who copies an option that was renamed."""
    options = cli.parser().parse_args(shlex.split(arguments))
    assert cli.faults(options) == []


def test_every_option_of_the_page_exists() -> None:
    """Prevents: the same in a sentence."""
    assert len(COMMANDS) >= 4
    known = {word for action in cli.parser()._actions for word in action.option_strings}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) <= known


def test_the_table_of_work_is_what_the_code_counts() -> None:
    """Prevents: a page whose figures are those of an earlier count."""
    parts = {name: count / 1e15 for name, count in flops.sampling(flops.REFERENCE).items()}
    rest = parts["vace_projections"] + parts["head"]
    shown = [
        parts["blocks.normalised"], parts["blocks.other"], parts["blocks.attention"],
        parts["embeddings"], flops.transformer(flops.sampling(flops.REFERENCE)) / 1e15, rest,
        flops.total(flops.sampling(flops.REFERENCE)) / 1e15, flops.text_encoder() / 1e15,
        flops.vae_decode(flops.REFERENCE) / 1e15,
    ]  # fmt: skip
    table = PAGE[PAGE.index("| part | PFLOP |") : PAGE.index("Norms, softmax")]
    assert [float(each) for each in re.findall(r"\d\.\d{3}", table)] == [
        round(each, 3) for each in shown
    ]


def test_every_profile_and_bad_pair_is_on_the_page() -> None:
    """Prevents: a refusal that nobody can look up."""
    for name in profiles.names():
        assert f"`{name}`" in PAGE
    for word in ("SageAttention", "torch.compile", "TeaCache"):
        assert word in PAGE
        assert any(word in pair.what for pair in profiles.bad_pairs())
