"""Reads and writes safetensors files by slices, in bounded memory.

The format (version 0.x of the specification): eight bytes, little-endian, hold the length of a
JSON header; the header names each tensor's type, shape and byte range; the ranges start at the
end of the header, follow one another without holes and reach exactly to the end of the file.
A header is believed only after all of that was checked against the file's real size, so that a
reader never allocates or seeks by a number that a broken file made up.

The `safetensors` library maps whole files or returns whole tensors; a converter that may use a
small, fixed amount of memory needs slices, so this module reads and writes the format itself.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vace_weights.conversion_errors import (
    HeaderError,
    SafetensorsError,
    TensorTypeError,
    TruncatedError,
)

ITEM_SIZES: Mapping[str, int] = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
    "C64": 8,
}
"""Bytes of one element, by the type names that stand in headers."""

MAX_HEADER = 100_000_000
"""Bytes. The reference implementation refuses longer headers too."""

LIMIT = 2**63
"""Sizes, their product and offsets are below it: the reference implementation counts in 64 bits,
and a header's number of thousands of digits could not even be printed in an error."""

_LENGTH = 8
_ALIGNMENT = 8
_REFETCH = "Fetch the file again: `python -m vace_weights fetch --to DIR`"


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a header: type name, shape, and byte range [start, end) behind the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def elements(self) -> int:
        """Number of elements; 1 for a scalar (shape ())."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of the data in bytes."""
        return self.end - self.start


@dataclass(frozen=True)
class Header:
    """A checked header. `data_start` is the file offset that tensor ranges count from."""

    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]
    data_start: int
    file_size: int


class Reader:
    """An open safetensors file whose header was checked; reads slices of tensors.

    Safe to use from several threads: reads name their own position.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise SafetensorsError(
                given=f"{path} cannot be opened: {error.strerror}",
                allowed="a readable safetensors file",
                why="the tensors are read from it",
                advice="Name a file that exists and that this user may read.",
            ) from error
        try:
            self.header = _read_header(self._descriptor, path)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def fingerprint(self) -> tuple[int, int, int]:
        """Inode, size and time of change of the open file: it differs when somebody wrote to it."""
        status = os.fstat(self._descriptor)
        return status.st_ino, status.st_size, status.st_mtime_ns

    def identity(self) -> tuple[int, int]:
        """Device and inode, which name the file whatever path led to it."""
        status = os.fstat(self._descriptor)
        return status.st_dev, status.st_ino

    def read_into(self, entry: TensorEntry, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the tensor's bytes from `offset` on. Raises TruncatedError."""
        position = self.header.data_start + entry.start + offset
        filled = 0
        while filled < len(buffer):
            count = os.preadv(self._descriptor, [buffer[filled:]], position + filled)
            if count == 0:
                raise TruncatedError(
                    given=f"{self.path} ended inside tensor {entry.name!r}, at byte "
                    f"{position + filled}",
                    allowed=f"a file of {self.header.file_size} bytes, as it was when opened",
                    why="the file became shorter while it was being read",
                    advice="Let nothing write to the source, then run the command again.",
                )
            filled += count


def layout(tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> list[TensorEntry]:
    """Entries one behind the other, in the order given: (name, type, shape)."""
    entries: list[TensorEntry] = []
    position = 0
    for name, dtype, shape in tensors:
        size = math.prod(shape) * ITEM_SIZES[dtype]
        entries.append(TensorEntry(name, dtype, shape, position, position + size))
        position += size
    return entries


def encode_header(entries: Iterable[TensorEntry], metadata: Mapping[str, str]) -> bytes:
    """The bytes in front of the data: length, JSON, spaces up to a multiple of eight.

    The same entries and metadata give the same bytes: keys stand in the order of the data,
    metadata sorted and first. Padding keeps 8-byte tensors aligned for readers that map the file.
    """
    document: dict[str, Any] = {}
    if metadata:
        document["__metadata__"] = dict(sorted(metadata.items()))
    for entry in entries:
        document[entry.name] = {
            "dtype": entry.dtype,
            "shape": list(entry.shape),
            "data_offsets": [entry.start, entry.end],
        }
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(_LENGTH, "little") + text


def _read_header(descriptor: int, path: Path) -> Header:
    size = os.fstat(descriptor).st_size
    prefix = os.pread(descriptor, _LENGTH, 0)
    if len(prefix) < _LENGTH:
        raise TruncatedError(
            given=f"{path} has {size} bytes",
            allowed="at least 8 bytes, which hold the length of the header",
            why="a download may have stopped at once, or this is another kind of file",
            advice=f"{_REFETCH}.",
        )
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER or length < 2:
        raise HeaderError(
            given=f"{path} says that its header has {length} bytes",
            allowed=f"2 to {MAX_HEADER} bytes",
            why="no real header is outside of that; the file is damaged or no safetensors file",
            advice=f"{_REFETCH}, and check that it is no .ckpt, .pt or .gguf file.",
        )
    if length > size - _LENGTH:
        raise TruncatedError(
            given=f"{path} has {size} bytes",
            allowed=f"more than the {_LENGTH + length} bytes that its header alone takes",
            why="the file ends inside its header",
            advice=f"{_REFETCH}.",
        )
    document = _decode(os.pread(descriptor, length, _LENGTH), path)
    metadata = _metadata(document.pop("__metadata__", {}), path)
    tensors = {name: _entry(name, row, path) for name, row in document.items()}
    _check_ranges(tensors, size - _LENGTH - length, path)
    return Header(tensors, metadata, _LENGTH + length, size)


def _header_error(path: Path, what: str, allowed: str) -> HeaderError:
    return HeaderError(
        given=f"the header of {path}: {what}",
        allowed=allowed,
        why="a reader that believed it would read other data than the writer meant",
        advice=f"{_REFETCH}; if it comes out the same, its publisher has to write it anew.",
    )


def _decode(text: bytes, path: Path) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise _header_error(path, f"{twice!r} stands in it twice", "each name once")
        return found

    try:
        document = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _header_error(path, f"it is not JSON ({error})", "a JSON object in UTF-8") from error
    if not isinstance(document, dict):
        raise _header_error(path, f"it is a {type(document).__name__}", "a JSON object")
    return document


def _metadata(value: object, path: Path) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise _header_error(path, "__metadata__ is no map of texts", "an object of strings")
    return value


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LIMIT


def _fits(shape: list[int], item_size: int) -> bool:
    """Whether the shape's size in bytes is below the limit; never makes a number far above it."""
    size = 0 if 0 in shape else item_size
    for side in shape:
        size *= side
        if size >= LIMIT:
            return False
    return True


def _entry(name: str, row: object, path: Path) -> TensorEntry:
    if not isinstance(row, dict) or not {"dtype", "shape", "data_offsets"} <= set(row):
        raise _header_error(
            path, f"tensor {name!r} is {row!r:.80}", "an object of dtype, shape and data_offsets"
        )
    dtype, shape, offsets = row["dtype"], row["shape"], row["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_SIZES:
        raise TensorTypeError(
            given=f"tensor {name!r} of {path} has the type {dtype!r}",
            allowed=", ".join(ITEM_SIZES),
            why="the size and meaning of its elements are not known",
            advice="Convert it to F16 with the program that wrote it, or fetch the fp16 file.",
        )
    if not isinstance(shape, list) or not all(_is_count(side) for side in shape):
        raise _header_error(
            path, f"tensor {name!r} has the shape {shape!r:.80}", f"sizes from 0 to {LIMIT - 1}"
        )
    if not _fits(shape, ITEM_SIZES[dtype]):
        raise _header_error(
            path,
            f"tensor {name!r} has the shape {shape!r:.80}",
            f"at most {LIMIT - 1} bytes in one tensor",
        )
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(_is_count(offset) for offset in offsets)
        or offsets[0] > offsets[1]
    ):
        raise _header_error(
            path,
            f"tensor {name!r} has the offsets {offsets!r:.80}",
            f"[start, end], 0 <= start <= end < {LIMIT}",
        )
    entry = TensorEntry(name, dtype, tuple(shape), offsets[0], offsets[1])
    if entry.elements * ITEM_SIZES[dtype] != entry.nbytes:
        raise _header_error(
            path,
            f"tensor {name!r} has {entry.nbytes} bytes",
            f"{entry.elements * ITEM_SIZES[dtype]} bytes, by its shape {shape!r:.80} and {dtype}",
        )
    return entry


def _check_ranges(tensors: Mapping[str, TensorEntry], available: int, path: Path) -> None:
    position = 0
    last = "the header"
    for entry in sorted(tensors.values(), key=lambda each: (each.start, each.end)):
        if entry.start != position:
            kind = "overlaps" if entry.start < position else "leaves a hole behind"
            raise _header_error(
                path,
                f"tensor {entry.name!r} starts at {entry.start} and {kind} {last!r}",
                f"a start at {position}: tensors follow one another without holes",
            )
        position, last = entry.end, entry.name
    if position > available:
        raise TruncatedError(
            given=f"{path} holds {available} bytes of tensor data",
            allowed=f"{position} bytes, which its header promises",
            why="the download or copy stopped early, or the header lies about the offsets",
            advice=f"{_REFETCH}; it goes on where it stopped.",
        )
    if position < available:
        raise _header_error(
            path,
            f"{available - position} bytes stand behind the last tensor",
            "nothing behind it",
        )
