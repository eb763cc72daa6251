"""Fill the page from a report."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from smoke_tests.report import JUNIT_FILE, PAGE_FILE, REPORT_FILE, Report
from smoke_tests.report_page.embedding import Embedder

if TYPE_CHECKING:
    from smoke_tests.media.pictures import Theme

HERE = Path(__file__).parent
QUESTIONS = {
    "test_health": "Is it there, and is it real?",
    "test_auth": "The door: the token",
    "test_door": "The door: other ways in",
    "test_models": "Nodes and models",
    "test_tiny_graph": "A tiny graph",
    "test_reference_workflow": "The reference workflow",
    "test_traps": "Answers that look like success",
    "test_service": "Several callers at once",
    "test_workflows": "All workflows",
}
WORDS = {"passed": "ok", "failed": "FAILED", "skipped": "not run", "ok": "ok", "warning": "note"}
SERVER_FACTS = (
    ("comfyui_version", "ComfyUI"),
    ("required_frontend_version", "Browser interface"),
    ("pytorch_version", "PyTorch"),
    ("python_version", "Python"),
    ("os", "System"),
    ("deploy_environment", "Deployment"),
    ("argv", "Started with"),
)
FEW = 6  # videos, up to which inputs are embedded whole, too
LEAST_SHARE = 0.01  # of the whole time; a bar of less is a line
# What ComfyUI's API has no word for. Said on the page, so that nobody looks for it.
NOT_TOLD = "not told by the server"


def write(report: Report, folder: Path, *, hide: Iterable[str] = ()) -> Path:
    """Write report.html into `folder`, where the files that the report names lie.

    Args:
        hide: secrets; wherever one would stand, stands [hidden].
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PAGE_FILE
    path.write_text(render(report, folder, hide=hide), encoding="utf-8")
    return path


def render(report: Report, folder: Path, *, hide: Iterable[str] = ()) -> str:
    """The page as text."""
    embed = Embedder(folder)
    failed = [test for test in report.tests if test["outcome"] == "failed"]
    page = _template().render(
        report=report,
        failed=failed,
        counts=_counts(report),
        groups=_groups(report.tests),
        videos=[_video(entry, report, embed) for entry in report.results],
        facts=_facts(report),
        words=WORDS,
        files=[name for name in (REPORT_FILE, JUNIT_FILE) if (folder / name).is_file()],
        style=(HERE / "style.css").read_text(encoding="utf-8"),
    )
    for secret in filter(None, hide):
        page = page.replace(secret, "[hidden]")
    return page


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["seconds"] = _seconds
    environment.filters["plain"] = _plain
    return environment.get_template("report.html.j2")


def _counts(report: Report) -> str:
    outcomes = [test["outcome"] for test in report.tests]
    named = (("passed", "passed"), ("failed", "failed"), ("skipped", "not run"))
    parts = [f"{outcomes.count(key)} {word}" for key, word in named if key in outcomes]
    return ", ".join(parts) or "nothing ran"


def _groups(tests: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tests by their file, in the order of the run."""
    groups: dict[str, dict[str, Any]] = {}
    for test in tests:
        stem = str(test.get("file", ""))
        group = groups.setdefault(stem, {"title": QUESTIONS.get(stem, stem), "tests": []})
        group["tests"].append(test)
    for group in groups.values():
        outcomes = [test["outcome"] for test in group["tests"]]
        group["failed"] = outcomes.count("failed")
        group["passed"] = outcomes.count("passed")
    return list(groups.values())


def _video(entry: Mapping[str, Any], report: Report, embed: Embedder) -> dict[str, Any]:
    name = entry["name"]
    # at level full the same few inputs serve many videos
    many = len(report.results) > FEW
    findings = [finding for finding in report.findings if finding.get("video") == name]
    return {
        "entry": entry,
        "title": " · ".join(entry["title"].values()) or name,
        "inputs": [
            {"role": item["role"], "media": embed.media(item["file"], still=many)}
            for item in entry["inputs"]
        ],
        "output": embed.media(entry["file"]) if "file" in entry else None,
        "sheet": embed.media(entry["contact_sheet"], sheet=True)
        if "contact_sheet" in entry
        else None,
        "findings": findings,
        "failed": sum(finding["level"] == "failed" for finding in findings),
        "timeline": _timeline(entry.get("timeline", [])),
        "phases": entry.get("phases_s", {}),
        "asked": entry.get("asked", {}),
    }


def _timeline(spans: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The picture of the phases for a light and a dark page, as data: URIs; empty without spans.

    A stretch that nobody could see is left out where its phase has others.
    """
    known = [(str(span["phase"]), float(span["start"]), float(span["end"])) for span in spans]
    whole = max((end for _, _, end in known), default=0.0)
    if whole <= 0:
        return {}
    longest: dict[str, float] = {}
    for phase, start, end in known:
        longest[phase] = max(longest.get(phase, 0.0), end - start)
    shown = [
        (phase, start, end)
        for phase, start, end in known
        if end - start >= min(longest[phase], LEAST_SHARE * whole)
    ]
    # takes half a second to import, which runs that fail early need not wait for
    from smoke_tests.media.pictures import timeline  # noqa: PLC0415

    themes: tuple[Theme, ...] = ("light", "dark")
    return {
        theme: "data:image/svg+xml;base64,"
        + base64.b64encode(timeline(shown, title="Timeline", theme=theme).encode("utf-8")).decode(
            "ascii"
        )
        for theme in themes
    }


def _facts(report: Report) -> list[tuple[str, str]]:
    """What is known of the server, in the order in which people ask for it."""
    versions = report.versions
    if not versions:
        return []
    devices = versions.get("devices", [])
    shown = [("GPU", ", ".join(_device(device) for device in devices) or NOT_TOLD)]
    for key, label in SERVER_FACTS:
        value = versions.get(key)
        if value:
            shown.append((label, " ".join(map(str, value)) if isinstance(value, list) else value))
    told = {label for label, _ in shown}
    for label, key in (
        ("GPU driver", "driver"), ("Commits", "commits"), ("Weights (SHA-256)", "weights"),
    ):  # fmt: skip
        if label not in told:
            shown.append((label, str(versions.get(key) or NOT_TOLD)))
    return shown


def _device(device: Mapping[str, Any]) -> str:
    total = device.get("vram_total")
    memory = f", {total / (1 << 30):.1f} GiB" if isinstance(total, int | float) else ""
    return f"{device.get('name')}{memory}"


def _seconds(value: Any) -> str:
    return f"{value:.2f} s" if isinstance(value, int | float) else "not told"


def _plain(text: str) -> str:
    """Without terminal colours, which a server's words may hold."""
    return re.sub(r"\x1b\[[0-9;]*m", "", str(text))
