"""What is drawn follows from what was asked: mask, control, strength, reference, sampler."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rehearsal.comfyui import drawing
from rehearsal.comfyui.nodes.edges import edges as canny
from rehearsal.comfyui.values import Control, Images, Masks, Pixels, Sampled

FRAMES, HEIGHT, WIDTH = 13, 96, 128
INSIDE = (slice(None), slice(32, 64), slice(48, 96))


def source() -> Pixels:
    """A landscape of soft shapes that moves to the left."""
    grain = np.random.default_rng(5).integers(0, 256, size=(8, 16, 3), dtype=np.uint8)
    wide = Image.fromarray(grain).resize((WIDTH + FRAMES, HEIGHT), Image.Resampling.BICUBIC)
    return np.stack([np.asarray(wide)[:, n : n + WIDTH] for n in range(FRAMES)])


def mask(inside: int = 255, outside: int = 0) -> Masks:
    planes = np.full((FRAMES, HEIGHT, WIDTH), outside, np.uint8)
    planes[INSIDE] = inside
    return Masks(planes)


EVERYWHERE = mask(255, 255)


def draw(control: Control | None = None, **changes: Any) -> Any:
    sampled = replace(Sampled("a cat", "bad", 1, 20, control), **changes)
    return drawing.draw(sampled, frames=FRAMES, width=WIDTH, height=HEIGHT).astype(int)


def greyed() -> Pixels:
    """The source with grey where the mask is set, as editing graphs send it."""
    pixels = source()
    pixels[INSIDE] = 127
    return pixels


def edges(pixels: Any) -> Any:
    light = np.asarray(pixels, dtype=float).mean(axis=-1)
    return np.hypot(np.gradient(light, axis=1), np.gradient(light, axis=2))


def alike(one: Any, other: Any) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_outside_the_mask_the_source_stays_as_after_a_vae() -> None:
    """Prevents: a check of unchanged areas that a real round trip would fail, or that sees none."""
    result = draw(Control(Images(greyed()), mask(), None, 1.0))
    error = np.abs(result - source().astype(int))
    painted = error[INSIDE].mean()
    error[INSIDE] = 0
    outside = error[mask().pixels == 0]
    assert 1 < outside.mean() < 3
    assert outside.max() <= drawing.LARGEST_ERROR
    assert painted > 20


def test_inside_the_mask_prompt_and_seed_decide() -> None:
    """Prevents: a check of changed areas that passes whatever was asked for."""
    control = Control(Images(greyed()), mask(), None, 1.0)
    first = draw(control)
    for changes in ({"positive": "a dog"}, {"seed": 2}):
        other = draw(control, **changes)
        assert np.abs(first - other)[INSIDE].mean() > 10
        assert (first[:, :24] == other[:, :24]).all()


@pytest.mark.parametrize("grey", [True, False])
def test_a_control_video_shows_in_edges_and_light_by_its_strength(*, grey: bool) -> None:
    """Prevents: a strength without effect, or structure that shows although it is off."""
    pixels = source()
    if grey:
        pixels = np.repeat(pixels.mean(axis=3, keepdims=True).astype(np.uint8), 3, axis=3)
    free = draw()
    found = []
    for strength in (0.0, 0.5, 1.0):
        result = draw(Control(Images(pixels), EVERYWHERE, None, strength))
        found.append((alike(edges(result), edges(pixels)), alike(result.mean(3), pixels.mean(3))))
        if strength == 0:
            assert (result == free).all()
    assert found[0][0] < found[1][0] < found[2][0]
    assert found[0][1] < found[1][1] < found[2][1]
    assert found[2][0] > 0.8


@pytest.mark.parametrize("ground", [0, 255])
def test_a_line_drawing_shows_as_lines_and_keeps_the_light(ground: int) -> None:
    """Prevents: edge control that makes the picture black or white, as the control itself is."""
    pixels = np.full((FRAMES, HEIGHT, WIDTH, 3), ground, np.uint8)
    pixels[:, 20:76, 40] = pixels[:, 20:76, 90] = pixels[:, 20, 40:90] = 255 - ground
    result = draw(Control(Images(pixels), EVERYWHERE, None, 1.0))
    strong = edges(result) > 20
    lines = pixels[..., 0] != ground
    near = np.zeros_like(lines)
    for down in range(-2, 3):
        for across in range(-2, 3):
            near |= np.roll(lines, (down, across), axis=(1, 2))
    assert strong.sum() > 500
    assert (strong & near).sum() / strong.sum() > 0.9
    assert 40 < result.mean() < 215


def test_edges_are_thin_and_lie_where_the_light_steps() -> None:
    """Prevents: line control that misses soft outlines of filmed things, or fills whole areas."""
    picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    picture[:, 50:] = 130
    picture[40:, 100:] = 138  # a weak step, but for the part beside the strong one
    found = canny(picture, 0.15, 0.4)
    across = np.flatnonzero(found[20])
    assert 1 <= len(across) <= 2
    assert abs(across.mean() - 49.5) <= 1
    assert not found[:, 90:].any()
    assert (found > 0).mean() < 0.05


def test_a_control_longer_than_the_video_is_cut_to_it() -> None:
    """Prevents: edits that fail when a source's length is not one that Wan makes."""
    planes = np.full((FRAMES + 2, HEIGHT, WIDTH), 0, np.uint8)
    planes[INSIDE] = 255
    pixels = np.concatenate([greyed(), greyed()[-2:]])
    result = draw(Control(Images(pixels), Masks(planes), None, 1.0))
    assert len(result) == FRAMES


def test_a_grey_control_asks_for_nothing() -> None:
    """Prevents: grey areas that come out grey instead of being painted."""
    grey = np.full((FRAMES, HEIGHT, WIDTH, 3), 127, np.uint8)
    assert (draw(Control(Images(grey), EVERYWHERE, None, 1.0)) == draw()).all()


def test_given_first_frames_are_kept_and_lead_into_the_rest() -> None:
    """Prevents: an extended clip that begins with something else, or with a cut."""
    pixels, masks = source(), np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8)
    pixels[5:], masks[5:] = 127, 255
    result = draw(Control(Images(pixels), Masks(masks), None, 1.0))
    assert np.abs(result[:5] - source()[:5].astype(int)).mean() < 3
    steps = np.abs(np.diff(result, axis=0)).mean(axis=(1, 2, 3))
    assert steps.max() < 15
    assert np.abs(result[-1] - source()[4].astype(int)).mean() > 15


def test_the_references_colours_rule_and_it_is_seen_inside_the_mask() -> None:
    """Prevents: a reference picture that is sent and has no effect."""
    pixels = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
    pixels[...] = (240, 30, 20)
    free = draw(Control(None, EVERYWHERE, Images(pixels), 1.0)).mean(axis=(0, 1, 2))
    assert free[0] - free[2] > 60
    inside = draw(Control(Images(greyed()), mask(), Images(pixels), 1.0))[INSIDE]
    assert inside.mean(axis=(0, 1, 2))[0] > 170
    without = draw(Control(Images(greyed()), mask(), Images(pixels), 0.0))
    assert (without == draw()).all()


@pytest.mark.parametrize(
    "changes",
    [{"negative": "worse"}, {"cfg": 6.0}, {"steps": 30}, {"sampler": "euler/simple"},
     {"model": "other"}],
)  # fmt: skip
def test_other_settings_change_the_picture_a_little(changes: dict[str, Any]) -> None:
    """Prevents: comparisons of settings that find no difference, or take it for another scene."""
    difference = np.abs(draw() - draw(**changes)).mean()
    assert 0.5 < difference < 12
    assert alike(draw(), draw(**changes)) > 0.9


def test_at_cfg_1_the_negative_prompt_has_no_effect() -> None:
    """Prevents: speed settings without guidance that seem to listen to the negative prompt."""
    assert (draw(cfg=1.0) == draw(cfg=1.0, negative="worse")).all()


def test_sampling_from_an_encoded_source_stays_near_it() -> None:
    """Prevents: enhanced clips that have nothing to do with the source."""
    encoded = Images(source())
    errors = [
        np.abs(draw(denoise=share, encoded=encoded) - source().astype(int)).mean()
        for share in (0.2, 0.5, 1.0)
    ]
    assert errors[0] < 15 < errors[2]
    assert errors == sorted(errors)
