"""Pushing to a real registry, and archives for sites without one."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from images.__main__ import main
from images.builder import publish as module
from images.builder.cache import default_cache_folder
from images.builder.errors import DiskSpaceError, InputError
from images.builder.layers import LayerError
from images.builder.layouts import copy_image, export_layout, forget_build_cache, layout_of_root
from images.builder.oci import ArchiveSource, LayoutSource, load_image, open_source
from images.builder.publish import push, save
from images.builder.references import parse_reference
from images.builder.registry import Registry
from images.builder.registry_errors import RegistryUnreachableError
from images.builder.registry_source import RegistrySource
from images.builder.verify import verify
from tests.images.builder.handmade import World, make_world
from tests.images.supply.registries import run_registry


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An image that is what its lock says, written to ``oci``."""
    made = make_world(tmp_path)
    made.parts.write(tmp_path / "oci")
    return made


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's docker-registry on loopback."""
    with run_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


def test_a_pushed_image_is_the_same_image_by_digest(world: World, registry: str) -> None:
    """The stack's config takes what is printed here; it must name what was checked."""
    image = load_image(LayoutSource(world.tiny.root / "oci"))
    lines: list[str] = []
    target = parse_reference(f"{registry}/vace/comfyui:v1")
    pushed = push(image, target, progress=lines.append)
    assert pushed.reference == f"{registry}/vace/comfyui@{image.digest}"
    assert f"pulumi config set comfyuiImage {pushed.reference}" in pushed.text()
    assert pushed.sent == image.size
    assert any(f"blob 1 of {len(image.layers) + 1}" in line for line in lines)
    with Registry(registry) as there:
        found = load_image(RegistrySource(there, parse_reference(pushed.reference)))
        assert found.digest == image.digest
        # Read from there, it gets the same verdict as from here.
        assert verify(found, world.lock).checks == verify(image, world.lock).checks
    again = push(image, parse_reference(f"{registry}/vace/comfyui:v2"))
    assert again.sent == 0
    assert again.reference == pushed.reference


def test_a_damaged_blob_is_not_pushed(world: World, registry: str) -> None:
    """The registry would take it under its own digest, and the manifest would name nothing."""
    layout = world.tiny.root / "oci"
    image = load_image(LayoutSource(layout))
    blob = layout / "blobs" / "sha256" / image.layers[2].digest.removeprefix("sha256:")
    blob.write_bytes(blob.read_bytes() + b"x")
    with pytest.raises(LayerError, match="was expected, but its bytes have"):
        push(image, parse_reference(f"{registry}/vace/damaged:v1"))


def test_a_registry_that_is_away_is_tried_four_times(world: World) -> None:
    """A connection that breaks once must not end an upload of sixteen gigabytes."""
    image = load_image(LayoutSource(world.tiny.root / "oci"))
    waits: list[float] = []
    lines: list[str] = []
    with pytest.raises(RegistryUnreachableError):
        push(
            image,
            parse_reference("127.0.0.1:1/vace/comfyui:v1"),
            progress=lines.append,
            wait=waits.append,
        )
    assert waits == [2.0, 4.0, 8.0]
    assert any("attempt 1 failed" in line for line in lines)
    with pytest.raises(InputError, match="pushed under a tag"):
        push(image, parse_reference(f"127.0.0.1:1/x@{image.digest}"))


def test_an_archive_holds_several_images_and_shared_blobs_once(
    world: World, registry: str, tmp_path: Path
) -> None:
    """Sites without a network get one file; it must load like any other OCI archive."""
    image = load_image(LayoutSource(tmp_path / "oci"))
    world.parts.layers.pop()
    other = load_image(LayoutSource(world.parts.write(tmp_path / "other")))
    archive = tmp_path / "all.tar"
    lines: list[str] = []
    size = save({"comfyui-vace-cpu": image, "gateway": other}, archive, lines.append)
    assert size == archive.stat().st_size
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))
    source = ArchiveSource(archive)
    with pytest.raises(InputError, match="it holds comfyui-vace-cpu, gateway"):
        load_image(source)
    found = load_image(source, "comfyui-vace-cpu")
    assert found.digest == image.digest
    assert not verify(found, world.lock, rendered=world.tiny.root / "rendered").count("failed")
    pushed = push(found, parse_reference(f"{registry}/vace/archived:v1"))
    assert pushed.reference.endswith(image.digest)
    first = archive.read_bytes()
    save({"gateway": other, "comfyui-vace-cpu": image}, archive, lines.append)
    assert archive.read_bytes() == first


def test_saving_checks_space_folder_and_blobs(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive that was cut short looks whole until it is needed."""
    image = load_image(LayoutSource(tmp_path / "oci"))
    with pytest.raises(InputError, match="is not a folder"):
        save({"x": image}, tmp_path / "nowhere" / "a.tar", lambda _: None)
    blob = tmp_path / "oci/blobs/sha256" / image.layers[0].digest.removeprefix("sha256:")
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    with pytest.raises(LayerError, match="damaged or exchanged"):
        save({"x": image}, tmp_path / "a.tar", lambda _: None)
    assert not list(tmp_path.glob("*a.tar*"))
    monkeypatch.setattr(module, "free_gib", lambda _: 0.0)
    with pytest.raises(DiskSpaceError, match=r"saving a\.tar"):
        save({"x": image}, tmp_path / "a.tar", lambda _: None)


def test_layouts_are_copied_whole_and_never_mixed(world: World, tmp_path: Path) -> None:
    """Two images in one folder by accident: the next tool takes the wrong one."""
    image = load_image(LayoutSource(tmp_path / "oci"))
    copy_image(image, tmp_path / "copy")
    assert load_image(open_source(f"oci:{tmp_path / 'copy'}")).digest == image.digest
    export_layout(tmp_path / "copy", tmp_path / "linked")
    assert load_image(LayoutSource(tmp_path / "linked")).digest == image.digest
    with pytest.raises(InputError, match="is not empty"):
        export_layout(tmp_path / "copy", tmp_path / "linked")


def test_a_root_file_system_becomes_the_same_image_every_time(tmp_path: Path) -> None:
    """The base's digest is part of every key; one that changes would rebuild everything."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "sh").write_text("#!")
    command = ["tar", "-C", str(root), "-cf", str(tmp_path / "root.tar"), "."]
    subprocess.run(command, check=True)
    layout_of_root(tmp_path / "root.tar", tmp_path / "one")
    layout_of_root(tmp_path / "root.tar", tmp_path / "two")
    digests = {load_image(LayoutSource(tmp_path / name)).digest for name in ("one", "two")}
    assert len(digests) == 1
    (tmp_path / "not.tar").write_text("no archive")
    with pytest.raises(InputError, match="mmdebstrap"):
        layout_of_root(tmp_path / "not.tar", tmp_path / "three")


def test_commands_say_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first thing that an operator types is often incomplete; it must lead to the next."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert str(default_cache_folder()).startswith(str(tmp_path))
    wrong = {
        ("build", "weights"): "python -m vace_weights prepare",
        ("build", "page"): "there is no image 'page'; there are comfyui, weights",
        ("build", "gateway", "comfyui", "--output", "oci:x"): "--output takes one image",
        ("build", "gateway", "--override", "x"): "--override 'x' is not understood",
        ("push", "gateway", "registry.example.com/x:1"): "python -m images build gateway",
        ("push", "gateway", "x"): "names no registry",
        ("save", str(tmp_path / "a.tar")): "python -m images build comfyui-vace --variant cu130",
        ("verify", "oci:/nowhere"): "is not an OCI layout",
    }
    for arguments, says in wrong.items():
        assert main(arguments) == 2, arguments
        assert says in capsys.readouterr().err, arguments


def test_an_image_with_overrides_is_not_pushed_by_accident(
    world: World, tmp_path: Path, registry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rehearsal leaves images behind; the next `push` must not publish a simulation."""
    world.parts.labels["com.wan-vace.overrides"] = "base"
    layout = world.parts.write(tmp_path / "trial")
    command = ["push", f"oci:{layout}", f"{registry}/vace/trial:v1"]
    assert main(command) == 2
    assert "built with overrides (base)" in capsys.readouterr().err
    assert main([*command, "--allow-overrides"]) == 0
    assert f"{registry}/vace/trial@sha256:" in capsys.readouterr().out


def test_history_does_not_tell_what_the_builder_had_in_its_cache(tmp_path: Path) -> None:
    """buildah notes ids of its own intermediate images; two machines got two digests by that."""
    world = make_world(tmp_path)
    digests = set()
    for number in (1, 2):
        world.parts.comment = f"FROM {number:012}"
        layout = world.parts.write(tmp_path / f"oci{number}")
        before = load_image(LayoutSource(layout))
        files = len(list((layout / "blobs/sha256").iterdir()))
        forget_build_cache(layout)
        after = load_image(LayoutSource(layout))
        assert after.digest != before.digest
        assert after.diff_ids == before.diff_ids
        assert after.made_by() == before.made_by()
        assert len(list((layout / "blobs/sha256").iterdir())) == files
        assert not verify(after, world.lock, rendered=tmp_path / "rendered").count("failed")
        digests.add(after.digest)
    assert len(digests) == 1
