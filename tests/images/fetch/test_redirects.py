"""Redirects, tokens, certificates and addresses: what may be followed, and with what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from vace_weights.errors import RedirectError, SourceConfigError, UnreachableError
from vace_weights.sources import Place

from tests.images.fetch.conftest import DATA, NAME, QUICK, Bench, at
from tests.images.fetch.server import Exchange, Site, make_certificate, serving
from tests.images.fetch.test_faults import only_error


def test_a_redirect_is_followed_and_its_target_used_for_all_ranges(
    bench: Bench, site: Site, good: Site
) -> None:
    """Prevents a request to the hub for every range, which hubs limit."""
    site.answer = lambda e: e.redirect(f"{good.url}/{NAME}?signature=x")
    bench.fetch(at(site))
    bench.require_whole()
    assert len(site.requests) == 1


def test_a_redirect_to_a_path_beyond_ascii_is_followed(
    bench: Bench, site: Site, good: Site
) -> None:
    """Prevents a file name with an umlaut from ending the whole fetch with a traceback."""
    good.files["/m%C3%B6del%20x"] = DATA
    location = "/m\u00f6del x".encode().decode("latin-1")  # bytes of UTF-8, as servers send them
    site.answer = lambda e: e.redirect(good.url + location)
    bench.fetch(at(site))
    bench.require_whole()


@pytest.mark.parametrize("url", ["http://[bad/x", "http://a..b/", "http://127.0.0.1:99999/"])
def test_a_source_whose_url_is_no_address_is_passed_over(
    bench: Bench, good: Site, url: str
) -> None:
    """Prevents one mistyped source from keeping the good ones from being used."""
    bench.fetch(Place("first", url=url), at(good, "second"))
    bench.require_whole()
    assert "expected an http:// or https:// URL" in bench.heard.text


def test_a_signed_address_that_runs_out_is_asked_for_again(
    bench: Bench, site: Site, good: Site
) -> None:
    """Prevents long downloads from failing when the content network's signature expires."""
    site.answer = lambda e: e.redirect(f"{good.url}/{NAME}?signature={e.number}")

    def expires(exchange: Exchange) -> None:
        fresh = exchange.path.endswith("signature=1") == (exchange.number < 5)
        exchange.send_range() if fresh else exchange.send(403, {"Content-Length": "0"})

    good.answer = expires
    bench.fetch(at(site), options=replace(QUICK, connections=1))
    bench.require_whole()
    assert len(site.requests) == 2


def test_the_token_stays_with_the_host_it_belongs_to(bench: Bench, site: Site, good: Site) -> None:
    """Prevents HF_TOKEN from reaching a content network or a mirror."""
    site.answer = lambda e: e.redirect(f"{good.url}/{NAME}")
    bench.fetch(at(site, token="secret-token"))
    assert site.requests[0][1]["Authorization"] == "Bearer secret-token"
    assert all("Authorization" not in headers for _, headers in good.requests)
    assert "secret-token" not in bench.heard.text


def test_a_redirect_from_https_to_http_is_refused(
    bench: Bench, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a silent loss of encryption on the way to a content network."""
    pem = make_certificate(tmp_path / "server.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    with serving(Site({}, answer=lambda e: e.redirect(f"{site.url}/{NAME}")), tls=pem) as secure:
        error = only_error(bench, at(secure))
    assert isinstance(error, RedirectError)
    assert "unencrypted" in error.came
    assert not site.requests


def test_https_with_an_authority_from_ssl_cert_file_works(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents sites with a company authority from having to turn verification off."""
    pem = make_certificate(tmp_path / "server.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    with serving(Site({f"/{NAME}": DATA}), tls=pem) as secure:
        bench.fetch(at(secure))
    bench.require_whole()


def test_an_unknown_certificate_is_refused_and_the_error_says_what_to_set(
    bench: Bench, tmp_path: Path
) -> None:
    """Prevents anybody in between from handing out files."""
    pem = make_certificate(tmp_path / "server.pem")
    with serving(Site({f"/{NAME}": DATA}), tls=pem) as secure:
        error = only_error(bench, at(secure))
    assert isinstance(error, UnreachableError)
    assert "SSL_CERT_FILE" in str(error)


@pytest.mark.parametrize("url", ["ftp://h/f", "http:///f", "https://user:pass@h/f"])
def test_a_url_that_cannot_be_used_is_refused_without_showing_its_password(
    bench: Bench, url: str
) -> None:
    """Prevents a password in a URL from reaching a log."""
    error = only_error(bench, Place("odd", url=url))
    assert isinstance(error, SourceConfigError)
    assert "pass" not in str(error).replace("password", "")
