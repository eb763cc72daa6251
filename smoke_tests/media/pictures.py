"""Pictures for a report: where the time of a run went, and what its frames are like.

SVG with its text as text, so that it can be searched, read aloud and scaled; the same input gives
the same bytes. Each picture comes for a light and for a dark page.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import escape

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smoke_tests.media.clip import Clip

Theme = Literal["light", "dark"]
#: Name, start and end in seconds since the run began.
Phase = tuple[str, float, float]


@dataclass(frozen=True)
class _Colours:
    ink: str
    faint: str
    grid: str


# 4.5:1 and more against a white and a near-black page (WCAG 2.2, 1.4.3); the paper stays clear,
# so that the page's own colour shows.
_COLOURS = {
    "light": _Colours("#1b1f24", "#57606a", "#d0d7de"),
    "dark": _Colours("#e6edf3", "#9aa4af", "#30363d"),
}
# Okabe and Ito's palette, told apart with any colour vision; each is as clear on white as on
# black, and no phase is named by its colour alone.
_PHASES = {
    "queue": "#8c8c8c", "upload": "#8c8c8c", "load": "#d55e00", "text": "#cc79a7",
    "sample": "#0072b2", "decode": "#009e73", "encode": "#b8860b", "download": "#56b4e9",
}  # fmt: skip
_OTHER = "#8c8c8c"
_WIDTH_IN = 6.4  # 460 points: as wide as a report's column; SVG scales down to a phone


def _style() -> AbstractContextManager[None]:
    return mpl.rc_context(
        {
            "svg.fonttype": "none",  # text stays text
            "svg.hashsalt": "wan-vace",  # ids follow from the content, not from chance
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib; sizes are measured with it
            "font.size": 10,
        }
    )


def timeline(
    phases: Sequence[Phase], *, title: str = "Phases of the run", theme: Theme = "light"
) -> str:
    """A bar for each phase of a run, one below the other, with its seconds.

    Args:
        phases: in the order to be shown; they may overlap, and gaps stay empty.
        title: also what a screen reader announces.

    Returns:
        an SVG element, to be put into a page as it is.

    Raises:
        ValueError: no phase, or one that ends before it begins.
    """
    wrong = [f"{name} from {start:g} to {end:g} s" for name, start, end in phases if end < start]
    if wrong or not phases:
        raise ValueError(
            f"phases are {', '.join(wrong) or 'none'}; allowed is at least one, each with an end "
            "not before its start, since a bar has a length: pass (name, start_s, end_s)"
        )
    colours = _COLOURS[theme]
    last = max(end for _, _, end in phases)
    with _style():
        figure, axes = _figure(0.9 + 0.3 * len(phases), title, colours)
        for row, (name, start, end) in enumerate(phases):
            # a phase of no time still shows as a line
            length = max(end - start, last * 0.003)
            axes.barh(row, length, left=start, height=0.62, color=_PHASES.get(name, _OTHER))
            seconds = _seconds(end - start)
            inside = end - start > 0.75 * last
            axes.annotate(
                seconds,
                (start + length / 2 if inside else start + length, row),
                xytext=(0 if inside else 5, 0),
                textcoords="offset points",
                va="center",
                ha="center" if inside else "left",
                color="#ffffff" if inside else colours.ink,
            )
        axes.set_yticks(range(len(phases)), [name for name, _, _ in phases])
        axes.invert_yaxis()
        axes.set_xlim(0, max(last, 1e-6) * 1.12)
        axes.set_xlabel("seconds since the submission", color=colours.faint)
        axes.grid(axis="x", color=colours.grid, linewidth=0.8)
        about = "; ".join(f"{name} {_seconds(end - start)}" for name, start, end in phases)
        return _svg(figure, title, about)


def frame_series(
    clip: Clip, *, title: str = "Light and change by frame", theme: Theme = "light"
) -> str:
    """Mean light of each frame, and its change to the frame before, over time; an SVG element.

    Raises:
        ValueError: the clip has no frame.
    """
    if not clip.frames:
        raise ValueError(
            "the clip has 0 frames; allowed is 1 or more, since there is nothing to draw: see "
            "what the check `decodable` says about the file"
        )
    colours = _COLOURS[theme]
    times = [frame.time for frame in clip.frames]
    light = [frame.mean for frame in clip.frames]
    change = [frame.change if frame.change is not None else float("nan") for frame in clip.frames]
    with _style():
        figure, upper = _figure(2.6, title, colours)
        upper.remove()
        upper, lower = figure.subplots(2, 1, sharex=True)
        for axes, values, name, colour in (
            (upper, light, "mean light", _PHASES["encode"]),
            (lower, change, "change", _PHASES["download"]),
        ):
            _dress(axes, colours)
            axes.plot(times, values, color=colour, linewidth=1.8)
            axes.set_ylim(0, 255 if name == "mean light" else None)
            axes.set_ylabel(name, color=colours.faint)
            axes.grid(color=colours.grid, linewidth=0.8)
        lower.set_xlabel("seconds", color=colours.faint)
        known = [value for value in change if not math.isnan(value)]
        about = (
            f"{len(times)} frames; mean light {min(light):.0f} to {max(light):.0f} of 255; "
            f"change at most {max(known, default=0.0):.1f}"
        )
        return _svg(figure, title, about)


def _figure(height: float, title: str, colours: _Colours) -> tuple[Figure, Axes]:
    # without pyplot there is no global state and no window system
    figure = Figure(figsize=(_WIDTH_IN, height), layout="constrained")
    figure.patch.set_alpha(0)
    figure.suptitle(title, x=0.01, ha="left", color=colours.ink, fontsize=12, fontweight="bold")
    axes = figure.subplots()
    _dress(axes, colours)
    return figure, axes


def _dress(axes: Axes, colours: _Colours) -> None:
    axes.patch.set_alpha(0)
    axes.set_axisbelow(True)
    axes.tick_params(colors=colours.ink, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _svg(figure: Figure, title: str, about: str) -> str:
    file = io.StringIO()
    # no date and no maker: the same run gives the same file
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    drawing = file.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    # matplotlib's own block of metadata is empty now; a name for screen readers takes its place
    drawing = re.sub(r"\s*<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    # scales with its column: the size is in the viewBox
    drawing = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", drawing, count=1)
    drawing = re.sub(
        r'(<svg[^>]*?) height="[^"]*"', r'\1 width="100%" role="img"', drawing, count=1
    )
    named = f"<title>{escape(title)}</title>\n <desc>{escape(about)}</desc>"
    return re.sub(r"(<svg[^>]*>)", lambda tag: f"{tag[1]}\n {named}", drawing, count=1)


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
