"""Copies the missing bytes of one file from a local folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from vace_weights.connection import Asked
from vace_weights.errors import (
    ChangedFileError,
    ShortBodyError,
    SourceError,
    UnreachableError,
    WrongSizeError,
)
from vace_weights.files import readable_bytes
from vace_weights.part import PartFile
from vace_weights.sources import Place

_BUFFER_BYTES = 1024 * 1024


def copy_local(part: PartFile, place: Place, asked: Asked, advance: Callable[[int], None]) -> None:
    """Copy what is missing. Raises a SourceError when the local file does not fit."""
    path = place.path or Path()
    try:
        with path.open("rb", buffering=0) as stream:
            before = os.fstat(stream.fileno())
            if before.st_size != part.size:
                raise WrongSizeError(
                    file=asked.file,
                    source=asked.source,
                    expected=f"{part.size} bytes ({readable_bytes(part.size)})",
                    came=f"{before.st_size} bytes",
                    advice="It is another file, or one that was copied only in part; copy it "
                    "again. The next source is tried.",
                )
            view = memoryview(bytearray(_BUFFER_BYTES))
            for start, end in part.missing():
                position = start
                while position < end:
                    room = view[: min(len(view), end - position)]
                    count = os.preadv(stream.fileno(), [room], position)
                    if count == 0:
                        raise _ended(asked, position, end)
                    part.write(position, room[:count], place.label)
                    position += count
                    advance(count)
            after = os.fstat(stream.fileno())
    except OSError as error:
        raise UnreachableError(
            file=asked.file,
            source=asked.source,
            expected="a readable file",
            came=f"{error.strerror}",
            advice="The next source is tried. Check the path and its permissions.",
        ) from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ChangedFileError(
            file=asked.file,
            source=asked.source,
            expected="a file that stays as it is",
            came="a change of its size or time while it was being read",
            advice="Wait until whoever writes it is done. What it gave is dropped and the next "
            "source is tried.",
        )


def _ended(asked: Asked, position: int, end: int) -> SourceError:
    return ShortBodyError(
        file=asked.file,
        source=asked.source,
        expected=f"bytes up to {end}",
        came=f"the end of the file after {position} bytes",
        advice="The file was cut while it was being read. The next source is tried.",
    )
