"""Images that are really built: the same bytes from the same lock, and nothing half done.

They need root, buildah and a root file system made by mmdebstrap, which the cache keeps.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from images.builder.build import build
from images.builder.cache import Cache, default_cache_folder
from images.builder.engines import BuildahEngine
from images.builder.errors import BuildFailedError, DiskSpaceError, InputError
from images.builder.oci import LayoutSource, load_image
from images.builder.report import BuiltImage
from images.builder.request import GitOverride, Overrides
from images.builder.tree import read_tree
from images.builder.verify import verify
from images.builder.wheels import WheelCache
from images.errors import LockStaleError
from images.lock import load
from rehearsal.images.base import make_base
from tests.images.builder.tiny import Tiny, make_tiny, pip_wheel, write_wheel

pytestmark = [pytest.mark.machine, pytest.mark.timeout(300)]
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def base() -> str:
    """Debian with Python, as a rehearsal uses it."""
    return f"rootfs:{make_base(Cache(default_cache_folder()), (), lambda _: None)}"


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Tiny]:
    """A small lock, in a folder on a real file system."""
    if pip_wheel() is None:
        pytest.fail("no wheel of pip on this system: apt-get install python3-pip-whl")
    yield make_tiny(tmp_path)
    for program in ("buildah", "podman"):
        BuildahEngine(program, tmp_path / "cache" / "images").remove_storage()


def whats(built: BuiltImage) -> dict[str, str]:
    """Digest of each layer's content by what it is."""
    return {layer.what: layer.diff_id for layer in built.layers}


def test_two_builds_from_one_lock_give_the_same_digests(
    tiny: Tiny, base: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A digest that changes by itself makes every update a full pull, and no check possible."""
    first = build(tiny.request("comfyui-vace", base))
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    os.utime(tiny.root / "weights" / "vae" / "vae.safetensors", (1, 1))
    for shelf in (tiny.root / "cache" / "wheels").iterdir():
        target = elsewhere / "cache" / "wheels" / shelf.name
        target.mkdir(parents=True)
        for file in shelf.iterdir():
            (target / file.name).write_bytes(file.read_bytes())
    second = build(tiny.request("comfyui-vace", base, cache=elsewhere / "cache"))
    assert second.layout != first.layout
    BuildahEngine("buildah", elsewhere / "cache" / "images").remove_storage()
    assert second.digest == first.digest
    assert [layer.digest for layer in second.layers] == [layer.digest for layer in first.layers]


def test_what_was_built_is_found_again_and_passes_verification(tiny: Tiny, base: str) -> None:
    """The second build must cost nothing, and the first must be what the lock says."""
    lines: list[str] = []
    first = build(tiny.request("comfyui-vace", base), lines.append)
    assert not first.reused
    assert any("STEP" in line for line in lines)
    again = build(tiny.request("comfyui-vace", base))
    assert again.reused
    assert again.digest == first.digest
    report = verify(
        load_image(LayoutSource(first.layout)),
        load(tiny.root / "pins.lock.json"),
        allow_overrides=True,
        rendered=tiny.root / "rendered",
        find_wheel=WheelCache(tiny.root / "cache" / "wheels").find,
    )
    assert report.ok, report.text()
    assert first.overrides == ("base",)
    assert "weights: vae/vae.safetensors" in whats(first)
    assert "wheels: python" in whats(first)


def test_a_new_commit_moves_only_the_source(tiny: Tiny, base: str) -> None:
    """An update of ComfyUI must not make every node pull torch and the weights again."""
    before = whats(build(tiny.request("comfyui-vace", base)))
    overrides = Overrides(base=base, git={"comfyui": tiny.commit_of_change()})
    built = build(tiny.request("comfyui-vace", overrides=overrides))
    after = whats(built)
    assert built.overrides == ("base", "comfyui")
    assert before["files: /opt/comfyui/"] != after["files: /opt/comfyui/"]
    for what in ("Python environment", "wheels: python", "weights: vae/vae.safetensors"):
        assert before[what] == after[what]
    facts = load_image(LayoutSource(built.layout)).labels
    assert facts["com.wan-vace.overrides"] == "base,comfyui"


def test_a_new_wheel_is_noticed_by_the_layer_cache(tiny: Tiny, base: str) -> None:
    """The builder's cache does not look into what a step mounts; an old layer would be reused."""
    before = whats(build(tiny.request("comfyui", base)))
    tiny.document["groups"]["python"] = []
    tiny.document["wheels"] = {
        sha256: row for sha256, row in tiny.document["wheels"].items() if row["name"] == "pip"
    }
    tiny.add_wheel(
        "python", write_wheel(tiny.root / "m2", "tiny", "1.1", {"tiny/__init__.py": "X = 2\n"})
    )
    tiny.write_lock()
    with pytest.raises(InputError, match="python -m images render"):
        build(tiny.request("comfyui", base))
    tiny.write_containerfiles()
    after = whats(build(tiny.request("comfyui", base)))
    assert before["wheels: python"] != after["wheels: python"]
    assert before["Python environment"] == after["Python environment"]


def test_a_step_that_fails_fails_the_build_with_its_name(tiny: Tiny, base: str) -> None:
    """A swallowed failure is an image without the package that everything needs."""
    tiny.write_containerfiles(extra="RUN echo the reason >&2; exit 3\n")
    with pytest.raises(BuildFailedError) as caught:
        build(tiny.request("comfyui", base))
    assert "RUN echo the reason" in caught.value.step
    assert "the reason" in caught.value.tail
    assert not list((tiny.root / "cache" / "artifacts").glob("image-*/*"))
    tiny.write_containerfiles()
    assert build(tiny.request("comfyui", base)).layers


def test_a_wheel_that_does_not_install_fails_the_build(tiny: Tiny, base: str) -> None:
    """pip inside the image checks the hashes again; what it refuses must not be left out."""
    [sha256] = tiny.document["groups"]["python"]
    wheel = tiny.root / "cache" / "wheels" / sha256 / "tiny-1.0-py3-none-any.whl"
    content = bytearray(wheel.read_bytes())
    content[40] ^= 1
    wheel.write_bytes(content)
    with pytest.raises(BuildFailedError, match="pip install") as caught:
        build(tiny.request("comfyui", base))
    assert "HASHES" in caught.value.tail


def test_a_build_that_is_killed_leaves_no_image_and_the_next_goes_on(tiny: Tiny, base: str) -> None:
    """SIGKILL runs no clean-up code; the next run has to do without it."""
    tiny.write_containerfiles(extra="RUN touch /marker && sleep 30\n")
    program = (
        "import sys; from pathlib import Path; from tests.images.builder.tiny import Tiny\n"
        "from images.builder.build import build\n"
        "build(Tiny(Path(sys.argv[1])).request('comfyui', sys.argv[2]),"
        " lambda line: print(line, flush=True))"
    )
    victim = subprocess.Popen(
        [sys.executable, "-c", program, str(tiny.root), base],
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        text=True,
        start_new_session=True,
    )
    assert victim.stdout is not None
    for line in victim.stdout:
        if "sleep 30" in line:
            break
    else:
        pytest.fail("the build never came to its long step")
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    victim.stdout.close()
    assert not list((tiny.root / "cache" / "artifacts").glob("image-*/[0-9a-f]*"))
    tiny.write_containerfiles()
    built = build(tiny.request("comfyui", base))
    assert load_image(LayoutSource(built.layout)).digest == built.digest


def test_podman_builds_the_same_layers(tiny: Tiny, base: str) -> None:
    """Whoever has only podman must get the image that the others have."""
    by_buildah = build(tiny.request("comfyui", base))
    by_podman = build(tiny.request("comfyui", base, engine="podman"))
    assert whats(by_podman) == whats(by_buildah)


def test_gzip_gives_the_same_content(tiny: Tiny, base: str) -> None:
    """Compression is transport; it must not be a second version of the image."""
    first = build(tiny.request("weights"))
    second = build(tiny.request("weights", compression="gzip"))
    assert whats(first) == whats(second)
    media = {layer.media_type for layer in load_image(LayoutSource(second.layout)).layers}
    assert media == {"application/vnd.oci.image.layer.v1.tar+gzip"}


def test_a_lock_that_does_not_match_its_pins_is_refused(tiny: Tiny) -> None:
    """Somebody edited a pin and forgot to resolve: the image would be the old one."""
    (tiny.root / "pins.toml").write_text("# changed\n")
    with pytest.raises(LockStaleError, match="python -m images resolve"):
        build(tiny.request("weights"))


def test_too_little_space_is_said_before_anything_is_written(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk in the middle of a build of an hour is the worst time to learn it."""
    monkeypatch.setattr("images.builder.build.free_gib", lambda _: 0.01)
    with pytest.raises(DiskSpaceError, match="building image weights needs up to"):
        build(tiny.request("weights"))
    assert not (tiny.root / "cache" / "artifacts").exists()


def test_image_json_tells_what_the_image_needs(tiny: Tiny, base: str) -> None:
    """The entry point refuses a GPU by this file; an empty one would refuse nothing."""
    override = Overrides(
        base=base,
        git={
            "comfyui": GitOverride(
                str(tiny.root / "comfyui"), tiny.document["git"]["comfyui"]["commit"]
            )
        },
        weights=True,
    )
    built = build(tiny.request("comfyui", overrides=override))
    facts = json.loads(
        read_tree(load_image(LayoutSource(built.layout))).text("opt/vace/image.json") or ""
    )
    assert facts["variant"] == "cpu"
    assert facts["cuda"] is None
    # The same commit from elsewhere is no override.
    assert facts["overrides"] == ["base"]
