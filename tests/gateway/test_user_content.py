"""Uploaded bytes come back harmless: no page, script or style of this site is made of them."""

from __future__ import annotations

from urllib.parse import unquote

import httpx
import pytest
from aiohttp import web

from tests.gateway.conftest import Bench
from tests.gateway.recorder import Responder

UPLOADED = b"<html><script>fetch('/prompt',{method:'POST'})</script></html>"


def upload(content_type: str, disposition: str = "") -> Responder:
    """A responder that returns the uploaded bytes under the type that ComfyUI guessed."""

    async def answer(request: web.Request) -> web.Response:
        headers = {"Content-Disposition": disposition} if disposition else {}
        if content_type:
            headers["Content-Type"] = content_type
        return web.Response(body=UPLOADED, headers=headers)

    return answer


async def fetch(bench: Bench, path: str, responder: Responder) -> httpx.Response:
    # aiohttp's router in the recorder decodes %2F, so that is the name under which it looks.
    bench.comfy.responders[unquote(path.partition("?")[0])] = responder
    async with bench.client() as client:
        return await client.get(path)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/html",
        "TEXT/HTML; charset=utf-8",
        "image/svg+xml",
        "application/xhtml+xml",
        "text/xml",
        "application/javascript",
        "text/javascript",
        "text/css",
        "application/pdf",
        "multipart/x-mixed-replace",
        "",
        "x",
    ],
)
@pytest.mark.parametrize("path", ["/view?filename=evil&type=input", "/api/userdata/workflows%2Fx"])
async def test_active_content_becomes_a_download_without_an_origin(
    bench: Bench, path: str, content_type: str
) -> None:
    """Stored XSS: whoever may upload could otherwise act with the session of whoever looks."""
    answer = await fetch(bench, path, upload(content_type, 'filename="evil.html"'))
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="evil.html"'
    assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.content == UPLOADED


@pytest.mark.parametrize(
    "content_type", ["image/png", "image/webp", "video/mp4", "video/webm", "audio/mpeg"]
)
async def test_pictures_and_videos_are_still_shown_in_the_page(
    bench: Bench, content_type: str
) -> None:
    """The interface shows results inline; a download prompt for each preview would be useless."""
    answer = await fetch(bench, "/view?filename=a", upload(content_type, 'filename="a"'))
    assert answer.headers["Content-Type"] == content_type
    assert answer.headers["Content-Disposition"] == 'filename="a"'
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy
    assert "sandbox" not in policy  # a sandboxed tab could not seek: no cookie on Range requests


async def test_saved_workflows_stay_json(bench: Bench) -> None:
    """The interface parses them by type in places; as a download JSON can't run anyway."""
    answer = await fetch(bench, "/api/userdata/comfy.templates.json", upload("application/json"))
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Disposition"] == "attachment"


async def test_the_operators_own_style_sheet_is_a_style_sheet(bench: Bench) -> None:
    """user.css can't be written through the gateway, so it may be used as what it is."""
    answer = await fetch(bench, "/api/userdata/user.css", upload("text/css", "inline"))
    assert answer.headers["Content-Type"] == "text/css"
    assert answer.headers["Content-Disposition"] == "inline"


async def test_the_interface_itself_has_a_policy_that_it_can_live_with(bench: Bench) -> None:
    """No foreign scripts, no framing by other sites; its own workers, blobs and eval work."""
    async with bench.client() as client:
        answer = await client.get("/")
    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";")
    )
    assert policy["frame-ancestors"] == "'self'"
    assert policy["object-src"] == "'none'"
    assert "blob:" in policy["worker-src"]
    assert "'unsafe-eval'" in policy["script-src"]
    assert not any("http" in sources for sources in policy.values())
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert answer.headers["Strict-Transport-Security"]
    assert answer.headers["Cache-Control"] == "private, no-cache"
