"""Each way of not getting through has its own error, over real sockets and real TLS."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smoke_tests import reference
from smoke_tests.comfy_client import (
    BadTarget,
    ComfyClient,
    ConnectionProblem,
    Deadline,
    NotComfyUI,
    NotReady,
    Target,
    Timeout,
    UnexpectedAnswer,
    Unreachable,
    WrongCertificate,
    WrongToken,
)
from tests.smoke.conftest import Authority, Server
from tests.smoke.scripted_comfyui import RECORDINGS, Reply, ScriptedComfyUI

TOKEN = "right-token-of-the-service"
Make = Callable[..., Authority]


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with the right token and the line end that editors add."""
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    return path


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket that nobody serves."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def _url(listening: socket.socket, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"


def test_the_whole_run_works_over_tls_with_a_private_authority_and_a_token(
    start: Server, make_authority: Make, token_file: Path
) -> None:
    """Prevents a WebSocket that forgets the token or the authority, while plain calls work."""
    authority = make_authority()
    server = start(token=TOKEN, context=authority.context)
    server.job(RECORDINGS["reference_history"], RECORDINGS["reference_events"])
    target = Target.of(server.url, token_file=token_file, ca_file=authority.ca_file)
    with ComfyClient(target) as client:
        result = client.run(reference.workflow().graph, Deadline(10))
    assert result.events > 10
    assert "/ws" in server.paths("GET")


@pytest.mark.parametrize(
    ("leaf", "part"),
    [(("127.0.0.9", 1), "mismatch"), (("127.0.0.1", -1), "expired")],
    ids=["another host", "expired"],
)
def test_a_bad_certificate_is_refused_before_the_token_is_sent(
    leaf: tuple[str, int], part: str, start: Server, make_authority: Make, token_file: Path
) -> None:
    """Prevents handing the token to whoever answers."""
    authority = make_authority(*leaf)
    server = start(context=authority.context)
    target = Target.of(server.url, token_file=token_file, ca_file=authority.ca_file)
    with ComfyClient(target) as client, pytest.raises(WrongCertificate, match=part):
        client.system_stats()
    assert not server.seen


def test_another_authority_is_not_trusted(start: Server, make_authority: Make) -> None:
    """Prevents accepting a self-made certificate of the same name."""
    server = start(context=make_authority().context)
    target = Target.of(server.url, ca_file=make_authority().ca_file)
    with ComfyClient(target) as client, pytest.raises(WrongCertificate, match="--ca-file"):
        client.system_stats()


def test_a_private_authority_is_not_trusted_by_default(start: Server, make_authority: Make) -> None:
    """Prevents a client that verifies nothing when no CA file is given."""
    server = start(context=make_authority().context)
    with ComfyClient(Target.of(server.url)) as client, pytest.raises(WrongCertificate) as caught:
        client.system_stats()
    assert "--ca-file" in caught.value.remedy


def test_a_wrong_token_is_told_for_calls_and_runs(start: Server, tmp_path: Path) -> None:
    """Prevents a 401 of the WebSocket from being taken for a reason to poll."""
    server = start(token=TOKEN)
    (tmp_path / "old").write_text("old-token")
    with ComfyClient(Target.of(server.url, token_file=tmp_path / "old")) as client:
        with pytest.raises(WrongToken, match="token missing or wrong"):
            client.system_stats()
        with pytest.raises(WrongToken):
            client.run({}, Deadline(5))
    assert "/prompt" not in server.paths("POST")


def test_the_token_comes_from_the_environment_too(
    start: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents that a pipeline has to write its secret to a disk."""
    monkeypatch.setenv("VACE_API_TOKEN", TOKEN)
    with ComfyClient(Target.of(start(token=TOKEN).url)) as client:
        client.system_stats()


def test_the_token_is_in_no_repr_and_no_message(token_file: Path) -> None:
    """Prevents a token in a log, a traceback or a report."""
    target = Target.of("https://127.0.0.1:9", token_file=token_file)
    assert TOKEN not in repr(target)
    with ComfyClient(target, pause=lambda _: None) as client, pytest.raises(Unreachable) as caught:
        client.system_stats()
    assert TOKEN not in str(caught.value) + repr(caught.value)


def test_a_refused_connection_is_unreachable_after_a_few_tries() -> None:
    """Prevents an endless retry, and a single lost packet from failing a run."""
    waits: list[float] = []
    client = ComfyClient(Target.of("http://127.0.0.1:9"), pause=waits.append)
    with client, pytest.raises(Unreachable, match="allowedCidrs"):
        client.system_stats()
    assert waits == [0.2, 0.6, 1.5]


def test_a_post_is_repeated_only_when_not_a_byte_of_it_was_sent(
    server: ScriptedComfyUI, listener: socket.socket
) -> None:
    """Prevents a second job for one, and a run that fails because a listener was just reopened."""
    waits: list[float] = []
    refused = ComfyClient(Target.of("http://127.0.0.1:9"), pause=waits.append)
    with refused, pytest.raises(Unreachable):
        refused.submit({}, "me")
    assert len(waits) == 3
    waits.clear()

    def hang_up() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(1024)  # the request has arrived, its answer is lost

    threading.Thread(target=hang_up, daemon=True).start()
    cut = ComfyClient(Target.of(_url(listener)), pause=waits.append)
    with cut, pytest.raises(Unreachable):
        cut.submit({}, "me")
    server.replies["POST /prompt"] = [Reply(status=502)]
    refusing = ComfyClient(Target.of(server.url), pause=waits.append)
    with refusing, pytest.raises(NotReady):
        refusing.submit({}, "me")
    assert not waits


def test_a_gateway_that_restarts_is_waited_for(server: ScriptedComfyUI) -> None:
    """Prevents a short reload from failing a run."""
    ok = Reply(json=RECORDINGS["system_stats"])
    server.replies["GET /system_stats"] = [Reply(status=502), Reply(status=503), ok]
    with ComfyClient(Target.of(server.url), pause=lambda _: None) as client:
        stats, simulated = client.system_stats()
    assert stats["system"]["comfyui_version"] == "0.33.0"
    assert not simulated


def test_a_service_that_stays_away_is_not_ready(server: ScriptedComfyUI) -> None:
    """Prevents "cannot reach" for a service that says itself what it waits for."""
    reason = {"ready": False, "reason": "node VHS_VideoCombine is missing"}
    server.replies["GET /system_stats"] = [Reply(status=503, json=reason)]
    with (
        ComfyClient(Target.of(server.url), pause=lambda _: None) as client,
        pytest.raises(NotReady, match="VHS_VideoCombine is missing"),
    ):
        client.system_stats()


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"<html>Welcome to nginx!</html>", headers={"Content-Type": "text/html"}),
        Reply(status=404, body=b"<html>no", headers={"Content-Type": "text/html"}),
        Reply(json=["not", "an", "object"]),
        Reply(json={"system": {"os": "linux"}}),
    ],
    ids=["a page", "a 404 page", "a list", "another program's JSON"],
)
def test_something_else_at_the_address_is_not_comfyui(
    reply: Reply, server: ScriptedComfyUI
) -> None:
    """Prevents a KeyError or a JSON error from somewhere inside."""
    server.replies["GET /system_stats"] = [reply]
    with ComfyClient(Target.of(server.url)) as client, pytest.raises(NotComfyUI):
        client.system_stats()


def test_an_unexpected_status_is_told_with_the_servers_words(
    server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents a bare "500" when the server said more."""
    server.replies["POST /upload/image"] = [
        Reply(status=413, json={"error": {"message": "at most 512 MiB"}})
    ]
    with pytest.raises(UnexpectedAnswer, match="413: 'at most 512 MiB'"):
        client.upload(Path(__file__), "a.png")


def test_plain_http_on_a_tls_port_is_explained(listener: socket.socket) -> None:
    """Prevents a riddle such as WRONG_VERSION_NUMBER as the only hint."""

    def answer() -> None:
        for _ in range(4):
            peer, _ = listener.accept()
            with peer:
                peer.recv(1024)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    threading.Thread(target=answer, daemon=True).start()
    client = ComfyClient(Target.of(_url(listener, "https")), pause=lambda _: None)
    with client, pytest.raises(Unreachable, match="plain http is spoken"):
        client.system_stats()


def test_a_server_that_never_answers_ends_at_the_deadline(listener: socket.socket) -> None:
    """Prevents a hang on a socket that accepts and stays silent."""
    deadline = Deadline(0.4)
    with ComfyClient(Target.of(_url(listener))) as client, pytest.raises(Timeout, match=r"0\.4 s"):
        client.call("GET", "/queue", deadline=deadline)
    assert deadline.elapsed() < 5


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("203.0.113.10", "must look like https"),
        ("ftp://host", "must look like https"),
        ("https://", "must look like https"),
        ("https://user:secret@host", "secrets belong in the token file"),
        ("https://host/?token=secret", "secrets belong in the token file"),
        ("https://host:99999", "between 1 and 65535"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_at_once(url: str, part: str) -> None:
    """Prevents a request to a place that nobody meant."""
    with pytest.raises(BadTarget, match=part) as caught:
        Target.of(url)
    assert "secret@" not in str(caught.value)
    assert "=secret" not in str(caught.value)


def test_the_token_does_not_cross_a_network_unencrypted(token_file: Path) -> None:
    """Prevents giving the token away by a mistyped scheme."""
    with pytest.raises(BadTarget, match="everybody on the way could read the token"):
        Target.of("http://203.0.113.10", token_file=token_file)
    assert Target.of("http://10.0.0.8", token_file=token_file, allow_plain_http=True).token
    assert Target.of("http://127.0.0.1:8188", token_file=token_file).token


@pytest.mark.parametrize("content", ["", "  \n", "two words", "line\nbreak", "schlüssel"])
def test_a_file_that_holds_no_token_is_refused(content: str, tmp_path: Path) -> None:
    """Prevents an illegal header, and the wrong file's content on the wire."""
    path = tmp_path / "token"
    path.write_text(content)
    with pytest.raises(BadTarget, match="--token-file") as caught:
        Target.of("https://host", token_file=path)
    assert not content.strip() or content.strip() not in str(caught.value)


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    """Prevents "No such file" without saying which option it came from."""
    (tmp_path / "ca").write_text("no certificate")
    with pytest.raises(BadTarget, match=r"--token-file .*nowhere"):
        Target.of("https://host", token_file=tmp_path / "nowhere")
    with pytest.raises(BadTarget, match=r"--ca-file .*PEM"):
        Target.of("https://host", ca_file=tmp_path / "ca")
    with pytest.raises(BadTarget, match=r"--ca-file .*nowhere"):
        Target.of("https://host", ca_file=tmp_path / "nowhere")


def test_every_error_has_a_remedy_and_stands_in_the_tree() -> None:
    """Prevents an error that leaves the reader alone, or that the docstring's tree forgets."""
    from smoke_tests.comfy_client import errors  # noqa: PLC0415

    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.ComfyError)
    ]
    assert len(classes) > 20
    for error in classes:
        assert error.remedy.endswith("."), error
        assert error.__name__ in (errors.__doc__ or ""), error
    assert issubclass(WrongToken, ConnectionProblem)
