"""Every media check passes a good clip and rejects the one it is there for."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smoke_tests.comfy_client import OutputFile
from smoke_tests.media import (
    CHECKS,
    Expectation,
    Finding,
    MediaError,
    read_clip,
    write_contact_sheet,
)
from smoke_tests.media.clip import Clip
from smoke_tests.provenance import made_by_this_run
from smoke_tests.reference import workflow
from tests.smoke import clips

EXPECTED = Expectation(clips.SIZE, clips.SIZE, clips.FRAMES, Fraction(16))
RNG = np.random.default_rng(20260101)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip with nothing wrong."""
    return clips.write(tmp_path_factory.mktemp("clips") / "good.mp4", clips.scenes())


@pytest.mark.parametrize("name", CHECKS)
def test_a_good_clip_passes(name: str, good: Path) -> None:
    """Prevents a check that rejects everything."""
    finding = CHECKS[name](read_clip(good), EXPECTED)
    assert finding.check == name
    assert finding.level == ("warning" if name == "faststart" else "ok")
    assert finding.measured
    assert finding.reason.endswith(".")


def _noise(cell: int) -> list[clips.Picture]:
    """White noise for cell 1; blotches of one VAE cell for 8, as decoded noise looks."""
    small = clips.SIZE // cell
    return [
        np.asarray(
            Image.fromarray(RNG.integers(0, 256, (small, small, 3), dtype=np.uint8)).resize(
                (clips.SIZE, clips.SIZE), Image.Resampling.BICUBIC
            )
        )
        for _ in range(clips.FRAMES)
    ]


def _plain(*levels: int) -> list[clips.Picture]:
    shape = (clips.SIZE, clips.SIZE, 3)
    return [np.full(shape, level, np.uint8) for level in levels]


def _bad_pictures() -> dict[str, tuple[str, list[clips.Picture]]]:
    scenes = clips.scenes()
    tone = [np.clip(picture // 12, 0, 255).astype(np.uint8) for picture in scenes]
    glare = [(255 - (255 - picture) // 12).astype(np.uint8) for picture in scenes]
    return {
        "black": ("not_black", _plain(*[0] * clips.FRAMES)),
        "black after a third": ("not_black", scenes[:6] + _plain(*[0] * 11)),
        "one colour": ("not_plain", _plain(*range(100, 100 + clips.FRAMES))),
        "a still picture": ("not_frozen", scenes[:1] * clips.FRAMES),
        "padded with the last frame": ("not_frozen", scenes[:10] + scenes[9:10] * 7),
        "white noise": ("not_noise", _noise(1)),
        "decoded noise": ("not_noise", _noise(8)),
        "too dark": ("brightness", tone),
        "too bright": ("brightness", glare),
        "too few frames": ("frame_count", scenes[:-4]),
        "too many frames": ("frame_count", clips.scenes(clips.FRAMES + 4)),
        "another size": ("frame_size", clips.scenes(size=144)),
    }


@pytest.mark.parametrize("fault", _bad_pictures())
def test_bad_pictures_are_rejected_by_their_check(fault: str, tmp_path: Path) -> None:
    """Prevents a video of the right format that shows nothing worth having."""
    name, pictures = _bad_pictures()[fault]
    clip = read_clip(clips.write(tmp_path / "bad.mp4", pictures))
    with pytest.raises(MediaError) as caught:
        CHECKS[name](clip, EXPECTED)
    assert caught.value.check == name
    assert caught.value.measured in str(caught.value)
    assert caught.value.limit in str(caught.value)


def _quicktime(path: Path) -> Path:
    return clips.write(path.with_suffix(".mov"), clips.scenes())


def _matroska(path: Path) -> Path:
    return clips.write(path.with_suffix(".mkv"), clips.scenes())


def _mpeg4(path: Path) -> Path:
    return clips.write(path, clips.scenes(), codec="mpeg4")


def _with_audio(path: Path) -> Path:
    return clips.write(path, clips.scenes(), silence=True)


def _full_chroma(path: Path) -> Path:
    return clips.write(path, clips.scenes(), pixel_format="yuv444p")


def _fast(path: Path) -> Path:
    return clips.write(path, clips.scenes(), fps=24)


def _gap(path: Path) -> Path:
    times = [n if n < 9 else n + 1 for n in range(clips.FRAMES)]
    return clips.write(path, clips.scenes(), times=times)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (_quicktime, "mp4"),
        (_matroska, "mp4"),
        (_mpeg4, "one_h264_stream"),
        (_with_audio, "one_h264_stream"),
        (_full_chroma, "pixel_format"),
        (_fast, "constant_rate"),
        (_gap, "constant_rate"),
        (_fast, "duration"),
        (_gap, "duration"),
    ],
)
def test_a_wrong_format_is_rejected_by_its_check(
    make: Callable[[Path], Path], name: str, tmp_path: Path
) -> None:
    """Prevents a file that a browser would not play, or would play wrongly."""
    clip = read_clip(make(tmp_path / "bad.mp4"))
    with pytest.raises(MediaError) as caught:
        CHECKS[name](clip, EXPECTED)
    assert caught.value.check == name


def test_audio_is_allowed_where_it_is_expected(tmp_path: Path) -> None:
    """Prevents failing the workflows that carry audio along."""
    clip = read_clip(_with_audio(tmp_path / "a.mp4"))
    assert CHECKS["one_h264_stream"](clip, replace(EXPECTED, silent=False))


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


def test_the_recorded_video_passes_all_but_the_noise_check(recordings: Path) -> None:
    """Prevents limits that a real ComfyUI's file does not meet.

    It was made with random weights, so its pictures are noise: the check must say so.
    """
    clip = read_clip(recordings / "reference_run.mp4")
    expected = Expectation(128, 128, 9, Fraction(16))
    failed = []
    for name, check in CHECKS.items():
        try:
            check(clip, expected)
        except MediaError:
            failed.append(name)
    assert failed == ["not_noise"]
    assert CHECKS["faststart"](clip, expected).level == "warning"
    assert clip.embedded_graph is not None


def test_the_full_size_is_checked_within_its_time(tmp_path: Path) -> None:
    """Prevents checks that take longer than the download."""
    path = clips.write(tmp_path / "full.mp4", clips.scenes(49, 480))
    started = time.process_time()
    clip = read_clip(path)
    for check in CHECKS.values():
        check(clip, Expectation(480, 480, 49, Fraction(16)))
    assert time.process_time() - started < 1.5


def test_the_contact_sheet_holds_every_frame(good: Path, tmp_path: Path) -> None:
    """Prevents a sheet that shows the first frames only."""
    clip = read_clip(good)
    write_contact_sheet(clip, tmp_path / "sheet.png", title="good.mp4", subtitle="17 frames")
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet)
    # the disc of each frame is the only thing of this colour
    yellow = (pixels[..., 0] > 210) & (pixels[..., 2] < 110) & (pixels[..., 1] > 170)
    tile = 160 + 8
    found = {
        (row, column)
        for row in range(4)
        for column in range(5)
        if yellow[74 + row * 188 : 74 + row * 188 + 160, 24 + column * tile :][:, :160].any()
    }
    assert len(found) == clips.FRAMES


def _with_graph(clip: Clip, seed: int | None) -> Clip:
    graph = workflow().with_inputs(seed=seed).graph
    return replace(clip, metadata={"prompt": json.dumps(graph)} if seed is not None else {})


def _made(clip: Clip, *, name: str = "mine_00001.mp4", seen: tuple[str, ...] = ()) -> Finding:
    submitted = workflow().with_inputs(seed=77, filename_prefix="mine")
    file = OutputFile("32", "gifs", name, "", "output")
    return made_by_this_run(clip, file, submitted, seen_sha256=seen)


def test_a_video_of_this_run_is_recognised(good: Path) -> None:
    """Prevents doubting a good result, and being sure without the embedded graph."""
    clip = read_clip(good)
    assert _made(_with_graph(clip, 77)).level == "ok"
    assert _made(_with_graph(clip, None)).level == "warning"


def test_a_video_of_another_run_is_rejected(good: Path) -> None:
    """Prevents an old file from proving that the service works now."""
    clip = read_clip(good)
    with pytest.raises(MediaError, match="embedded seed 78"):
        _made(_with_graph(clip, 78))
    with pytest.raises(MediaError, match="no earlier run made"):
        _made(_with_graph(clip, 77), seen=("other", clip.sha256))
    with pytest.raises(MediaError, match="begins with mine"):
        _made(_with_graph(clip, 77), name="VACE_video_00001.mp4")
