"""The cache of tools keeps what is whole, and only that."""

import os
import threading
import time
from pathlib import Path

import pytest

from rehearsal.toolchain.store import STAMP, USED, Store, cache_root, content_key, folder_parts

KEY = "0123456789abcdef"


def fill(target: Path) -> None:
    (target / "bin").mkdir()
    (target / "bin" / "tool").write_text("#!/bin/sh\n")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "cache")
    store.root.mkdir()
    return store


def test_the_key_changes_with_every_part_and_with_its_name() -> None:
    """Prevents an old binary from being used for new sources."""
    keys = {
        content_key({"go.mod": "a", "go.sum": "b"}),
        content_key({"go.mod": "ab", "go.sum": ""}),
        content_key({"go.mod": "b", "go.sum": "a"}),
        content_key({"go.mo": "da", "go.sum": "b"}),
        content_key({"go.mod": "a", "go.sum": "b", "flags": "-trimpath"}),
    }
    assert len(keys) == 5
    assert all(len(key) == len(KEY) for key in keys)


def test_the_key_does_not_depend_on_the_order_of_the_parts() -> None:
    """Prevents a rebuild of five minutes because a folder was listed in another order."""
    assert content_key({"a": "1", "b": "2"}) == content_key({"b": b"2", "a": b"1"})


def test_a_folder_counts_with_the_named_kinds_of_files_only(tmp_path: Path) -> None:
    """Prevents an editor's backup file from changing the key."""
    for name in ("main.go", "go.mod", "main.go~", "notes.txt"):
        (tmp_path / name).write_text(name)
    assert set(folder_parts(tmp_path, ("go.mod", "*.go"))) == {"main.go", "go.mod"}


def test_an_installed_entry_is_found_with_its_origin(store: Store) -> None:
    """Prevents building again what is there, and a wrong story about where it came from."""
    made = store.install("tool", KEY, "build", fill)
    found = store.find("tool", KEY)
    assert found == made
    assert (made.path / "bin" / "tool").is_file()
    assert store.find("tool", KEY[::-1]) is None


def test_an_interrupted_installation_leaves_nothing_that_looks_finished(store: Store) -> None:
    """Prevents a half-written program from being run by the next start."""

    def interrupted(target: Path) -> None:
        fill(target)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.install("tool", KEY, "build", interrupted)
    assert store.find("tool", KEY) is None
    assert list(store.root.iterdir()) == []


def test_what_a_killed_run_left_is_cleared_away(store: Store) -> None:
    """Prevents a cache that grows by 300 MB with every kill, and write-protected leftovers."""
    leftover = store.root / f"tool-{KEY}.partial"
    (leftover / "module").mkdir(parents=True)
    (leftover / "module" / "file").write_text("")
    (leftover / "module").chmod(0o555)
    entry = store.install("tool", KEY, "build", fill)
    assert not (entry.path / "module").exists()
    assert not leftover.exists()


@pytest.mark.parametrize("damage", ["shortened", "missing", "touched", "no stamp", "bad stamp"])
def test_a_damaged_entry_is_not_used(store: Store, damage: str) -> None:
    """Prevents strange crashes of a program that was cut short by a full disk."""
    entry = store.install("tool", KEY, "build", fill)
    program = entry.path / "bin" / "tool"
    match damage:
        case "shortened":
            times = program.stat()
            program.write_text("#!")
            os.utime(program, ns=(times.st_atime_ns, times.st_mtime_ns))
        case "missing":
            program.unlink()
        case "touched":
            os.utime(program, (0, 0))
        case "no stamp":
            (entry.path / STAMP).unlink()
        case "bad stamp":
            (entry.path / STAMP).write_text("[]")
    assert store.find("tool", KEY) is None
    assert store.install("tool", KEY, "build", fill) == store.find("tool", KEY)


def test_only_one_run_at_a_time_installs_a_tool_and_the_other_says_why_it_waits(
    store: Store,
) -> None:
    """Prevents two builds at once, and a wait that nobody understands."""
    said: list[str] = []
    waiting = threading.Event()
    order: list[str] = []

    def heard(line: str) -> None:
        said.append(line)
        waiting.set()

    def second() -> None:
        with store.lock("tool", heard):
            order.append("second")

    with store.lock("tool", said.append):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10), "the second run did not say that it waits"
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert said == [f"waiting for another run (process {os.getpid()}) that provides tool"]


def test_entries_unused_for_a_month_go_when_a_new_one_comes(store: Store) -> None:
    """Prevents a cache that only grows; a variant with a longer name is another tool."""
    old = store.install("tool", "a" * 16, "build", fill)
    other = store.install("tool-fast", "b" * 16, "build", fill)
    recent = store.install("tool", "c" * 16, "build", fill)
    long_ago = time.time() - 40 * 86400
    for entry in (old, other):
        (entry.path / USED).touch()
        os.utime(entry.path / USED, (long_ago, long_ago))
    store.install("tool", KEY, "build", fill)
    assert not old.path.exists()
    assert other.path.exists()
    assert recent.path.exists()


def test_a_duration_is_remembered_unless_caches_were_warm(store: Store) -> None:
    """Prevents an estimate of three seconds for a cold build."""
    assert store.seconds("tool", 200) == 200
    store.record_seconds("tool", 251.04, 200)
    assert store.seconds("tool", 200) == 251.0
    store.record_seconds("tool", 3, 200)
    assert store.seconds("tool", 200) == 251.0


def test_the_cache_follows_the_base_directory_specification() -> None:
    """Prevents files in unexpected places; a relative setting is invalid and ignored."""
    assert cache_root({"XDG_CACHE_HOME": "/c"}) == Path("/c/wan-vace/toolchain")
    default = Path.home() / ".cache/wan-vace/toolchain"
    assert cache_root({}) == default
    assert cache_root({"XDG_CACHE_HOME": "relative"}) == default
