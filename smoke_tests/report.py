"""What a run leaves behind for machines, report.json; `report_page` makes a page of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from smoke_tests.levels import DEFAULT_LEVEL
from smoke_tests.media import Finding, MediaError

SCHEMA = 1
REPORT_FILE = "report.json"
PAGE_FILE = "report.html"
JUNIT_FILE = "junit.xml"
KEPT_HASHES = 200  # of earlier videos; each line of report.json is 67 bytes, so this stays small


@dataclass
class Report:
    """Filled while the tests run, written once at the end.

    Attributes:
        level: quick, reference or full. command: repeats the run; holds no secret.
        timings_s: seconds by phase: upload, queue_wait, execution, download, checks, total.
        job, video: of the one video that every level makes; `results` has all, with their inputs
            and the timeline of each.
        seen_sha256: hashes of earlier videos in the same artifacts folder, newest last.
    """

    url: str
    run_id: str
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    level: str = DEFAULT_LEVEL
    command: str = ""
    passed: bool = False
    simulated: bool | None = None
    versions: dict[str, Any] = field(default_factory=dict)
    timings_s: dict[str, float | None] = field(default_factory=dict)
    job: dict[str, Any] = field(default_factory=dict)
    video: dict[str, Any] = field(default_factory=dict)
    results: list[dict[str, Any]] = field(default_factory=list)
    findings: list[dict[str, str]] = field(default_factory=list)
    tests: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seen_sha256: list[str] = field(default_factory=list)

    def finding(self, finding: Finding | MediaError, video: str = "reference") -> None:
        """Record a passed, doubtful or failed check of the video with that name."""
        level = finding.level if isinstance(finding, Finding) else "failed"
        self.findings.append(
            {
                "video": video,
                "check": finding.check,
                "level": level,
                "measured": finding.measured,
                "limit": finding.limit,
                "reason": finding.reason,
            }
        )

    def take_main(self, entry: dict[str, Any]) -> None:
        """Take over an entry of `results` as the video that every level makes."""
        self.timings_s |= entry["timings_s"]
        job = ("prompt_id", "seed", "progress", "cached_nodes", "phases_s", "step_s")
        self.job = {key: entry[key] for key in job if key in entry}
        video = ("file", "bytes", "sha256", "contact_sheet")
        self.video = {key: entry[key] for key in video if key in entry}

    def warnings(self) -> list[str]:
        """Sentences worth reading although nothing failed; the same of several videos once."""
        doubtful = [finding for finding in self.findings if finding["level"] == "warning"]
        videos = {finding["video"] for finding in self.findings}
        same: dict[str, list[str]] = {}
        for finding in doubtful:
            sentence = f"{finding['check']}: {finding['measured']}; better {finding['limit']}"
            same.setdefault(sentence, []).append(finding["video"])
        return [
            f"{_of(names, len(videos))}{sentence}" for sentence, names in same.items()
        ] + self.notes

    def take_versions(self, stats: dict[str, Any]) -> None:
        """Keep what GET /system_stats tells about software and devices."""
        system = stats.get("system", {})
        names = (
            "comfyui_version", "python_version", "pytorch_version", "os",
            "required_frontend_version", "deploy_environment", "argv",
        )  # fmt: skip
        self.versions = {name: system[name] for name in names if name in system}
        self.versions["devices"] = [
            {key: device.get(key) for key in ("name", "type", "vram_total")}
            for device in stats.get("devices", [])
        ]

    def write(self, folder: Path, *, hide: Iterable[str] = ()) -> Path:
        """Write report.json into `folder`, which is made if needed.

        Args:
            hide: secrets; wherever one would stand, stands [hidden].
        """
        folder.mkdir(parents=True, exist_ok=True)
        content = {"schema": SCHEMA, **asdict(self)}
        made = [video.get("sha256") for video in (*self.results, self.video)]
        new = [sha256 for sha256 in dict.fromkeys(made) if sha256]
        hashes = [known for known in self.seen_sha256 if known not in new]
        content["seen_sha256"] = [*hashes, *new][-KEPT_HASHES:]
        path = folder / REPORT_FILE
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        for secret in filter(None, hide):
            text = text.replace(secret, "[hidden]")
        path.write_text(text, encoding="utf-8")
        return path


def earlier_hashes(folder: Path | None) -> list[str]:
    """Hashes of videos that earlier runs left in the report of this folder."""
    if folder is None:
        return []
    try:
        report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    hashes = report.get("seen_sha256", []) if isinstance(report, dict) else []
    return [text for text in hashes if isinstance(text, str)]


def _of(names: list[str], count: int) -> str:
    """Whose sentence it is, for the front of it; nothing where there is only one video."""
    if count < 2:
        return ""
    if len(names) == count:
        return "all videos: "
    return f"{', '.join(names)}: " if len(names) < 4 else f"{len(names)} of {count} videos: "
