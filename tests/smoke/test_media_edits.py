"""Every check against a source passes a good edit and rejects what it is there for."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from smoke_tests.media import (
    CHECKS,
    EDIT_CHECKS,
    Clip,
    Expectation,
    MediaError,
    Source,
    edit_checks,
    read_clip,
)
from smoke_tests.media.source import frame_indices
from tests.smoke import clips

WIDTH, HEIGHT, FRAMES = 208, 120, 33
AREA = np.s_[30:90, 70:140]
INNER = (48, 24, 160, 96)

Edit = Callable[[list[clips.Picture]], list[clips.Picture]]


def mask() -> np.ndarray:
    """White where AREA is."""
    painted = np.zeros((HEIGHT, WIDTH), np.float32)
    painted[AREA] = 1
    return painted


def _other() -> list[clips.Picture]:
    return clips.views(FRAMES, seed=99)


def _object_replaced(source: list[clips.Picture]) -> list[clips.Picture]:
    result = [picture.copy() for picture in source]
    for picture, new in zip(result, _other(), strict=True):
        picture[AREA] = new[AREA]
    return result


def _background_replaced(source: list[clips.Picture]) -> list[clips.Picture]:
    result = _other()
    for picture, old in zip(result, source, strict=True):
        picture[AREA] = old[AREA]
    return result


def _same(source: list[clips.Picture]) -> list[clips.Picture]:
    return source


def _another_scene(_: list[clips.Picture]) -> list[clips.Picture]:
    return _other()


def _restyled(source: list[clips.Picture]) -> list[clips.Picture]:
    """Other colours, less contrast: outlines stay."""
    return [
        np.clip(60 + 0.5 * (255 - picture[..., ::-1].astype(np.float32)), 0, 255).astype(np.uint8)
        for picture in source
    ]


def _sharpened(source: list[clips.Picture]) -> list[clips.Picture]:
    """Contrast of details raised, as an enhancement does, the light as it was."""
    results = []
    for picture in source:
        soft = Image.fromarray(picture).resize((WIDTH // 4, HEIGHT // 4), Image.Resampling.BOX)
        blurred = np.asarray(soft.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float32)
        results.append(np.clip(1.8 * picture - 0.8 * blurred, 0, 255).astype(np.uint8))
    return results


def _reversed(source: list[clips.Picture]) -> list[clips.Picture]:
    return source[::-1]


def _half_speed(source: list[clips.Picture]) -> list[clips.Picture]:
    return [source[index // 2] for index in range(len(source))]


def _drawn(source: list[clips.Picture]) -> list[clips.Picture]:
    """Dark lines over a wash of other colours, the texture gone: a style that is led by lines."""
    results = []
    for picture, other in zip(source, _other(), strict=True):
        wash = Image.fromarray(other).filter(ImageFilter.GaussianBlur(12))
        down, across = np.gradient(picture.mean(axis=-1))
        steep = np.hypot(down, across)
        drawn = np.array(wash)
        drawn[steep > np.quantile(steep, 0.9)] = 30
        results.append(drawn)
    return results


def _weak(source: list[clips.Picture]) -> list[clips.Picture]:
    """Half the control, half another scene: what a strength of 0.6 looks like."""
    return [
        (0.55 * old + 0.45 * new).astype(np.uint8)
        for old, new in zip(source, _other(), strict=True)
    ]


def _continued(source: list[clips.Picture]) -> list[clips.Picture]:
    return source[:9] + clips.views(FRAMES, seed=1)[9:]


def _filled_up(source: list[clips.Picture]) -> list[clips.Picture]:
    return source[:9] + [source[8]] * (FRAMES - 9)


def _outpainted(source: list[clips.Picture]) -> list[clips.Picture]:
    left, top, right, bottom = INNER
    results = _other()
    for picture, old in zip(results, source, strict=True):
        small = Image.fromarray(old).resize((right - left, bottom - top), Image.Resampling.LANCZOS)
        picture[top:bottom, left:right] = np.asarray(small)
    return results


def _border_left_grey(source: list[clips.Picture]) -> list[clips.Picture]:
    left, top, right, bottom = INNER
    results = _outpainted(source)
    for picture in results:
        inner = picture[top:bottom, left:right].copy()
        picture[:] = 127
        picture[top:bottom, left:right] = inner
    return results


def _stretched(source: list[clips.Picture]) -> list[clips.Picture]:
    """Outpainting that was ignored: the source fills the whole frame."""
    return source


PASS: Mapping[str, dict[str, Edit]] = {
    "changed": {"restyled": _restyled, "sharper": _sharpened, "object": _object_replaced},
    "changed_inside_mask": {"object replaced": _object_replaced},
    "unchanged_outside_mask": {"object replaced": _object_replaced, "nothing painted": _same},
    "follows_control": {
        "restyled": _restyled,
        "weak": _weak,
        "sharper": _sharpened,
        "drawn": _drawn,
    },
    "starts_with": {"continued": _continued},
    "keeps_inner_area": {"outpainted": _outpainted},
}
REJECT: Mapping[str, dict[str, Edit]] = {
    "changed": {"the source again": _same},
    "changed_inside_mask": {"nothing painted": _same, "mask inverted": _background_replaced},
    "unchanged_outside_mask": {
        "mask ignored": _another_scene,
        "mask inverted": _background_replaced,
        "all of it restyled": _restyled,
    },
    "follows_control": {
        "control ignored": _another_scene,
        "order of time lost": _reversed,
        "rate lost": _half_speed,
    },
    "starts_with": {"another start": _another_scene, "filled up": _filled_up},
    "keeps_inner_area": {
        "inner area painted over": _another_scene,
        "border left as padded": _border_left_grey,
        "source fills the frame": _stretched,
    },
}


def _cases(table: Mapping[str, dict[str, Edit]]) -> list[tuple[str, str]]:
    return [(name, case) for name, cases in table.items() for case in cases]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Edit], Clip]:
    """Encode an edit of the source once; anything but a bare copy goes through a round trip."""
    folder = tmp_path_factory.mktemp("edits")
    made: dict[Edit, Clip] = {}

    def encode(edit: Edit) -> Clip:
        if edit not in made:
            pictures = edit(clips.views(FRAMES))
            pictures = pictures if edit is _same else clips.round_trip(pictures)
            made[edit] = read_clip(clips.write(folder / f"{len(made)}.mp4", pictures))
        return made[edit]

    return encode


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """What all edits are made from."""
    path = clips.write(tmp_path_factory.mktemp("source") / "s.mp4", clips.views(FRAMES))
    return Source(read_clip(path), mask(), first_frames=9)


def _asked(name: str, source: Source) -> Source:
    if name != "keeps_inner_area":
        return source
    return Source(source.clip, inner=INNER, fit=None)


@pytest.mark.parametrize("name", EDIT_CHECKS)
def test_each_check_has_an_edit_to_pass_and_one_to_reject(name: str) -> None:
    """Prevents a check that was never seen to fail, or never to pass."""
    assert PASS.get(name)
    assert REJECT.get(name)


@pytest.mark.parametrize(("name", "case"), _cases(PASS))
def test_a_good_edit_passes(
    name: str, case: str, make: Callable[[Edit], Clip], source: Source
) -> None:
    """Prevents limits that a model's softness, noise and codec do not meet."""
    finding = EDIT_CHECKS[name](make(PASS[name][case]), _asked(name, source))
    assert finding.check == name
    assert finding.reason.endswith(".")


@pytest.mark.parametrize(("name", "case"), _cases(REJECT))
def test_a_bad_edit_is_rejected(
    name: str, case: str, make: Callable[[Edit], Clip], source: Source
) -> None:
    """Prevents an edit that ignored what was asked from being called good."""
    with pytest.raises(MediaError) as caught:
        EDIT_CHECKS[name](make(REJECT[name][case]), _asked(name, source))
    assert caught.value.check == name
    assert caught.value.measured in str(caught.value)


def test_a_copy_that_was_coded_again_is_no_change_but_finer_detail_is(tmp_path: Path) -> None:
    """Prevents calling a re-encoded source an edit, and a quality enhancement a copy.

    At full size, since a codec's errors average away there as they do not on small pictures.
    """
    sharp = clips.views(5, width=832, height=480)
    poor = []
    for picture in sharp:
        small = Image.fromarray(picture).resize((52, 30), Image.Resampling.BOX)
        poor.append(np.asarray(small.resize((832, 480), Image.Resampling.BICUBIC)))
    coded = []
    for picture in poor:
        jpeg = io.BytesIO()
        Image.fromarray(picture).save(jpeg, "JPEG", quality=80)
        coded.append(np.asarray(Image.open(jpeg)))
    source = Source(read_clip(clips.write(tmp_path / "poor.mp4", poor)))
    copy = read_clip(clips.write(tmp_path / "copy.mp4", clips.round_trip(coded)))
    enhanced = read_clip(clips.write(tmp_path / "enhanced.mp4", sharp))
    with pytest.raises(MediaError, match="came back"):
        EDIT_CHECKS["changed"](copy, source)
    assert EDIT_CHECKS["changed"](enhanced, source)


def test_a_swing_that_looks_the_same_backwards_is_no_loss_of_order(tmp_path: Path) -> None:
    """Prevents calling an edit of a movement that repeats itself one that lost the control."""
    swing = [clips.view(0) for _ in range(FRAMES)]
    for index, picture in enumerate(swing):
        # from one turning point to the other and back
        left = round(80 + 50 * np.cos(2 * np.pi * index / (FRAMES - 1)))
        picture[40:90, left : left + 30] = (230, 60, 40)
    source = Source(read_clip(clips.write(tmp_path / "swing.mp4", swing)))
    edit = clips.round_trip(_restyled(swing))
    good = read_clip(clips.write(tmp_path / "edit.mp4", edit))
    assert EDIT_CHECKS["follows_control"](good, source)
    stopped = read_clip(clips.write(tmp_path / "stopped.mp4", edit[:1] * FRAMES))
    with pytest.raises(MediaError, match=r"moving outlines -?0\.0"):
        EDIT_CHECKS["follows_control"](stopped, source)


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_source_of_another_shape_and_rate_is_fitted(
    fit: str, make: Callable[[Edit], Clip], tmp_path: Path
) -> None:
    """Prevents comparing a phone's upright clip at 30 fps with the wrong part and time of it."""
    tall = clips.write(
        tmp_path / "tall.mp4", clips.views(62, width=120, height=208), fps=30, tags=None
    )
    phone = read_clip(tall)
    kept = []
    for index in frame_indices(phone, make(_same)):
        picture = Image.fromarray(clips.view(index, width=120, height=208))
        if fit == "crop":
            rows = 120 * HEIGHT / WIDTH
            box = (0, (208 - rows) / 2, 120, (208 + rows) / 2)
            result = picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS, box)
        else:
            result = Image.new("RGB", (WIDTH, HEIGHT))
            columns = round(HEIGHT * 120 / 208)
            scaled = picture.resize((columns, HEIGHT), Image.Resampling.LANCZOS)
            result.paste(scaled, ((WIDTH - columns) // 2, 0))
        kept.append(np.asarray(result))
    clip = read_clip(clips.write(tmp_path / "fitted.mp4", kept))
    painted = np.zeros((HEIGHT, WIDTH), np.float32)
    painted[:30, :30] = 1
    fitted = Source(phone, painted, fit="crop" if fit == "crop" else "pad")
    assert EDIT_CHECKS["unchanged_outside_mask"](clip, fitted)
    assert EDIT_CHECKS["follows_control"](clip, fitted)
    with pytest.raises(MediaError):
        EDIT_CHECKS["unchanged_outside_mask"](clip, Source(phone, painted, fit=None))


@pytest.mark.parametrize(
    ("have", "want", "picked"),
    [
        (16, 16, [0, 1, 2, 3, 4, 5]),
        (25, 16, [0, 2, 4, 5, 7, 8]),
        (30, 16, [0, 2, 4, 6, 8, 10]),
        (8, 16, [0, 1, 1, 2, 2, 3]),
    ],
)
def test_frames_are_picked_by_time_as_the_loader_does(
    have: int, want: int, picked: list[int], tmp_path: Path
) -> None:
    """Prevents comparing with the neighbours of the frames that were edited."""
    small = [clips.view(0, width=32, height=32)] * 12
    source = read_clip(clips.write(tmp_path / "s.mp4", small, fps=have))
    result = read_clip(clips.write(tmp_path / "r.mp4", small[:6], fps=want))
    assert source.video.rate == Fraction(have)
    assert frame_indices(source, result) == picked


def test_all_checks_of_a_whole_result_take_less_than_two_seconds(tmp_path: Path) -> None:
    """Prevents a suite that waits for its judge, above all with several clients at once.

    The time is the processor's, so that a busy machine does not decide.
    """
    pictures = clips.views(9, width=832, height=480) * 9
    path = clips.write(tmp_path / "result.mp4", pictures)
    source = Source(read_clip(path), mask(), first_frames=9)
    inner = Source(source.clip, inner=(104, 60, 728, 420))
    before = time.process_time()
    clip = read_clip(path)
    # the verdicts do not matter here
    for check in CHECKS.values():
        with contextlib.suppress(MediaError):
            check(clip, Expectation(832, 480, 81, Fraction(16)))
    for name, edit_check in EDIT_CHECKS.items():
        with contextlib.suppress(MediaError):
            edit_check(clip, inner if name == "keeps_inner_area" else source)
    assert len(clip.frames) == 81
    assert time.process_time() - before < 2


def test_what_a_recipe_keeps_names_its_checks() -> None:
    """Prevents a recipe without checks, and a check that no recipe runs."""
    kept = ("nothing", "structure", "outside_mask", "first_frames", "inside_frame")
    assert {name for kind in kept for name in edit_checks(kind)} == set(EDIT_CHECKS)
    with pytest.raises(ValueError, match="allowed is one of nothing, structure"):
        edit_checks("everything")


@pytest.mark.parametrize("name", EDIT_CHECKS)
def test_a_missing_input_is_named(name: str, make: Callable[[Edit], Clip]) -> None:
    """Prevents a check that passes because it was given nothing to compare with."""
    with pytest.raises(MediaError) as caught:
        EDIT_CHECKS[name](make(_same), Source())
    assert caught.value.check == name
    assert "Source(" in caught.value.reason
