"""Which bytes of a file are here, and which source gave them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """Bytes `start` to `end` (not included) that came from `source`."""

    start: int
    end: int
    source: str


class Pieces:
    """Sorted, disjoint pieces of one file; neighbours from the same source are one piece."""

    def __init__(self, pieces: Iterable[Piece] = ()) -> None:
        self._pieces: list[Piece] = []
        for piece in pieces:
            self.add(piece.start, piece.end, piece.source)

    def __iter__(self) -> Iterator[Piece]:
        return iter(self._pieces)

    @property
    def total(self) -> int:
        """Bytes that are here."""
        return sum(piece.end - piece.start for piece in self._pieces)

    @property
    def front(self) -> int:
        """How far the file is here without a gap, from its first byte."""
        position = 0
        for piece in self._pieces:
            if piece.start != position:
                break
            position = piece.end
        return position

    @property
    def sources(self) -> list[str]:
        """Every source that gave a byte, in order of first use in the file."""
        return list(dict.fromkeys(piece.source for piece in self._pieces))

    def add(self, start: int, end: int, source: str) -> None:
        """Note that bytes are here; only what was missing is added, so no piece overlaps."""
        for gap_start, gap_end in list(self.missing_between(start, end)):
            self._insert(Piece(gap_start, gap_end, source))

    def missing_between(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The gaps inside `start` to `end`, in order."""
        position = start
        for piece in self._pieces:
            if piece.end <= position:
                continue
            if piece.start >= end:
                break
            if piece.start > position:
                yield position, piece.start
            position = max(position, piece.end)
        if position < end:
            yield position, end

    def forget(self, source: str) -> None:
        """Forget every piece that this source gave."""
        self._pieces = [piece for piece in self._pieces if piece.source != source]

    def copy(self) -> Pieces:
        """A snapshot that later additions don't change."""
        twin = Pieces()
        twin._pieces = list(self._pieces)
        return twin

    def _insert(self, piece: Piece) -> None:
        index = 0
        while index < len(self._pieces) and self._pieces[index].start < piece.start:
            index += 1
        before = self._pieces[index - 1] if index else None
        after = self._pieces[index] if index < len(self._pieces) else None
        start, end, low, high = piece.start, piece.end, index, index
        if before is not None and before.end == start and before.source == piece.source:
            start, low = before.start, index - 1
        if after is not None and after.start == end and after.source == piece.source:
            end, high = after.end, index + 1
        self._pieces[low:high] = [Piece(start, end, piece.source)]
