"""The cache of artifacts: whole or absent, built once, named by its inputs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rehearsal.artifacts import Artifacts
from rehearsal.artifacts.cache import Cache, content_key
from rehearsal.artifacts.errors import ArtifactError, BuildFailedError
from rehearsal.artifacts.images import IMAGES
from rehearsal.artifacts.process import run_logged
from rehearsal.artifacts.progress import INTERVAL_S, describe
from rehearsal.artifacts.registry_storage import image_size, publish

REPOSITORY = Path(__file__).parents[2]


def ensure(cache: Cache, build: object, lines: list[str] | None = None) -> Path:
    sink = lines if lines is not None else []
    return cache.ensure(
        "thing",
        "k1",
        build,  # type: ignore[arg-type]
        what="building thing",
        estimate_s=40,
        progress=sink.append,
    )


def test_second_call_builds_nothing_and_says_nothing(tmp_path: Path) -> None:
    """A rehearsal that starts must not wait for, or talk about, what it already has."""
    cache = Cache(tmp_path)
    path = ensure(cache, lambda folder, log: (folder / "file").write_text("x"))
    assert (path / "file").read_text() == "x"
    lines: list[str] = []

    def never(folder: Path, log: Path) -> None:
        raise AssertionError("built twice")

    assert ensure(cache, never, lines) == path
    assert lines == []


def test_failed_build_leaves_nothing_and_names_its_log(tmp_path: Path) -> None:
    """Half an artifact that looks whole breaks every later run in a confusing way."""
    cache = Cache(tmp_path)

    def failing(folder: Path, log: Path) -> None:
        (folder / "half").write_text("x")
        run_logged("making it", ["sh", "-c", "echo the reason; exit 3"], log)

    with pytest.raises(BuildFailedError, match=r"(?s)making it: exit status 3.*the reason"):
        ensure(cache, failing)
    assert cache.entries() == []
    assert list((tmp_path / "artifacts" / "thing").iterdir()) == []
    assert "the reason" in (tmp_path / "logs" / "thing.log").read_text()


def test_build_that_is_killed_is_not_taken_for_a_result(tmp_path: Path) -> None:
    """SIGKILL runs no clean-up code; the next run has to do without it."""
    program = (
        "import sys, time; from pathlib import Path; from rehearsal.artifacts.cache import Cache\n"
        "def build(folder, log):\n"
        "    (folder / 'half').write_text('x'); print('in', flush=True); time.sleep(60)\n"
        "Cache(Path(sys.argv[1])).ensure('thing', 'k1', build, what='w', estimate_s=1,"
        " progress=lambda _: None)"
    )
    victim = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, cwd=REPOSITORY
    )
    assert victim.stdout is not None
    assert victim.stdout.readline() == b"in\n"
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    victim.stdout.close()
    cache = Cache(tmp_path)
    assert cache.find("thing", "k1") is None
    path = ensure(cache, lambda folder, log: (folder / "whole").write_text("x"))
    assert sorted(file.name for file in path.iterdir()) == ["artifact.json", "whole"]
    assert [entry.name for entry in path.parent.iterdir()] == ["k1"]


def test_two_runs_build_the_same_thing_once(tmp_path: Path) -> None:
    """Two rehearsals that start together would otherwise double the load and collide."""
    built = []
    inside = threading.Event()
    go_on = threading.Event()

    def slow(folder: Path, log: Path) -> None:
        built.append(1)
        inside.set()
        assert go_on.wait(10)

    results: list[Path] = []
    runs = [
        threading.Thread(target=lambda: results.append(ensure(Cache(tmp_path), slow)))
        for _ in range(2)
    ]
    for run in runs:
        run.start()
    assert inside.wait(10)
    go_on.set()
    for run in runs:
        run.join(10)
    assert len(built) == 1
    assert len(results) == 2
    assert results[0] == results[1]


def test_progress_is_told_at_least_every_two_seconds(tmp_path: Path) -> None:
    """A minute of silence looks like a program that hangs."""
    assert INTERVAL_S < 2
    assert describe("building x", 12, 52) == "building x: 12 s, about 40 s left"
    assert "longer than the 52 s expected" in describe("building x", 60, 52)
    lines: list[str] = []

    def until_told(folder: Path, log: Path) -> None:
        deadline = time.monotonic() + 10
        while len(lines) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    ensure(Cache(tmp_path), until_told, lines)
    assert lines[0] == "building thing: 0 s, about 40 s left"
    assert lines[-1].startswith("building thing: done in")


def test_key_changes_with_content_name_and_mode_only(tmp_path: Path) -> None:
    """A key that misses an input serves a stale image; one that sees too much never hits."""
    file = tmp_path / "a"
    file.write_text("1")
    key = content_key({"v": 1}, {"a": file})
    os.utime(file, (0, 0))
    assert content_key({"v": 1}, {"a": file}) == key
    assert content_key({"v": 2}, {"a": file}) != key
    assert content_key({"v": 1}, {"b": file}) != key
    file.chmod(0o755)
    assert content_key({"v": 1}, {"a": file}) != key
    file.chmod(0o644)
    file.write_text("2")
    assert content_key({"v": 1}, {"a": file}) != key


def test_unknown_image_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    """The message must say which names there are."""
    assert set(IMAGES) == {"comfyui", "gateway"}
    with pytest.raises(ArtifactError, match="there is no image 'x'; there are comfyui, gateway"):
        Artifacts(tmp_path).image("x")


def test_only_what_no_build_would_use_again_is_stale(tmp_path: Path) -> None:
    """`clean` must not remove the layers of an image that took minutes, nor keep each old one."""
    cache = Cache(tmp_path)
    for key in ("old", "new"):
        cache.ensure(
            "image-gateway",
            key,
            lambda folder, _: (folder / "oci").mkdir(),
            what="building",
            estimate_s=1,
            progress=lambda _: None,
        )
    note = tmp_path / "images" / "last" / "rehearsal-gateway.json"
    note.parent.mkdir(parents=True)
    layout = tmp_path / "artifacts" / "image-gateway" / "new" / "oci"
    note.write_text(json.dumps({"layout": str(layout), "below": []}))
    artifacts = Artifacts(tmp_path)
    current = {entry.key: artifacts.is_current(entry) for entry in cache.entries()}
    assert current == {"new": True, "old": False}


def test_published_image_has_the_layout_of_a_registry(tmp_path: Path) -> None:
    """The registry finds blobs by path alone; a wrong path answers 404 to the node."""
    layout = tmp_path / "oci"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    digests = {name: f"sha256:{number:064x}" for number, name in enumerate(("m", "c", "l"), 1)}
    manifest = {
        "config": {"digest": digests["c"], "size": 10},
        "layers": [{"digest": digests["l"], "size": 100}],
    }
    contents = {"m": json.dumps(manifest), "c": "config", "l": "layer"}
    for name, digest in digests.items():
        (blobs / digest.removeprefix("sha256:")).write_text(contents[name])
    (layout / "index.json").write_text(json.dumps({"manifests": [{"digest": digests["m"]}]}))
    storage = tmp_path / "registry"
    for _ in range(2):
        assert publish(layout, storage, "vace/x") == digests["m"]
    root = storage / "docker/registry/v2"
    layer = digests["l"].removeprefix("sha256:")
    assert (root / "blobs/sha256/00" / layer / "data").read_text() == "layer"
    revision = root / "repositories/vace/x/_manifests/revisions/sha256"
    assert (revision / digests["m"].removeprefix("sha256:") / "link").read_text() == digests["m"]
    assert (root / "repositories/vace/x/_layers/sha256" / layer / "link").exists()
    assert image_size(layout) == 110
