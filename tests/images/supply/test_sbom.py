"""Lists of contents, from layouts that are written by hand."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from images.builder.contents import folder_of, kind_of, locked_wheels
from images.builder.facts import IMAGE_LABEL, LOCK_LABEL, OVERRIDES_LABEL, VARIANT_LABEL
from images.builder.installed import (
    Installed,
    InstalledDebian,
    InstalledWheel,
    read_installed,
)
from images.builder.layers import LayerError
from images.builder.oci import Image, load_image, open_source
from images.builder.references import parse_reference
from images.builder.referrers import referrers
from images.builder.registry import Registry
from images.builder.sbom import (
    MEDIA_TYPE,
    SbomMismatchError,
    add_parser,
    make_sbom,
    validate_sbom,
)
from images.lock import Lock
from images.lock import load as load_lock
from tests.images.supply.layouts import (
    COMFYUI_FILES,
    MODEL,
    NODE_FILES,
    Layer,
    dpkg_status,
    metadata,
    small_lock,
    small_manifest,
    write_layout,
)
from tests.images.supply.registries import run_registry

MODEL_PATH = "opt/models/vae/wan21_vace_vae.safetensors"


def git_tree(folder: Path, files: dict[str, bytes]) -> str:
    """Id that git itself gives to these files."""
    folder.mkdir()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=folder, env=environment, check=True)
    done = subprocess.run(
        ["git", "write-tree"], cwd=folder, env=environment, check=True, capture_output=True
    )
    return done.stdout.decode().strip()


@pytest.fixture(scope="module")
def lock(tmp_path_factory: pytest.TempPathFactory) -> Lock:
    folder = tmp_path_factory.mktemp("trees")
    return small_lock(git_tree(folder / "a", COMFYUI_FILES), git_tree(folder / "b", NODE_FILES))


def good_layers() -> list[dict[str, bytes | None]]:
    """The bundle that fits the lock, with leftovers in lower layers that upper ones remove."""
    return [
        {**dpkg_status(python3="3.11.2-1", **{"base-files": "12.4"}), "etc/motd": b""},
        {
            **dpkg_status(python3="3.11.2-1+b1", **{"base-files": "12.4"}),
            **metadata("Aio.HTTP", "1.0"), **metadata("numpy", "1.9"), **metadata("pip", "23"),
            "opt/comfyui/comfy/old.py": b"",
        },
        {
            "opt/venv/lib/python3.11/site-packages/.wh.numpy-1.9.dist-info": b"",
            "opt/venv/lib/python3.11/site-packages/.wh.pip-23.dist-info": b"",
            **metadata("numpy", "2.0", "BSD-3-Clause"),
            "opt/comfyui/comfy": None, "opt/comfyui/comfy/.wh..wh..opq": b"",
            **{f"opt/comfyui/{name}": content for name, content in COMFYUI_FILES.items()},
            "opt/comfyui/__pycache__/main.cpython-311.pyc": b"code",
            **{f"opt/comfyui/custom_nodes/Nodes/{name}": row for name, row in NODE_FILES.items()},
        },
        {MODEL_PATH: MODEL},
        {"opt/models/manifest.json": json.dumps(small_manifest()).encode()},
    ]  # fmt: skip


def labels(lock: Lock, overrides: str = "", image: str = "comfyui-vace") -> dict[str, str]:
    return {
        IMAGE_LABEL: image, VARIANT_LABEL: "cpu", LOCK_LABEL: f"sha256:{lock.sha256}",
        OVERRIDES_LABEL: overrides, "org.opencontainers.image.title": "comfyui-vace",
    }  # fmt: skip


def write(folder: Path, layers: list[Any], marks: dict[str, str], *, pack: str = "") -> Image:
    rows: list[Layer] = layers
    write_layout(folder, rows, marks, pack=pack)
    return load_image(open_source(f"oci:{folder}"))


@pytest.mark.parametrize("pack", ["", "gzip", "zstd"])
def test_everything_that_is_installed_is_listed_with_its_origin(
    tmp_path: Path, lock: Lock, pack: str
) -> None:
    """Prevents: a list that misses a layer, or shows what an upper layer removed."""
    image = write(tmp_path / "oci", good_layers(), labels(lock), pack=pack)
    document = json.loads(make_sbom(image, lock))
    found = {row["name"]: row for row in document["components"]}
    assert set(found) == {
        "aio-http", "numpy", "base-files", "python3", "comfyui", "nodes",
        "wan21_vace_vae.safetensors",
    }  # fmt: skip
    assert found["aio-http"]["licenses"] == [{"expression": "Apache-2.0 AND MIT"}]
    assert found["numpy"]["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]
    assert found["numpy"]["purl"] == "pkg:pypi/numpy@2.0"
    assert found["numpy"]["hashes"] == [{"alg": "SHA-256", "content": "b" * 64}]
    debian = found["python3"]["purl"]
    assert debian == "pkg:deb/debian/python3@3.11.2-1%2Bb1?arch=amd64&distro=bookworm"
    assert "hashes" not in found["base-files"]
    assert found["comfyui"]["purl"] == f"pkg:github/owner/comfyui@{'c' * 40}"
    assert found["wan21_vace_vae.safetensors"]["type"] == "machine-learning-model"
    assert document["metadata"]["component"]["hashes"][0]["content"] in image.digest
    assert document["metadata"]["timestamp"].startswith("2026-11-23T00:00:00")


def test_the_same_image_gives_the_same_list(tmp_path: Path, lock: Lock) -> None:
    """Prevents: attachments that differ with every run."""
    image = write(tmp_path / "oci", good_layers(), labels(lock))
    assert make_sbom(image, lock) == make_sbom(image, lock)


def test_every_difference_from_the_lock_is_reported_at_once(tmp_path: Path, lock: Lock) -> None:
    """Prevents: a list for an image that holds something else than its lock says."""
    layers = good_layers()
    layers += [
        {
            **metadata("numpy", "2.1"), **metadata("requests", "3"),
            "opt/venv/lib/python3.11/site-packages/.wh.numpy-2.0.dist-info": b"",
            "opt/venv/lib/python3.11/site-packages/.wh.Aio.HTTP-1.0.dist-info": b"",
            "opt/comfyui/main.py": b"changed", "opt/comfyui/custom_nodes/Other/__init__.py": b"",
            **dpkg_status(python3="3.11.9"),
            MODEL_PATH: b"other", "opt/models/vae/more.safetensors": b"",
        }
    ]  # fmt: skip
    image = write(tmp_path / "oci", layers, labels(lock))
    with pytest.raises(SbomMismatchError) as refused:
        make_sbom(image, lock)
    text = "\n".join(refused.value.found)
    for part in (
        "aio-http 1.0 is in the lock, but not installed",
        "numpy: 2.1 is installed, 2.0 is locked",
        "requests 3 is installed",
        "python3 has version 3.11.9",
        "git source comfyui: its files have the tree",
        "node pack Other is in the image",
        "wan21_vace_vae.safetensors has 5 bytes",
        "more.safetensors is in the image, but not in its manifest",
    ):
        assert part in text
    assert len(refused.value.found) == 8


def test_what_the_labels_name_as_overridden_is_not_compared(tmp_path: Path, lock: Lock) -> None:
    """Prevents: rehearsals without a list; and lists that hide that they are of a rehearsal."""
    other = b"small weights"
    layers = [
        *good_layers(),
        {
            **dpkg_status(python3="3.11.9"), "opt/comfyui/main.py": b"simulated",
            MODEL_PATH: other,
            "opt/models/manifest.json": json.dumps(small_manifest(other)).encode(),
        },
    ]  # fmt: skip
    image = write(tmp_path / "oci", layers, labels(lock, "base,debian,comfyui,weights"))
    document = json.loads(make_sbom(image, lock))
    [comfyui] = [row for row in document["components"] if row["name"] == "comfyui"]
    assert comfyui["version"].startswith("tree-")
    assert {"name": "com.wan-vace.overridden", "value": "true"} in comfyui["properties"]


def test_an_image_of_another_lock_is_refused(tmp_path: Path, lock: Lock) -> None:
    """Prevents: a list made with the wrong lock."""
    marks = {**labels(lock), LOCK_LABEL: f"sha256:{'1' * 64}"}
    image = write(tmp_path / "oci", good_layers(), marks)
    with pytest.raises(SbomMismatchError, match="built from lock sha256:1111") as refused:
        make_sbom(image, lock)
    assert len(refused.value.found) == 1


def test_a_gateway_has_its_own_wheels_and_no_models(tmp_path: Path, lock: Lock) -> None:
    """Prevents: a gateway that is measured by the wheels of ComfyUI."""
    layers = [{**dpkg_status(python3="3.11.2-1+b1"), **metadata("gate", "1.0")}]
    image = write(tmp_path / "oci", layers, labels(lock, image="gateway"))
    found = {row["name"] for row in json.loads(make_sbom(image, lock))["components"]}
    assert found == {"gate", "python3"}


@pytest.mark.parametrize("variant", ["cpu", "cu128", "cu130"])
def test_everything_in_the_committed_lock_can_be_listed(tmp_path: Path, variant: str) -> None:
    """Prevents: a licence or version in the lock that CycloneDX refuses, found when publishing."""
    lock = load_lock()
    marks = {**labels(lock, image="comfyui"), VARIANT_LABEL: variant}
    image = write(tmp_path / "oci", [], marks)
    wheels = locked_wheels(kind_of(marks), lock)
    found = Installed(
        wheels=tuple(InstalledWheel(name, row.version, "", "x") for name, row in wheels.items()),
        debian=tuple(
            InstalledDebian(row.name, row.version, "amd64") for row in lock.debian_of("comfyui")
        ),
        trees={folder_of(row): row.tree or "0" * 40 for row in lock.git.values()},
        models={},
        manifest=None,
    )
    listed = json.loads(make_sbom(image, lock, found))["components"]
    assert len(listed) == len(wheels) + len(found.debian) + len(lock.git)


def test_a_damaged_layer_is_an_error(tmp_path: Path, lock: Lock) -> None:
    """Prevents: a list of bytes that are not those of the image."""
    image = write(tmp_path / "oci", good_layers(), labels(lock))
    blob = tmp_path / "oci/blobs/sha256" / image.layers[2].digest.removeprefix("sha256:")
    content = blob.read_bytes()
    blob.write_bytes(content.replace(b"BSD-3-Clause", b"BSD-2-Clause"))
    with pytest.raises(LayerError, match="damaged or exchanged"):
        make_sbom(image, lock)


def test_a_wheel_without_a_licence_expression_shows_what_it_says(tmp_path: Path) -> None:
    """Prevents: a whole licence text in the list, or none where the classifiers name it."""
    text = (
        b"Name: x\nVersion: 1\nLicense: line one\n  line two\n"
        b"Classifier: License :: OSI Approved :: MIT License\n"
    )
    path = "opt/venv/lib/python3.11/site-packages/x-1.dist-info/METADATA"
    image = write(tmp_path / "oci", [{path: text}], {})
    assert read_installed(image).wheels[0].licence == "MIT License"
    assert kind_of({}).overrides == frozenset()


def test_the_command_attaches_the_list_to_the_image_that_it_describes(
    tmp_path: Path, lock: Lock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents: a list that was printed, but that nobody finds in the registry."""
    image = write(tmp_path / "oci", good_layers(), labels(lock))
    (tmp_path / "lock.json").write_text(json.dumps(lock.document))
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    with run_registry(tmp_path / "registry") as host, Registry(host) as registry:
        for row in [*image.layers, image.config_descriptor]:
            with image.source.open(row) as stream:
                registry.push_blob("vace/test", stream.read())
        manifest = image.source.open(image.descriptor).read()
        media_type = image.descriptor.media_type
        registry.push_manifest("vace/test", image.digest, manifest, media_type)
        name = f"{host}/vace/test@{image.digest}"
        file = tmp_path / "sbom.json"
        options = parser.parse_args(
            ["sbom", name, "--attach", name, "--output", str(file),
             "--lock", str(tmp_path / "lock.json")]
        )  # fmt: skip
        assert options.run(options) == 0
        [attached_row] = referrers(registry, "vace/test", image.digest, MEDIA_TYPE)
        printed = parse_reference(capsys.readouterr().out.strip())
        assert attached_row.descriptor.digest == printed.digest
        attached = json.loads(registry.get_manifest("vace/test", printed.digest)[1])
        [layer] = attached["layers"]
        assert layer["size"] == file.stat().st_size
    validate_sbom(file.read_text())
