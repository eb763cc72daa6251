"""The lock is what images are built from; a damaged or foreign one must not be used."""

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from vace_weights import manifest

from images import lock, resolve
from images.errors import LockError, LockStaleError, PinsError, ResolveError
from images.lock import FOLDER, GATEWAY_REQUIREMENTS, LOCK, PINS
from images.pins import PARTS
from images.pins import load as load_pins


@pytest.fixture(scope="module")
def current() -> lock.Lock:
    return lock.load()


@pytest.fixture
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(LOCK.read_text())
    return copy.deepcopy(loaded)


def test_the_repositorys_lock_matches_its_pins(current: lock.Lock) -> None:
    """A merged change of pins.toml without a new lock would build the old images."""
    lock.check_fresh(current, PINS)
    pins = load_pins()
    assert {name: resolve._inputs(name, pins, GATEWAY_REQUIREMENTS) for name in PARTS} == (
        current.document["parts"]
    )


def test_a_lock_for_other_pins_is_refused(tmp_path: Path, current: lock.Lock) -> None:
    """Edited pins with the old lock would label an image with pins that it does not have."""
    pins = tmp_path / "pins.toml"
    pins.write_text(PINS.read_text() + "\n# changed\n")
    with pytest.raises(LockStaleError, match="python -m images resolve"):
        lock.check_fresh(current, pins)


def test_a_changed_gateway_lock_makes_the_lock_stale(tmp_path: Path, current: lock.Lock) -> None:
    """The gateway's wheels come from its own lock; the two may not drift apart."""
    shutil.copy(PINS, tmp_path / "pins.toml")
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "requirements.lock").write_text("other==1.0\n")
    with pytest.raises(LockStaleError, match="--only wheels"):
        lock.check_fresh(current, tmp_path / "pins.toml")


def test_a_missing_lock_names_the_command_that_writes_it(tmp_path: Path) -> None:
    """Somebody who deleted it needs one line, not a traceback."""
    with pytest.raises(LockError, match="python -m images resolve"):
        lock.load(tmp_path / "pins.lock.json")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2}', '{"schema": 1}', '"x"'])
def test_a_lock_that_is_not_whole_is_refused(tmp_path: Path, text: str) -> None:
    """A write that broke off, or a merge conflict, must not be read as an empty lock."""
    path = tmp_path / "pins.lock.json"
    path.write_text(text)
    with pytest.raises(LockError, match="cannot be used"):
        lock.load(path)


def _first_wheel(document: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return next(iter(document["wheels"].items()))


def test_a_lock_with_one_wrong_value_says_which(document: dict[str, Any]) -> None:
    """Each of these builds something else, or fails hours later in a download."""
    sha256, row = _first_wheel(document)
    damages = {
        "no SHA-256": lambda d: d["base"].update(digest="sha256:abc"),
        "no full object id": lambda d: d["git"]["comfyui"].update(commit="783545f"),
        "which is missing": lambda d: d["wheels"].pop(sha256),
        f"{row['name']} has a size": lambda d: d["wheels"][sha256].update(size=0),
        "names group": lambda d: d["groups"].pop("comfy"),
        "field is missing": lambda d: d["debian"]["packages"][0].pop("version"),
    }
    for message, damage in damages.items():
        damaged = copy.deepcopy(document)
        damage(damaged)
        with pytest.raises(LockError, match=message):
            lock.parse(damaged)


def test_the_locks_hash_does_not_depend_on_its_layout(tmp_path: Path, current: lock.Lock) -> None:
    """Images carry this hash; formatting the file must not change them."""
    path = tmp_path / "pins.lock.json"
    path.write_text(json.dumps(json.loads(LOCK.read_text()), sort_keys=True))
    assert lock.load(path).sha256 == current.sha256


def test_every_requirement_has_one_hash(current: lock.Lock) -> None:
    """pip would refuse a file where one line lacks it, in the middle of a build."""
    for group, members in current.groups.items():
        lines = current.requirements(group).splitlines()
        assert len(lines) == len(members) > 0
        for line in lines:
            assert re.fullmatch(r"[a-z0-9-]+==[^ ]+ --hash=sha256:[0-9a-f]{64}", line), line


def test_no_group_holds_a_package_twice_and_no_variant_does(current: lock.Lock) -> None:
    """The second wheel of a package would overwrite the first one's files."""
    for variant in current.variants.values():
        names = [wheel.name for group in variant.groups for wheel in current.wheels_of(group)]
        assert len(names) == len(set(names))


def test_every_wheel_runs_on_the_images_python(current: lock.Lock) -> None:
    """A wheel for another interpreter installs nowhere, and a build would end there."""
    for wheel in current.wheels.values():
        assert re.search(r"-(cp311|cp3\d+-abi3|py3|py2\.py3)[-.]|-cp3\d+-abi3-", wheel.filename)
        assert wheel.filename.endswith(("-any.whl", "x86_64.whl")), wheel.filename


def test_each_torch_variant_has_the_pinned_set(current: lock.Lock) -> None:
    """A torchaudio of another torch stops ComfyUI 0.33 from starting."""
    for name, pin in load_pins().variants.items():
        if not pin.torch:
            assert not any("torch" in group for group in current.variants[name].groups)
            continue
        found = {each.name: each.version for each in current.wheels_of(f"torch-{name}")}
        assert {f"{key}=={version}" for key, version in found.items()} >= set(pin.torch)


def test_the_lock_and_the_templates_name_no_package_index(current: lock.Lock) -> None:
    """Where packages come from is the operator's setting (a mirror, in China), not the lock's."""
    allowed = ("https://github.com/",)
    texts = [LOCK.read_text(), PINS.read_text()]
    texts += [path.read_text() for path in FOLDER.glob("templates/*.j2")]
    for text in texts:
        for address in re.findall(r"\w+://[^\s\"')]+", text):
            assert address.startswith(allowed) or address.startswith("http://HOST/"), address


def test_nothing_moves_by_itself(current: lock.Lock) -> None:
    """A branch, or a tag that is pushed again, would give other bytes tomorrow."""
    assert "latest" not in LOCK.read_text() + PINS.read_text()
    assert re.fullmatch(r"debian:bookworm-\d{8}-slim@sha256:[0-9a-f]{64}", current.base.reference)
    for source in current.git.values():
        assert re.fullmatch(r"[0-9a-f]{40}", source.commit)
    for file in current.weights["files"]:
        origin = file if file["derived"] is None else file["derived"]["source"]
        assert re.fullmatch(r"[0-9a-f]{64}", origin["sha256"])
        for source in origin["sources"]:
            # ModelScope numbers commits itself; there the SHA-256 alone decides.
            if source["kind"] != "modelscope":
                assert re.fullmatch(r"[0-9a-f]{40}", source["revision"])


def test_no_manager_is_in_the_images(current: lock.Lock) -> None:
    """ComfyUI-Manager installs nodes at run time: the running code would not be the built code."""
    assert not any("manager" in name.lower() for name in current.git)
    assert not any("manager" in wheel.name for wheel in current.wheels.values())


def test_what_is_left_out_is_in_no_group(current: lock.Lock) -> None:
    """The omitted preview packages are 430 MB."""
    assert not {wheel.name for wheel in current.wheels.values()} & set(current.omitted)


def test_the_weights_are_a_manifest_that_the_fetcher_reads(current: lock.Lock) -> None:
    """Lock and fetcher are two programs; they must mean the same document."""
    read = manifest.parse(current.weights, "the lock")
    assert [str(file.relative) for file in read.files] == [
        "diffusion_models/wan21_vace_1_3_b.safetensors",
        "text_encoders/umt5_xxl_fp8_e4m3fn.safetensors",
        "vae/wan21_vace_vae.safetensors",
    ]
    assert all(file.to_fetch.size > 0 for file in read.files)
    default = FOLDER / "weights" / "vace_weights" / "default_manifest.json"
    assert json.loads(default.read_text()) == current.weights


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("bookworm-20261005-slim", "bookworm-slim", "base.image"),
        ("783545f689a0af730065994b46b382ae24844c99", "v0.33.0", "git.comfyui.commit"),
        ("torch==2.10.0", "torch>=2.10", "variants.cu128.torch"),
        ('"comfy-aimdo==0.4.13"', '"comfy-aimdo"', "comfy-aimdo"),
        ("[debian]\n", '[debian]\nunknown = "x"\n', "debian.unknown"),
        ("schema = 1", "schema = [", "cannot be read"),
    ],
)
def test_pins_that_could_move_are_refused(tmp_path: Path, old: str, new: str, named: str) -> None:
    """A pin that is no pin would pass unseen until the day that it moves."""
    text = PINS.read_text()
    assert old in text
    path = tmp_path / "pins.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(PinsError, match=named):
        load_pins(path)


def _without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> Any:
        raise resolve.UnreachableError("no network in this test")

    monkeypatch.setattr(resolve.base, "resolve", unreachable)
    monkeypatch.setattr(resolve.debian, "resolve", unreachable)
    monkeypatch.setattr(resolve.git, "resolve", unreachable)
    monkeypatch.setattr(resolve.wheels, "resolve", unreachable)


def test_what_cannot_be_asked_is_kept_and_said_loudly(
    monkeypatch: pytest.MonkeyPatch, document: dict[str, Any]
) -> None:
    """A silent keep would look like a fresh resolution; and a new date alone changes nothing."""
    _without_network(monkeypatch)
    said: list[str] = []
    found = resolve.resolve(load_pins(), document, resolve.Options(), said.append)
    assert found == document
    kept = [line for line in said if "KEPT FROM THE OLD LOCK" in line or "UNKNOWN" in line]
    assert len(kept) == 3 + len(document["git"])


def test_a_part_whose_pins_changed_is_never_kept(
    monkeypatch: pytest.MonkeyPatch, document: dict[str, Any]
) -> None:
    """The lock would claim to match pins that nobody resolved."""
    _without_network(monkeypatch)
    document["parts"]["wheels"] = "0" * 64
    with pytest.raises(ResolveError, match="part wheels cannot be resolved"):
        resolve.resolve(load_pins(), document, resolve.Options(), lambda _: None)
    with pytest.raises(ResolveError, match="--only wheels"):
        resolve.resolve(load_pins(), document, resolve.Options(only=["base"]), lambda _: None)


def test_a_known_tree_is_kept_for_its_own_commit_only(
    monkeypatch: pytest.MonkeyPatch, document: dict[str, Any]
) -> None:
    """Adding a node must not forget the trees of the others, nor give one to another commit."""
    _without_network(monkeypatch)
    document["parts"]["git"] = "0" * 64
    trees = {name: row["tree"] for name, row in document["git"].items()}
    document["git"]["kjnodes"]["commit"] = "f" * 40
    found = resolve.resolve(load_pins(), document, resolve.Options(), lambda _: None)
    assert found["git"]["videohelpersuite"]["tree"] == trees["videohelpersuite"]
    assert found["git"]["kjnodes"]["tree"] is None
