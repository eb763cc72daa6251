"""Build contexts hold what the Containerfile copies, and nothing that changes from run to run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from images.builder import context as module
from images.builder.context import Context, dump_json, package_files, packages_key
from images.builder.errors import InputError, SourceMissingError
from images.builder.models import read_models
from images.lock import load
from tests.images.builder.tiny import Tiny, make_tiny


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    """A small lock with everything it names."""
    return make_tiny(tmp_path)


def fill(tiny: Tiny, folder: Path) -> Context:
    """A context with a bit of everything."""
    lock = load(tiny.root / "pins.lock.json")
    files = {
        sha256: tiny.root / "cache" / "wheels" / sha256 / wheel.filename
        for sha256, wheel in lock.wheels.items()
    }
    context = Context(folder, "FROM scratch\n")
    context.add_wheels(lock, ("python",), files)

    def export(target: Path) -> None:
        target.mkdir()
        (target / "main.py").write_text("x")
        (target / "run.sh").write_text("x")
        (target / "run.sh").chmod(0o700)

    context.add_source(lock.git["comfyui"], export)
    context.add_packages(("vace_weights",), {"b": 1, "a": 2})
    context.add_weights(
        tiny.root / "weights", ["vae/vae.safetensors"], tiny.root / "weights" / "manifest.json"
    )
    context.finish()
    return context


def test_context_has_the_names_that_templates_rely_on(tiny: Tiny) -> None:
    """A renamed folder would be noticed only in the middle of a build."""
    folder = fill(tiny, tiny.root / "context").folder
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {
        "Containerfile",
        "wheels/python/tiny-1.0-py3-none-any.whl",
        "requirements/python.txt",
        "git/comfyui/main.py",
        "vace/vace_weights/__init__.py",
        "vace/image.json",
        "models/vae/vae.safetensors",
        "models/manifest.json",
    } <= files
    assert not [name for name in files if "__pycache__" in name or name.endswith(".pyc")]
    assert (folder / "requirements/python.txt").read_text().startswith("tiny==1.0 --hash=sha256:")
    assert (folder / "vace/image.json").read_text() == dump_json({"a": 2, "b": 1})


def test_modes_and_times_do_not_depend_on_the_checkout(tiny: Tiny) -> None:
    """Layers carry modes and times; a umask must not give another digest."""
    before = os.umask(0o077)
    try:
        folder = fill(tiny, tiny.root / "context").folder
    finally:
        os.umask(before)
    linked = {"tiny-1.0-py3-none-any.whl", "vae.safetensors"}
    for path in folder.rglob("*"):
        if path.name in linked:
            continue
        wanted = 0o755 if path.is_dir() or path.name == "run.sh" else 0o644
        assert path.stat().st_mode & 0o777 == wanted, path
        assert path.stat().st_mtime == 0, path


def test_big_files_are_linked_and_the_users_own_are_left_alone(tiny: Tiny) -> None:
    """Nine gigabytes need not be copied, and a build must not touch a file that it was given."""
    original = tiny.root / "weights" / "vae" / "vae.safetensors"
    original.chmod(0o600)
    before = original.stat()
    folder = fill(tiny, tiny.root / "context").folder
    after = original.stat()
    assert (folder / "models/vae/vae.safetensors").samefile(original)
    assert (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns)


def test_key_of_our_packages_changes_with_their_content_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that misses a file serves an old image; byte code and caches must not count."""
    package = tmp_path / "vace_x"
    package.mkdir()
    (package / "__init__.py").write_text("A = 1\n")
    monkeypatch.setattr(module, "PACKAGES", {"vace_x": package})
    key = packages_key(["vace_x"])
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert packages_key(["vace_x"]) == key
    (package / "new.py").write_text("")
    assert packages_key(["vace_x"]) != key
    (package / "__init__.py").unlink()
    with pytest.raises(SourceMissingError, match="restore it with git"):
        package_files("vace_x")


def test_weights_that_are_not_the_locks_need_to_be_asked_for(tiny: Tiny) -> None:
    """A folder of old weights must not end up in an image that claims to be the lock's."""
    lock = load(tiny.root / "pins.lock.json")
    folder = tiny.root / "weights"
    assert not read_models(folder, lock, allow_override=False).overridden
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][0]["sha256"] = "1" * 64
    path.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="the lock says"):
        read_models(folder, lock, allow_override=False)
    models = read_models(folder, lock, allow_override=True)
    assert models.overridden
    with pytest.raises(InputError, match="manifest says sha256 1111"):
        models.check(lambda _: None)


def test_weights_folder_must_be_whole(tiny: Tiny) -> None:
    """Half a file in an image is found by the first user, after a pull of nine gigabytes."""
    lock = load(tiny.root / "pins.lock.json")
    file = tiny.root / "weights" / "vae" / "vae.safetensors"
    file.write_bytes(b"half")
    with pytest.raises(InputError, match="manifest says 7000 bytes, but it has 4"):
        read_models(tiny.root / "weights", lock, allow_override=False)
    file.unlink()
    with pytest.raises(InputError, match="it is missing"):
        read_models(tiny.root / "weights", lock, allow_override=False)
    (tiny.root / "weights" / "manifest.json").unlink()
    with pytest.raises(InputError, match="python -m vace_weights prepare"):
        read_models(tiny.root / "weights", lock, allow_override=False)
