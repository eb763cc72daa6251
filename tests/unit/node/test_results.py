"""Which results are uploaded, under which name, and which may be removed."""

import base64
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.node.vace_node.cloud import Metadata
from infra.node.vace_node.errors import NodeError
from infra.node.vace_node.results import (
    Bucket,
    Result,
    load_record,
    object_key,
    scan,
    to_remove,
    to_upload,
    upload_new,
)
from infra.node.vace_node.settings import ResultsSettings
from tests.unit.node import cloud_double
from tests.unit.node.cloud_double import Cloud

SECOND = 10**9
NOW = 1_795_000_000.0  # 2026-11-18 11:06:40 UTC


def result(name: str, *, age: float = 60, size: int = 100) -> Result:
    """A file that was changed `age` seconds ago."""
    return Result(name, size, int((NOW - age) * SECOND))


def test_new_and_changed_files_are_uploaded_oldest_first() -> None:
    """A file that ComfyUI wrote again under its old name is another result."""
    old, new, changed = result("a", age=90), result("b", age=30), result("c", age=60)
    uploaded = {"c": [1, 2], "d": result("d").stamp}
    assert to_upload([new, changed, old, result("d")], uploaded, NOW) == [old, changed, new]


def test_files_that_are_being_written_or_empty_wait() -> None:
    """Half a video in the bucket would look like a finished one."""
    assert to_upload([result("a", age=5), result("b", size=0)], {}, NOW) == []


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("vace_00001.mp4", "outputs/2026-11-18/110640-vace_00001.mp4"),
        ("cats/day 1/x.png", "outputs/2026-11-18/cats/day 1/110640-x.png"),
    ],
)
def test_key_has_date_and_file_name(name: str, key: str) -> None:
    """Two runs that used one name must not overwrite each other in the bucket."""
    assert object_key("outputs/", result(name, age=0)) == key


def test_nothing_is_removed_from_a_disk_with_room() -> None:
    """Local results are kept; removal is a last resort."""
    files = [result("a")]
    assert to_remove(files, {"a": files[0].stamp}, used=85, capacity=100) == []


def test_full_disk_loses_the_oldest_uploaded_files_only() -> None:
    """What is not in the bucket, or was changed since, stays whatever happens."""
    files = [result(name, age=100 - i, size=4) for i, name in enumerate("abcde")]
    uploaded = {file.name: file.stamp for file in files}
    uploaded["a"] = [4, 1]
    del uploaded["c"]
    assert [f.name for f in to_remove(files, uploaded, used=88, capacity=100)] == ["b", "d"]


def roomy(_: Path) -> tuple[int, int]:
    """A disk that is half full, whatever the one of this machine is."""
    return 50, 100


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """A running double."""
    with cloud_double.serving() as cloud:
        yield cloud


@pytest.fixture
def bucket(cloud: Cloud) -> Bucket:
    """A bucket of the double."""
    settings = ResultsSettings("vace-results", cloud.url, "outputs/")
    keys = Metadata(cloud.url).role_credentials()
    assert keys is not None
    return Bucket(settings, "cn-hangzhou", lambda: keys, virtual_host=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An output folder with two results, a link and a hidden file."""
    output = tmp_path / "output"
    (output / "sub").mkdir(parents=True)
    (output / "one.mp4").write_bytes(b"first video")
    (output / "sub" / "two ü.png").write_bytes(b"picture")
    (output / ".partial").write_bytes(b"hidden")
    (output / "link.mp4").symlink_to("/etc/hostname")
    (output / "linked").symlink_to("/etc")
    for path in (output / "one.mp4", output / "sub" / "two ü.png"):
        os.utime(path, (NOW - 60, NOW - 60))
    return output


def test_results_are_stored_encrypted_and_noted(
    cloud: Cloud, bucket: Bucket, folder: Path, tmp_path: Path
) -> None:
    """The second run must find nothing to do."""
    record = tmp_path / "record.json"
    now = lambda: NOW  # noqa: E731
    summary = upload_new(bucket, "outputs/", folder=folder, record=record, usage=roomy, now=now)
    assert summary.startswith("2 uploaded")
    assert len(cloud.objects) == 2
    headers, body = cloud.objects["/vace-results/outputs/2026-11-18/110540-one.mp4"]
    assert body == b"first video"
    assert headers["x-oss-server-side-encryption"] == "AES256"
    assert headers["x-oss-security-token"] == cloud_double.SECURITY_TOKEN
    assert headers["content-type"] == "video/mp4"
    assert headers["content-md5"] == base64.b64encode(hashlib.md5(body).digest()).decode()
    assert set(load_record(record)) == {"one.mp4", "sub/two ü.png"}
    cloud.objects.clear()
    upload_new(bucket, "outputs/", folder=folder, record=record, usage=roomy, now=now)
    assert cloud.objects == {}


def test_links_and_hidden_files_are_not_results(folder: Path) -> None:
    """A link that a custom node left must not send /etc to the bucket."""
    assert [file.name for file in scan(folder)] == ["one.mp4", "sub/two ü.png"]


def test_refused_upload_is_reported_and_tried_again(
    cloud: Cloud, bucket: Bucket, folder: Path, tmp_path: Path
) -> None:
    """A lost permission must show as a failed unit, and cost no file."""
    record = tmp_path / "record.json"
    cloud.object_refusal = (403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
    with pytest.raises(NodeError, match=r"2 of 2 results .* allow oss:PutObject on vace-results"):
        upload_new(bucket, "outputs/", folder=folder, record=record, usage=roomy, now=lambda: NOW)
    assert load_record(record) == {}
    cloud.object_refusal = None
    upload_new(bucket, "outputs/", folder=folder, record=record, usage=roomy, now=lambda: NOW)
    assert len(load_record(record)) == 2


def test_record_forgets_files_that_are_gone(bucket: Bucket, folder: Path, tmp_path: Path) -> None:
    """Otherwise it would grow for ever."""
    record = tmp_path / "record.json"
    upload_new(bucket, "outputs/", folder=folder, record=record, usage=roomy, now=time.time)
    (folder / "one.mp4").unlink()
    upload_new(bucket, "outputs/", folder=folder, record=record, usage=roomy, now=time.time)
    assert set(load_record(record)) == {"sub/two ü.png"}


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"a": None})])
def test_damaged_record_means_uploading_again(tmp_path: Path, text: str) -> None:
    """Uploading twice is harmless; refusing to upload is not."""
    record = tmp_path / "record.json"
    record.write_text(text)
    assert load_record(record) == {}


def test_a_full_disk_loses_what_is_in_the_bucket(
    bucket: Bucket, folder: Path, tmp_path: Path
) -> None:
    """Otherwise the next video fails for want of space."""
    summary = upload_new(
        bucket,
        "outputs/",
        folder=folder,
        record=tmp_path / "record.json",
        usage=lambda _: (100, 100),
        now=lambda: NOW,
    )
    assert summary == "2 uploaded, 2 removed, 0 on the disk"
    assert sorted(path.name for path in folder.rglob("*.mp4")) == ["link.mp4"]
