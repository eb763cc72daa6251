"""The page for people: complete, self-contained, escaped, without secrets, readable anywhere."""

import base64
import io
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from smoke_tests import inputs, report_page
from smoke_tests.media import Finding, MediaError
from smoke_tests.report import Report
from smoke_tests.report_page import embedding

TOKEN = "token-that-nobody-may-read"
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's results: a clip, a picture of it, and inputs."""
    made = tmp_path_factory.mktemp("results")
    small = inputs.Format("mp4", (96, 64), Fraction(8))
    (made / "inputs").mkdir()
    inputs.encode(made / "out.mp4", small)
    inputs.encode(
        made / "inputs" / "in.avi",
        inputs.Format("avi", (96, 64), Fraction(8), "mpeg4", "pcm_s16le"),
    )
    Image.new("RGB", (64, 48), "red").save(made / "sheet.png")
    return made


def _report(**more: Any) -> Report:
    report = Report(
        url="https://203.0.113.7", run_id="r1", command="python -m smoke_tests --url https://h"
    )
    report.results = [
        {
            "name": "reference",
            "title": {"en": "Reference workflow", "zh": "参考工作流"},
            "inputs": [{"role": "video", "file": "inputs/in.avi"}],
            "file": "out.mp4",
            "contact_sheet": "sheet.png",
            "seed": 7,
            "asked": {"prompt": "雪中的狐狸", "width": 96},
            "timeline": [
                {"phase": "queue", "start": 0.0, "end": 1.0},
                {"phase": "sample", "start": 1.0, "end": 9.0},
            ],
            "phases_s": {"queue": 1.0, "sample": 8.0},
            "step_s": 0.4,
        }
    ]
    report.finding(Finding("mp4", "ftyp, moov, mdat", "ftyp first", "Players go by it."))
    report.finding(MediaError("not_black", measured="40 of 49", limit="at most 4", reason="NaN."))
    report.tests = [
        {
            "name": "t", "file": "test_health", "title": "It answers", "outcome": "passed",
            "seconds": 0.1, "message": "",
        }
    ]  # fmt: skip
    report.take_versions({"system": {"comfyui_version": "0.33.0"}, "devices": []})
    for name, value in more.items():
        setattr(report, name, value)
    return report


def test_the_page_needs_nothing_but_itself(folder: Path) -> None:
    """Prevents a report that is empty without a network, or tells others that it is read."""
    page = report_page.render(_report(passed=True), folder)
    loaded = re.findall(r'(?:src|srcset|poster)="([^"]*)"', page)
    assert len(loaded) >= 6
    assert {url.partition(",")[0] for url in loaded} == {
        "data:video/mp4;base64",
        "data:image/jpeg;base64",
        "data:image/svg+xml;base64",
    }
    assert not re.search(r"<(script|link|iframe|object|embed)\b", page)
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_the_verdict_comes_first_and_everything_is_there(folder: Path) -> None:
    """Prevents a reader who searches for what matters."""
    page = report_page.render(_report(simulated=True), folder)
    places = [
        page.index(part)
        for part in (
            "<h1>FAILED (simulated)</h1>", "SIMULATED.", "Reference workflow · 参考工作流",
            "Input (video)", "Output", "雪中的狐狸", "Where the time went", "Contact sheet",
            "40 of 49", "It answers", "0.33.0", "python -m smoke_tests --url https://h",
        )
    ]  # fmt: skip
    assert places == sorted(places)
    assert '<meta name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    # the words carry the verdict, not only their colour
    assert '<span class="mark">FAILED</span>' in page
    assert "not told by the server" in page


def test_clip_and_pictures_are_whole(folder: Path) -> None:
    """Prevents a clip that does not play because a part of it was lost on the way."""
    page = report_page.render(_report(), folder)
    clip = re.search(r'src="data:video/mp4;base64,([^"]*)"', page)
    assert clip
    assert base64.b64decode(clip[1]) == (folder / "out.mp4").read_bytes()
    for data in re.findall(r"data:image/jpeg;base64,([^\"]*)\"", page):
        Image.open(io.BytesIO(base64.b64decode(data))).load()
    assert "Browsers do not play AVI" in page


def test_a_clip_that_is_too_large_is_linked_and_it_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a page of hundreds of megabytes that no mail takes."""
    monkeypatch.setattr(embedding, "LARGEST_CLIP", 100)
    page = report_page.render(_report(), folder)
    assert "data:video" not in page
    assert 'href="out.mp4"' in page
    assert "lies beside it" in page


def test_nothing_from_the_server_becomes_markup_and_no_token_is_shown(folder: Path) -> None:
    """Prevents that a server writes scripts into the page, or that the page tells the token."""
    report = _report(url=f"https://h/{EVIL}", notes=[f"{EVIL} {TOKEN}"], command=EVIL)
    report.results[0] |= {"title": {"en": EVIL}, "asked": {"prompt": EVIL}, "seed": EVIL}
    report.results[0]["inputs"] = [{"role": EVIL, "file": f"{EVIL}.png"}]
    report.tests[0] |= {"outcome": "failed", "title": EVIL, "message": f"{EVIL}\n{TOKEN}\x1b[31m"}
    report.versions = {"comfyui_version": EVIL, "argv": [EVIL], "devices": [{"name": EVIL}]}
    report.finding(MediaError(EVIL, measured=EVIL, limit=EVIL, reason=EVIL))
    page = report_page.write(report, folder, hide=[TOKEN]).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page
    assert TOKEN not in page
    assert "[hidden]" in page
    assert "\x1b" not in page
    written = report.write(folder, hide=[TOKEN]).read_text(encoding="utf-8")
    assert TOKEN not in written


def test_a_run_that_reached_nothing_has_a_page_too(tmp_path: Path) -> None:
    """Prevents an exception in place of the report when it is needed most."""
    report = Report(url="https://203.0.113.7", run_id="r1")
    page = report_page.write(report, tmp_path).read_text(encoding="utf-8")
    assert "<h1>FAILED</h1>" in page
    assert "It told nothing about itself" in page
    report = _report()
    report.results[0] |= {"file": "gone.mp4", "contact_sheet": "gone.png"}
    assert "cannot be shown" in report_page.render(report, tmp_path)
    report.results = [{"name": "tiny", "title": {}, "inputs": [], "submitted": "now"}]
    assert "There is no video" in report_page.render(report, tmp_path)
