"""Layouts on disk: gigabytes must not be kept twice."""

from pathlib import Path

from images.builder.layouts import share_blobs


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
