"""Layouts on disk: gigabytes must not be kept twice."""

import subprocess
from pathlib import Path

from images.builder.layouts import copy_apart, export_layout, layout_of_root, share_blobs
from images.builder.oci import LayoutSource, load_image


def _layout(folder: Path, blobs: dict[str, bytes]) -> Path:
    place = folder / "blobs" / "sha256"
    place.mkdir(parents=True)
    for name, content in blobs.items():
        (place / name).write_bytes(content)
    return folder


def _inode(layout: Path, name: str) -> int:
    return (layout / "blobs" / "sha256" / name).stat().st_ino


def test_layouts_with_the_same_layers_share_their_bytes(tmp_path: Path) -> None:
    """A bundle holds 12 GB of which its two images have all but a few kilobytes."""
    pool = tmp_path / "pool"
    one = _layout(tmp_path / "one", {"aa": b"torch", "bb": b"code"})
    two = _layout(tmp_path / "two", {"aa": b"torch", "cc": b"newer code"})
    share_blobs(one, pool)
    share_blobs(two, pool)
    assert _inode(one, "aa") == _inode(two, "aa")
    assert (two / "blobs" / "sha256" / "aa").read_bytes() == b"torch"
    assert sorted(path.name for path in (two / "blobs" / "sha256").iterdir()) == ["aa", "cc"]


def test_what_no_layout_has_any_more_is_dropped(tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    one = _layout(tmp_path / "one", {"aa": b"torch"})
    share_blobs(one, pool)
    (one / "blobs" / "sha256" / "aa").unlink()
    share_blobs(_layout(tmp_path / "two", {"bb": b"code"}), pool)
    assert [path.name for path in pool.iterdir()] == ["bb"]


def test_a_users_root_file_system_and_the_cache_are_different_files(tmp_path: Path) -> None:
    """Whoever appends to the tar that --base named must not change the cached base with it."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "sh").write_text("#!")
    archive = tmp_path / "root.tar"
    subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
    layout_of_root(archive, tmp_path / "cached")
    image = load_image(LayoutSource(tmp_path / "cached"))
    [layer] = image.layers
    kept = tmp_path / "cached" / "blobs" / "sha256" / layer.digest.removeprefix("sha256:")
    assert kept.stat().st_ino != archive.stat().st_ino
    assert kept.read_bytes() == archive.read_bytes()
    assert len(list(kept.parent.iterdir())) == 3


def test_an_exported_layout_shares_no_file_with_the_cache(tmp_path: Path) -> None:
    """Whoever edits what --output wrote must not damage the image that is built upon next."""
    cached = _layout(tmp_path / "cached", {"aa": b"torch", "bb": b"code"})
    share_blobs(cached, tmp_path / "pool")
    export_layout(cached, tmp_path / "output")
    for name in ("aa", "bb"):
        assert _inode(tmp_path / "output", name) != _inode(cached, name)
    (tmp_path / "output" / "blobs" / "sha256" / "aa").write_bytes(b"edited")
    assert (cached / "blobs" / "sha256" / "aa").read_bytes() == b"torch"


def test_a_copy_replaces_what_was_there(tmp_path: Path) -> None:
    """A shorter file over a longer one must not keep its end."""
    (tmp_path / "a").write_bytes(b"short")
    (tmp_path / "b").write_bytes(b"a longer content")
    copy_apart(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"short"
