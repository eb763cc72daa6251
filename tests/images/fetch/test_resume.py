"""Kills, full disks and two at once: work is kept, and a final name is always a whole file."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from vace_weights.errors import AllSourcesFailedError, DiskSpaceError
from vace_weights.fetch import Target, check_room
from vace_weights.journal import Journal
from vace_weights.manifest import SourceFile
from vace_weights.part import PartFile, part_paths, remove_part
from vace_weights.ranges import Piece, Pieces
from vace_weights.stamps import Stamps

from tests.images.fetch.conftest import DATA, FILE, NAME, QUICK, SHA256, Bench, at
from tests.images.fetch.server import Exchange, Site

LARGE = random.Random(5).randbytes(40 * 1024 * 1024)


def wait_until(condition: Callable[[], bool], what: str, limit_s: float = 15) -> None:
    """Poll with a deadline."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.005)


def write_manifest(folder: Path, url: str, data: bytes) -> Path:
    row = {
        "name": NAME,
        "folder": "vae",
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "licence": "none",
        "sources": [{"kind": "http", "url": f"{url}/{NAME}"}],
        "derived": None,
    }
    path = folder / "weights.json"
    path.write_text(json.dumps({"schema": 1, "files": [row]}))
    return path


def start(folder: Path, manifest: Path, *options: str) -> subprocess.Popen[str]:
    """`vace-weights fetch` as a process of its own."""
    command = [sys.executable, "-m", "vace_weights", "fetch", "--to", str(folder), *options]
    return subprocess.Popen(
        [*command, "--manifest", str(manifest)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def slowly(exchange: Exchange) -> None:
    """The right answer, at a pace that leaves time to be killed: 20 MiB/s a connection."""
    begin, end = exchange.asked
    headers = {
        "Content-Length": str(end - begin),
        "Content-Range": f"bytes {begin}-{end - 1}/{len(exchange.data)}",
    }
    exchange.send(206, headers)
    for low in range(begin, end, 65536):
        exchange.wfile.write(exchange.data[low : min(low + 65536, end)])
        time.sleep(0.003)


def test_a_fetch_killed_at_random_moments_goes_on_and_ends_whole(
    tmp_path: Path, site: Site
) -> None:
    """Prevents a node that dies from starting 11 GB again, or from serving half a file."""
    site.files[f"/{NAME}"] = LARGE
    site.answer = slowly
    folder = tmp_path / "models"
    final = folder / "vae" / NAME
    manifest = write_manifest(tmp_path, site.url, LARGE)
    chance = random.Random()
    for _ in range(3):
        asked = len(site.requests)
        process = start(folder, manifest)
        wait_until(lambda asked=asked: len(site.requests) > asked, "a request")  # type: ignore[misc]
        moment = time.monotonic() + chance.uniform(0, 0.5)
        wait_until(lambda moment=moment: time.monotonic() > moment, "the moment")  # type: ignore[misc]
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not final.exists()
    site.answer = Exchange.send_range
    output, _ = start(folder, manifest).communicate(timeout=30)
    assert "verified" in output
    assert final.read_bytes() == LARGE
    assert [path.name for path in final.parent.iterdir()] == [NAME]


def test_after_a_kill_only_what_was_not_yet_recorded_is_fetched_again(
    tmp_path: Path, site: Site
) -> None:
    """Prevents a resume that resumes in name only."""
    site.files[f"/{NAME}"] = LARGE
    folder = tmp_path / "models"
    part, state = part_paths(folder / "vae" / NAME)
    hold = threading.Event()

    def all_but_the_end(exchange: Exchange) -> None:
        if exchange.asked[1] == len(LARGE):
            hold.wait(20)
            exchange.drop()
        else:
            exchange.send_range()

    site.answer = all_but_the_end
    manifest = write_manifest(tmp_path, site.url, LARGE)
    process = start(folder, manifest)
    digest = hashlib.sha256(LARGE).hexdigest()

    def recorded() -> int:
        if not state.exists() or not state.stat().st_size:
            return 0
        journal = Journal(state, len(LARGE), digest)
        pieces = journal.load()
        journal.close(remove=False)
        return pieces.total if pieces else 0

    wait_until(lambda: recorded() >= 32 * 1024 * 1024, "the first two ranges in the record")
    process.kill()
    process.communicate()
    hold.set()
    assert part.stat().st_size >= 32 * 1024 * 1024
    site.requests.clear()
    site.answer = Exchange.send_range
    output, _ = start(folder, manifest).communicate(timeout=30)
    assert "going on from there" in output
    assert [headers["Range"] for _, headers in site.requests] == [
        f"bytes={32 * 1024 * 1024}-{len(LARGE) - 1}"
    ]
    assert (folder / "vae" / NAME).read_bytes() == LARGE


def test_two_fetches_at_once_into_one_folder_fetch_the_file_once(
    tmp_path: Path, site: Site
) -> None:
    """Prevents two pods on one volume from writing into each other's file."""
    hold = threading.Event()

    def held(exchange: Exchange) -> None:
        hold.wait(20)
        exchange.send_range()

    site.answer = held
    folder = tmp_path / "models"
    manifest = write_manifest(tmp_path, site.url, DATA)
    first = start(folder, manifest)
    wait_until(lambda: bool(site.requests), "the first request")
    second = start(folder, manifest)
    assert second.stdout is not None
    line = second.stdout.readline()
    assert f"another fetch (process {first.pid}) works in" in line
    hold.set()
    first_output, _ = first.communicate(timeout=20)
    second_output, _ = second.communicate(timeout=20)
    assert "verified, from http" in first_output
    assert "was there already" in second_output
    assert len(site.requests) == 1
    assert (folder / "vae" / NAME).read_bytes() == DATA


def test_two_fetches_into_two_folders_that_share_their_sources_fetch_the_file_once(
    tmp_path: Path, site: Site
) -> None:
    """Prevents two writers of one part file: wrong bytes under a final name."""
    hold = threading.Event()

    def held(exchange: Exchange) -> None:
        hold.wait(20)
        exchange.send_range()

    site.answer = held
    manifest = write_manifest(tmp_path, site.url, DATA)
    document = json.loads(manifest.read_text())
    (row,) = document["files"]
    source = {name: row[name] for name in ("name", "size", "sha256", "sources")}
    row.update(name="made.safetensors", size=None, sha256=None)
    row["derived"] = {"converter": "fp8-scaled/2", "source": source}
    del row["sources"]
    manifest.write_text(json.dumps(document))
    shared = tmp_path / "shared"
    options = ("--sources-to", str(shared))
    first = start(tmp_path / "one", manifest, *options)
    wait_until(lambda: bool(site.requests), "the first request")
    second = start(tmp_path / "two", manifest, *options)
    try:
        assert second.stdout is not None
        lines = []
        while "another fetch, into another folder" not in "".join(lines):
            lines.append(second.stdout.readline())
            assert lines[-1], f"ended without waiting: {lines}"
        assert len(site.requests) == 1
    finally:
        hold.set()
    first_output, _ = first.communicate(timeout=20)
    second_output, _ = second.communicate(timeout=20)
    assert "verified, from http" in first_output
    assert "was there already" in second_output
    assert len(site.requests) == 1
    assert (shared / NAME).read_bytes() == DATA
    assert [path.name for path in shared.iterdir()] == [NAME]


def test_the_part_of_a_fetch_that_goes_on_is_not_removed_by_another(tmp_path: Path) -> None:
    """Prevents a fetch that finds its file whole from taking away what another one writes."""
    final = tmp_path / NAME
    paths = part_paths(final)
    with PartFile(final, len(DATA), SHA256, pytest.fail) as part:
        part.write(0, memoryview(DATA)[:1000], "first")
        remove_part(final)
        assert all(path.exists() for path in paths)
    remove_part(final)
    assert not list(tmp_path.iterdir())


def test_part_bytes_of_another_version_are_not_used(bench: Bench, site: Site, good: Site) -> None:
    """Prevents a file made of two versions after the manifest was updated."""
    part, state = part_paths(bench.path)
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    journal = Journal(state, len(DATA), "0" * 64)
    journal.record(Pieces([Piece(0, 1000, "old")]))
    journal.close(remove=False)
    bench.fetch(at(good))
    bench.require_whole()


def test_a_torn_record_falls_back_to_the_one_before(tmp_path: Path) -> None:
    """Prevents a power cut in the middle of a record from losing the whole download."""
    path = tmp_path / "state"
    journal = Journal(path, 10, SHA256)
    assert journal.load() is None
    journal.record(Pieces([Piece(0, 4, "a")]))
    journal.record(Pieces([Piece(0, 8, "a")]))
    journal.close(remove=False)
    content = bytearray(path.read_bytes())
    content[30] ^= 0xFF  # the second record is in the first slot
    path.write_bytes(bytes(content))
    again = Journal(path, 10, SHA256)
    pieces = again.load()
    again.close(remove=False)
    assert pieces is not None
    assert [(p.start, p.end) for p in pieces] == [(0, 4)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, really mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("SKIPPED, NOT PASSED: mounting a small disk needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"SKIPPED, NOT PASSED: no mount here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_half_way_says_what_to_free_and_keeps_what_is_there(
    small_disk: Path, good: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a full disk from losing gigabytes, or from leaving half a file."""
    bench = Bench(small_disk)
    # Another program takes the room after the check: the check is passed over.
    monkeypatch.setattr("vace_weights.fetch.check_room", lambda targets: None)
    with pytest.raises(DiskSpaceError) as caught:
        bench.fetch(at(good), options=replace(QUICK, connections=1))
    bench.require_nothing_final()
    assert "Free at least" in str(caught.value)
    assert "run the same command again" in str(caught.value)
    assert NAME in str(caught.value)
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    before = len(good.requests)
    bench.fetch(at(good), options=replace(QUICK, connections=1))
    bench.require_whole()
    assert "going on from there" in bench.heard.text
    assert len(good.requests) - before < 13


def test_a_disk_too_small_is_refused_before_the_first_byte(small_disk: Path, good: Site) -> None:
    """Prevents an hour of fetching that cannot end well."""
    bench = Bench(small_disk)
    with pytest.raises(DiskSpaceError, match="Free at least"):
        bench.fetch(at(good))
    assert not good.requests
    bench.require_nothing_final()


def test_the_room_for_all_files_is_counted_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents the third file from failing where the first alone would have fitted."""
    # A disk with a gigabyte free: what the machine's own has changes while the test runs.
    disk = SimpleNamespace(f_bavail=2**18, f_frsize=4096)
    monkeypatch.setattr("vace_weights.fetch.os.statvfs", lambda path: disk)
    half = SourceFile("half", 2**30 * 2 // 3, SHA256, ())
    one = Target(half, tmp_path / "one", ())
    check_room([one])
    with pytest.raises(DiskSpaceError, match="all files together"):
        check_room([one, replace(one, path=tmp_path / "two")])


def test_a_second_run_asks_nobody_and_hashes_nothing(
    bench: Bench, good: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents every start of a pod from reading 7 GB again."""
    bench.fetch(at(good))
    asked = len(good.requests)
    monkeypatch.setattr("vace_weights.fetch.hash_file", lambda *a: pytest.fail("hashed again"))
    assert bench.fetch(at(good)).source == ""
    assert len(good.requests) == asked


def test_a_file_that_was_changed_under_its_final_name_is_replaced(bench: Bench, good: Site) -> None:
    """Prevents a damaged file from being believed because it was right once."""
    bench.fetch(at(good))
    content = bytearray(DATA)
    content[5] ^= 1
    bench.path.write_bytes(bytes(content))
    bench.fetch(at(good))
    bench.require_whole()
    assert "is not the expected file" in bench.heard.text


def test_a_right_file_from_elsewhere_is_hashed_once_and_kept(bench: Bench, good: Site) -> None:
    """Prevents a file that somebody copied there from being fetched again."""
    bench.path.parent.mkdir(parents=True)
    bench.path.write_bytes(DATA)
    assert bench.fetch(at(good)).source == ""
    assert not good.requests
    assert Stamps(bench.folder).sha256(bench.path) == FILE.sha256


def test_after_all_sources_failed_the_next_run_uses_what_came(bench: Bench, site: Site) -> None:
    """Prevents an outage of all mirrors from costing what they had given."""

    def fails_after_six(exchange: Exchange) -> None:
        if exchange.number > 6:
            exchange.send(404, {"Content-Length": "0"})
        else:
            exchange.send_range()

    one = replace(QUICK, connections=1)
    site.answer = fails_after_six
    with pytest.raises(AllSourcesFailedError):
        bench.fetch(at(site), options=one)
    bench.require_nothing_final()
    site.answer = Exchange.send_range
    site.requests.clear()
    bench.fetch(at(site), options=one)
    bench.require_whole()
    assert len(site.requests) == 13 - 6


def test_kept_bytes_that_the_disk_spoilt_are_fetched_again_from_the_same_source(
    bench: Bench, site: Site
) -> None:
    """Prevents a damaged disk block from putting the blame on the only source there is."""
    one = replace(QUICK, connections=1)
    site.answer = lambda e: e.send_range() if e.number < 4 else e.send(404, {"Content-Length": "0"})
    with pytest.raises(AllSourcesFailedError):
        bench.fetch(at(site), options=one)
    with part_paths(bench.path)[0].open("r+b") as stream:
        stream.write(bytes([DATA[0] ^ 1]))
    site.answer = Exchange.send_range
    bench.fetch(at(site), options=one)
    bench.require_whole()
    assert "it is not clear where" in bench.heard.text
