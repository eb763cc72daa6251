"""Contact sheets and drawings show what they should, and can be put into a page."""

import io
import re
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from smoke_tests.media import Clip, contact_sheet, read_clip, write_contact_sheet
from smoke_tests.media.pictures import frame_series, timeline
from tests.smoke import clips

PHASES = [
    ("queue", 0.0, 0.4), ("load", 0.4, 9.1), ("text", 9.1, 10.3), ("sample", 10.3, 61.0),
    ("decode", 61.0, 66.5), ("encode", 66.5, 67.9), ("download", 67.9, 68.0),
]  # fmt: skip
Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """A clip with nothing wrong."""
    path = clips.write(tmp_path_factory.mktemp("clips") / "good.mp4", clips.scenes())
    return read_clip(path)


def _yellow(sheet: np.ndarray) -> np.ndarray:
    """Where the disc is, the only thing of this colour."""
    yellow: np.ndarray = (sheet[..., 0] > 210) & (sheet[..., 2] < 110) & (sheet[..., 1] > 170)
    return yellow


def test_the_contact_sheet_holds_every_frame(clip: Clip, tmp_path: Path) -> None:
    """Prevents a sheet that shows the first frames only."""
    write_contact_sheet(clip, tmp_path / "sheet.png", title="good.mp4", subtitle="17 frames")
    with Image.open(tmp_path / "sheet.png") as sheet:
        yellow = _yellow(np.asarray(sheet))
    tile = 160 + 8
    found = {
        (row, column)
        for row in range(4)
        for column in range(5)
        if yellow[74 + row * 188 : 74 + row * 188 + 160, 24 + column * tile :][:, :160].any()
    }
    assert len(found) == clips.FRAMES


def test_the_input_stands_above_the_output_of_the_same_moment(clip: Clip, tmp_path: Path) -> None:
    """Prevents judging an edit by a frame of another time; and a sheet too wide for a phone."""
    late = read_clip(clips.write(tmp_path / "s.mp4", [*clips.scenes()[:3], *clips.scenes()]))
    data = contact_sheet(clip, source=late, skip=3, most=6, columns=3, format="JPEG")
    with Image.open(io.BytesIO(data)) as sheet:
        assert sheet.format == "JPEG"
        assert sheet.width <= 560
        yellow = _yellow(np.asarray(sheet))
    for row, column in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)):
        left, top = 24 + column * 168, 24 + row * (2 * 188 + 14)
        above = yellow[top : top + 160, left : left + 160]
        below = yellow[top + 188 : top + 348, left : left + 160]
        assert above.sum() > 500
        # JPEG frays the edge of the disc
        assert (above ^ below).sum() < 0.1 * above.sum()


def test_a_source_that_ends_early_leaves_its_places_empty(clip: Clip, tmp_path: Path) -> None:
    """Prevents an error on a source that is shorter than its result."""
    short = read_clip(clips.write(tmp_path / "s.mp4", clips.scenes(5)))
    assert contact_sheet(clip, source=short, title="extended").startswith(b"\x89PNG")


@pytest.mark.parametrize("theme", THEMES)
def test_a_timeline_names_each_phase_and_its_seconds_as_text(theme: Theme) -> None:
    """Prevents a picture that cannot be searched, read aloud or told apart without colours."""
    drawn = timeline(PHASES, title="Run <1> & 2", theme=theme)
    root = ElementTree.fromstring(drawn)
    assert root.get("role") == "img"
    assert root.get("viewBox")
    assert root[0].tag == f"{SVG}title"
    assert root[0].text == "Run <1> & 2"
    texts = [element.text for element in root.iter(f"{SVG}text")]
    for name, start, end in PHASES:
        assert name in texts
        assert f"{end - start:.{2 if end - start < 10 else 1}f} s" in texts
    assert "sample 50.7 s" in str(root[1].text)


@pytest.mark.parametrize("theme", THEMES)
def test_drawings_are_the_same_on_every_call(theme: Theme, clip: Clip) -> None:
    """Prevents dates, random ids and paths in a report that is compared or published."""
    for first, second in (
        (timeline(PHASES, theme=theme), timeline(PHASES, theme=theme)),
        (frame_series(clip, theme=theme), frame_series(clip, theme=theme)),
    ):
        assert first == second
        assert "<metadata>" not in first
        assert not re.search(r"20\d\d-\d\d|/home/|/tmp/", first)


def test_light_and_dark_differ_in_their_ink() -> None:
    """Prevents black text on a black page."""
    light, dark = (timeline(PHASES, theme=theme) for theme in THEMES)
    assert "#1b1f24" in light
    assert "#1b1f24" not in dark
    assert "#e6edf3" in dark


def test_frame_series_says_its_range_in_words(clip: Clip) -> None:
    """Prevents a curve that says nothing to who cannot see it."""
    assert "17 frames; mean light" in frame_series(clip)


@pytest.mark.parametrize("phases", [[], [("load", 2.0, 1.0)]])
def test_phases_that_cannot_be_drawn_are_named(phases: list[tuple[str, float, float]]) -> None:
    """Prevents an empty picture, and bars that run backwards."""
    with pytest.raises(ValueError, match=r"phases are .*; allowed is at least one"):
        timeline(phases)
