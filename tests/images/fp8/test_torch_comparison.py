"""Bit by bit against PyTorch: the converter's definition of rounding is torch's, or it is wrong."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from vace_weights.convert import convert
from vace_weights.generate import generate_vace
from vace_weights.quantise import FORMS, Form, code_table, decode, encode, look_up, scale_of

from tests.images.fp8 import torch_environment

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]

SCRIPT = Path(__file__).with_name("torch_cast.py")
SCALES = 64


@pytest.fixture(scope="module")
def torch_python() -> Path:
    """The interpreter that has torch."""
    return torch_environment.ensure()


def run_torch(python: Path, *arguments: str) -> str:
    done = subprocess.run(
        [str(python), str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def answers(
    torch_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """All 16-bit patterns, and the float32 values at and around every rounding boundary."""
    folder = tmp_path_factory.mktemp("torch")
    random = np.random.Generator(np.random.PCG64(4))
    codes = decode(np.arange(127, dtype=np.uint8), None)
    middles = (codes[1:] + codes[:-1]) / 2
    edges = np.concatenate([codes, middles, [np.float32(464)]]).astype(np.float32)
    edges = np.concatenate([edges, np.nextafter(edges, 1e9), np.nextafter(edges, -1e9)])
    wide = random.standard_normal(200_000).astype(np.float32) * np.float32(0.03)
    spread = np.ldexp(np.float32(1), random.integers(-40, 8, wide.size)).astype(np.float32)
    maxima = np.abs(random.standard_normal(SCALES).astype(np.float16).astype(np.float32)) + 1e-6
    given = {
        "F16": np.arange(2**16, dtype=np.uint16),
        "BF16": np.arange(2**16, dtype=np.uint16),
        "F32": np.concatenate([edges, -edges, wide, wide * spread]).astype(np.float32),
        "maxima": maxima.astype(np.float32),
        "scales": np.array([scale_of(float(each)) for each in maxima], np.float32),
    }
    np.savez(folder / "in.npz", **given)
    run_torch(torch_python, "values", str(folder))
    return given, dict(np.load(folder / "out.npz"))


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_every_16_bit_value_divided_by_a_scale_rounds_as_in_torch(
    answers: tuple[dict[str, np.ndarray], dict[str, np.ndarray]], dtype: str
) -> None:
    """A tie that goes the wrong way, or a quotient in another precision, would show here."""
    given, made = answers
    # The bound of representable magnitudes is the source's NaN and infinity: they are refused.
    finite = (given[dtype] & 0x7FFF) < (0x7C00 if dtype == "F16" else 0x7F80)
    for index, scale in enumerate(given["scales"]):
        ours = look_up(code_table(dtype, scale), given[dtype])
        np.testing.assert_array_equal(ours[finite], made[f"scaled_{dtype}"][index][finite])


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_every_16_bit_value_up_to_464_is_cast_as_in_torch(
    answers: tuple[dict[str, np.ndarray], dict[str, np.ndarray]], dtype: str
) -> None:
    """The plain form is Tensor.to for what FP8 can hold, and 448 where Tensor.to gives NaN."""
    given, made = answers
    infinity = 0x7C00 if dtype == "F16" else 0x7F80
    finite = (given[dtype] & 0x7FFF) < infinity
    ours = look_up(code_table(dtype, None), given[dtype])[finite]
    theirs = made[f"plain_{dtype}"][finite]
    too_large = (theirs & 0x7F) == 0x7F
    np.testing.assert_array_equal(ours[~too_large], theirs[~too_large])
    assert too_large.any()
    assert set((ours[too_large] & 0x7F).tolist()) == {0x7E}
    np.testing.assert_array_equal(ours[too_large] & 0x80, theirs[too_large] & 0x80)


def test_float32_values_at_every_rounding_boundary_round_as_in_torch(
    answers: tuple[dict[str, np.ndarray], dict[str, np.ndarray]],
) -> None:
    """float32 sources have no table: their path is compared at each tie and one bit beside it."""
    given, made = answers
    theirs = made["plain_F32"]
    held = (theirs & 0x7F) != 0x7F
    np.testing.assert_array_equal(encode(given["F32"], None)[held], theirs[held])
    for index, scale in enumerate(given["scales"]):
        np.testing.assert_array_equal(encode(given["F32"], scale), made["scaled_F32"][index])


def test_scales_and_decoded_values_are_torchs(
    answers: tuple[dict[str, np.ndarray], dict[str, np.ndarray]],
) -> None:
    """A scale that is one bit off would multiply every weight of a layer."""
    given, made = answers
    np.testing.assert_array_equal(given["scales"], made["scale_of"])
    ours = decode(np.arange(256, dtype=np.uint8), None)
    np.testing.assert_array_equal(
        ours.view(np.uint32) & 0x7F80_0000, made["decoded"].view(np.uint32) & 0x7F80_0000
    )
    finite = np.isfinite(made["decoded"])
    np.testing.assert_array_equal(ours[finite], made["decoded"][finite])


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
@pytest.mark.parametrize("form", FORMS)
def test_a_whole_model_has_the_tensors_that_torch_computes(
    torch_python: Path, tmp_path: Path, form: Form, dtype: str
) -> None:
    """Order and metadata are ours; every tensor, scale and type is what torch writes."""
    source, ours, theirs = (tmp_path / name for name in ("source", "ours", "theirs"))
    generate_vace(source, scale="tiny", seed=9, dtype=dtype)  # type: ignore[arg-type]
    convert(source, ours, form=form)
    run_torch(torch_python, "model", str(source), str(theirs), form)
    headers = [_contents(path) for path in (ours, theirs)]
    assert headers[0][0].keys() == headers[1][0].keys()
    for name, value in headers[0][0].items():
        assert value == headers[1][0][name], name
    assert headers[0][1] == headers[1][1]


def _contents(path: Path) -> tuple[dict[str, tuple[str, list[int], bytes]], object]:
    """Type, shape and bytes of every tensor, and the decoded quantisation metadata."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__")
    tensors = {}
    for name, row in header.items():
        start, end = (8 + length + offset for offset in row["data_offsets"])
        tensors[name] = (row["dtype"], row["shape"], data[start:end])
    with safe_open(path, framework="numpy") as opened:
        text = opened.metadata().get("_quantization_metadata")
    return tensors, json.loads(text) if text else None
