"""The state of an unfinished download: which ranges are safely on the disk.

One small file with two slots, written in turn and synced. A kill or a power cut in the middle of
a write spoils at most the slot being written; the other still holds the state before it. Its room
is taken at the start, so that the state can still be recorded when the disk is full.

A slot: CRC-32 and length (4 bytes each, little-endian), then JSON.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path

from vace_weights.ranges import Piece, Pieces

SLOT_BYTES = 32 * 1024
_HEADER = struct.Struct("<II")


class Journal:
    """Records the pieces of one part file, keyed to the expected size and SHA-256."""

    def __init__(self, path: Path, size: int, sha256: str) -> None:
        self.path = path
        self._size = size
        self._sha256 = sha256
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._sequence = 0

    def load(self) -> Pieces | None:
        """What the last run recorded; None when there is nothing usable for this very file."""
        best: dict[str, object] | None = None
        for slot in range(2):
            state = self._read(slot)
            if state is not None and (best is None or _sequence(state) > _sequence(best)):
                best = state
        if best is None or best.get("size") != self._size or best.get("sha256") != self._sha256:
            self._clear()
            return None
        self._sequence = _sequence(best)
        pieces = best.get("pieces")
        return Pieces(Piece(*row) for row in pieces) if isinstance(pieces, list) else None

    def record(self, pieces: Pieces) -> None:
        """Write down what is on the disk; call it only after the data itself was synced."""
        rows = [[piece.start, piece.end, piece.source] for piece in pieces]
        self._sequence += 1
        while True:
            state = {
                "size": self._size,
                "sha256": self._sha256,
                "sequence": self._sequence,
                "pieces": rows,
            }
            body = json.dumps(state, separators=(",", ":")).encode()
            if len(body) + _HEADER.size <= SLOT_BYTES:
                break
            # More pieces than a slot holds: what is left out is only fetched again.
            rows = rows[: len(rows) // 2]
        block = _HEADER.pack(zlib.crc32(body), len(body)) + body
        os.pwrite(self._handle, block, (self._sequence % 2) * SLOT_BYTES)
        os.fdatasync(self._handle)

    def close(self, *, remove: bool) -> None:
        """Close it; with `remove` the download is over and the state is not needed."""
        os.close(self._handle)
        if remove:
            self.path.unlink(missing_ok=True)

    def _clear(self) -> None:
        os.pwrite(self._handle, bytes(2 * SLOT_BYTES), 0)
        os.ftruncate(self._handle, 2 * SLOT_BYTES)
        os.fsync(self._handle)
        self._sequence = 0

    def _read(self, slot: int) -> dict[str, object] | None:
        block = os.pread(self._handle, SLOT_BYTES, slot * SLOT_BYTES)
        if len(block) < _HEADER.size:
            return None
        checksum, length = _HEADER.unpack_from(block)
        body = block[_HEADER.size : _HEADER.size + length]
        if not length or len(body) != length or zlib.crc32(body) != checksum:
            return None
        state = json.loads(body)
        return state if isinstance(state, dict) else None


def _sequence(state: dict[str, object]) -> int:
    value = state.get("sequence")
    return value if isinstance(value, int) else 0
