"""The wheels of a lock on this machine: whole, the locked ones, fetched once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from images.builder.errors import BuildFailedError, DiskSpaceError, DownloadError
from images.builder.wheels import WheelCache, batches, file_sha256, platform_tags
from images.lock import Wheel
from tests.images.builder.tiny import write_wheel


def locked(path: Path, **changes: object) -> Wheel:
    """The lock's entry of a wheel file."""
    name, version = path.name.split("-")[:2]
    given = {
        "sha256": file_sha256(path),
        "name": name,
        "version": version,
        "filename": path.name,
        "size": path.stat().st_size,
        "licence": None,
        **changes,
    }
    return Wheel(**given)  # type: ignore[arg-type]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with two wheels, as an index has them."""
    folder = tmp_path / "shop"
    write_wheel(folder, "one", "1.0", {"one.py": "X = 1\n"})
    write_wheel(folder, "two", "2.0", {"two.py": "X = 2\n"})
    return folder


class Index:
    """Fetches from a folder; fails as often as it is told."""

    def __init__(self, shop: Path, failures: int = 0) -> None:
        self.shop = shop
        self.failures = failures
        self.asked: list[list[str]] = []

    def __call__(self, step: str, wheels: Sequence[Wheel], folder: Path, log: Path) -> None:
        self.asked.append([wheel.name for wheel in wheels])
        if self.failures:
            self.failures -= 1
            # What pip had before the connection broke.
            shutil.copy(self.shop / wheels[0].filename, folder)
            raise BuildFailedError(step, 1, log, "connection reset")
        for wheel in wheels:
            shutil.copy(self.shop / wheel.filename, folder)


def test_pip_fetches_exactly_the_locked_files(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options of pip that look right can still resolve, build or skip the hash."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shop))
    wheels = [locked(path) for path in sorted(shop.iterdir())]
    lines: list[str] = []
    cache = WheelCache(tmp_path / "cache")
    found = cache.ensure(wheels, tmp_path / "log", lines.append)
    for wheel in wheels:
        assert file_sha256(found[wheel.sha256]) == wheel.sha256
        assert found[wheel.sha256].stat().st_mtime == 0
    assert any("one 1.0, two 2.0" in line for line in lines)
    shutil.rmtree(shop)
    assert cache.ensure(wheels, tmp_path / "log", lines.append) == found


def test_an_exchanged_wheel_is_refused_by_pip_and_nothing_is_kept(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that serves another file under the same name is how supply chains are attacked."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shop))
    wheel = locked(shop / "one-1.0-py3-none-any.whl")
    write_wheel(shop, "one", "1.0", {"one.py": "X = 3\n"})
    cache = WheelCache(tmp_path / "cache", wait=lambda _: None)
    with pytest.raises(DownloadError, match=r"one 1\.0: not fetched in 3 attempts") as caught:
        cache.ensure([wheel], tmp_path / "log", lambda _: None)
    assert wheel.sha256 in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_transport_that_lies_is_caught_by_our_own_hash(shop: Path, tmp_path: Path) -> None:
    """The name in the cache says what is in it, so nothing else may get that name."""
    wheel = locked(shop / "one-1.0-py3-none-any.whl", sha256="0" * 64)
    cache = WheelCache(tmp_path / "cache", fetch=Index(shop))
    with pytest.raises(DownloadError, match="the lock says sha256 0000"):
        cache.ensure([wheel], tmp_path / "log", lambda _: None)
    assert cache.find(wheel) is None
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_failed_attempt_is_repeated_and_keeps_what_came(shop: Path, tmp_path: Path) -> None:
    """Three gigabytes must not start over because the last megabyte failed."""
    wheels = [locked(path) for path in sorted(shop.iterdir())]
    index = Index(shop, failures=1)
    waits: list[float] = []
    lines: list[str] = []
    cache = WheelCache(tmp_path / "cache", fetch=index, wait=waits.append)
    assert len(cache.ensure(wheels, tmp_path / "log", lines.append)) == 2
    assert len(index.asked) == 2
    assert index.asked[1] == index.asked[0][1:]
    assert waits == [2.0]
    assert any("attempt 1 failed" in line for line in lines)


def test_a_truncated_wheel_in_the_cache_is_fetched_again(shop: Path, tmp_path: Path) -> None:
    """A disk that was full once must not break every later build."""
    wheel = locked(shop / "one-1.0-py3-none-any.whl")
    cache = WheelCache(tmp_path / "cache", fetch=Index(shop))
    [path] = cache.ensure([wheel], tmp_path / "log", lambda _: None).values()
    path.write_bytes(b"half")
    assert cache.find(wheel) is None
    cache.ensure([wheel], tmp_path / "log", lambda _: None)
    assert file_sha256(path) == wheel.sha256


def test_too_little_space_is_said_before_the_first_byte(shop: Path, tmp_path: Path) -> None:
    """A disk that fills up half-way breaks other programs, too."""
    wheel = locked(shop / "one-1.0-py3-none-any.whl", size=1 << 60)
    index = Index(shop)
    with pytest.raises(DiskSpaceError, match="GiB of free space; fetching 1 wheels needs"):
        WheelCache(tmp_path / "cache", fetch=index).ensure(
            [wheel], tmp_path / "log", lambda _: None
        )
    assert index.asked == []


def test_leftovers_of_a_killed_run_go_away(shop: Path, tmp_path: Path) -> None:
    """Half downloads of torch would fill the disk one by one."""
    old = tmp_path / "cache" / "partial-old"
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    young = tmp_path / "cache" / "partial-young"
    young.mkdir()
    wheel = locked(shop / "one-1.0-py3-none-any.whl")
    WheelCache(tmp_path / "cache", fetch=Index(shop)).ensure(
        [wheel], tmp_path / "log", lambda _: None
    )
    assert not old.exists()
    assert young.exists()


def test_big_wheels_are_fetched_alone_and_small_ones_together(shop: Path) -> None:
    """One pip run a wheel costs a minute; one for all loses everything when it fails."""
    path = shop / "one-1.0-py3-none-any.whl"
    small = [locked(path, sha256=f"{number:064x}", size=1000) for number in range(30)]
    big = [locked(path, sha256=f"{number:064x}", size=900 << 20) for number in (90, 91)]
    assert [len(batch) for batch in batches([*big, *small])] == [24, 6, 1, 1]


def test_platforms_are_those_of_the_files_and_not_of_this_computer(shop: Path) -> None:
    """A wheel for this computer's newer glibc would fail to load in the image."""
    path = shop / "one-1.0-py3-none-any.whl"
    name = "x-1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl"
    tags = platform_tags([locked(path), locked(path, filename=name)])
    assert tags == ["manylinux_2_27_x86_64", "manylinux_2_28_x86_64"]
