"""The converted file: what a loader finds in it, that it is the same every time, what it costs."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from vace_weights.architecture import Architecture, becomes_fp8
from vace_weights.convert import CONVERTERS, convert
from vace_weights.generate import generate_vace
from vace_weights.quantise import FORMS, SOURCE_TYPES, Form, scale_of
from vace_weights.safetensors import Reader

Arrays = dict[str, np.ndarray]

# A change of any of these is a change of the format that manifests name by CONVERTERS: raise the
# number there, and put the new hash here.
LOCKED: dict[Form, str] = {
    "scaled": "b951bdaba4fb85cee8a0ae4060e2de0a6cff70cc605eca555b2d1fb8288b7474",
    "plain": "0641d5c9929b67af0ab29c18443431c514fc631103b3d41cb8b60b2d1acb9247",
}


def load(path: Path) -> tuple[Arrays, dict[str, str]]:
    """All tensors by name, float8 included, and the metadata."""
    types = {**SOURCE_TYPES, "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn)}
    with Reader(path) as reader:
        arrays = {}
        for name, entry in reader.header.tensors.items():
            buffer = bytearray(entry.nbytes)
            reader.read_into(entry, 0, memoryview(buffer))
            arrays[name] = np.frombuffer(buffer, types[entry.dtype]).reshape(entry.shape)
        return arrays, dict(reader.header.metadata)


@pytest.mark.parametrize("form", FORMS)
def test_the_same_source_gives_the_locked_bytes(form: Form, tiny: Path, tmp_path: Path) -> None:
    """A manifest names the result by its hash: another byte would make every node refuse it."""
    target = tmp_path / "made.safetensors"
    for _ in range(2):
        made = convert(tiny, target, form=form)
        assert made.sha256 == LOCKED[form], f"raise the number in {CONVERTERS[form]}"
        assert made.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
        assert made.size == target.stat().st_size


def test_the_order_of_the_source_does_not_matter(tiny: Path, tmp_path: Path) -> None:
    """The same tensors saved by another program must not be another model to the manifest."""
    raw = tiny.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__")
    shuffled, data = {}, b""
    for name in sorted(header, key=lambda each: hashlib.sha256(each.encode()).digest()):
        start, end = (8 + length + offset for offset in header[name]["data_offsets"])
        shuffled[name] = {**header[name], "data_offsets": [len(data), len(data) + end - start]}
        data += raw[start:end]
    text = json.dumps(shuffled, indent=1).encode()
    other = tmp_path / "other.safetensors"
    other.write_bytes(len(text).to_bytes(8, "little") + text + data)
    assert convert(other, tmp_path / "made").sha256 == LOCKED["scaled"]


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_the_scaled_form_is_what_the_loader_of_comfyui_reads(prefix: str, tmp_path: Path) -> None:
    """The loader finds layers by the names in the metadata, which bear no checkpoint prefix."""
    source, target = tmp_path / "source", tmp_path / "target"
    generate_vace(source, scale="tiny", seed=1, prefix=prefix)
    convert(source, target)
    before, _ = load(source)
    after, metadata = load(target)
    document = json.loads(metadata["_quantization_metadata"])
    assert document["format_version"] == "1.0"
    layers = document["layers"]
    expected = {
        name.removeprefix(prefix).removesuffix(".weight")
        for name in before
        if becomes_fp8(name.removeprefix(prefix))
    }
    assert set(layers) == expected
    assert len(expected) == 30
    for layer, row in layers.items():
        normalised = layer.endswith(
            ("self_attn.q", "self_attn.k", "self_attn.v", "attn.q", "ffn.0")
        )
        # What FP8 may cut off is stored in FP8 and multiplied in 16 bit.
        wanted = {} if normalised else {"full_precision_matrix_mult": True}
        assert row == {"format": "float8_e4m3fn", **wanted}
    scales = {f"{layer}.weight_scale" for layer in layers}
    assert set(after) == {name.removeprefix(prefix) for name in before} | scales
    for layer in layers:
        weight, scale = after[f"{layer}.weight"], after[f"{layer}.weight_scale"]
        assert weight.dtype == ml_dtypes.float8_e4m3fn
        assert scale.dtype == np.float32
        assert scale.shape == ()
        exact = before[f"{prefix}{layer}.weight"].astype(np.float32)
        assert scale == scale_of(float(np.abs(exact).max()))
        error = np.abs(weight.astype(np.float32) * scale - exact)
        # half a step: 1/16 of a normal number, 2**-10 of the scaled subnormal range
        assert (error <= np.maximum(np.abs(exact) / 16, scale * 2.0**-10) * 1.0001).all()


@pytest.mark.parametrize("form", FORMS)
def test_layers_that_are_kept_are_copied_byte_for_byte(
    form: Form, tiny: Path, tmp_path: Path
) -> None:
    """Norms, modulation, embeddings and the head decide over whole channels: no bit may change."""
    target = tmp_path / "target"
    convert(tiny, target, form=form)
    before, (after, _) = load(tiny)[0], load(target)
    kept = [name for name in before if not becomes_fp8(name)]
    assert {"head.head.weight", "time_projection.1.weight", "vace_blocks.0.after_proj.weight"} <= (
        set(kept)
    )
    for name in kept:
        assert after[name].dtype == before[name].dtype
        assert after[name].tobytes() == before[name].tobytes()


def test_the_plain_form_has_no_scales_and_no_layer_list(tiny: Path, tmp_path: Path) -> None:
    """With either of them ComfyUI would take it for the scaled form."""
    target = tmp_path / "target"
    convert(tiny, target, form="plain")
    after, metadata = load(target)
    assert "_quantization_metadata" not in metadata
    assert set(after) == set(load(tiny)[0])
    assert sum(each.dtype == ml_dtypes.float8_e4m3fn for each in after.values()) == 30


def test_every_tensor_starts_where_its_type_may_start(tiny: Path, tmp_path: Path) -> None:
    """torch views a mapped file as float32 and refuses an offset that is no multiple of four."""
    raw = tiny.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8 : 8 + length]), bytearray(raw[8 + length :])
    header["extra"] = {"dtype": "F16", "shape": [1], "data_offsets": [len(data), len(data) + 2]}
    data += b"\x00\x3c"
    text = json.dumps(header).encode()
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(len(text).to_bytes(8, "little") + text + data)
    convert(source, target)
    width = {"F32": 4, "F16": 2, "F8_E4M3": 1}
    with Reader(target) as reader:
        assert reader.header.data_start % 8 == 0
        for entry in reader.header.tensors.values():
            assert entry.start % width[entry.dtype] == 0, entry


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_other_source_types_keep_theirs_where_nothing_is_cast(dtype: str, tmp_path: Path) -> None:
    """The published fp16 file keeps its patch embeddings in float32: types may be mixed."""
    source, target = tmp_path / "source", tmp_path / "target"
    generate_vace(source, scale="tiny", seed=1, dtype=dtype)  # type: ignore[arg-type]
    made = convert(source, target)
    with Reader(target) as reader:
        types = {name: entry.dtype for name, entry in reader.header.tensors.items()}
    assert types["head.head.weight"] == dtype
    assert types["blocks.0.ffn.0.weight"] == "F8_E4M3"
    assert made.report.total.figures["scaled"].sqnr_db > 30


def test_progress_ends_at_the_size_of_the_result(tiny: Path, tmp_path: Path) -> None:
    """A display that never reaches its end looks like a hang."""
    seen: list[tuple[int, int]] = []
    made = convert(tiny, tmp_path / "target", progress=lambda *each: seen.append(each))
    assert seen[-1] == (made.size, made.size)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_memory_is_bounded_by_slices_not_by_tensors_or_files(tmp_path: Path) -> None:
    """A node prepares 4.3 GB beside other work; here tensors of 134 MB pass through."""
    source = tmp_path / "source"
    model = Architecture(dim=128, ffn_dim=131072, layers=1, vace_layers=1, text_dim=2**19)
    size, _ = generate_vace(source, scale=model)
    assert size > 260e6
    code = (
        "import sys; from pathlib import Path; from vace_weights.convert import convert;"
        "convert(Path(sys.argv[1]), Path(sys.argv[2]));"
        # Not ru_maxrss: that one begins with the size of the process that forked.
        "status = Path('/proc/self/status').read_text();"
        "print(next(line.split()[1] for line in status.splitlines() if 'VmHWM' in line))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(source), str(tmp_path / "target")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PATH": os.environ["PATH"]},
    )
    assert int(done.stdout) * 1024 < 130e6
