"""Other ways in: without encryption, across folders, with too much, from another site's page."""

from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from smoke_tests.comfy_client import ComfyClient, is_loopback
from smoke_tests.knocking import Reply, knock, origin, websocket_headers
from smoke_tests.session import Run

REFUSED = {400, 403, 404}
FOREIGN = "https://evil.example"
SAYS_COMFYUI = (b"comfyui_version", b"queue_running", b"ComfyUI</title>")
PETABYTE = 1 << 50  # more than any disk here; a server that reads it first never answers
FIRST_PIECE = 64 << 10  # bytes that are really sent of it
CLIMBS = (
    ("../../vace-smoke.png", ""),
    ("vace-smoke.png", "../../.."),
    ("vace-smoke.png", "/etc"),
)


def _encrypted(run: Run) -> None:
    if not run.settings.target.secure:
        pytest.skip("the URL is plain http, so there is no encryption to go around")


def test_plain_http_on_the_same_port_gets_nothing(guarded: Run) -> None:
    """The port that speaks TLS does not serve the same without it."""
    _encrypted(guarded)
    try:
        reply = knock(guarded.settings.target, "GET", "/system_stats", encrypted=False)
    except OSError:
        return
    _redirects_or_refuses("plain http on the TLS port", reply)


def test_plain_http_on_port_80_gets_nothing(guarded: Run) -> None:
    """Port 80 is closed, or sends callers on to https; it never serves."""
    _encrypted(guarded)
    if is_loopback(guarded.settings.target.url):
        pytest.skip("the service is on this machine, where port 80 may be somebody else's")
    try:
        reply = knock(guarded.settings.target, "GET", "/system_stats", encrypted=False, port=80)
    except OSError:
        return
    _redirects_or_refuses("plain http on port 80", reply)


def _redirects_or_refuses(what: str, reply: Reply) -> None:
    assert not any(words in reply.body for words in SAYS_COMFYUI), (
        f"{what} is answered by ComfyUI itself: token and videos cross the network in the clear"
    )
    to = reply.headers.get("location", "")
    assert not 200 <= reply.status < 300, (
        f"{what} answered {reply.status}; expected nothing, a refusal or a redirect to https"
    )
    assert not 300 <= reply.status < 400 or to.startswith("https://"), (
        f"{what} redirects to {to!r}; expected an address that begins with https://"
    )


@pytest.mark.parametrize(("name", "subfolder"), CLIMBS)
def test_an_upload_cannot_leave_its_folder(
    name: str, subfolder: str, guarded: Run, client: ComfyClient
) -> None:
    """An upload whose name or folder climbs up is refused, or kept inside of the input folder."""
    files = {"image": (name, b"no picture", "image/png"), "subfolder": (None, subfolder)}
    answer = client.call("POST", "/upload/image", files=files)
    if answer.status in REFUSED:
        return
    said = f"file name {name!r} with subfolder {subfolder!r} was answered {answer.status}"
    assert answer.status == 200, f"{said}; expected a refusal (400, 403 or 404)"
    stored = answer.json_object()
    kept = f"{stored.get('subfolder', '')}/{stored.get('name', '')}"
    inside = ".." not in kept.split("/") and not kept.startswith("/etc")
    assert inside, f"{said} and stored as {kept!r}; expected a refusal, or a plain name"


def test_an_oversized_upload_is_refused_before_it_is_read(guarded: Run) -> None:
    """An upload that announces too much is answered 413 at once, after 64 KiB of a PiB."""
    target = guarded.settings.target
    headers = {
        "Content-Type": "multipart/form-data; boundary=smoke",
        "Content-Length": str(PETABYTE),
        **target.headers(),
    }
    head = b'--smoke\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    reply = knock(target, "POST", "/upload/image", headers, head + bytes(FIRST_PIECE - len(head)))
    assert reply.status == 413, (
        f"an upload that announces {PETABYTE} bytes was answered {reply} after {reply.took_s:.1f} "
        f"s and {FIRST_PIECE} bytes; expected 413 at once, or anybody with the token fills the disk"
    )


def test_a_websocket_without_token_is_refused(guarded: Run) -> None:
    """GET /ws as a WebSocket is answered 401 without the token, and with a wrong one."""
    target = guarded.settings.target
    for what, more in (
        ("without a token", {}),
        ("with a wrong token", {"Authorization": "Bearer " + "x" * len(target.token)}),
        ("with the token of nobody in the URL", {}),
    ):
        query = "?clientId=smoke" + ("&token=nobody" if "URL" in what else "")
        reply = knock(target, "GET", f"/ws{query}", websocket_headers() | more)
        assert reply.status in {401, 429}, (
            f"a WebSocket {what} was answered {reply}; expected 401: everybody could watch"
        )


@pytest.fixture
def session(guarded: Run) -> Iterator[str]:
    """The cookie of a signed-in browser; signed out afterwards."""
    target = guarded.settings.target
    form = urlencode({"token": target.token, "next": "/"}).encode("ascii")
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin(target)}
    reply = knock(target, "POST", "/login", headers, form)
    if reply.status in {404, 405}:
        pytest.skip("the service has no sign-in for browsers, so there is no cookie to abuse")
    cookie = reply.headers.get("set-cookie", "").partition(";")[0]
    assert reply.status == 303, f"signing in with the token was answered {reply}; expected 303"
    assert cookie, "signing in with the token set no cookie"
    yield cookie
    knock(target, "POST", "/logout", {"Cookie": cookie, "Origin": origin(target)})


def test_another_sites_page_cannot_use_a_signed_in_browser(guarded: Run, session: str) -> None:
    """A cookie with a foreign Origin is refused (403) for POST, WebSocket and signing in."""
    target = guarded.settings.target
    own = {"Cookie": session, "Origin": origin(target)}
    foreign = {"Cookie": session, "Origin": FOREIGN}
    form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": FOREIGN}
    used = knock(target, "GET", "/queue", own)
    assert used.status == 200, f"the cookie itself was answered {used}; expected 200"
    replies = {
        "POST /prompt": knock(target, "POST", "/prompt", foreign, b"{}"),
        "POST /upload/image": knock(target, "POST", "/upload/image", foreign, b"{}"),
        "WebSocket /ws": knock(target, "GET", "/ws", websocket_headers() | foreign),
        "POST /login": knock(target, "POST", "/login", form, b"token=x"),
    }
    let_in = [f"{what}: {reply}" for what, reply in replies.items() if reply.status != 403]
    assert not let_in, f"answered to a page of {FOREIGN}, 403 expected: {', '.join(let_in)}"
