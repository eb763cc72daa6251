"""Who gets in: tokens, sessions, rate limit, hosts, origins."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from vace_gateway.credentials import Credentials
from vace_gateway.login import safe_next
from vace_gateway.ratelimit import MAX_CLIENTS, FailureLimit
from vace_gateway.sessions import MAX_LOGGED_OUT, Sessions

from tests.gateway.conftest import Bench, MakeBench
from tests.gateway.raw import get, raw_request

NAVIGATION = {"Accept": "text/html,application/xhtml+xml"}


async def sign_in(
    bench: Bench, client: httpx.AsyncClient, token: str | None = None
) -> httpx.Response:
    return await client.post(
        "/login",
        data={"token": bench.token if token is None else token, "next": "/"},
        headers={"Origin": str(client.base_url).rstrip("/")},
    )


async def test_without_a_token_a_program_gets_401_and_nothing_moves(bench: Bench) -> None:
    """The one property without which all others are void."""
    async with bench.client(authorized=False) as client:
        for method, path in (
            ("GET", "/queue"),
            ("POST", "/prompt"),
            ("GET", "/ws"),
            ("GET", "/internal/logs"),
            ("GET", "/assets/a.js"),
            ("POST", "/api/upload/image"),
        ):
            answer = await client.request(method, path)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert answer.json()["error"]["type"] == "unauthorized"
    assert not bench.comfy.requests


@pytest.mark.parametrize(
    "value",
    [
        "Bearer {token}x",
        "Bearer x{token}",
        "Bearer {half}",
        "Bearer",
        "Basic {token}",
        "{token}",
        "Bearer {token} {token}",
        "Bearer {upper}",
    ],
)
async def test_a_token_that_is_nearly_right_is_wrong(bench: Bench, value: str) -> None:
    """Prevents prefix, case and scheme confusion."""
    header = value.format(
        token=bench.token, half=bench.token[: len(bench.token) // 2], upper=bench.token.swapcase()
    )
    async with bench.client(authorized=False) as client:
        answer = await client.get("/queue", headers={"Authorization": header})
    assert answer.status_code == 401
    assert not bench.comfy.requests


async def test_two_authorization_headers_are_refused(bench: Bench) -> None:
    """Which of them counts would depend on who reads."""
    headers = (f"Authorization: Bearer {bench.token}", "Authorization: Bearer x")
    assert b" 401 " in await raw_request(bench, get("/queue", *headers))


async def test_a_browser_without_a_session_is_sent_to_the_login_page(bench: Bench) -> None:
    """A person who opens the link must see a form, not JSON."""
    async with bench.client(authorized=False) as client:
        start = await client.get("/", headers=NAVIGATION)
        deep = await client.get("/view?filename=a b.mp4&type=output", headers=NAVIGATION)
        fetch = await client.get("/", headers=NAVIGATION | {"Sec-Fetch-Mode": "cors"})
        page = await client.get(deep.headers["Location"])
    assert (start.status_code, start.headers["Location"]) == (303, "/login")
    assert fetch.status_code == 401
    assert deep.status_code == 303
    assert page.status_code == 200
    assert 'name="next" value="/view?filename=a%20b.mp4&amp;type=output"' in page.text


async def test_the_login_page_is_self_contained_bilingual_and_accessible(bench: Bench) -> None:
    """It must work without scripts, without other sites, and with a screen reader."""
    async with bench.client(authorized=False) as client:
        page = await client.get("/login")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<script" not in page.text
    assert not re.findall(r"(?:src|href|action)=\"(?!/|data:,)", page.text)
    assert '<label for="token">' in page.text
    assert 'id="token"' in page.text
    assert 'autocomplete="current-password"' in page.text
    assert '<html lang="en">' in page.text
    assert page.text.count('lang="zh-CN"') >= 3
    assert "访问令牌" in page.text


async def test_signing_in_opens_a_session_that_works_and_signing_out_ends_it(bench: Bench) -> None:
    """The way of a person: form, cookie, interface, goodbye. A kept copy of the cookie is dead."""
    async with bench.client(authorized=False) as client:
        wrong = await sign_in(bench, client, token="x" * 43)
        assert wrong.status_code == 401
        assert 'role="alert"' in wrong.text
        assert "令牌不正确" in wrong.text
        assert "Set-Cookie" not in wrong.headers

        right = await sign_in(bench, client)
        assert (right.status_code, right.headers["Location"]) == (303, "/")
        cookie = right.headers["Set-Cookie"]
        for attribute in ("HttpOnly", "Secure", "SameSite=Strict", "Path=/", "Max-Age=43200"):
            assert attribute in cookie
        assert cookie.startswith("__Host-vace_session=")
        assert bench.token not in cookie
        copy = cookie.partition(";")[0]

        assert (await client.get("/", headers=NAVIGATION)).status_code == 200
        assert (await client.get("/login")).headers["Location"] == "/"
        button = await client.get("/logout")
        assert '<form method="post" action="/logout">' in button.text
        assert (await client.get("/queue")).status_code == 200

        out = await client.post("/logout", headers={"Origin": bench.url})
        assert out.status_code == 303
        assert "Max-Age=0" in out.headers["Set-Cookie"]
    async with bench.client(authorized=False) as client:
        assert (await client.get("/queue", headers={"Cookie": copy})).status_code == 401


async def test_the_login_form_is_bounded(bench: Bench) -> None:
    """It is open to everybody, so it must not collect what everybody sends."""
    async with bench.client(authorized=False) as client:
        answer = await client.post(
            "/login", content=b"token=" + b"x" * 100_000, headers={"Origin": bench.url}
        )
    assert answer.status_code == 413


def test_a_session_expires_and_can_not_be_forged(environment: dict[str, str]) -> None:
    """Prevents a cookie that lives for ever, or one made by somebody else."""
    now = 1_000_000.0
    credentials = Credentials(Path(environment["VACE_GATEWAY_TOKEN_FILE"]))
    sessions = Sessions(credentials, 12 * 3600, clock=lambda: now)
    value = sessions.issue()
    assert sessions.is_valid(value)
    expiry, session_id, signature = value.split(".")
    for forged in (
        f"{int(expiry) + 1}.{session_id}.{signature}",
        f"{expiry}.{'0' * 32}.{signature}",
        f"{expiry}.{session_id}.{'0' * 64}",
        f"{expiry}.{session_id}.",
        "",
        "....",
        value + "x",
        value.upper(),
    ):
        assert not sessions.is_valid(forged)
    now += 12 * 3600 - 1
    assert sessions.is_valid(value)
    now += 1
    assert not sessions.is_valid(value)


def test_the_list_of_ended_sessions_is_bounded(environment: dict[str, str]) -> None:
    """Prevents memory that grows with every logout."""
    sessions = Sessions(Credentials(Path(environment["VACE_GATEWAY_TOKEN_FILE"])), 60)
    for _ in range(MAX_LOGGED_OUT + 10):
        sessions.end(sessions.issue())
    sessions.end("12.00000000000000000000000000000000." + "0" * 64)
    assert len(sessions._logged_out) == MAX_LOGGED_OUT


async def test_wrong_tokens_are_limited_but_the_right_one_always_passes(
    make_bench: MakeBench,
) -> None:
    """An attacker behind the same address (NAT) must not lock the owner out."""
    async with make_bench(FAILURES_PER_MINUTE="3") as bench:
        wrong = {"Authorization": "Bearer " + "x" * 43}
        async with bench.client(authorized=False) as client:
            statuses = [(await client.get("/queue", headers=wrong)).status_code for _ in range(5)]
            assert statuses == [401, 401, 401, 429, 429]
            limited = await client.get("/queue", headers=wrong)
            assert 1 <= int(limited.headers["Retry-After"]) <= 20
            form = await sign_in(bench, client, token="y" * 43)
            assert form.status_code == 429
            assert "Retry-After" in form.headers
            assert (await client.get("/queue", headers=bench.bearer)).status_code == 200
            assert (await sign_in(bench, client)).status_code == 303
        assert await bench.metric('vace_gateway_auth_failures_total{reason="rate_limited"}') == 4


async def test_requests_without_any_token_do_not_use_up_the_limit(make_bench: MakeBench) -> None:
    """A browser tab left open after a rotation polls on; that is no attack."""
    async with (
        make_bench(FAILURES_PER_MINUTE="1") as bench,
        bench.client(authorized=False) as client,
    ):
        for _ in range(5):
            assert (await client.get("/queue")).status_code == 401


def test_the_failure_limit_refills_groups_ipv6_networks_and_stays_small() -> None:
    """Prevents lock-out for ever, evasion by IPv6 privacy addresses, and memory growth."""
    now = 0.0
    limit = FailureLimit(2, clock=lambda: now)
    assert [limit.failed("2001:db8::1"), limit.failed("2001:db8::2")] == [0, 0]
    assert limit.failed("2001:db8::ffff:1") == 30
    assert limit.failed("2001:db8:0:1::1") == 0
    assert limit.failed("::ffff:192.0.2.1") == 0
    assert limit.failed("192.0.2.1") == 0
    assert limit.failed("192.0.2.1") > 0
    now += 30
    assert limit.failed("2001:db8::1") == 0
    for number in range(MAX_CLIENTS + 100):
        limit.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(limit) == MAX_CLIENTS


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1@evil", "", "a b", "[::2]:443"]
)
async def test_a_foreign_host_name_is_refused_even_with_the_token(bench: Bench, host: str) -> None:
    """DNS rebinding: a page on evil.example that points its name here must get nothing."""
    request = f"GET /queue HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {bench.token}\r\n\r\n"
    assert b"HTTP/1.1 421" in await raw_request(bench, request)
    assert not bench.comfy.requests


async def test_the_names_of_this_service_are_accepted_with_any_port(bench: Bench) -> None:
    """An EIP, a name behind it, a forwarded port: all are this service."""
    for host in ("127.0.0.1:8443", "LOCALHOST", "video.example.", "video.example:443"):
        request = (
            f"GET /queue HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {bench.token}\r\n\r\n"
        )
        assert b"HTTP/1.1 200" in await raw_request(bench, request)
    two = "GET /queue HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"
    assert (await raw_request(bench, two)).split(b" ")[1] in {b"400", b"421"}


async def test_a_session_can_not_be_used_by_another_sites_page(bench: Bench) -> None:
    """CSRF: another site's form or script must not queue, delete, upload or sign out."""
    async with bench.client(authorized=False) as client:
        assert (await sign_in(bench, client)).status_code == 303
        refused = [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": bench.url.replace("https", "http")},
            {"Origin": "https://127.0.0.1:1"},
            {"Origin": bench.url + ".evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "none"},
            {},
        ]
        for headers in refused:
            for path in ("/prompt", "/upload/image", "/queue", "/logout"):
                answer = await client.post(path, json={}, headers=headers)
                assert (answer.status_code, path, headers) == (403, path, headers)
            assert (
                await client.delete("/userdata/workflows%2Fa", headers=headers)
            ).status_code == 403
        assert not bench.comfy.requests
        for headers in ({"Origin": bench.url}, {"Sec-Fetch-Site": "same-origin"}):
            assert (await client.post("/queue", json={}, headers=headers)).status_code == 200


async def test_nobody_can_sign_a_visitor_in_from_another_site(bench: Bench) -> None:
    """Login CSRF: the visitor would then upload into the attacker's session."""
    async with bench.client(authorized=False) as client:
        answer = await client.post(
            "/login", data={"token": bench.token}, headers={"Origin": "https://evil.example"}
        )
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


async def test_a_link_from_another_site_does_not_lose_the_session(bench: Bench) -> None:
    """A Strict cookie is held back on such a click; one step inside this site brings it along."""
    async with bench.client(authorized=False) as client:
        headers = NAVIGATION | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site"}
        answer = await client.get("/?a=%22%3E%3Cscript%3E", headers=headers)
    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0;url=/?a=%22%3E%3Cscript%3E">' in answer.text
    assert "<script" not in answer.text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("/", "/"),
        ("/view?filename=a.mp4", "/view?filename=a.mp4"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/%2f/evil.example", "/"),
        ("/\tevil", "/"),
        ("javascript:alert(1)", "/"),
        ("/login?next=/login", "/"),
        ("/logout", "/"),
    ],
)
def test_login_leads_only_to_this_service(given: str, shown: str) -> None:
    """Prevents an open redirect behind a trusted name."""
    assert safe_next(given) == shown


async def test_on_the_plain_listener_tokens_are_required_and_cookies_are_not_secure(
    make_bench: MakeBench,
) -> None:
    """Inside a VPC callers use http; authentication stays, and no HSTS breaks the address."""
    async with make_bench(PLAIN_LISTEN="127.0.0.1:0") as bench:
        url = f"http://127.0.0.1:{bench.server.port('PLAIN_LISTEN')}"
        async with bench.client(authorized=False, url=url) as client:
            assert (await client.get("/queue")).status_code == 401
            assert (await client.get("/queue", headers=bench.bearer)).status_code == 200
            answer = await sign_in(bench, client)
            assert answer.headers["Set-Cookie"].startswith("vace_session=")
            assert "Secure" not in answer.headers["Set-Cookie"]
            assert "Strict-Transport-Security" not in answer.headers
            assert (await client.get("/queue")).status_code == 200
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
        async with bench.client(authorized=False) as client:
            refused = await client.get("/queue", headers={"Cookie": cookie})
            assert refused.status_code == 401
            assert refused.headers["Strict-Transport-Security"].startswith("max-age=")
