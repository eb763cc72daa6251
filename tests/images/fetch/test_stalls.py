"""Connections that hang or drip: given up in bounded time, and the next source is used."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from vace_weights.errors import AllSourcesFailedError, StalledError
from vace_weights.transfer import Patience

from tests.images.fetch.conftest import DATA, QUICK, Bench, at
from tests.images.fetch.server import Exchange, Site


def test_a_connection_without_bytes_is_given_up_after_its_time(bench: Bench, site: Site) -> None:
    """Prevents a fetch that hangs for ever on a dead connection."""
    release = threading.Event()

    def stall(exchange: Exchange) -> None:
        start, end = exchange.asked
        headers = {
            "Content-Length": str(end - start),
            "Content-Range": f"bytes {start}-{end - 1}/{len(DATA)}",
        }
        exchange.send(206, headers, DATA[start : start + 1000])
        release.wait(60)
        exchange.drop()

    site.answer = stall
    try:
        with pytest.raises(AllSourcesFailedError) as caught:
            bench.fetch(at(site), options=replace(QUICK, stall_s=0.2, attempts=2))
    finally:
        release.set()
    # Waiting for the server to go on would have ended with a ShortBodyError.
    assert isinstance(caught.value.errors[-1], StalledError)
    bench.require_nothing_final()


def test_a_connection_that_only_drips_is_given_up_for_the_next_source(
    bench: Bench, site: Site, good: Site
) -> None:
    """Prevents one byte every few seconds from holding up a deployment for months."""
    release = threading.Event()

    def drip(exchange: Exchange) -> None:
        start, end = exchange.asked
        headers = {
            "Content-Length": str(end - start),
            "Content-Range": f"bytes {start}-{end - 1}/{len(DATA)}",
        }
        exchange.send(206, headers)
        for position in range(start, start + 1000):
            exchange.wfile.write(DATA[position : position + 1])
            if release.wait(0.02):
                return

    site.answer = drip
    options = replace(QUICK, stall_s=0.3, attempts=2)
    try:
        bench.fetch(at(site), at(good, "second"), options=options)
    finally:
        release.set()
    bench.require_whole()
    assert "expected at least 1024 bytes/s on average" in bench.heard.text


def test_headers_that_only_drip_are_given_up_for_the_next_source(
    bench: Bench, site: Site, good: Site
) -> None:
    """Prevents a header sent a byte at a time from holding a connection for days.

    Every byte comes well within the timeout of the socket; only the time of all of them is not.
    """
    release = threading.Event()

    def drip(exchange: Exchange) -> None:
        for byte in b"HTTP/1.1 206 Partial Content\r\nX-Filler: " + 3000 * b"a":
            exchange.wfile.write(bytes([byte]))
            if release.wait(0.02):
                break
        exchange.drop()

    site.answer = drip
    options = replace(QUICK, stall_s=0.3, attempts=2)
    try:
        bench.fetch(at(site), at(good, "second"), options=options)
    finally:
        release.set()
    bench.require_whole()
    assert "expected all headers within 0.3 s" in bench.heard.text


def test_the_body_has_the_whole_timeout_after_a_slow_head(bench: Bench, site: Site) -> None:
    """Prevents the deadline of the head from cutting the body of a slow but honest server."""
    options = replace(QUICK, stall_s=0.6, chunk_bytes=len(DATA))

    def late(exchange: Exchange) -> None:
        start, end = exchange.asked
        pause = threading.Event()
        exchange.send_response_only(206)
        pause.wait(0.4)
        exchange.send_header("Content-Length", str(end - start))
        exchange.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(DATA)}")
        exchange.end_headers()
        pause.wait(0.4)
        exchange.wfile.write(DATA[start:end])

    site.answer = late
    bench.fetch(at(site), options=options)
    bench.require_whole()


def test_a_drip_over_many_connections_is_no_progress() -> None:
    """Prevents connections that all drip from forgiving one another for ever."""
    options = replace(QUICK, stall_s=30)
    patience = Patience(options)
    error = StalledError(file="f", source="s", expected="e", came="c", advice="a")
    window = round(options.connections * options.stall_s * options.least_rate)
    patience.pause_s(error, window)
    patience.pause_s(error, 2 * window)
    with pytest.raises(StalledError):
        patience.pause_s(error, 3 * window)
