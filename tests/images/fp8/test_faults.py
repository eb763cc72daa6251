"""Whatever goes wrong, nothing half-made stands under the target's name, and the error says why."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from vace_weights import output
from vace_weights.conversion_errors import (
    AlreadyQuantisedError,
    ArchitectureError,
    ConversionError,
    FormError,
    NotFiniteError,
    SameFileError,
    SourceChangedError,
    TargetBusyError,
    TargetError,
    TargetFullError,
    TensorTypeError,
    TruncatedError,
)
from vace_weights.convert import convert
from vace_weights.errors import WeightsError
from vace_weights.generate import generate_vace, generate_vae
from vace_weights.quantise import SOURCE_TYPES
from vace_weights.safetensors import Reader

from tests.images.fp8.test_convert import LOCKED

Edited = Callable[[Callable[[dict[str, Any], bytearray], None]], Path]


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """Where results go; afterwards an older file there is unharmed and nothing is left over."""
    folder = tmp_path / "models"
    folder.mkdir()
    path = folder / "made.safetensors"
    path.write_text("the older file")
    yield path
    assert path.read_text() == "the older file"
    assert [each.name for each in folder.iterdir()] == [path.name]


@pytest.mark.parametrize("where", [0, 5, -1])
@pytest.mark.parametrize(
    "bad",
    [("F16", np.nan), ("F16", -np.inf), ("BF16", np.inf), ("F32", np.nan)],
    ids=["half nan", "half inf", "bfloat inf", "float nan"],
)
@pytest.mark.parametrize("tensor", ["blocks.1.ffn.2.weight", "head.modulation"])
def test_a_nan_or_infinity_is_named_with_its_place(
    tensor: str, bad: tuple[str, float], where: int, tmp_path: Path, target: Path
) -> None:
    """In a tensor that is cast and in one that is kept: both would spoil every frame."""
    dtype, value = bad
    source = tmp_path / "source"
    generate_vace(source, scale="tiny", dtype=dtype)  # type: ignore[arg-type]
    with Reader(source) as reader:
        entry = reader.header.tensors[tensor]
        start = reader.header.data_start + entry.start
    index = where % entry.elements
    with source.open("r+b") as stream:
        stream.seek(start + index * SOURCE_TYPES[dtype].itemsize)
        stream.write(np.array([value]).astype(SOURCE_TYPES[dtype]).tobytes())
    with pytest.raises(NotFiniteError, match="'" + tensor.replace(".", r"\.")) as caught:
        convert(source, target)
    assert caught.value.tensor == tensor
    assert caught.value.index == tuple(int(i) for i in np.unravel_index(index, entry.shape))


def test_a_truncated_source_is_refused(tiny: Path, tmp_path: Path, target: Path) -> None:
    """A download that stopped must not become a model of zeros."""
    source = tmp_path / "source"
    source.write_bytes(tiny.read_bytes()[:-1000])
    with pytest.raises(TruncatedError, match="fetch"):
        convert(source, target)


def test_another_element_type_is_refused(edited: Edited, target: Path) -> None:
    """Integers of the right size would be read as weights."""

    def change(header: dict[str, Any], data: bytearray) -> None:
        header["blocks.0.ffn.0.weight"]["dtype"] = "I16"

    with pytest.raises(TensorTypeError, match="I16"):
        convert(edited(change), target)


@pytest.mark.parametrize("form", ["scaled", "plain"])
def test_a_converted_file_is_not_converted_again(
    form: str, tiny: Path, tmp_path: Path, target: Path
) -> None:
    """The names are so alike that the wrong file is easily named; a second rounding shows."""
    first = tmp_path / "first"
    convert(tiny, first, form=form)  # type: ignore[arg-type]
    with pytest.raises(AlreadyQuantisedError, match="already"):
        convert(first, target)


@pytest.mark.parametrize("name", ["scaled_fp8", "blocks.0.ffn.0.scale_weight"])
def test_the_signs_of_older_fp8_forms_are_known(name: str, edited: Edited, target: Path) -> None:
    """Their weights were multiplied by scales that would be lost here."""

    def change(header: dict[str, Any], data: bytearray) -> None:
        header[name] = {"dtype": "F32", "shape": [], "data_offsets": [len(data), len(data) + 4]}
        data += bytes(4)

    with pytest.raises(AlreadyQuantisedError, match=name):
        convert(edited(change), target)


@pytest.mark.parametrize(
    "missing", ["head.modulation", "vace_blocks.0.before_proj.bias", "blocks.1.self_attn.q.weight"]
)
def test_a_model_that_lacks_a_tensor_is_named(missing: str, edited: Edited, target: Path) -> None:
    """ComfyUI would load it with a warning in the log, and make noise."""

    def change(header: dict[str, Any], data: bytearray) -> None:
        header["renamed"] = header.pop(missing)

    with pytest.raises(ArchitectureError, match=missing.replace(".", r"\.")):
        convert(edited(change), target)


def test_a_tensor_of_another_shape_is_named(edited: Edited, target: Path) -> None:
    """Two models mixed up in one file have all names and do not fit."""

    def change(header: dict[str, Any], data: bytearray) -> None:
        header["blocks.1.ffn.2.weight"]["shape"].reverse()

    with pytest.raises(ArchitectureError, match=r"blocks\.1\.ffn\.2\.weight"):
        convert(edited(change), target)


def test_another_model_is_refused(tmp_path: Path, target: Path) -> None:
    """The VAE lies in the same repository and has a similar name."""
    source = tmp_path / "vae"
    generate_vae(source)
    with pytest.raises(ArchitectureError, match=r"Wan 2\.1 VACE"):
        convert(source, target)


def test_an_unknown_form_is_refused(tiny: Path, target: Path) -> None:
    """A form that a manifest names and this version does not know must not become another."""
    with pytest.raises(FormError, match=r"mxfp8.*scaled or plain"):
        convert(tiny, target, form="mxfp8")  # type: ignore[arg-type]


@pytest.mark.parametrize("link", ["the path itself", "a hard link", "a symbolic link"])
def test_the_source_cannot_be_the_target(link: str, tiny: Path, tmp_path: Path) -> None:
    """It would be lost, and with it the only copy of the weights."""
    source = tmp_path / "source"
    source.write_bytes(tiny.read_bytes())
    path = source if link == "the path itself" else tmp_path / "link"
    if link == "a hard link":
        path.hardlink_to(source)
    elif link == "a symbolic link":
        path.symlink_to(source)
    with pytest.raises(SameFileError):
        convert(source, path)
    assert source.read_bytes() == tiny.read_bytes()


def test_a_source_that_changes_meanwhile_is_noticed(
    tiny: Path, tmp_path: Path, target: Path
) -> None:
    """A download into the same name would give a mix of two files that no check would find."""
    source = tmp_path / "source"
    source.write_bytes(tiny.read_bytes())

    def touch(done: int, total: int) -> None:
        os.utime(source, ns=(1, 1))

    with pytest.raises(SourceChangedError):
        convert(source, target, progress=touch)


def test_a_disk_without_room_is_refused_before_the_first_byte(
    tiny: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node's disk must not be filled up to find out that it is too small."""
    usage = shutil.disk_usage(target.parent)
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    started: list[int] = []
    with pytest.raises(TargetFullError, match=r"976\.6 KiB free"):
        convert(tiny, target, progress=lambda *each: started.append(1))
    assert not started


class Usage(NamedTuple):
    """As shutil.disk_usage gives it."""

    total: int
    used: int
    free: int


def test_a_disk_that_fills_up_half_way_leaves_nothing(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others write to the same disk; a real file system of 512 KiB runs out here."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        # The check in advance sees the real, too small disk; as if it had filled up after it.
        monkeypatch.setattr(output.shutil, "disk_usage", lambda _: Usage(2**40, 0, 2**40))
        with pytest.raises(TargetFullError, match="filled up"):
            convert(tiny, disk / "made.safetensors")
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_does_not_exist_is_named(tiny: Path, tmp_path: Path) -> None:
    """A mistyped path must not show as a bare OSError."""
    with pytest.raises(TargetError, match="absent"):
        convert(tiny, tmp_path / "absent" / "made.safetensors")


def test_two_conversions_to_one_target_do_not_mix(tiny: Path, tmp_path: Path) -> None:
    """Two containers with one volume may start at the same time."""
    path = tmp_path / "made.safetensors"
    refused: list[ConversionError] = []

    def second(done: int, total: int) -> None:
        if not refused:
            with pytest.raises(TargetBusyError) as caught:
                convert(tiny, path)
            refused.append(caught.value)

    assert convert(tiny, path, progress=second).sha256 == LOCKED["scaled"]
    assert refused


_STOPS_HALF_WAY = """
import sys
from pathlib import Path
from vace_weights.convert import convert
def stop(done, total):
    if done > total // 2:
        print("half", flush=True)
        sys.stdin.read()
convert(Path(sys.argv[1]), Path(sys.argv[2]), progress=stop)
"""


def test_after_kill_9_half_way_the_next_run_makes_the_same_file(tiny: Path, tmp_path: Path) -> None:
    """Nothing may stand under the final name, and the leftover must not block or leak."""
    path = tmp_path / "made.safetensors"
    with subprocess.Popen(
        [sys.executable, "-c", _STOPS_HALF_WAY, str(tiny), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        assert not path.exists()
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=30) == -signal.SIGKILL
    assert not path.exists()
    assert output.temporary_of(path).exists()
    assert convert(tiny, path).sha256 == LOCKED["scaled"]
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_an_interrupt_leaves_nothing(tiny: Path, target: Path) -> None:
    """Ctrl-C is an ordinary way to end a command."""

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(tiny, target, progress=interrupt)


def test_every_error_of_a_conversion_is_an_error_of_weights() -> None:
    """The command prints WeightsError as a sentence; anything else would be a traceback."""
    pending = [ConversionError]
    while pending:
        kind = pending.pop()
        assert issubclass(kind, WeightsError)
        pending += kind.__subclasses__()
