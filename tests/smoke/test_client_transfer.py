"""Uploads and downloads are streams that end whole or not at all."""

import hashlib
import io
import tracemalloc
from pathlib import Path

import pytest

from smoke_tests.comfy_client import (
    ComfyClient,
    Deadline,
    NotComfyUI,
    OutputFile,
    Timeout,
    TruncatedDownload,
    UnexpectedAnswer,
)
from tests.smoke.scripted_comfyui import Reply, ScriptedComfyUI

VIDEO = OutputFile("32", "gifs", "a b_00001.mp4", "sub", "output", "video/h264-mp4")
BODY = bytes(range(256)) * 400


def test_an_upload_sends_the_field_that_comfyui_reads(
    server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents an upload under another field name, which ComfyUI answers 400."""
    server.replies["POST /upload/image"] = [Reply(json={"name": "x (1).png", "subfolder": "in"})]
    uploaded = client.upload(io.BytesIO(b"picture"), "x.png", subfolder="in")
    assert uploaded.reference == "in/x (1).png"
    body = server.seen[-1].body
    assert b'name="image"; filename="x.png"' in body
    assert b'name="subfolder"' in body
    assert b"overwrite" not in body


def test_an_upload_stops_at_its_deadline(server: ScriptedComfyUI, client: ComfyClient) -> None:
    """Prevents a slow line from holding a run for ever."""
    ticks = iter([0.0, *[0.1] * 3, *[9.0] * 100])
    deadline = Deadline(1, clock=lambda: next(ticks))
    with pytest.raises(Timeout, match=r"uploading x\.png|POST /upload/image"):
        client.upload(io.BytesIO(BODY * 20), "x.png", deadline)


def test_an_upload_answer_without_a_name_is_not_comfyui(
    server: ScriptedComfyUI, client: ComfyClient
) -> None:
    """Prevents submitting a graph that names the picture None."""
    server.replies["POST /upload/image"] = [Reply(json={"ok": True})]
    with pytest.raises(NotComfyUI, match="without name"):
        client.upload(io.BytesIO(b"x"), "x.png")


def test_a_download_is_whole_and_hashed(
    server: ScriptedComfyUI, client: ComfyClient, tmp_path: Path
) -> None:
    """Prevents a hash that is not that of the stored bytes."""
    server.replies["GET /view"] = [Reply(body=BODY)]
    done = client.download(VIDEO, tmp_path / "out.mp4")
    assert done.path.read_bytes() == BODY
    assert (done.size, done.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())
    assert server.seen[-1].query == "filename=a b_00001.mp4&subfolder=sub&type=output"
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize(
    "reply",
    [Reply(body=BODY, cut_after=1000), Reply(body=b"", headers={"Content-Length": "0"})],
    ids=["cut", "empty"],
)
def test_a_truncated_download_leaves_nothing_behind(
    reply: Reply, server: ScriptedComfyUI, client: ComfyClient, tmp_path: Path
) -> None:
    """Prevents half a video from being taken for a whole one by the next step."""
    server.replies["GET /view"] = [reply]
    (tmp_path / "out.mp4").write_bytes(b"the earlier video")
    with pytest.raises(TruncatedDownload):
        client.download(VIDEO, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == b"the earlier video"


def test_a_download_that_stops_ends_at_its_deadline(
    server: ScriptedComfyUI, client: ComfyClient, tmp_path: Path
) -> None:
    """Prevents a hang in the middle of a file."""
    server.replies["GET /view"] = [Reply(body=BODY, stop_after=1000)]
    with pytest.raises(Timeout):
        client.download(VIDEO, tmp_path / "out.mp4", Deadline(0.4))
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_told_with_its_status(
    server: ScriptedComfyUI, client: ComfyClient, tmp_path: Path
) -> None:
    """Prevents an empty file in place of a 404."""
    server.replies["GET /view"] = [Reply(status=404)]
    with pytest.raises(UnexpectedAnswer, match="404"):
        client.download(VIDEO, tmp_path / "out.mp4")
    assert not list(tmp_path.iterdir())


def test_a_large_download_does_not_have_to_fit_into_memory(
    server: ScriptedComfyUI, client: ComfyClient, tmp_path: Path
) -> None:
    """Prevents collecting a video in memory before it is written."""
    body = bytes(16 << 20)
    server.replies["GET /view"] = [Reply(body=body)]
    tracemalloc.start()
    try:
        client.download(VIDEO, tmp_path / "out.mp4")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # the server in this process holds one more copy while it sends
    assert peak < 2 * len(body)
