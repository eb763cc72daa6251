"""The book-keeping of ranges, against a plain list of bytes."""

from __future__ import annotations

import random

from vace_weights.ranges import Pieces


def test_pieces_agree_with_a_list_of_single_bytes() -> None:
    """Prevents a range from being lost, or from being believed without having come."""
    chance = random.Random(7)
    for _ in range(200):
        size = chance.randint(1, 40)
        truth: list[str] = [""] * size
        pieces = Pieces()
        for _ in range(chance.randint(1, 12)):
            start = chance.randrange(size)
            end = chance.randint(start + 1, size)
            source = chance.choice("abc")
            pieces.add(start, end, source)
            truth[start:end] = [old or source for old in truth[start:end]]
        got = [""] * size
        for piece in pieces:
            assert got[piece.start : piece.end] == [""] * (piece.end - piece.start)
            got[piece.start : piece.end] = [piece.source] * (piece.end - piece.start)
        assert got == truth
        assert pieces.total == sum(1 for byte in truth if byte)
        front = truth.index("") if "" in truth else size
        assert pieces.front == front
        missing = {b for low, high in pieces.missing_between(0, size) for b in range(low, high)}
        assert missing == {index for index, byte in enumerate(truth) if not byte}


def test_what_one_source_gave_can_be_forgotten() -> None:
    """Prevents the bytes of a changed file from staying between those of a sound one."""
    pieces = Pieces()
    pieces.add(0, 10, "a")
    pieces.add(10, 20, "b")
    pieces.add(20, 30, "a")
    pieces.forget("a")
    assert [(p.start, p.end, p.source) for p in pieces] == [(10, 20, "b")]
    assert pieces.sources == ["b"]
