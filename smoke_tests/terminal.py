"""What the person at the terminal sees: one line a test, progress while the video is made."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import pytest

from smoke_tests.comfy_client import Progress
from smoke_tests.report import PAGE_FILE

if TYPE_CHECKING:
    from smoke_tests.session import Run

LINE_EVERY_S = 5.0  # seconds between progress lines in a log
BAR_EVERY_S = 0.1  # and between two drawings of the bar on a terminal
SHORT_WAIT_S = 2.0  # seconds for which nobody wants to know the rest
LEAST_GROWTH = 3.0  # percent; a guess from less jumps about
BAR_WIDTH = 20
ERASE = "\r\x1b[2K"
WIDTH = 100
SIMULATED_BANNER = (
    "SIMULATED: this ComfyUI runs no model. The run proves the protocol and the deployment, "
    "it says nothing about the pictures or the speed."
)
PLUGIN = "smoke-narrator"
NOT_TRIED = "not tried"


def announce(config: pytest.Config, line: str) -> None:
    """Print a line at once, past pytest's capturing."""
    capture = config.pluginmanager.getplugin("capturemanager")
    standard = config.pluginmanager.getplugin("terminalreporter")
    if capture is None:
        print(line, flush=True)
        return
    with capture.global_and_fixture_disabled():
        if standard is not None:
            standard.ensure_newline()
            standard.write_line(line)
        else:
            print(line, flush=True)


class ProgressLines:
    """Shows a job's progress with steps and time left: a bar in place, or a line now and then.

    On a terminal the bar is drawn over itself, ten times a second at most, and is gone when the
    job ends. Elsewhere (a pipeline's log) there is a line at the start, one each LINE_EVERY_S,
    and one at the end. A change that comes too soon waits for the next call; the client calls
    every second.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._start = time.monotonic()
        self._live = config.pluginmanager.hasplugin(PLUGIN) and sys.stdout.isatty()
        self._every = BAR_EVERY_S if self._live else LINE_EVERY_S
        self._last = -self._every
        self._text = ""
        self._left = TimeLeft()

    def __call__(self, progress: Progress) -> None:
        """Show a moment."""
        now = time.monotonic()
        text = str(progress)
        left = self._left(progress.percent, now) if progress.state == "running" else ""
        ended = progress.percent >= 100
        unchanged = text == self._text and not self._live
        if unchanged or (now - self._last < self._every and not ended):
            return
        self._last, self._text = now, text
        if progress.state == "running":
            text = (
                f"[{_bar(progress.percent)}] " + " " * (3 - len(f"{progress.percent:.0f}")) + text
            )
        line = f"        {now - self._start:6.1f} s  {text}" + (f"  {left}" if left else "")
        if not self._live:
            announce(self._config, line)
        elif ended:
            print(ERASE, end="", flush=True)
        else:
            print(ERASE + line[:WIDTH], end="", flush=True)


class TimeLeft:
    """How long a job will still take, from how fast its percentage has grown so far.

    Nothing is said for waits shorter than SHORT_WAIT_S, nor before there is something to go by.
    """

    def __init__(self) -> None:
        self._begun: tuple[float, float] | None = None

    def __call__(self, percent: float, now: float) -> str:
        """The words for a percentage at a time in seconds; empty when there is nothing to say."""
        if self._begun is None:
            self._begun = (percent, now)
        grown, took = percent - self._begun[0], now - self._begun[1]
        if took < SHORT_WAIT_S or grown < LEAST_GROWTH or percent >= 100:
            return ""
        seconds = round(took / grown * (100 - percent))
        return f"about {seconds // 60}:{seconds % 60:02} left"


def _bar(percent: float) -> str:
    full = round(BAR_WIDTH * min(100.0, percent) / 100)
    return "#" * full + "." * (BAR_WIDTH - full)


class Narrator:
    """Replaces pytest's own terminal output in `python -m smoke_tests`."""

    def __init__(self) -> None:
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._paint = _ansi if colour else _plain
        self._titles: dict[str, str] = {}
        self._counts = {"passed": 0, "failed": 0, "skipped": 0}
        self._not_tried = 0
        self._last_reason = ""
        self._start = time.monotonic()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Learn the titles; say what is tested."""
        self._titles = {item.nodeid: title(item) for item in session.items}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One line for each test, with the reason below when it did not pass."""
        if report.when != "call" and not (report.when == "setup" and not report.passed):
            if report.when == "teardown" and report.failed:
                self._counts["failed"] += 1
                self._line("FAIL", "red", f"clean-up of {report.nodeid}", report)
            return
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
        if NOT_TRIED in reason:
            self._not_tried += 1
            return
        word, colour = {"passed": ("ok", "green"), "failed": ("FAIL", "red")}.get(
            report.outcome, ("skip", "yellow")
        )
        self._counts[report.outcome] += 1
        self._line(word, colour, self._titles.get(report.nodeid, report.nodeid), report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A test file that cannot be imported must not vanish."""
        if report.failed:
            self._counts["failed"] += 1
            print(f"{self._paint('FAIL', 'red')}  {report.nodeid}\n{report.longreprtext}")

    def summary(self, run: Run) -> None:
        """The last lines: verdict, warnings, where the results are."""
        report = run.report
        for warning in report.warnings():
            print(_wrapped(f"{self._paint('note', 'yellow')}  ", warning))
        counts = ", ".join(f"{count} {name}" for name, count in self._counts.items() if count)
        if self._not_tried:
            counts += f", {self._not_tried} {NOT_TRIED} since {run.fatal}"
        seconds = time.monotonic() - self._start
        verdict = self._paint("PASSED", "green") if report.passed else self._paint("FAILED", "red")
        if report.simulated:
            print(self._paint(_wrapped("", SIMULATED_BANNER), "yellow"))
            verdict += " (simulated)"
        print(f"{verdict}  {report.url}  {counts or 'nothing ran'} in {seconds:.1f} s")
        if run.settings.artifacts is not None:
            print(f"results: {run.settings.artifacts}, to be read in {PAGE_FILE}")

    def _line(self, word: str, colour: str, text: str, report: pytest.TestReport) -> None:
        seconds = f"{report.duration:7.2f} s" if report.when == "call" else ""
        space = WIDTH - 6 - len(seconds)
        if sys.stdout.isatty():
            print(ERASE, end="")  # a progress bar that was left behind by an error
        print(f"{self._paint(f'{word:4}', colour)}  {text[:space]:{space}}{seconds}", flush=True)
        if report.failed:
            print(_wrapped(" " * 6, report.longreprtext), flush=True)
        elif report.skipped and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            if reason != self._last_reason:
                print(_wrapped(" " * 6, reason))
            self._last_reason = reason


def title(item: pytest.Item) -> str:
    """The first line of a test's docstring; of its check's, when it is one of many."""
    function = getattr(item, "obj", None)
    callspec = getattr(item, "callspec", None)
    check = callspec.params.get("check") if callspec else None
    doc = (getattr(check, "__doc__", None) or getattr(function, "__doc__", None) or "").strip()
    if callspec and not callable(check):
        return f"{item.name.partition('[')[2].rstrip(']')}: {doc.splitlines()[0].rstrip('.')}"
    return doc.splitlines()[0].rstrip(".") if doc else item.name


def _wrapped(indent: str, text: str) -> str:
    hanging = " " * 6
    lines = []
    for number, line in enumerate(text.splitlines()):
        lead = indent if number == 0 else hanging
        kept = hanging + " " * (len(line) - len(line.lstrip()) + 2)
        lines.append(textwrap.fill(line, WIDTH, initial_indent=lead, subsequent_indent=kept))
    return "\n".join(lines)


def _ansi(text: str, colour: str) -> str:
    code = {"red": "31;1", "green": "32", "yellow": "33"}[colour]
    return f"\x1b[{code}m{text}\x1b[0m"


def _plain(text: str, _: str) -> str:
    return text
