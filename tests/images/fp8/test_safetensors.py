"""The reader believes a header only after it was checked against the file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from vace_weights.conversion_errors import (
    HeaderError,
    SafetensorsError,
    TensorTypeError,
    TruncatedError,
)
from vace_weights.safetensors import Reader, encode_header, layout


def write(path: Path, header: Any, data: bytes) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def row(start: int, end: int, dtype: str = "U8", shape: list[int] | None = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape or [end - start], "data_offsets": [start, end]}


BROKEN_HEADERS: dict[str, tuple[Any, bytes, type[SafetensorsError], str]] = {
    "no JSON": (b"{not json", b"", HeaderError, "not JSON"),
    "no UTF-8": (b'{"\xff": 1}', b"", HeaderError, "not JSON"),
    "deep nesting": (b"[" * 100_000, b"", HeaderError, "not JSON"),
    "a list": ([], b"", HeaderError, "is a list"),
    "a name twice": (b'{"a": 1, "a": 2}', b"", HeaderError, "twice"),
    "no offsets": ({"a": {"dtype": "U8", "shape": [1]}}, b"x", HeaderError, "data_offsets"),
    "text offsets": (
        {"a": {"dtype": "U8", "shape": [1], "data_offsets": ["0", "1"]}},
        b"x",
        HeaderError,
        "offsets",
    ),
    "negative shape": ({"a": row(0, 1, shape=[-1])}, b"x", HeaderError, "shape"),
    "true as a shape": ({"a": row(0, 1, shape=[True])}, b"x", HeaderError, "shape"),
    "a shape of 4000 digits": ({"a": row(0, 1, shape=[10**3999])}, b"x", HeaderError, "shape"),
    "two sides of 4000 digits": (
        {"a": row(0, 1, shape=[10**3999, 10**3999])},
        b"x",
        HeaderError,
        "shape",
    ),
    "a product beyond 64 bits": (
        {"a": row(0, 1, shape=[2**62] * 9000)},
        b"x",
        HeaderError,
        "shape",
    ),
    "offsets of 4000 digits": (
        {"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 10**3999]}},
        b"x",
        HeaderError,
        "offsets",
    ),
    "start behind end": (
        {"a": {"dtype": "U8", "shape": [1], "data_offsets": [1, 0]}},
        b"x",
        HeaderError,
        "offsets",
    ),
    "size against shape": ({"a": row(0, 4, "F16", [4])}, b"abcd", HeaderError, "8 bytes"),
    "overlap": ({"a": row(0, 4), "b": row(2, 6)}, b"abcdef", HeaderError, "overlaps"),
    "hole": ({"a": row(0, 2), "b": row(4, 6)}, b"abcdef", HeaderError, "hole"),
    "hole at the start": ({"a": row(1, 2)}, b"ab", HeaderError, "hole"),
    "out of range": ({"a": row(0, 2**40)}, b"abcd", TruncatedError, "promises"),
    "truncated data": ({"a": row(0, 8)}, b"abcd", TruncatedError, "4 bytes"),
    "trailing bytes": ({"a": row(0, 2)}, b"abcd", HeaderError, "2 bytes stand behind"),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, b"", HeaderError, "__metadata__"),
    "unknown type": ({"a": row(0, 1, "F4_NEW")}, b"x", TensorTypeError, "F4_NEW"),
}


@pytest.mark.parametrize("name", BROKEN_HEADERS)
def test_a_broken_header_is_refused_with_what_is_wrong(name: str, tmp_path: Path) -> None:
    """A reader that seeks or allocates by a lying header reads other data than was meant."""
    header, data, error, words = BROKEN_HEADERS[name]
    path = write(tmp_path / "broken.safetensors", header, data)
    with pytest.raises(error, match=words) as caught:
        Reader(path)
    assert str(path) in caught.value.given
    assert caught.value.allowed
    assert caught.value.why
    assert caught.value.advice


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", TruncatedError),
        (b"\x00\x01", TruncatedError),
        ((1000).to_bytes(8, "little") + b"{", TruncatedError),
        (b"<!DOCTYPE html><html>", HeaderError),
        ((0).to_bytes(8, "little"), HeaderError),
    ],
    ids=["empty", "two bytes", "ends inside its header", "a web page", "no header"],
)
def test_a_file_that_is_no_safetensors_file_is_refused(
    content: bytes, error: type[SafetensorsError], tmp_path: Path
) -> None:
    """A download that stopped, or an error page, must not look like an empty model."""
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(error):
        Reader(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """An OSError would not say what the file is for."""
    with pytest.raises(SafetensorsError, match="absent"):
        Reader(tmp_path / "absent")


def test_a_file_of_the_reference_library_is_read_as_written(tmp_path: Path) -> None:
    """Our reader and the library must agree on every offset."""
    path = tmp_path / "reference.safetensors"
    tensors = {
        "half": np.arange(12, dtype=np.float16).reshape(3, 4),
        "scalar": np.array(3.5, np.float32),
        "empty": np.zeros((0, 4), np.float32),
        "bytes": np.arange(7, dtype=np.uint8),
    }
    save_file(tensors, path, {"key": "value"})
    with Reader(path) as reader:
        assert reader.header.metadata == {"key": "value"}
        for name, expected in tensors.items():
            entry = reader.header.tensors[name]
            assert entry.shape == expected.shape
            buffer = bytearray(entry.nbytes)
            reader.read_into(entry, 0, memoryview(buffer))
            assert bytes(buffer) == expected.tobytes()


def test_the_reference_library_reads_our_header(tmp_path: Path) -> None:
    """What we write has to be readable by what ComfyUI reads with."""
    entries = layout([("b", "F32", (2,)), ("ä", "F16", (3, 1)), ("s", "U8", ())])
    header = encode_header(entries, {"z": "1", "a": "2"})
    assert len(header) % 8 == 0
    path = tmp_path / "ours.safetensors"
    data = np.array([1, 2], np.float32).tobytes() + np.array([3, 4, 5], np.float16).tobytes()
    path.write_bytes(header + data + b"\x07")
    with safe_open(path, framework="numpy") as opened:
        assert opened.metadata() == {"a": "2", "z": "1"}
        assert opened.get_tensor("ä").tolist() == [[3], [4], [5]]
        assert opened.get_tensor("b").tolist() == [1, 2]


def test_a_file_that_shrinks_while_it_is_read_is_reported(tiny: Path, tmp_path: Path) -> None:
    """A source on a share can be cut off; zeros must not take the place of weights."""
    path = tmp_path / "shrinking.safetensors"
    path.write_bytes(tiny.read_bytes())
    with Reader(path) as reader:
        last = max(reader.header.tensors.values(), key=lambda entry: entry.end)
        with path.open("r+b") as stream:
            stream.truncate(path.stat().st_size - 1)
        with pytest.raises(TruncatedError, match="ended inside"):
            reader.read_into(last, 0, memoryview(bytearray(last.nbytes)))
