"""What stands in for the outside world: the model hub, the sources, and all of it together."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from vace_weights.manifest import load

from images.builder.cache import Cache, default_cache_folder
from images.builder.sources import export
from images.lock import load as load_lock
from rehearsal.images import make_sources, supply
from rehearsal.images.repositories import make_repository
from rehearsal.images.source_tree import NODE_PACKS, comfyui_tree
from rehearsal.images.weights import hub_environment, make_weights
from rehearsal.images.weights_server import Served, WeightsServer, serve_weights
from tests.images.supply.conftest import source

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[WeightsServer]:
    (tmp_path / "file").write_bytes(CONTENT)
    with serve_weights([Served("owner/repo", "rev", "a/b.bin", tmp_path / "file")]) as server:
        yield server


@pytest.mark.parametrize("prefix", ["", "/models"])
def test_a_hub_redirects_to_its_content_network_and_names_the_hash(
    hub: WeightsServer, prefix: str
) -> None:
    """Prevents: fetches that are only ever tried without a redirect."""
    first = httpx.head(f"{hub.url}{prefix}/owner/repo/resolve/rev/a/b.bin")
    assert first.status_code == 302
    assert first.headers["X-Linked-Size"] == str(len(CONTENT))
    assert first.headers["X-Linked-ETag"] == f'"{SHA256}"'
    content = httpx.get(first.headers["Location"])
    assert (content.status_code, content.content) == (200, CONTENT)
    assert hub.requests[0].endswith("/owner/repo/resolve/rev/a/b.bin")


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=100-", 206, 100, len(CONTENT)),
        ("bytes=-7", 206, len(CONTENT) - 7, len(CONTENT)),
        ("bytes=5-999999", 206, 5, len(CONTENT)),
        ("bytes=-", 200, 0, len(CONTENT)),
    ],
)
def test_ranges_are_given_as_asked(
    hub: WeightsServer, asked: str, status: int, start: int, end: int
) -> None:
    """Prevents: a resume that was never seen to work against a real answer."""
    found = httpx.get(f"{hub.url}/cdn/{SHA256}", headers={"Range": asked})
    assert (found.status_code, found.content) == (status, CONTENT[start:end])
    if status == 206:
        assert found.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"


def test_a_range_of_another_version_gives_the_whole_file(hub: WeightsServer) -> None:
    """Prevents: two versions of a file in one download."""
    headers = {"Range": "bytes=5-9", "If-Range": '"another"'}
    found = httpx.get(f"{hub.url}/cdn/{SHA256}", headers=headers)
    assert (found.status_code, len(found.content)) == (200, len(CONTENT))


def test_what_a_hub_does_not_have_is_an_error(hub: WeightsServer) -> None:
    """Prevents: a wrong revision or range that is answered with something."""
    assert httpx.get(f"{hub.url}/owner/repo/resolve/other/a/b.bin").status_code == 404
    assert httpx.get(f"{hub.url}/cdn/{'0' * 64}").status_code == 403
    beyond = httpx.get(f"{hub.url}/cdn/{SHA256}", headers={"Range": "bytes=999999-"})
    assert beyond.status_code == 416
    assert beyond.headers["Content-Range"] == f"bytes */{len(CONTENT)}"


def test_the_weights_are_prepared_by_the_real_program(tmp_path: Path) -> None:
    """Prevents: a rehearsal whose models come from another way than in production."""
    weights = make_weights(Cache(tmp_path), lambda _: None)
    manifest = load(weights.folder / "manifest.json")
    manifest.require_complete("the rehearsal's manifest")
    for file in manifest.files:
        content = (weights.folder / file.relative).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size, file.sha256)
    assert {file.name for file in manifest.files if file.derived} == {
        "wan21_vace_1_3_b.safetensors"
    }
    again = make_weights(Cache(tmp_path), lambda _: pytest.fail("made twice"))
    assert again.folder == weights.folder
    assert all(
        value.startswith("http://127.0.0.1:1") or not value.startswith("http")
        for value in hub_environment("http://127.0.0.1:1").values()
    )


def test_the_same_files_give_the_same_commit(tmp_path: Path) -> None:
    """Prevents: images that differ between two machines because a date is in the commit."""
    files = {"b/c": b"1", "a": b"2"}
    first = make_repository(tmp_path / "one.git", files)
    assert first == make_repository(tmp_path / "two.git", dict(reversed(files.items())))
    # Fixed, so that another version of git cannot change it unnoticed.
    assert first == "b9fc457658a5c159bfd8c90f6756e9c8192a58fa"


def test_the_source_tree_starts_as_comfyui_does(tmp_path: Path) -> None:
    """Prevents: a tree that lacks a file, which only an image build would notice."""
    folder, commits = make_sources(Cache(tmp_path / "cache"), lambda _: None)
    assert set(commits) == {"comfyui", *NODE_PACKS}
    tree = tmp_path / "comfyui"
    done = export(source(str(folder / "comfyui.git"), commits["comfyui"]), tree, cache=tmp_path)
    assert done.files == len(comfyui_tree())
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    help_text = subprocess.run(
        # -I would hide the script's folder; -s alone is how the image starts it.
        ["python3", "-s", "main.py", "--help"], cwd=tree, env=environment,
        capture_output=True, text=True, check=True, timeout=30,
    ).stdout  # fmt: skip
    assert "--extra-model-paths-config" in help_text
    assert "SIMULATED" in help_text


@pytest.mark.machine
def test_everything_is_supplied_from_the_lock() -> None:
    """Prevents: a base without what the images' first layer and their environment need."""
    with supply(default_cache_folder()) as world:
        lock = load_lock()
        assert set(world.git) == set(lock.git)
        assert set(world.debian_packages) == {each.name for each in lock.debian if each.requested}
        for url, _ in world.git.values():
            assert httpx.get(f"{url}/info/refs?service=git-upload-pack").status_code == 200
        with tarfile.open(world.base_archive) as archive:
            names = {member.name.removeprefix("./") for member in archive}
        assert {"usr/bin/python3.11", "usr/bin/apt-get", "usr/lib/python3.11/venv/__init__.py"} <= (
            names
        )
        assert world.base == f"rootfs:{world.base_archive}"
        assert httpx.get(f"{world.hub}/nothing").status_code == 404
    with pytest.raises(httpx.ConnectError):
        httpx.get(world.hub)
