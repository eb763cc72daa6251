"""Fetch, convert, place, receipt, manifest, verify: the whole way, and done again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from vace_weights.cli import main
from vace_weights.errors import ManifestError, UnstableFileError, VerificationError
from vace_weights.fetch import Target, fetch
from vace_weights.manifest import Derivation, Manifest, SourceFile, WeightFile, dump, load
from vace_weights.prepare import Conversion, Form, Wishes, prepare
from vace_weights.receipts import read_receipt
from vace_weights.sources import GivenSource
from vace_weights.stamps import Stamps
from vace_weights.verify import verify

from tests.images.fetch.conftest import DATA, NAME, QUICK, SHA256, Heard
from tests.images.fetch.server import Site

HALF = DATA[::2]
PLAIN = WeightFile("vae.safetensors", "vae", len(DATA), SHA256, "Apache-2.0")
MADE = WeightFile(
    "made.safetensors",
    "diffusion_models",
    None,
    None,
    "Apache-2.0",
    derived=Derivation("fp8-scaled/2", SourceFile(NAME, len(DATA), SHA256, ())),
)


@dataclass(frozen=True)
class Result:
    size: int
    sha256: str


@dataclass
class Halver:
    """A converter that keeps every second byte; counts its runs."""

    runs: list[Form] = field(default_factory=list)

    def __call__(
        self,
        source: Path,
        target: Path,
        *,
        form: Form = "scaled",
        progress: Callable[[int, int], None] | None = None,
    ) -> Result:
        self.runs.append(form)
        half = source.read_bytes()[::2]
        target.write_bytes(half)
        if progress is not None:
            progress(1, 1)
        return Result(len(half), hashlib.sha256(half).hexdigest())


def run(
    folder: Path,
    site: Site,
    halver: Halver,
    *files: WeightFile,
    sources_folder: Path | None = None,
) -> Manifest:
    site.files["/vae.safetensors"] = DATA
    wishes = Wishes(
        given=[GivenSource("http", f"{site.url}/")],
        only_given=True,
        sources_folder=sources_folder,
        options=QUICK,
    )
    conversion = Conversion(halver, {"scaled": "fp8-scaled/2", "plain": "fp8-plain/1"})
    manifest = Manifest(files or (MADE, PLAIN))
    return prepare(manifest, folder, wishes=wishes, conversion=conversion, progress=Heard())


def test_prepare_leaves_a_complete_folder_that_verifies(tmp_path: Path, good: Site) -> None:
    """Prevents a folder that the server refuses after everything seemed done."""
    halver = Halver()
    complete = run(tmp_path, good, halver)
    assert load(tmp_path / "manifest.json") == complete
    assert complete.complete
    made = tmp_path / "diffusion_models" / "made.safetensors"
    assert made.read_bytes() == HALF
    receipt = read_receipt(made)
    assert receipt is not None
    assert (receipt.source_sha256, receipt.size) == (SHA256, len(HALF))
    assert halver.runs == ["scaled"]
    assert not (tmp_path / "sources").exists(), "the source is removed after the conversion"
    assert all(not finding.hashed for finding in verify(complete, tmp_path))


def test_prepare_done_again_asks_nobody_and_converts_nothing(tmp_path: Path, good: Site) -> None:
    """Prevents every start of an init container from fetching 4 GB to convert them again."""
    halver = Halver()
    first = run(tmp_path, good, halver)
    asked = len(good.requests)
    assert run(tmp_path, good, halver) == first
    assert (len(halver.runs), len(good.requests)) == (1, asked)


def test_prepare_removes_nothing_from_a_folder_that_the_user_named(
    tmp_path: Path, good: Site
) -> None:
    """Prevents the loss of the user's own 16-bit file, or of one that others share."""
    mine = tmp_path / "mine"
    run(tmp_path / "first", good, Halver(), sources_folder=mine)
    assert (mine / NAME).read_bytes() == DATA
    run(tmp_path / "second", good, Halver(), sources_folder=mine)
    assert (mine / NAME).read_bytes() == DATA


def test_prepare_keeps_a_source_that_was_there_before_it(tmp_path: Path, good: Site) -> None:
    """Prevents the loss of a file that somebody else put into the default folder."""
    mine = tmp_path / "sources" / NAME
    mine.parent.mkdir()
    mine.write_bytes(DATA)
    run(tmp_path, good, Halver())
    assert mine.read_bytes() == DATA
    assert all(not path.startswith(f"/{NAME}") for path, _ in good.requests)


def test_a_derived_file_that_was_damaged_is_made_again(tmp_path: Path, good: Site) -> None:
    """Prevents a receipt from being believed when the file beside it changed."""
    halver = Halver()
    run(tmp_path, good, halver)
    made = tmp_path / "diffusion_models" / "made.safetensors"
    made.write_bytes(HALF[:-1] + b"x")
    run(tmp_path, good, halver)
    assert made.read_bytes() == HALF
    assert len(halver.runs) == 2


def test_a_result_that_the_manifest_does_not_expect_gets_no_final_name(
    tmp_path: Path, good: Site
) -> None:
    """Prevents a converter that changed from passing for the one in the lock."""
    with pytest.raises(VerificationError, match="another version"):
        run(tmp_path, good, Halver(), replace(MADE, size=len(HALF), sha256="0" * 64))
    assert not list((tmp_path / "diffusion_models").iterdir())
    assert not (tmp_path / "manifest.json").exists()


def test_an_unknown_converter_is_refused_before_the_first_byte(tmp_path: Path, good: Site) -> None:
    """Prevents 4 GB from being fetched for a conversion that cannot be done."""
    derivation = Derivation("fp8-scaled/9", SourceFile(NAME, len(DATA), SHA256, ()))
    with pytest.raises(ManifestError, match="fp8-scaled/2"):
        run(tmp_path, good, Halver(), replace(MADE, derived=derivation))
    assert not good.requests


def test_verify_lists_every_file_that_is_not_right(tmp_path: Path, good: Site) -> None:
    """Prevents a second wrong file from being found only after the first was mended."""
    complete = run(tmp_path, good, Halver())
    (tmp_path / "vae" / "vae.safetensors").unlink()
    made = tmp_path / "diffusion_models" / "made.safetensors"
    made.write_bytes(b"short")
    with pytest.raises(VerificationError) as caught:
        verify(complete, tmp_path)
    assert f"expected {len(HALF)} bytes, found 5 bytes" in str(caught.value)
    assert "No such file" in str(caught.value)


def test_verify_sees_a_change_after_which_the_time_was_put_back(tmp_path: Path, good: Site) -> None:
    """Prevents a file from being believed by a time that every program can set."""
    complete = run(tmp_path, good, Halver())
    path = tmp_path / "vae" / "vae.safetensors"
    before = path.stat()
    deadline = time.monotonic() + 10
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # clocks of file systems are coarse
        assert time.monotonic() < deadline
        with path.open("r+b") as stream:
            stream.write(bytes([DATA[0] ^ 1]))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(VerificationError, match="expected SHA-256"):
        verify(complete, tmp_path)


def test_verify_full_sees_bytes_that_changed_below_the_file_system(
    tmp_path: Path, good: Site
) -> None:
    """Prevents bit rot under an unchanged stamp from never being seen."""
    complete = run(tmp_path, good, Halver())
    path = tmp_path / "vae" / "vae.safetensors"
    with path.open("r+b") as stream:
        stream.write(bytes([DATA[0] ^ 1]))
    # A bad block changes no inode: the stamp still fits.
    Stamps(tmp_path).remember(path, SHA256, path.stat())
    verify(complete, tmp_path)
    with pytest.raises(VerificationError, match="expected SHA-256"):
        verify(complete, tmp_path, full=True)


class Writer(Heard):
    """A Progress that changes the file once everything of it was read."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def advance(self, count: int) -> None:
        super().advance(count)
        if self.done == len(DATA):
            with self.path.open("r+b") as stream:
                stream.write(bytes([DATA[0] ^ 1]))


def test_a_file_that_is_changed_while_it_is_hashed_gets_no_stamp(
    tmp_path: Path, good: Site
) -> None:
    """Prevents new bytes from being believed by the hash of the old ones."""
    path = tmp_path / "vae" / "vae.safetensors"
    path.parent.mkdir()
    path.write_bytes(DATA)
    os.utime(path, (0, 0))  # long ago: clocks of file systems are coarse
    manifest = Manifest((PLAIN,))
    with pytest.raises(VerificationError, match="changed while it was being hashed"):
        verify(manifest, tmp_path, progress=Writer(path))
    assert Stamps(tmp_path).sha256(path) is None
    path.write_bytes(DATA)
    os.utime(path, (0, 0))
    target = Target(SourceFile(NAME, len(DATA), SHA256, ()), path, ())
    with pytest.raises(UnstableFileError, match="run the same command again"):
        fetch([target], tmp_path, progress=Writer(path))
    assert Stamps(tmp_path).sha256(path) is None


def test_verify_of_a_read_only_folder_remembers_elsewhere(tmp_path: Path) -> None:
    """Prevents a bundle image from hashing 8 GB at every start."""
    models = tmp_path / "models"
    (models / "vae").mkdir(parents=True)
    (models / "vae" / "vae.safetensors").write_bytes(DATA)
    elsewhere = tmp_path / "state" / "stamps.json"
    elsewhere.parent.mkdir()
    manifest = Manifest((PLAIN,))
    assert verify(manifest, models, stamps=Stamps(models, elsewhere))[0].hashed
    assert not verify(manifest, models, stamps=Stamps(models, elsewhere))[0].hashed
    assert [path.name for path in models.iterdir()] == ["vae"]


def test_the_command_line_fetches_verifies_and_reports(
    tmp_path: Path, good: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents a library that works and a command that does not."""
    good.files["/vae.safetensors"] = DATA
    manifest = tmp_path / "weights.json"
    dump(Manifest((PLAIN,)), manifest)
    models = tmp_path / "models"
    common = ["--to", str(models), "--manifest", str(manifest)]
    assert main(["fetch", *common, "--source", f"http:{good.url}/"]) == 0
    assert "verified, from http" in capsys.readouterr().out
    assert main(["verify", str(models), "--manifest", str(manifest)]) == 0
    assert "verified before, unchanged since" in capsys.readouterr().out
    (models / "vae" / "vae.safetensors").write_bytes(b"")
    assert main(["verify", str(models), "--manifest", str(manifest)]) == 1
    assert "found 0 bytes" in capsys.readouterr().err
    assert main(["fetch", *common, "--only", "nothing"]) == 2
    assert main(["fetch", *common, "--source", "odd"]) == 2
    manifest.write_text(json.dumps({"schema": 1}))
    assert main(["verify", str(models), "--manifest", str(manifest)]) == 2
