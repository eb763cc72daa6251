"""The figures as a picture, for light and for dark pages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smoke_tests.bench.report import Report, quantities
from smoke_tests.phases import PHASES

#: Okabe and Ito's colours, which people with any colour vision can tell apart.
COLOURS: dict[str, str] = {
    "upload": "#d0d0d0",
    "queue": "#999999",
    "load": "#e69f00",
    "text": "#56b4e9",
    "prepare": "#f0e442",
    "sample": "#009e73",
    "decode": "#0072b2",
    "encode": "#cc79a7",
    "download": "#d55e00",
}
MOST_BARS = 16


@dataclass(frozen=True)
class Theme:
    """Colours of a page."""

    name: str
    paper: str
    ink: str
    faint: str


THEMES = (
    Theme("light", "#ffffff", "#1c1c1c", "#d0d0d0"),
    Theme("dark", "#14171a", "#e8e8e8", "#43484d"),
)


def draw(report: Report, theme: Theme) -> Figure:
    """Seconds a video by scenario, and where the time of each video went."""
    figure = Figure(figsize=(10, 5.2), facecolor=theme.paper, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 3))
    _scenarios(report, theme, left)
    _phases(report, theme, right)
    job = report.job
    mark = "SIMULATED, no speed claim: " if report.simulated else ""
    figure.suptitle(
        f"{mark}{report.workflow}, {job.width}x{job.height}, {job.frames} frames, {job.steps} "
        f"steps, profile {report.profile or 'none'}",
        color=theme.ink,
        fontsize=12,
    )
    if report.simulated:
        figure.text(
            0.5, 0.5, "SIMULATED", color=theme.ink, alpha=0.08, fontsize=80, rotation=24,
            ha="center", va="center", weight="bold",
        )  # fmt: skip
    return figure


def _style(theme: Theme, axes: Axes) -> None:
    axes.set_facecolor(theme.paper)
    axes.tick_params(colors=theme.ink)
    axes.grid(visible=True, axis="x", color=theme.faint, linewidth=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.faint)
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
        label.set_color(theme.ink)


def _scenarios(report: Report, theme: Theme, axes: Axes) -> None:
    names = [outcome.name for outcome in report.outcomes]
    for place, outcome in enumerate(report.outcomes):
        summary = quantities(outcome.runs)["seconds"]
        axes.barh(place, summary.median or 0, height=0.55, color=COLOURS["sample"], alpha=0.55)
        axes.scatter(
            summary.values, [place] * summary.count, s=22, color=theme.ink, zorder=3, linewidths=0
        )
        axes.annotate(
            f"{summary.median or 0:.2f} s", (0, place), xytext=(6, 0),
            textcoords="offset points", va="center", color=theme.ink, fontsize=9, weight="bold",
            bbox={"facecolor": theme.paper, "edgecolor": "none", "alpha": 0.75, "pad": 1.5},
        )  # fmt: skip
    if report.least is not None:
        axes.axvline(report.least.least_s, color=COLOURS["download"], linestyle="--", linewidth=1.4)
        axes.annotate(
            f"least for sampling on {report.least.gpu}: {report.least.least_s:.2f} s",
            (report.least.least_s, -0.5), xytext=(4, 0),
            textcoords="offset points", color=COLOURS["download"], fontsize=8, va="center",
        )  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.7)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds a video; bar: median, dots: videos")
    axes.set_title("Seconds a video", fontsize=10)
    _style(theme, axes)


def _phases(report: Report, theme: Theme, axes: Axes) -> None:
    labelled = [
        (f"{outcome.name} {number}", run)
        for outcome in report.outcomes
        for number, run in enumerate(outcome.runs, start=1)
    ]
    runs = labelled[:MOST_BARS]
    left = [0.0] * len(runs)
    for phase in PHASES:
        widths = [run.phases.get(phase, 0.0) for _, run in runs]
        if any(widths):
            axes.barh(
                range(len(runs)), widths, left=left, height=0.7, color=COLOURS[phase], label=phase
            )
        left = [before + width for before, width in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(runs)), [label for label, _ in runs], fontsize=8)
    axes.invert_yaxis()
    more = f" (first {MOST_BARS} of {len(labelled)})" if len(labelled) > MOST_BARS else ""
    axes.set_title(f"Where the time went{more}", fontsize=10)
    axes.set_xlabel("seconds, as progress came to the client")
    _style(theme, axes)
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=4, frameon=False, fontsize=8,
        labelcolor=theme.ink,
    )  # fmt: skip


def write(report: Report, folder: Path) -> list[Path]:
    """Write ``bench-light.svg`` and ``bench-dark.svg``; the same bytes for the same figures."""
    paths = []
    for theme in THEMES:
        path = folder / f"bench-{theme.name}.svg"
        with mpl.rc_context({"svg.hashsalt": "bench", "font.family": "DejaVu Sans"}):
            draw(report, theme).savefig(
                path, format="svg", facecolor=theme.paper, metadata={"Date": None}
            )
        paths.append(path)
    return paths
