"""The manifest: what it may hold, and what happens to one that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from vace_weights.cli import DEFAULT_MANIFEST
from vace_weights.errors import ManifestError
from vace_weights.manifest import dump, load, parse

LOCK = Path(__file__).parents[3] / "images" / "pins.lock.json"


def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DEFAULT_MANIFEST.read_text())
    return loaded


def test_the_default_manifest_names_the_three_published_files() -> None:
    """Prevents a typing error in a hash from being found after 6 GB."""
    manifest = load(DEFAULT_MANIFEST)
    assert [(str(file.relative), file.to_fetch.size) for file in manifest.files] == [
        ("diffusion_models/wan21_vace_1_3_b.safetensors", 4309519800),
        ("text_encoders/umt5_xxl_fp8_e4m3fn.safetensors", 6735906897),
        ("vae/wan21_vace_vae.safetensors", 253815318),
    ]
    assert all(len(file.to_fetch.sources) == 3 for file in manifest.files)
    assert not manifest.complete


def test_the_lock_has_the_same_files_as_the_default_manifest() -> None:
    """Prevents the package and the lock from naming different weights."""
    if not LOCK.exists():
        pytest.skip("SKIPPED, NOT PASSED: there is no lock yet")
    locked = {file.to_fetch.name: file.to_fetch for file in load(LOCK).files}
    for file in load(DEFAULT_MANIFEST).files:
        ours = file.to_fetch
        match = [each for each in locked.values() if each.sha256 == ours.sha256]
        assert match, f"{ours.name} is not in the lock"
        assert match[0].size == ours.size


def test_a_manifest_written_and_read_again_is_the_same(tmp_path: Path) -> None:
    """Prevents a field from being lost on the way into the models folder."""
    manifest = load(DEFAULT_MANIFEST)
    dump(manifest, tmp_path / "manifest.json")
    assert load(tmp_path / "manifest.json") == manifest
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_whole_lock_is_read_as_its_weights() -> None:
    """Prevents a second copy of the manifest from being needed beside the lock."""
    assert parse({"schema": 1, "weights": document()}, "lock") == load(DEFAULT_MANIFEST)


def test_a_manifest_with_nulls_is_not_complete_and_says_how_to_make_it_so() -> None:
    """Prevents a server from starting with a file whose hash nobody knows."""
    with pytest.raises(ManifestError, match="prepare") as caught:
        load(DEFAULT_MANIFEST).require_complete("here")
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "../evil"}, "plain file name"),
        ({"name": "a/b"}, "plain file name"),
        ({"folder": "custom_nodes"}, "allowed: diffusion_models"),
        ({"size": -1}, "number of bytes"),
        ({"size": True}, "number of bytes"),
        ({"size": None}, "number of bytes"),
        ({"sha256": "ABC"}, "64 hex digits"),
        ({"licence": ""}, "must be text"),
        ({"sources": [{"kind": "ftp"}]}, "allowed: modelscope"),
        ({"sources": [{"kind": "huggingface", "repo": "a/b"}]}, "needs it as text"),
        ({"sources": [{"kind": "http", "url": "http://x", "token": "t"}]}, "unknown keys"),
        ({"derived": 5}, "neither null nor an object"),
    ],
)
def test_each_wrong_field_is_named(change: dict[str, Any], words: str) -> None:
    """Prevents a path that leaves the folder, and a hash that is never compared."""
    wrong = document()
    wrong["files"][2].update(change)
    with pytest.raises(ManifestError, match=words):
        parse(wrong, "test")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": 2, "files": []}', '{"schema": 1}'])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    """Prevents a stack trace where a sentence is wanted."""
    path = tmp_path / "m.json"
    path.write_text(text)
    with pytest.raises(ManifestError, match=r"m\.json"):
        load(path)


def test_a_file_named_twice_is_refused() -> None:
    """Prevents two entries from overwriting each other."""
    twice = document()
    twice["files"].append(twice["files"][0])
    with pytest.raises(ManifestError, match="named twice"):
        parse(twice, "test")
