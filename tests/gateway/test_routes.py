"""The allow-list: what is open, what is closed, and paths that try to be both."""

from __future__ import annotations

import pytest
from vace_gateway.errors import Refusal
from vace_gateway.paths import parse_target
from vace_gateway.routes import find_route

from tests.gateway.conftest import Bench
from tests.gateway.raw import get, raw_request

OPEN = """
GET /
GET /index.html
GET /favicon.ico
GET /assets/index-BsX2.js
GET /assets/sub/style.css
GET /extensions/core/groupNode.js
GET /extensions/comfyui-videohelpersuite/VHS.core.js
GET /extensions/ComfyUI-KJNodes/kjweb_async/svg-path.min.js
GET /scripts/api.js
GET /fonts/materialdesignicons-webfont.woff2
GET /materialdesignicons.min.css
GET /templates/index.json
GET /templates/video_wan_vace-1.webp
GET /docs/WanVaceToVideo/zh.md
GET /ws?clientId=abc
GET /api/ws
GET /prompt
POST /prompt
POST /api/prompt
GET /queue
POST /queue
POST /interrupt
POST /api/free
GET /history
GET /api/history?max_items=64
POST /history
GET /history/4371cec6-f036-4fac-a608-83670497f08f
GET /api/jobs?limit=2
GET /api/jobs/4371cec6-f036-4fac-a608-83670497f08f
POST /api/jobs/4371cec6-f036-4fac-a608-83670497f08f/cancel
POST /api/jobs/cancel
GET /view?filename=a.mp4
GET /view?filename=a.mp4&subfolder=&type=output
GET /api/view?filename=clip/a.png&type=temp&subfolder=x/y&preview=webp;90&channel=rgb&rand=0.4
HEAD /view?filename=a%20b.mp4&type=input
GET /api/view?filename=%E8%A7%86%E9%A2%91.mp4&type=input
GET /api/vhs/viewvideo?filename=a.mp4&type=input&format=video/mp4&force_rate=16&force_size=512x%3F
GET /vhs/queryvideo?filename=a.mp4&type=input&format=video%2Fmp4&timestamp=1
GET /vhs/viewaudio?filename=a.mp3&type=input&start_time=0.5&deadline=realtime
POST /upload/image
POST /api/upload/mask
GET /object_info
GET /api/object_info/WanVaceToVideo
GET /object_info/Image%20Comparer%20(rgthree)
GET /system_stats
GET /features
GET /embeddings
GET /models
GET /models/diffusion_models
GET /api/experiment/models/vae
GET /extensions
GET /api/extensions
GET /api/i18n
GET /api/users
GET /api/workflow_templates
GET /api/global_subgraphs
GET /api/node_replacements
GET /api/settings
POST /api/settings
GET /settings/Comfy.Locale
POST /settings/Comfy.Locale
GET /api/userdata?dir=workflows&recurse=true&split=false&full_info=true
GET /api/userdata/workflows%2Fvace.json
GET /api/userdata/workflows%2F%E8%A7%86%E9%A2%91%2Fvace.json
POST /api/userdata/workflows%2Fvace.json?overwrite=false&full_info=true
POST /api/userdata/workflows%2F.index.json
DELETE /api/userdata/workflows%2Fvace.json
POST /api/userdata/workflows%2Fa.json/move/workflows%2Fb.json
GET /api/userdata/comfy.templates.json
GET /api/userdata/user.css
""".strip().splitlines()

CLOSED = """
GET /internal/logs
GET /internal/logs/raw
PATCH /internal/logs/subscribe
GET /internal/folder_paths
GET /internal/files/output
GET /api/internal/logs
GET /view_metadata/diffusion_models?filename=a.safetensors
GET /experiment/models/preview/vae/0/a.png
GET /manager/queue/install
POST /manager/reboot
GET /customnode/getlist
POST /customnode/install/git_url
GET /snapshot/get_current
POST /snapshot/restore
GET /externalmodel/getlist
GET /comfyui_manager/comfyui-manager.js
GET /v2/manager/version
GET /v2/userdata?path=
GET /vhs/getpath?path=/
GET /getpath?path=/
GET /viewvideo?filename=a.mp4
GET /api/assets
POST /api/assets
DELETE /api/assets/1
GET /api/assets/index.js
GET /api/assets/1/content
GET /api/scripts/api.js
POST /users
GET /api/user
GET /api/workflows
GET /api/userdata/comfy.settings.json
GET /api/userdata/comfyui.db
POST /api/userdata/user.css
GET /api/userdata/secrets%2Fa.json
GET /api/userdata/workflows%2F..%2F..%2Fa.json
POST /api/userdata/workflows%2Fa.json/move/a.json
PUT /prompt
OPTIONS /prompt
TRACE /
CONNECT /prompt
DELETE /history
POST /view
GET /upload/image
GET /metrics
GET /.env
GET /.git/config
GET /assets/.git/config
GET /assets/secret.pem
GET /extensions/evil/run.py
GET /models/a/b
GET /etc/passwd
GET /server.py
GET /wp-login.php
GET /kjnodes/browse?path=/
GET /node_id/../x
""".strip().splitlines()

BAD_PATHS = """
/../etc/passwd
/..
/.
/./prompt
/assets/../../etc/passwd
/assets/..%2f..%2fetc/passwd.js
/assets/%2e%2e/%2e%2e/etc/passwd
/assets/%2E%2E%2Fx.js
/assets/..%5c..%5cx.js
/assets/..\\x.js
/%2e%2e%2fetc%2fpasswd
/view%2f..%2f..
/%252e%252e/x.js
/assets/%252e%252e%252fx.js
/assets//x.js
//evil.example/x.js
/prompt/
/assets/a%00.js
/assets/a%0d%0aX-Evil:1.js
/assets/a%c0%ae.js
/assets/%ff.js
/assets/a%e2%80%a8.js
/api//prompt
/api/%2fprompt
/history/%2e%2e
/history/..%2f..%2finternal
/api/userdata/%2e%2e
/api/userdata/workflows%252f..%252fx
/api/userdata/workflows%5c..%5cx
/api/userdata/workflows%2fa%00.json
""".strip().splitlines()

BAD_QUERIES = """
/view
/view?type=output
/view?filename=
/view?filename=../../etc/passwd&type=output
/view?filename=..%2f..%2fetc%2fpasswd
/view?filename=/etc/passwd
/view?filename=a/../../b.png
/view?filename=a%00.png
/view?filename=a%5c..%5cb
/view?filename=a.png&filename=../b
/view?filename=x.png&type=output&subfolder=../../..
/view?filename=x.png&subfolder=/etc
/view?filename=x.png&subfolder=a//b
/view?filename=x.png&subfolder=.
/view?filename=a.png&type=weird
/view?filename=a.png&type=
/view?filename=a.png&type=output&type=models
/view?filename=a.png&preview=x;1
/view?filename=%ff
/vhs/viewvideo?filename=/etc/passwd&type=path
/vhs/viewvideo?filename=a.mp4&type=path
/vhs/viewvideo?filename=http://169.254.169.254/latest&type=input
/vhs/viewvideo?filename=%25d.png&type=input
/vhs/viewvideo?filename=a.mp4&subfolder=../..
/vhs/viewvideo?filename=a.mp4&force_size=10x10,drawtext=textfile=/etc/passwd
/vhs/viewvideo?filename=a.mp4&format=folder
/vhs/viewvideo?filename=a.mp4&frame_load_cap=-vf
/vhs/viewaudio?filename=a.mp4&start_time=1;2
/vhs/queryvideo?filename=a.mp4&type=path
/userdata
/userdata?dir=
/userdata?dir=.
/userdata?dir=..
/userdata?dir=/
/userdata?dir=workflows/../..
/userdata?dir=__manager
""".strip().splitlines()


@pytest.mark.parametrize("line", OPEN)
def test_what_the_interface_and_programs_need_is_open(line: str) -> None:
    """Prevents a gateway so tight that the product does not work."""
    method, raw = line.split(" ", 1)
    find_route(parse_target(raw), method)


@pytest.mark.parametrize("line", CLOSED)
def test_everything_else_is_closed(line: str) -> None:
    """Prevents reach into the server: logs, listings, installers, foreign files."""
    method, raw = line.split(" ", 1)
    with pytest.raises(Refusal) as refused:
        find_route(parse_target(raw), method)
    assert refused.value.kind.type in {"route_closed", "method_closed", "bad_path"}


@pytest.mark.parametrize("raw", BAD_PATHS)
def test_a_path_with_two_readings_is_refused(raw: str) -> None:
    """Prevents the classic: the proxy checks one path and the server opens another."""
    with pytest.raises(Refusal) as refused:
        find_route(parse_target(raw), "GET")
    assert refused.value.kind.type in {"bad_path", "route_closed"}


@pytest.mark.parametrize("raw", BAD_QUERIES)
def test_a_query_that_reaches_for_other_files_is_refused(raw: str) -> None:
    """ComfyUI compares text and VideoHelperSuite compares nothing, so the check is here."""
    with pytest.raises(Refusal) as refused:
        find_route(parse_target(raw), "GET")
    assert refused.value.kind.type == "bad_query"


async def test_nothing_of_all_that_reaches_comfyui_over_the_wire(bench: Bench) -> None:
    """The same corpus as raw bytes: what an HTTP parser makes of a path is part of the check."""
    bearer = f"Authorization: Bearer {bench.token}"
    closed = [line.split(" ", 1)[1] for line in CLOSED if line.startswith("GET ")]
    for raw in (*BAD_PATHS, *BAD_QUERIES, *closed):
        answer = await raw_request(bench, get(raw, bearer))
        assert answer.split(b" ")[1] in {b"400", b"404", b"405"}, raw
        assert not bench.comfy.requests, raw


async def test_closed_routes_say_so_in_json_and_reach_nobody(bench: Bench) -> None:
    """A 404 that looks like ComfyUI's own would send users hunting in the wrong place."""
    async with bench.client() as client:
        closed = await client.get("/internal/logs")
        method = await client.delete("/history")
    assert closed.status_code == 404
    error = closed.json()["error"]
    assert error["type"] == "route_closed"
    assert "closed at the gateway" in error["message"]
    assert "网关" in error["message_zh"]
    assert error["request_id"] == closed.headers["X-Request-Id"]
    assert method.status_code == 405
    assert method.headers["Allow"] == "GET, HEAD, POST"
    assert not bench.comfy.requests


async def test_comfyui_gets_the_path_that_was_checked_not_the_one_that_was_sent(
    bench: Bench,
) -> None:
    """Odd encodings are written anew, so that there is nothing left to disagree about."""
    await raw_request(
        bench,
        get(
            "/%61pi/userdata/workflows%2f%76ace.json?t=1",
            f"Authorization: Bearer {bench.token}",
        ),
    )
    await raw_request(
        bench,
        get(
            "/view?filename=a+b%2Ec.png&evil=1&type=input",
            f"Authorization: Bearer {bench.token}",
        ),
    )
    assert [seen.raw_path for seen in bench.comfy.requests] == [
        "/api/userdata/workflows%2Fvace.json?t=1",
        "/view?filename=a%20b.c.png&type=input",
    ]


async def test_requests_that_are_no_http_get_a_short_answer(bench: Bench) -> None:
    """The parser's opinion of an attack is nobody's business."""
    for text in (
        "nonsense\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "POST /prompt HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
    ):
        answer = await raw_request(bench, text)
        assert answer.split(b" ")[1] == b"400"
        assert b'"type": "bad_request"' in answer
        assert b"vace-gateway" in answer
    absolute = await raw_request(bench, get("http://evil.example/prompt"))
    assert b"bad_path" in absolute
    assert not bench.comfy.requests


async def test_a_body_on_a_route_without_one_is_refused(bench: Bench) -> None:
    """A GET with a body is read differently by different servers (request smuggling)."""
    async with bench.client() as client:
        answer = await client.request("GET", "/queue", content=b"GET /internal/logs HTTP/1.1")
    assert answer.status_code == 413
    assert not bench.comfy.requests
