"""The list of tensors is the model's: a wrong name or shape would show as another size."""

import math

import pytest
from vace_weights.architecture import (
    WAN_VACE_1_3B,
    Architecture,
    becomes_fp8,
    detect,
    tensor_class,
)
from vace_weights.conversion_errors import ArchitectureError
from vace_weights.generate import size_of

PUBLISHED_BYTES = 4_309_519_800
"""Size of wan2.1_vace_1.3B_fp16.safetensors."""


def test_the_full_model_has_the_size_of_the_published_file() -> None:
    """Names and shapes come from reading the source; only the published size can confirm them.

    ComfyUI builds both patch embeddings in float32. With them in float32 the file is larger by
    two bytes for each of their parameters; what is left must be the header: a few hundred bytes
    for each tensor at most, and less than one more tensor of any matrix would take.
    """
    assert WAN_VACE_1_3B.parameters == 2_153_972_032
    shapes = WAN_VACE_1_3B.tensors()
    wide = sum(math.prod(shape) for name, shape in shapes.items() if "patch_embedding" in name)
    header = PUBLISHED_BYTES - 2 * WAN_VACE_1_3B.parameters - 2 * wide
    assert 100 * len(shapes) < header < 250 * len(shapes)
    assert abs(size_of(WAN_VACE_1_3B) - PUBLISHED_BYTES) < PUBLISHED_BYTES * 0.0005


def test_97_percent_of_the_parameters_become_fp8_and_each_class_is_known() -> None:
    """A pattern that misses a layer would silently leave it in 16 bits."""
    shapes = WAN_VACE_1_3B.tensors()
    chosen = {name: math.prod(shape) for name, shape in shapes.items() if becomes_fp8(name)}
    assert len(chosen) == (30 + 15) * 10
    assert sum(chosen.values()) / WAN_VACE_1_3B.parameters == pytest.approx(0.96936, abs=1e-5)
    assert "other" not in {tensor_class(name) for name in shapes}
    assert all(len(shapes[name]) == 2 for name in chosen)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("blocks.12.self_attn.q.weight", "blocks.self_attn.q"),
        ("vace_blocks.0.ffn.2.weight", "vace_blocks.ffn.2"),
        ("vace_blocks.0.before_proj.weight", "vace_projection"),
        ("blocks.0.cross_attn.norm_k.weight", "norm"),
        ("blocks.0.norm3.bias", "bias"),
        ("head.modulation", "modulation"),
        ("vace_patch_embedding.weight", "patch_embedding"),
        ("blocks.0.cross_attn.k_img.weight", "other"),
    ],
)
def test_tensors_are_put_into_the_class_that_the_report_names(name: str, expected: str) -> None:
    """Figures of a mixed class would hide the layer that suffers."""
    assert tensor_class(name) == expected


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_dimensions_are_found_from_the_shapes_alone(prefix: str) -> None:
    """Files do not carry their dimensions."""
    model = Architecture(dim=256, ffn_dim=640, layers=4, vace_layers=2, text_dim=96)
    shapes = {prefix + name: shape for name, shape in model.tensors().items()}
    assert detect(shapes, "file") == (model, prefix)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dim": 100}, "multiple of 128"),
        ({"layers": 7}, "vace_layers"),
        ({"ffn_dim": 0}, "least 1"),
    ],
)
def test_dimensions_that_comfyui_cannot_load_are_refused(
    change: dict[str, int], words: str
) -> None:
    """A rehearsal with such a model would fail far from here, in the loader."""
    with pytest.raises(ArchitectureError, match=words):
        Architecture(**change)
