"""Every fault of a source: a clear error, the next source, and no half file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from vace_weights.errors import (
    AllSourcesFailedError,
    ChangedFileError,
    RangeError,
    RedirectError,
    ServerStatusError,
    ShortBodyError,
    SourceError,
    UnreachableError,
    WebPageError,
    WrongBytesError,
    WrongSizeError,
)
from vace_weights.sources import Place

from tests.images.fetch.conftest import DATA, NAME, QUICK, Bench, at
from tests.images.fetch.server import Exchange, Fault, Site


def only_error(bench: Bench, place: Place) -> SourceError:
    """The error of a fetch with one source, after which no file may stand there."""
    with pytest.raises(AllSourcesFailedError) as caught:
        bench.fetch(place)
    bench.require_nothing_final()
    error = caught.value.errors[-1]
    assert NAME in str(error)
    assert place.label in str(error)
    assert error.expected
    assert error.came
    assert error.advice
    return error


def wrong_byte(exchange: Exchange) -> None:
    """Every range that holds the byte in the middle has it wrong."""
    wrong = bytearray(DATA)
    wrong[len(wrong) // 2] ^= 1
    exchange.send_range(bytes(wrong))


def cut_after_100_kb(exchange: Exchange) -> None:
    start, end = exchange.asked
    headers = {
        "Content-Length": str(end - start),
        "Content-Range": f"bytes {start}-{end - 1}/{len(DATA)}",
    }
    exchange.send(206, headers, DATA[start : min(end, start + 100_000)])
    exchange.drop()


def short_whole(exchange: Exchange) -> None:
    exchange.send(200, {"Content-Length": str(len(DATA))}, DATA[: len(DATA) // 2])
    exchange.drop()


def empty_body(exchange: Exchange) -> None:
    start, end = exchange.asked
    headers = {
        "Content-Length": str(end - start),
        "Content-Range": f"bytes {start}-{end - 1}/{len(DATA)}",
    }
    exchange.send(206, headers)
    exchange.drop()


def unavailable(exchange: Exchange) -> None:
    exchange.send(503, {"Content-Length": "0", "Retry-After": "0"})


def absent(exchange: Exchange) -> None:
    exchange.send(404, {"Content-Length": "0"})


def redirect_loop(exchange: Exchange) -> None:
    exchange.redirect("/b" if exchange.path == "/a" else "/a")


def endless_redirects(exchange: Exchange) -> None:
    exchange.redirect(f"/{exchange.number}")


def redirect_to_a_file(exchange: Exchange) -> None:
    exchange.redirect("file:///etc/passwd")


PAGE = b"<!DOCTYPE html><html><title>Please log in</title></html>"


def redirect_to_no_address(exchange: Exchange) -> None:
    exchange.redirect("http://[bad/x?signature=secret")


def redirect_to_an_empty_label(exchange: Exchange) -> None:
    exchange.redirect("http://a..b/")


def redirect_to_a_long_label(exchange: Exchange) -> None:
    exchange.redirect(f"http://{'a' * 64}.invalid/")


def redirect_to_a_port_out_of_range(exchange: Exchange) -> None:
    exchange.redirect("http://127.0.0.1:99999/")


def redirect_to_a_host_beyond_ascii(exchange: Exchange) -> None:
    exchange.redirect("http://h\u00f6st.invalid/")


def odd_retry_after(exchange: Exchange) -> None:
    exchange.send(503, {"Content-Length": "0", "Retry-After": "\u00b2"})


def odd_length(exchange: Exchange) -> None:
    exchange.send(200, {"Content-Length": "\u00b2"}, PAGE)
    exchange.drop()


def endless_length(exchange: Exchange) -> None:
    exchange.send(416, {"Content-Length": "0", "Content-Range": f"bytes */{'9' * 5000}"})


def html_page(exchange: Exchange) -> None:
    exchange.send(200, {"Content-Type": "text/html", "Content-Length": str(len(PAGE))}, PAGE)


def unmarked_html_page(exchange: Exchange) -> None:
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(PAGE))}
    exchange.send(200, headers, PAGE)


def html_page_of_unknown_length(exchange: Exchange) -> None:
    exchange.send(200, {"Connection": "close"}, PAGE)
    exchange.drop()


def another_size(exchange: Exchange) -> None:
    exchange.send(206, {"Content-Length": "10", "Content-Range": "bytes 0-9/10"}, DATA[:10])


def another_whole_size(exchange: Exchange) -> None:
    exchange.send(200, {"Content-Length": "10"}, DATA[:10])


def beyond_the_end(exchange: Exchange) -> None:
    exchange.send(416, {"Content-Length": "0", "Content-Range": "bytes */10"})


def endless_body(exchange: Exchange) -> None:
    exchange.send(200, {"Connection": "close"}, DATA + b"more")
    exchange.drop()


def another_range(exchange: Exchange) -> None:
    start, end = exchange.asked
    headers = {
        "Content-Length": str(end - start),
        "Content-Range": f"bytes {start + 1}-{end}/{len(DATA)}",
    }
    exchange.send(206, headers, DATA[start:end])


def compressed(exchange: Exchange) -> None:
    exchange.send(200, {"Content-Encoding": "gzip", "Content-Length": str(len(DATA))}, DATA)


def changed_version(exchange: Exchange) -> None:
    exchange.send_range(etag=f'"{exchange.number > 3}"')


def changed_size(exchange: Exchange) -> None:
    exchange.send_range(DATA + b"more" if exchange.number > 3 else DATA)


def no_answer(exchange: Exchange) -> None:
    exchange.drop()


FAULTS: list[tuple[Fault, type[SourceError]]] = [
    (wrong_byte, WrongBytesError),
    (empty_body, ShortBodyError),
    (short_whole, ShortBodyError),
    (unavailable, ServerStatusError),
    (absent, ServerStatusError),
    (redirect_loop, RedirectError),
    (endless_redirects, RedirectError),
    (redirect_to_a_file, RedirectError),
    (redirect_to_no_address, RedirectError),
    (redirect_to_an_empty_label, RedirectError),
    (redirect_to_a_long_label, RedirectError),
    (redirect_to_a_port_out_of_range, RedirectError),
    (redirect_to_a_host_beyond_ascii, RedirectError),
    (odd_retry_after, ServerStatusError),
    (odd_length, WebPageError),
    (endless_length, ServerStatusError),
    (html_page, WebPageError),
    (unmarked_html_page, WebPageError),
    (html_page_of_unknown_length, WebPageError),
    (another_size, WrongSizeError),
    (another_whole_size, WrongSizeError),
    (beyond_the_end, WrongSizeError),
    (endless_body, WrongSizeError),
    (another_range, RangeError),
    (compressed, RangeError),
    (changed_version, ChangedFileError),
    (changed_size, ChangedFileError),
    (no_answer, UnreachableError),
]
BY_NAME = pytest.mark.parametrize(("fault", "error"), FAULTS, ids=[f.__name__ for f, _ in FAULTS])


@BY_NAME
def test_each_fault_has_one_error_class_and_leaves_no_final_file(
    bench: Bench, site: Site, fault: Fault, error: type[SourceError]
) -> None:
    """Prevents a fault that passes for the file, or one that nobody can tell from another."""
    site.answer = fault
    assert type(only_error(bench, at(site))) is error


@BY_NAME
def test_after_each_fault_the_next_source_brings_the_whole_file(
    bench: Bench, site: Site, good: Site, fault: Fault, error: type[SourceError]
) -> None:
    """Prevents one bad mirror from stopping a deployment, or its bytes from staying in the file."""
    site.answer = fault
    bench.fetch(at(site), at(good, "second"))
    bench.require_whole()
    assert "first" in bench.heard.text


def test_bodies_that_break_again_and_again_still_bring_the_file(bench: Bench, site: Site) -> None:
    """Prevents a bad line, which always gets a bit further, from being given up."""
    site.answer = cut_after_100_kb
    bench.fetch(at(site))
    bench.require_whole()


def test_a_server_without_ranges_is_read_in_one_stream(bench: Bench, site: Site) -> None:
    """Prevents a plain web server from being unusable."""
    site.answer = Exchange.send_whole
    bench.fetch(at(site))
    bench.require_whole()
    assert len(site.requests) == 1
    assert "no ranges" in bench.heard.text


def test_a_server_that_is_busy_once_is_asked_again(bench: Bench, site: Site) -> None:
    """Prevents a restart of a mirror from failing a fetch that has no other source."""

    def busy_at_first(exchange: Exchange) -> None:
        unavailable(exchange) if exchange.number == 1 else exchange.send_range()

    site.answer = busy_at_first
    bench.fetch(at(site))
    bench.require_whole()


def test_a_long_retry_after_moves_on_to_the_next_source_at_once(
    bench: Bench, site: Site, good: Site
) -> None:
    """Prevents an hour of waiting while another mirror stands ready."""
    site.answer = lambda e: e.send(503, {"Content-Length": "0", "Retry-After": "3600"})
    bench.fetch(at(site), at(good, "second"))
    bench.require_whole()
    assert len(site.requests) == 1


def test_what_a_failed_source_gave_is_not_fetched_again(
    bench: Bench, site: Site, good: Site
) -> None:
    """Prevents a fail-over at 90 % from starting again at 0."""

    def fails_after_six(exchange: Exchange) -> None:
        absent(exchange) if exchange.number > 6 else exchange.send_range()

    site.answer = fails_after_six
    fetched = bench.fetch(at(site), at(good, "second"), options=replace(QUICK, connections=1))
    bench.require_whole()
    asked = [headers["Range"] for _, headers in good.requests]
    assert len(asked) == 13 - 6
    assert fetched.source == "first, second"
    assert bench.heard.done == len(DATA)


def test_a_wrong_byte_names_the_source_that_gave_it(bench: Bench, site: Site, good: Site) -> None:
    """Prevents a search through all mirrors for the one that is damaged."""
    site.answer = wrong_byte
    fetched = bench.fetch(at(site, "damaged"), at(good, "sound"))
    assert fetched.source == "sound"
    assert "from damaged: expected SHA-256" in bench.heard.text
    assert bench.heard.done == len(DATA)


def test_a_wrong_byte_in_a_file_from_two_sources_is_traced_to_one(
    bench: Bench, site: Site, good: Site
) -> None:
    """Prevents a sound mirror from being left out because a damaged one spoilt its file."""
    wrong = bytes([DATA[0] ^ 1]) + DATA[1:]

    def wrong_then_gone(exchange: Exchange) -> None:
        absent(exchange) if exchange.number > 2 else exchange.send_range(wrong)

    site.answer = wrong_then_gone
    fetched = bench.fetch(
        at(site, "damaged"), at(good, "sound"), options=replace(QUICK, connections=1)
    )
    bench.require_whole()
    assert fetched.source == "sound"
    assert "damaged and sound" in bench.heard.text


def test_the_hash_in_the_hubs_redirect_is_compared_before_the_first_byte(
    bench: Bench, site: Site, good: Site
) -> None:
    """Prevents gigabytes of a replaced file from being fetched before the hash says no."""

    def hub(exchange: Exchange) -> None:
        location = {"Location": f"{good.url}/{NAME}", "Content-Length": "0"}
        exchange.send(302, {**location, "X-Linked-ETag": f'"{"0" * 64}"'})

    site.answer = hub
    assert isinstance(only_error(bench, at(site)), ChangedFileError)


def test_a_local_folder_of_another_size_is_refused_and_the_next_source_used(
    bench: Bench, good: Site, tmp_path: Path
) -> None:
    """Prevents a copy that broke off from being taken."""
    broken = tmp_path / "broken"
    broken.write_bytes(DATA[:-1])
    bench.fetch(Place("usb", path=broken), Place("gone", path=tmp_path / "no"), at(good, "second"))
    bench.require_whole()
    assert f"{len(DATA) - 1} bytes" in bench.heard.text


def test_a_whole_local_file_is_copied_and_verified(bench: Bench, tmp_path: Path) -> None:
    """Prevents air-gapped sites from needing a web server."""
    whole = tmp_path / "whole"
    whole.write_bytes(DATA)
    assert bench.fetch(Place("usb", path=whole)).source == "usb"
    bench.require_whole()
