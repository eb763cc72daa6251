"""What the operator reads while gigabytes arrive."""

from __future__ import annotations

import datetime
import email.utils
import io

import pytest
from vace_weights.answers import retry_after
from vace_weights.progress import ConsoleProgress

from tests.images.fetch.conftest import DATA, NAME, Bench, at
from tests.images.fetch.server import Site


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_has_bytes_share_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a progress line that leaves out what one wants to know."""
    now = 100.0
    monkeypatch.setattr("vace_weights.progress.time.monotonic", lambda: now)
    progress = ConsoleProgress(io.StringIO())
    progress.begin(100 * 1024 * 1024, 0)
    progress.file("a", 100 * 1024 * 1024)
    progress.line()
    now = 102.0
    progress.advance(20 * 1024 * 1024)
    assert progress.line() == "a: 20.0 MiB of 100.0 MiB (20.0 %), 10.0 MiB/s, 8 s left"


def test_a_log_gets_whole_lines_and_a_terminal_one_that_moves() -> None:
    """Prevents container logs full of carriage returns."""
    log, terminal = io.StringIO(), Terminal()
    for stream in (log, terminal):
        with ConsoleProgress(stream) as progress:
            progress.begin(10, 0)
            progress.file("a", 10)
            progress.message("something")
    assert log.getvalue() == "a: 10 B\nsomething\n"
    assert "\r\033[Ksomething\n" in terminal.getvalue()


def test_retry_after_is_read_as_seconds_and_as_a_date() -> None:
    """Prevents a polite server from being asked again too soon."""
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=60)
    assert retry_after("7") == 7
    assert 50 < (retry_after(email.utils.format_datetime(later, usegmt=True)) or 0) <= 60
    assert retry_after("soon") is None


def test_a_proxy_from_the_environment_is_used(
    bench: Bench, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents sites that reach the internet by a proxy only from fetching nothing."""
    monkeypatch.setenv("http_proxy", site.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    address = f"http://weights.invalid/{NAME}"
    site.files[address] = DATA
    outside = Site(url="http://weights.invalid")
    bench.fetch(at(outside))
    bench.require_whole()
    assert site.requests[0][0] == address
