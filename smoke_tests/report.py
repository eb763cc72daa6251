"""What a run leaves behind for people and machines: report.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from smoke_tests.media import Finding, MediaError

SCHEMA = 1
REPORT_FILE = "report.json"
KEPT_HASHES = 200  # of earlier videos; each line of report.json is 67 bytes, so this stays small


@dataclass
class Report:
    """Filled while the tests run, written once at the end.

    Attributes:
        timings_s: seconds by phase: upload, queue_wait, execution, download, checks, total.
        seen_sha256: hashes of earlier videos in the same artifacts folder, newest last.
    """

    url: str
    run_id: str
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    passed: bool = False
    simulated: bool | None = None
    versions: dict[str, Any] = field(default_factory=dict)
    timings_s: dict[str, float | None] = field(default_factory=dict)
    job: dict[str, Any] = field(default_factory=dict)
    video: dict[str, Any] = field(default_factory=dict)
    findings: list[dict[str, str]] = field(default_factory=list)
    tests: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seen_sha256: list[str] = field(default_factory=list)

    def finding(self, finding: Finding | MediaError) -> None:
        """Record a passed, doubtful or failed media check."""
        level = finding.level if isinstance(finding, Finding) else "failed"
        self.findings.append(
            {
                "check": finding.check,
                "level": level,
                "measured": finding.measured,
                "limit": finding.limit,
                "reason": finding.reason,
            }
        )

    def warnings(self) -> list[str]:
        """Sentences worth reading although nothing failed."""
        doubtful = [f for f in self.findings if f["level"] == "warning"]
        return [
            f"{f['check']}: {f['measured']}; better {f['limit']}" for f in doubtful
        ] + self.notes

    def take_versions(self, stats: dict[str, Any]) -> None:
        """Keep what GET /system_stats tells about software and devices."""
        system = stats.get("system", {})
        names = ("comfyui_version", "python_version", "pytorch_version", "os")
        self.versions = {name: system[name] for name in names if name in system}
        self.versions["devices"] = [
            {key: device.get(key) for key in ("name", "type", "vram_total")}
            for device in stats.get("devices", [])
        ]

    def write(self, folder: Path) -> Path:
        """Write report.json into `folder`, which is made if needed."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {"schema": SCHEMA, **asdict(self)}
        if sha256 := self.video.get("sha256"):
            hashes = [known for known in self.seen_sha256 if known != sha256]
            content["seen_sha256"] = [*hashes, sha256][-KEPT_HASHES:]
        path = folder / REPORT_FILE
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
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
