"""Checking an image against the lock: what is right passes, each kind of tampering is named."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from images.builder.errors import InputError
from images.builder.facts import OVERRIDES_LABEL
from images.builder.layers import LayerError
from images.builder.oci import LayoutSource, load_image
from images.builder.tree import read_tree
from images.builder.verify import Report, verify
from images.builder.wheels import WheelCache
from tests.images.builder.handmade import (
    SITE,
    Entry,
    Parts,
    World,
    base_image,
    byte_code,
    make_world,
    text,
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An image that is what its lock says."""
    return make_world(tmp_path)


def check(world: World, *, allow: bool = False) -> Report:
    """Write the image and verify it."""
    base = base_image(world)
    layout = world.parts.write(world.tiny.root / "oci")
    return verify(
        load_image(LayoutSource(layout)),
        world.lock,
        allow_overrides=allow,
        rendered=world.tiny.root / "rendered",
        base=base,
        find_wheel=WheelCache(world.tiny.root / "cache" / "wheels").find,
    )


def failures(report: Report) -> dict[str, str]:
    """Sentences of failed checks by name."""
    return {each.name: each.sentence for each in report.checks if each.status == "failed"}


@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_an_image_that_is_what_the_lock_says_passes(world: World, compression: str) -> None:
    """A check that cries wolf is switched off within a week; every compression must be read."""
    world.parts.compression = compression
    report = check(world)
    assert failures(report) == {}
    assert report.ok
    names = [each.name for each in report.checks]
    for name in ("layers", "lock", "user", "entry point", "Python packages", "wheels", "weights"):
        assert name in names


def _other_module(parts: Parts) -> None:
    parts.layers[2][f"{SITE}/tiny/__init__.py"] = text("X = 2\n")


def _other_module_and_record(parts: Parts) -> None:
    _other_module(parts)
    path = f"{SITE}/tiny-1.0.dist-info/RECORD"
    record = parts.layers[2][path].content.decode()
    changed = [line.split(",")[0] + ",," for line in record.splitlines()]
    parts.layers[2][path] = text("\n".join(changed))


def _later_layer_hides(parts: Parts) -> None:
    parts.layers.append({f"{SITE}/tiny/.wh.__init__.py": text("")})


def _stowaway(parts: Parts) -> None:
    parts.layers.append({f"{SITE}/sitecustomize.py": text("import os")})


def _other_version(parts: Parts) -> None:
    metadata = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.1\n"
    parts.layers[2][f"{SITE}/tiny-1.0.dist-info/METADATA"] = text(metadata)


def _extra_package(parts: Parts) -> None:
    metadata = "Metadata-Version: 2.1\nName: comfyui_manager\nVersion: 4\n"
    parts.layers[2][f"{SITE}/comfyui_manager-4.dist-info/METADATA"] = text(metadata)


def _adds(path: str, entry: Entry) -> Callable[[Parts], None]:
    """One more layer with one more file."""
    return lambda parts: parts.layers.append({path: entry})


def _byte_code(parts: Parts) -> None:
    path = f"{SITE}/tiny/__init__.py"
    parts.layers.append(byte_code(path, b"X = 1\n", runs=b"X = 3\n"))


def _other_byte_code(parts: Parts) -> None:
    parts.layers.append(byte_code("opt/comfyui/main.py", b"print('bye')\n"))


def _lone_byte_code(parts: Parts) -> None:
    parts.layers.append(byte_code("opt/comfyui/lone.py", b"X = 1\n"))


def _variable(parts: Parts) -> None:
    parts.environment.append("LD_PRELOAD=/opt/x.so")


def _command(parts: Parts) -> None:
    parts.command = ["sh"]


def _base(parts: Parts) -> None:
    parts.layers[0]["usr/bin/python3.11"] = text("other", 0o755)


def _no_package(parts: Parts) -> None:
    parts.layers[2] = {}


def _setuid(parts: Parts) -> None:
    parts.layers[0]["usr/bin/su"] = text("su", 0o4755)


def _git(parts: Parts) -> None:
    parts.layers[3]["opt/comfyui/.git/HEAD"] = text("ref")
    parts.layers[3]["opt/comfyui/.git/"] = Entry(mode=0o755)


def _pip_cache(parts: Parts) -> None:
    parts.layers[0]["root/.cache/pip/http/a"] = text("x")


def _manager(parts: Parts) -> None:
    parts.layers[3]["opt/comfyui/custom_nodes/ComfyUI-Manager/__init__.py"] = text("x")


def _debian(parts: Parts) -> None:
    status = "Package: libx\nStatus: install ok installed\nVersion: 1.2-4\n"
    parts.layers[1]["var/lib/dpkg/status"] = text(status)


def _source(parts: Parts) -> None:
    parts.layers[3]["opt/comfyui/main.py"] = text("print('hullo')\n")


def _executable_source(parts: Parts) -> None:
    parts.layers[3]["opt/comfyui/main.py"] = text("print('hello')\n", 0o755)


def _extra_source(parts: Parts) -> None:
    parts.layers.append({"opt/comfyui/nodes/b.py": text("B = 1\n")})


def _weights(parts: Parts) -> None:
    old = parts.layers[5]["opt/models/vae/vae.safetensors"].content
    parts.layers[5]["opt/models/vae/vae.safetensors"] = Entry(b"W" + old[1:])


def _weights_and_manifest(parts: Parts) -> None:
    import hashlib  # noqa: PLC0415

    document = json.loads(parts.layers[6]["opt/models/manifest.json"].content)
    content = b"other"
    document["files"][0]["size"] = len(content)
    document["files"][0]["sha256"] = hashlib.sha256(content).hexdigest()
    parts.layers[5]["opt/models/vae/vae.safetensors"] = Entry(content)
    parts.layers[6]["opt/models/manifest.json"] = text(json.dumps(document))


def _extra_weights(parts: Parts) -> None:
    parts.layers.append({"opt/models/vae/other.safetensors": text("x")})


def _no_manifest(parts: Parts) -> None:
    parts.layers.pop()


def _root(parts: Parts) -> None:
    parts.user = ""


def _entry_point(parts: Parts) -> None:
    parts.entry_point = ["sh"]


def _lock(parts: Parts) -> None:
    parts.labels["com.wan-vace.lock"] = f"sha256:{'0' * 64}"


def _facts(parts: Parts) -> None:
    parts.layers[4] = {}


def _foreign(parts: Parts) -> None:
    parts.labels = {}


@pytest.mark.parametrize(
    ("tamper", "name", "says"),
    [
        (_other_module, "Python files", "tiny/__init__.py has sha256"),
        (_other_module_and_record, "wheels", "tiny/__init__.py is not the one in tiny-1.0"),
        (_later_layer_hides, "Python files", "tiny/__init__.py is missing"),
        (_stowaway, "Python files", "sitecustomize.py belongs to no package"),
        (_adds("opt/vace/vace_comfyui/cli.py", text("x")), "own packages", "not this checkout's"),
        (_adds("opt/vace/vace_comfyui/extra.py", text("x")), "own packages", "not in this"),
        (_adds("usr/local/bin/vace-comfyui", text("x", 0o755)), "start scripts", "is not the"),
        (_adds("opt/venv/bin/vace-comfyui", text("x", 0o755)), "start scripts", "no package"),
        (_adds("opt/venv/bin/python", text("x", 0o755)), "start scripts", "is not the link"),
        (_adds("usr/bin/python3.11", text("x", 0o755)), "system files", "usr/bin/python3.11"),
        (_adds("etc/ld.so.preload", text("/x.so")), "system files", "every program"),
        (_adds("usr/lib/python3.11/sitecustomize.py", text("x")), "system files", "every Python"),
        (_adds("opt/comfyui/usercustomize.py", text("x")), "system files", "every Python"),
        (_adds(f"{SITE}/x.pth", text("import os")), "Python files", "belongs to no package"),
        (_adds("opt/comfyui/../vace/x", text("x")), "names", "opt/comfyui/../vace/x"),
        (_adds("opt//vace/x", text("x")), "names", "opt//vace/x"),
        (_adds("/opt/vace/x", text("x")), "names", "'/opt/vace/x'"),
        (
            _adds(f"{SITE}/tiny/__init__.py", Entry(link="nowhere", hard=True)),
            "names",
            "'nowhere', which is no file",
        ),
        (_byte_code, "byte code", "is not what its source compiles to"),
        (_other_byte_code, "byte code", "was compiled from another source"),
        (_lone_byte_code, "byte code", "has no source"),
        (_variable, "environment", "LD_PRELOAD is '/opt/x.so', not None"),
        (_command, "command", "['sh']"),
        (_other_version, "Python packages", "tiny is 1.1, the lock says 1.0"),
        (_extra_package, "Python packages", "comfyui-manager 4 is not in the lock"),
        (_no_package, "Python packages", "tiny 1.0 is missing"),
        (_setuid, "setuid", "usr/bin/su (4755)"),
        (_git, "git history", "opt/comfyui/.git"),
        (_pip_cache, "caches", "root/.cache/pip"),
        (_manager, "manager", "ComfyUI-Manager"),
        (_debian, "Debian packages", "libx is 1.2-4, the lock says 1.2-3"),
        (_source, "source comfyui", "has tree"),
        (_executable_source, "source comfyui", "has tree"),
        (_extra_source, "source comfyui", "has tree"),
        (_weights, "weights", "vae/vae.safetensors has 7000 bytes with sha256"),
        (_weights_and_manifest, "weights of the lock", "the lock says"),
        (
            _extra_weights,
            "weights",
            "vae/other.safetensors is in the image, but not in its manifest",
        ),
        (_no_manifest, "weights", "manifest.json"),
        (_root, "user", "'10001:10001' is expected"),
        (_entry_point, "entry point", "['sh']"),
        (_lock, "lock", "built from lock sha256:000"),
        (_facts, "image.json", "missing"),
        (_foreign, "image", "none of ours"),
    ],
)
def test_each_kind_of_tampering_is_named(
    world: World, tamper: Callable[[Parts], None], name: str, says: str
) -> None:
    """What is not noticed here runs with access to the users' videos."""
    tamper(world.parts)
    report = check(world)
    found = failures(report)
    assert not report.ok
    assert says in found.get(name, ""), found


def test_another_base_is_named(world: World) -> None:
    """Whoever exchanges the lowest layer has the interpreter and every library."""
    base = base_image(world)
    _base(world.parts)
    image = load_image(LayoutSource(world.parts.write(world.tiny.root / "oci")))
    report = verify(image, world.lock, rendered=world.tiny.root / "rendered", base=base)
    assert "not the locked base's" in failures(report)["base"]


def test_what_was_not_compared_is_no_success(world: World) -> None:
    """A check that was skipped for want of a file must not read like one that passed."""
    image = load_image(LayoutSource(world.parts.write(world.tiny.root / "oci")))
    rendered = world.tiny.root / "rendered"
    report = verify(image, world.lock, rendered=rendered)
    assert failures(report) == {}
    assert not report.ok
    assert "2 skipped" in report.text().splitlines()[-1]
    allowed = verify(image, world.lock, rendered=rendered, allow_skips=True)
    assert allowed.ok
    assert "2 skipped, as allowed" in allowed.text()


def test_a_changed_byte_in_a_blob_fails_with_both_digests(world: World) -> None:
    """A registry or disk that damages a layer must not be trusted to say so."""
    layout = world.parts.write(world.tiny.root / "oci")
    image = load_image(LayoutSource(layout))
    blob = layout / "blobs" / "sha256" / image.layers[1].digest.removeprefix("sha256:")
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(content)
    report = verify(image, world.lock)
    assert "was expected, but" in failures(report)["layers"]
    assert image.layers[1].digest in failures(report)["layers"]


def test_a_truncated_blob_fails(world: World) -> None:
    """A copy that ended early looks like a shorter, valid stream to some readers."""
    layout = world.parts.write(world.tiny.root / "oci")
    image = load_image(LayoutSource(layout))
    blob = layout / "blobs" / "sha256" / image.layers[5].digest.removeprefix("sha256:")
    blob.write_bytes(blob.read_bytes()[:-20])
    with pytest.raises(LayerError, match="damaged or exchanged"):
        read_tree(image)


def test_a_layer_that_unpacks_to_something_else_fails(world: World) -> None:
    """Manifest and blob may fit while the config, which the user looks at, names another layer."""
    layout = world.parts.write(world.tiny.root / "oci")
    image = load_image(LayoutSource(layout))
    config = json.loads(json.dumps(image.config))
    config["rootfs"]["diff_ids"][0] = f"sha256:{'0' * 64}"
    with pytest.raises(LayerError, match="but the image's config says sha256:0000"):
        read_tree(dataclasses.replace(image, config=config))


def test_a_changed_manifest_is_refused(world: World) -> None:
    """The digest in the reference is the root of all trust."""
    layout = world.parts.write(world.tiny.root / "oci")
    digest = load_image(LayoutSource(layout)).digest
    path = layout / "blobs" / "sha256" / digest.removeprefix("sha256:")
    path.write_bytes(path.read_bytes().replace(b'"schemaVersion": 2', b'"schemaVersion": 3'))
    with pytest.raises(InputError, match="damaged or exchanged"):
        load_image(LayoutSource(layout))


def test_a_rehearsals_image_passes_only_when_that_is_allowed(world: World) -> None:
    """An image with a simulated ComfyUI must never reach production by its good looks."""
    world.parts.labels[OVERRIDES_LABEL] = "base,comfyui,debian"
    _source(world.parts)
    _debian(world.parts)
    refused = check(world)
    assert set(failures(refused)) == {"overrides"}
    allowed = verify(
        load_image(LayoutSource(world.tiny.root / "oci")),
        world.lock,
        allow_overrides=True,
        rendered=world.tiny.root / "rendered",
    )
    assert allowed.ok
    skipped = {each.name for each in allowed.checks if each.status == "skipped"}
    assert {"overrides", "source comfyui", "Debian packages"} <= skipped


def test_layers_are_laid_over_each_other_as_a_runtime_does(tmp_path: Path) -> None:
    """A wrong order of whiteouts would check files that no container ever sees."""
    parts = Parts(
        [
            {"a/one": text("1"), "a/two": text("2"), "b/x": text("x"), "c": text("file")},
            {"a/.wh..wh..opq": text(""), "a/three": text("3"), ".wh.b": text("")},
            {"c/": Entry(mode=0o755), "c/inner": text("i"), "d": Entry(link="a/three", hard=True)},
            {"a": Entry(link="elsewhere")},
        ],
        {},
    )
    tree = read_tree(load_image(LayoutSource(parts.write(tmp_path / "oci"))))
    assert sorted(tree.files) == ["a", "c", "c/inner", "d"]
    assert tree.files["a"].link == "elsewhere"
    assert tree.files["d"].size == 1
