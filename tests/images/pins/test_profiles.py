"""Speed profiles: every flag explained, and what is known to be bad refused."""

from __future__ import annotations

import datetime
import gzip
import json
import tomllib
from pathlib import Path

import pytest

from images import profiles
from images.profiles import ProfileError
from rehearsal.comfyui.flags import parser
from smoke_tests.workflows import RECIPES

REPOSITORY = Path(__file__).resolve().parents[3]
RECORDED = REPOSITORY / ".." / "shared" / "contract" / "comfyui-0.33.0" / "object_info.all.json.gz"
PACKS = {"TeaCache", "TeaCacheForVidGen"}
"""Nodes of packs that are not in the image, and that users are known to add."""


def test_every_option_is_named_justified_and_sourced() -> None:
    """Prevents: a flag that nobody can explain any more."""
    for option in profiles.options().values():
        assert len(option.reason) > 30
        assert option.source
        assert bool(option.least_compute_capability) == bool(option.needs)
    table = tomllib.loads(profiles.TABLE.read_text(encoding="utf-8"))
    assert datetime.date(2026, 1, 1) <= table["checked_on"] <= datetime.date(2100, 1, 1)
    used = {option.name for profile in profiles.profiles() for option in profile.options}
    assert used == set(profiles.options())


@pytest.mark.parametrize("profile", profiles.profiles(), ids=lambda each: each.name)
def test_comfyui_takes_the_flags_of_a_profile(profile: profiles.Profile) -> None:
    """Prevents: a service that ends with a usage error once it is made faster."""
    parser().parse_args(profile.words)
    assert profiles.of_command_line(["main.py", "--highvram", *profile.words]) == profile.name
    # the flag alone would turn on whatever upstream adds to it
    assert "--fast" not in profile.words or len(profile.words) > 1


def test_the_default_changes_nothing() -> None:
    """Prevents: a loss of quality that nobody asked for."""
    assert profiles.DEFAULT == profiles.names()[0] == "safe"
    assert profiles.names() == ("safe", "balanced", "fast")
    assert profiles.find("safe").words == []


@pytest.mark.parametrize(
    ("words", "profile"),
    [
        ([], "safe"),
        (["--fast"], None),
        (["--fast=autotune"], None),
        (["--fast=autotune", "fp16_accumulation"], "balanced"),
        (["--fast", "cublas_ops"], None),
        (["--use-sage-attention"], None),
        (["--fast", "fp16_accumulation", "autotune", "--cpu"], "balanced"),
    ],
)
def test_a_command_line_is_told_from_its_likes(words: list[str], profile: str | None) -> None:
    """Prevents: figures of one profile under the name of another."""
    assert profiles.of_command_line(words) == profile


@pytest.mark.parametrize(
    ("capability", "allowed"),
    [("7.5", False), ("8.0", False), ("8.6", False), ("8.9", True), ("9.0", True), ("12.0", True)],
)
def test_fp8_products_need_a_card_that_has_them(capability: str, allowed: bool) -> None:
    """Prevents: a profile named fast that is an error, or nothing, on an A10."""
    assert profiles.fits("fast", capability) is allowed
    assert profiles.fits("balanced", capability)
    text = profiles.refusal("fast", capability, "the A10 of ecs.x")
    assert bool(text) is not allowed
    if text:
        for part in ('"fast"', capability, "safe, balanced", "8.9", "fp8_matrix_mult", "newer GPU"):
            assert part in text


def test_an_unknown_profile_is_refused_with_the_known_ones() -> None:
    """Prevents: a typing mistake that quietly means the default."""
    with pytest.raises(ProfileError, match="safe, balanced, fast"):
        profiles.find("turbo")


@pytest.mark.parametrize(
    ("classes", "capability", "words"),
    [
        ({"PathchSageAttentionKJ", "KSampler"}, "8.9", "SageAttention"),
        ({"PathchSageAttentionKJ"}, None, "SageAttention"),
        ({"TorchCompileModel"}, "8.6", "torch.compile"),
        ({"TorchCompileModel"}, "8.9", ""),
        ({"TorchCompileModel"}, None, ""),
        ({"WanVideoTeaCacheKJ", "WanVaceToVideo"}, "8.9", "TeaCache"),
        ({"WanVideoTeaCacheKJ"}, "8.9", ""),
    ],
)
def test_graphs_with_a_bad_pair_are_refused(
    classes: set[str], capability: str | None, words: str
) -> None:
    """Prevents: black frames, or VACE's conditioning dropped, in figures of speed."""
    found = profiles.graph_refusals(classes, capability)
    assert bool(found) is bool(words)
    for text in found:
        for part in (words, "the graph has", "allowed", "because", "known to be bad"):
            assert part in text


def test_no_shipped_workflow_is_a_bad_pair() -> None:
    """Prevents: a workflow of ours that the benchmark itself refuses."""
    for recipe in RECIPES.values():
        assert profiles.graph_refusals(recipe.workflow().classes(), "7.5") == []


def test_the_nodes_of_bad_pairs_exist() -> None:
    """Prevents: a rule about a node class that has another name."""
    if not RECORDED.is_file():
        pytest.skip("RECORDINGS MISSING: object_info.all.json.gz; the names were not looked up")
    known = set(json.loads(gzip.decompress(RECORDED.read_bytes())))
    for pair in profiles.bad_pairs():
        assert set(pair.nodes) - PACKS <= known
        assert set(pair.beside) <= known


def test_what_the_image_reads_is_what_the_table_says() -> None:
    """Prevents: an image with the profiles of an earlier table."""
    text = profiles.RENDERED.read_text(encoding="utf-8")
    assert text == profiles.rendered(), "run: python -m images.profiles --write"
