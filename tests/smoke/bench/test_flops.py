"""The work of a video, held against the model's own tensors."""

from __future__ import annotations

import math

import pytest
from vace_weights.architecture import WAN_VACE_1_3B, becomes_fp8, multiplies_in_16_bit

from smoke_tests.bench import flops
from smoke_tests.bench.flops import REFERENCE, Job, Shape
from smoke_tests.workflows import RECIPES, cost

TEXT_LAYERS = (".cross_attn.k.", ".cross_attn.v.", "text_embedding.")
ONCE = ("time_embedding.", "time_projection.")


def test_the_reference_workflow_is_3_35_pflop_of_transformer() -> None:
    """Prevents: a distance to the limit that goes by another count than the project's aims."""
    parts = flops.sampling(REFERENCE)
    assert flops.transformer(parts) / 1e15 == pytest.approx(3.35, abs=0.005)
    # VACE's projections and the head come on top
    assert flops.total(parts) / 1e15 == pytest.approx(3.381, abs=0.0005)
    assert REFERENCE.tokens == 13 * 30 * 30
    assert REFERENCE.passes == 40


def test_every_weight_of_the_model_is_multiplied_once_for_each_of_its_inputs() -> None:
    """Prevents: a layer that was forgotten or counted twice, told from the real tensors."""
    tokens = REFERENCE.tokens
    expected = dict.fromkeys(flops.forward(tokens), 0)
    for name, shape in WAN_VACE_1_3B.tensors().items():
        if not name.endswith(".weight") or len(shape) < 2:
            continue
        if any(part in name for part in ONCE):
            inputs = 1
        elif any(part in name for part in TEXT_LAYERS):
            inputs = 512
        else:
            inputs = tokens
        if becomes_fp8(name):
            part = "blocks.other" if multiplies_in_16_bit(name) else "blocks.normalised"
        elif "before_proj" in name or "after_proj" in name:
            part = "vace_projections"
        else:
            part = "head" if name.startswith("head.") else "embeddings"
        expected[part] += inputs * math.prod(shape)
    counted = flops.forward(tokens)
    attention = counted.pop("blocks.attention")
    expected.pop("blocks.attention")
    assert counted == expected
    # q.k and the weighted sum, over all tokens and over the text, in 30 + 15 blocks
    assert attention == 45 * (2 * tokens * tokens * 1536 + 2 * tokens * 512 * 1536)


def test_the_shape_is_that_of_the_architecture() -> None:
    """Prevents: the work of another model."""
    shape, model = Shape(), WAN_VACE_1_3B
    assert (shape.dim, shape.ffn_dim, shape.layers) == (model.dim, model.ffn_dim, model.layers)
    assert (shape.vace_layers, shape.text_dim) == (model.vace_layers, model.text_dim)
    assert (model.vace_channels, model.in_channels) == (flops.VACE_CHANNELS, flops.LATENT_CHANNELS)
    assert model.freq_dim == flops.FREQUENCIES


def test_the_recipes_estimate_agrees() -> None:
    """Prevents: two counts of one thing that drift apart."""
    for recipe in RECIPES.values():
        job = Job(
            recipe.width, recipe.height, recipe.frames, recipe.steps, recipe.cfg,
            recipe.reference_frame,
        )  # fmt: skip
        estimate = cost.sampling_work(
            recipe.width, recipe.height, recipe.frames, steps=recipe.steps, cfg=recipe.cfg,
            reference_frame=recipe.reference_frame,
        )  # fmt: skip
        assert flops.total(flops.sampling(job)) == pytest.approx(estimate, rel=0.001)


def test_the_work_follows_steps_guidance_and_the_reference_picture() -> None:
    """Prevents: a limit that holds for one setting only."""
    whole = flops.total(flops.sampling(REFERENCE))

    def work(**changes: object) -> int:
        return flops.total(flops.sampling(Job(**{**vars(REFERENCE), **changes})))

    assert work(steps=40) == 2 * whole
    assert work(cfg=1) * 2 == whole
    assert work(reference=True) > whole * 14 / 13
    # attention grows with the square of the tokens: five times for less than three times as many
    assert 4.5 < work(width=832, frames=81) / whole < 5.5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 470}, "multiples of 16"),
        ({"frames": 48}, "4n+1"),
        ({"steps": 0}, "at least 1"),
    ],
)
def test_a_size_that_no_wan_video_has_is_refused(changes: dict[str, int], words: str) -> None:
    """Prevents: the work of a video that the server would quietly round."""
    with pytest.raises(ValueError, match="Choose the nearest") as caught:
        Job(**{**vars(REFERENCE), **changes})
    assert words in str(caught.value)


def test_text_encoder_and_decoder_are_small_beside_the_sampling() -> None:
    """Prevents: a slip of some powers of ten in what is named apart."""
    # a multiply-add for each weight of the layers and token; the file holds 4.63 GB of them in FP8
    layers = 24 * (4 * 4096**2 + 3 * 4096 * 10240)
    attention = 24 * 2 * 512 * 512 * 4096
    assert flops.text_encoder(1) == 2 * (512 * layers + attention)
    assert layers == pytest.approx(4.63e9, rel=0.01)
    decode = flops.vae_decode(REFERENCE)
    assert 0.01 < decode / flops.total(flops.sampling(REFERENCE)) < 0.05
    twice = Job(480, 960, 49, 20, 4)
    assert 1.9 < flops.vae_decode(twice) / decode < 2.2
