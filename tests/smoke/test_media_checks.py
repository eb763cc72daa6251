"""Every media check passes a good clip and rejects the one it is there for."""

import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from smoke_tests.media import (
    CHECKS,
    Clip,
    Expectation,
    MediaError,
    read_clip,
)
from tests.smoke import clips

EXPECTED = Expectation(clips.SIZE, clips.SIZE, clips.FRAMES, Fraction(16), metadata_allowed=False)
SECONDS = clips.FRAMES / 16
SENT = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip with nothing wrong."""
    return clips.write(tmp_path_factory.mktemp("clips") / "good.mp4", clips.scenes())


@pytest.fixture(scope="module")
def detailed(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """A clip full of detail and motion, as soft and noisy as a VAE leaves it."""
    path = tmp_path_factory.mktemp("clips") / "detailed.mp4"
    return read_clip(clips.write(path, clips.round_trip(clips.views(33))))


@pytest.mark.parametrize("name", CHECKS)
def test_a_good_clip_passes(name: str, good: Path) -> None:
    """Prevents a check that rejects everything."""
    finding = CHECKS[name](read_clip(good), EXPECTED)
    assert finding.check == name
    assert finding.level == ("warning" if name == "faststart" else "ok")
    assert finding.measured
    assert finding.reason.endswith(".")


@pytest.mark.parametrize("name", CHECKS)
def test_a_clip_full_of_detail_and_motion_passes(name: str, detailed: Clip) -> None:
    """Prevents limits that only a gradient meets."""
    assert CHECKS[name](detailed, Expectation(208, 120, 33, Fraction(16), metadata_allowed=False))


def _noise(cell: int) -> list[clips.Picture]:
    """White noise for cell 1; blotches of one VAE cell for 8, as decoded noise looks."""
    small, rng = clips.SIZE // cell, np.random.default_rng(20260101)
    return [
        np.asarray(
            Image.fromarray(rng.integers(0, 256, (small, small, 3), dtype=np.uint8)).resize(
                (clips.SIZE, clips.SIZE), Image.Resampling.BICUBIC
            )
        )
        for _ in range(clips.FRAMES)
    ]


def _plain(*levels: int) -> list[clips.Picture]:
    shape = (clips.SIZE, clips.SIZE, 3)
    return [np.full(shape, level, np.uint8) for level in levels]


def _mapped(change: Callable[[np.ndarray, int], np.ndarray]) -> list[clips.Picture]:
    """Good frames, each changed with its index at hand."""
    return [
        np.clip(change(picture.astype(np.float32), index), 0, 255).astype(np.uint8)
        for index, picture in enumerate(clips.scenes())
    ]


def _blocks(
    fill: Callable[[np.random.Generator], np.ndarray], *, cells: int
) -> list[clips.Picture]:
    """Good frames with one block of so many VAE cells a side in the four frames of a latent."""
    rng, result = np.random.default_rng(3), clips.scenes()
    for picture in result[5:9]:
        picture[24 : 24 + 8 * cells, 80 : 80 + 8 * cells] = fill(rng)
    return result


def _garbage(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)


def _with_dots(count: int) -> list[clips.Picture]:
    """Good frames with a small square off the raster, as an eye or a window is."""
    result = clips.scenes()
    for index, picture in enumerate(result[:count]):
        picture[27:38, 70 + index : 81 + index] = 0
    return result


def _cut() -> list[clips.Picture]:
    """Two scenes, one much darker: one jump of the light is a cut, not flicker."""
    return _mapped(lambda picture, index: picture * (1.0 if index < 9 else 0.5))


PICTURES: dict[str, dict[str, Callable[[], list[clips.Picture]]]] = {
    "not_black": {
        "black": lambda: _plain(*[0] * clips.FRAMES),
        "black after a third": lambda: clips.scenes()[:6] + _plain(*[0] * 11),
    },
    "not_plain": {"one colour": lambda: _plain(*range(100, 100 + clips.FRAMES))},
    "not_frozen": {
        "a still picture": lambda: clips.scenes()[:1] * clips.FRAMES,
        "padded with the last": lambda: clips.scenes()[:10] + clips.scenes()[9:10] * 7,
    },
    "not_noise": {"white noise": lambda: _noise(1), "decoded noise": lambda: _noise(8)},
    "brightness": {
        "too dark": lambda: _mapped(lambda picture, _: picture / 12),
        "too bright": lambda: _mapped(lambda picture, _: 255 - (255 - picture) / 12),
    },
    "frame_count": {
        "too few": lambda: clips.scenes()[:-4],
        "too many": lambda: clips.scenes(clips.FRAMES + 4),
    },
    "frame_size": {"another size": lambda: clips.scenes(size=144)},
    "no_broken_blocks": {
        "black cells": lambda: _blocks(lambda _: np.zeros(3), cells=1),
        "black pairs of cells": lambda: _blocks(lambda _: np.zeros(3), cells=2),
        "white area": lambda: _blocks(lambda _: np.full(3, 255), cells=5),
        "garbage": lambda: _blocks(_garbage, cells=2),
    },
    "no_flicker": {
        "every other frame": lambda: _mapped(lambda p, n: p * (0.9 if n % 2 else 1.0)),
        "every fourth frame": lambda: _mapped(lambda p, n: p * (0.9 if n % 4 == 0 else 1.0)),
    },
    "colour_cast": {
        "green alone": lambda: _mapped(lambda p, _: p * [0.05, 1.5, 0.05] + [0, 40, 0]),
        "red alone": lambda: _mapped(lambda p, _: p * [1.2, 0.1, 0.1] + [60, 0, 0]),
    },
    "colour_overflow": {"twentyfold": lambda: _mapped(lambda p, _: (p - 118) * 20 + 128)},
}
GOOD_PICTURES: dict[str, tuple[str, Callable[[], list[clips.Picture]]]] = {
    "black fade-in of one frame": ("not_black", lambda: _plain(0) + clips.scenes()[1:]),
    "dark squares off the raster": ("no_broken_blocks", lambda: _with_dots(clips.FRAMES)),
    "a large inset on the raster": (
        "no_broken_blocks",
        lambda: _mapped(
            lambda p, _: np.where(
                (np.indices(p.shape)[0] // 80 + np.indices(p.shape)[1] // 80), p, 0
            )
        ),
    ),
    "a cut": ("no_flicker", _cut),
    "a fade": ("no_flicker", lambda: _mapped(lambda p, n: p * (1 - 0.04 * n))),
    "an evening": ("colour_cast", lambda: _mapped(lambda p, _: p * [1.0, 0.6, 0.35])),
    "strong colours": ("colour_overflow", lambda: _mapped(lambda p, _: (p - 118) * 1.6 + 128)),
    "a poster of twelve shades": ("colour_levels", lambda: _mapped(lambda p, _: p // 8 * 8)),
}


@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name, cases in PICTURES.items() for case in cases]
)
def test_bad_pictures_are_rejected_by_their_check(name: str, case: str, tmp_path: Path) -> None:
    """Prevents a video of the right format that shows nothing worth having."""
    clip = read_clip(clips.write(tmp_path / "bad.mp4", PICTURES[name][case]()))
    with pytest.raises(MediaError) as caught:
        CHECKS[name](clip, EXPECTED)
    assert caught.value.check == name
    assert caught.value.measured in str(caught.value)
    assert caught.value.limit in str(caught.value)


def test_bands_in_place_of_shades_are_noted(tmp_path: Path) -> None:
    """Prevents a picture of too few bits that nobody hears of."""
    bands = _mapped(lambda p, _: p // 64 * 64 + 32)
    for name, pictures, level in (("bands", bands, "warning"), ("scenes", clips.scenes(), "ok")):
        clip = read_clip(clips.write(tmp_path / f"{name}.mp4", pictures))
        assert CHECKS["colour_levels"](clip, EXPECTED).level == level


@pytest.mark.parametrize("case", GOOD_PICTURES)
def test_unusual_but_good_pictures_pass(case: str, tmp_path: Path) -> None:
    """Prevents rejecting what a camera or a painter may well show."""
    name, pictures = GOOD_PICTURES[case]
    assert CHECKS[name](read_clip(clips.write(tmp_path / "odd.mp4", pictures())), EXPECTED)


def _tone(seconds: float) -> np.ndarray:
    samples = np.arange(round(48000 * seconds))
    return (0.3 * np.sin(samples * 0.05)).astype(np.float32)


def _graph_in_free_box(path: Path) -> Path:
    """A graph behind the last box a player reads, which no demultiplexer shows as a tag."""
    clips.write(path, clips.scenes())
    content = b'{"3": {"class_type": "KSampler", "inputs": {}}}'
    hidden = struct.pack(">I4s", 8 + len(content), b"free") + content
    path.write_bytes(path.read_bytes() + hidden)
    return path


def _gap(path: Path) -> Path:
    times = [n if n < 9 else n + 1 for n in range(clips.FRAMES)]
    return clips.write(path, clips.scenes(), times=times)


def _suffixed(suffix: str) -> Callable[[Path], Path]:
    return lambda path: clips.write(path.with_suffix(suffix), clips.scenes())


def _written(**how: Any) -> Callable[[Path], Path]:
    """How `clips.write` spoils a file of good pictures; {'movflags': ...} keep free tags."""
    return lambda path: clips.write(path, clips.scenes(), **how)


KEEP_TAGS = {"movflags": "use_metadata_tags"}
CREATED = {"creation_time": "2026-01-01T11:00:00.000000Z"}
FILES: list[tuple[str, str, Callable[[Path], Path], Expectation]] = [
    ("mp4", "QuickTime", _suffixed(".mov"), EXPECTED),
    ("mp4", "Matroska", _suffixed(".mkv"), EXPECTED),
    ("one_h264_stream", "MPEG-4", _written(codec="mpeg4"), EXPECTED),
    ("one_h264_stream", "with sound", _written(silence=True), EXPECTED),
    ("profile", "4:4:4", _written(pixel_format="yuv444p"), EXPECTED),
    ("profile", "ten bits", _written(pixel_format="yuv420p10le"), EXPECTED),
    ("pixel_format", "4:4:4", _written(pixel_format="yuv444p"), EXPECTED),
    ("colour_tags", "full range", _written(tags=(2, 1)), EXPECTED),
    ("colour_tags", "BT.601", _written(tags=(1, 6)), EXPECTED),
    ("constant_rate", "24 fps", _written(fps=24), EXPECTED),
    ("constant_rate", "a gap", _gap, EXPECTED),
    ("duration", "24 fps", _written(fps=24), EXPECTED),
    ("duration", "a gap", _gap, EXPECTED),
    ("audio", "unwanted", _written(silence=True), EXPECTED),
    ("audio", "missing", _written(), replace(EXPECTED, audio=True)),
    ("audio", "too short", _written(sound=_tone(0.5)), replace(EXPECTED, audio=True)),
    ("no_metadata", "prompt", _written(metadata={"prompt": "{}"}, options=KEEP_TAGS), EXPECTED),
    ("no_metadata", "comment", _written(metadata={"comment": "a girl eats"}), EXPECTED),
    ("no_metadata", "hidden", _graph_in_free_box, EXPECTED),
    (
        "made_after_submission", "an hour before", _written(metadata=CREATED),
        replace(EXPECTED, submitted=SENT),
    ),
]  # fmt: skip
GOOD_FILES: list[tuple[str, str, Callable[[Path], Path], Expectation]] = [
    ("profile", "Baseline", _written(profile="baseline"), EXPECTED),
    ("profile", "Main", _written(profile="main"), EXPECTED),
    ("audio", "as long", _written(sound=_tone(SECONDS)), replace(EXPECTED, audio=True)),
    ("audio", "either", _written(sound=_tone(SECONDS)), replace(EXPECTED, audio=None)),
    ("one_h264_stream", "wanted", _written(silence=True), replace(EXPECTED, audio=True)),
    (
        "no_metadata", "allowed", _written(metadata={"prompt": "{}"}, options=KEEP_TAGS),
        replace(EXPECTED, metadata_allowed=True),
    ),
    (
        "made_after_submission", "a minute of drift", _written(metadata=CREATED),
        replace(EXPECTED, submitted=SENT - timedelta(minutes=59)),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "make", "expected"),
    [pytest.param(n, make, wish, id=f"{n}-{case}") for n, case, make, wish in FILES],
)
def test_a_wrong_file_is_rejected_by_its_check(
    name: str, make: Callable[[Path], Path], expected: Expectation, tmp_path: Path
) -> None:
    """Prevents a file that a browser would not play, or that gives away what was asked."""
    clip = read_clip(make(tmp_path / "bad.mp4"))
    with pytest.raises(MediaError) as caught:
        CHECKS[name](clip, expected)
    assert caught.value.check == name


@pytest.mark.parametrize(
    ("name", "make", "expected"),
    [pytest.param(n, make, wish, id=f"{n}-{case}") for n, case, make, wish in GOOD_FILES],
)
def test_an_allowed_file_passes(
    name: str, make: Callable[[Path], Path], expected: Expectation, tmp_path: Path
) -> None:
    """Prevents failing workflows that carry sound, or servers that may embed the graph."""
    assert CHECKS[name](read_clip(make(tmp_path / "good.mp4")), expected).level == "ok"


@pytest.mark.parametrize("name", CHECKS)
def test_each_check_has_a_clip_to_reject(name: str) -> None:
    """Prevents a check that was never seen to fail; every one must pass the good clip as well."""
    never_fails = {"faststart", "colour_levels"}  # only ever a warning, as their docstrings say
    own_test = {"decodable"}  # needs damage in a written file: see the tests of damage below
    assert name in {*PICTURES, *(case[0] for case in FILES), *never_fails, *own_test}


@pytest.mark.parametrize(
    ("name", "make", "expected"),
    [
        ("colour_tags", _written(tags=None), EXPECTED),
        ("audio", _written(sound=np.zeros(48000 * 17 // 16, np.float32)), EXPECTED),
        ("no_metadata", _written(metadata={"prompt": "{}"}, options=KEEP_TAGS), EXPECTED),
    ],
)
def test_what_may_be_right_is_a_warning(
    name: str, make: Callable[[Path], Path], expected: Expectation, tmp_path: Path
) -> None:
    """Prevents both silence about it, and a red report for files that play."""
    lax = replace(expected, audio=None, metadata_allowed=None)
    assert CHECKS[name](read_clip(make(tmp_path / "odd.mp4")), lax).level == "warning"


def test_an_index_before_the_data_is_noted_as_good(tmp_path: Path) -> None:
    """Prevents a warning that nothing can cure."""
    path = clips.write(tmp_path / "f.mp4", clips.scenes(), options={"movflags": "faststart"})
    finding = CHECKS["faststart"](read_clip(path), EXPECTED)
    assert (finding.level, finding.measured) == ("ok", "moov before mdat")


def test_damage_in_the_middle_is_found(good: Path, tmp_path: Path) -> None:
    """Prevents a decoder that conceals errors from passing a damaged file."""
    data = bytearray(good.read_bytes())
    clip = read_clip(good)
    (mdat,) = [box for box in clip.boxes if box.kind == "mdat"]
    middle = mdat.offset + mdat.size // 2
    data[middle : middle + 200] = bytes(200)
    (tmp_path / "bad.mp4").write_bytes(data)
    with pytest.raises(MediaError) as caught:
        CHECKS["decodable"](read_clip(tmp_path / "bad.mp4"), EXPECTED)
    assert caught.value.check == "decodable"


def test_a_cut_file_is_found(good: Path, tmp_path: Path) -> None:
    """Prevents half a download from passing: either it cannot be opened, or the box is cut."""
    fast = clips.write(tmp_path / "f.mp4", clips.scenes(), options={"movflags": "faststart"})
    for source in (good, fast):
        path = tmp_path / "cut.mp4"
        path.write_bytes(source.read_bytes()[: source.stat().st_size * 2 // 3])
        with pytest.raises(MediaError, match=r"readable|mp4|cut"):
            CHECKS["mp4"](read_clip(path), EXPECTED)


@pytest.mark.parametrize("content", [b"", b"<html>502 Bad Gateway</html>", bytes(5000)])
def test_a_file_that_is_no_video_is_named(content: bytes, tmp_path: Path) -> None:
    """Prevents an error page from surfacing as an error of a library."""
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(MediaError, match="readable"):
        read_clip(tmp_path / "x.mp4")
    with pytest.raises(MediaError, match="missing"):
        read_clip(tmp_path / "nowhere.mp4")


@pytest.mark.parametrize(("name", "sound"), [("reference_run", False), ("audio_kept", True)])
def test_the_recorded_video_fails_for_its_noise_alone(
    name: str, sound: bool, recordings: Path
) -> None:
    """Prevents limits that a real ComfyUI's file does not meet.

    It was made with random weights, so its pictures are noise whose light jumps from frame to
    frame (by up to 55 of 255): both checks must say so.
    """
    clip = read_clip(recordings / f"{name}.mp4")
    expected = Expectation(128, 128, 9, Fraction(16), audio=sound)
    failed = []
    for tried, check in CHECKS.items():
        try:
            check(clip, expected)
        except MediaError:
            failed.append(tried)
    assert failed == ["not_noise", "no_flicker"]
    assert CHECKS["faststart"](clip, expected).level == "warning"
    assert clip.embedded_graph is not None
