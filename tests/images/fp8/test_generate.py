"""Generated models: whole files that stand for the real ones, the same on every machine."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from vace_weights.architecture import Architecture
from vace_weights.conversion_errors import FormError
from vace_weights.generate import (
    SCALES,
    generate_umt5,
    generate_vace,
    generate_vae,
    size_of,
)


def test_the_same_seed_gives_the_locked_bytes(tmp_path: Path) -> None:
    """Hashes of converted models are locked against this one; it must not drift by itself."""
    made = generate_vace(tmp_path / "model", scale="tiny", seed=1)
    assert made == (
        1_751_696,
        "3836733c00a165eaed52e3fb2710d8f28b18625c8b75ad3b0c0c96f9852a211e",
    )
    assert generate_vace(tmp_path / "model", scale="tiny", seed=2)[1] != made[1]


def test_the_size_is_known_without_writing(tmp_path: Path) -> None:
    """A rehearsal's server announces sizes, and the benchmark wants a gibibyte."""
    model = Architecture(dim=128, ffn_dim=200, layers=2, vace_layers=2, text_dim=40)
    size, _ = generate_vace(tmp_path / "model", scale=model)
    assert size == size_of(model) == (tmp_path / "model").stat().st_size
    assert 2**30 <= size_of(SCALES["gib"]) < 1.02 * 2**30


def test_weights_have_the_width_that_layers_have(tmp_path: Path) -> None:
    """With weights of one, or without outliers, figures of the report would mean nothing."""
    path = tmp_path / "model"
    generate_vace(path, scale="small")
    with safe_open(path, framework="numpy") as opened:
        for name in ("blocks.0.ffn.0.weight", "vace_blocks.2.cross_attn.k.weight"):
            weight = opened.get_tensor(name).astype(np.float64)
            deviation = weight.std()
            assert 0.3 < deviation * weight.shape[1] ** 0.5 < 1.5
            assert abs(weight.mean()) < deviation / 20
            assert 4 < np.abs(weight).max() / deviation < 30
        assert opened.get_tensor("blocks.0.norm3.weight").mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("make", [generate_umt5, generate_vae])
def test_stand_ins_are_whole_files_that_the_reference_library_opens(
    make: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    """They take the place of gigabytes in rehearsals; a loader must not call them corrupt."""
    path = tmp_path / "stand_in"
    size, sha256 = make(path, seed=3)
    assert size == path.stat().st_size < 2_000_000
    with safe_open(path, framework="numpy") as opened:
        assert len(opened.keys()) >= 8
    assert make(path, seed=3) == (size, sha256)
    assert make(path, seed=4) != (size, sha256)


def test_an_unknown_scale_is_refused(tmp_path: Path) -> None:
    """With the scales that exist."""
    with pytest.raises(FormError, match="tiny, small, gib, full"):
        generate_vace(tmp_path / "model", scale="huge")  # type: ignore[arg-type]
