"""The hash that follows a download: right, and in bounded memory."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
from vace_weights.hashing import WINDOW_BYTES, FrontHasher
from vace_weights.part import PartFile

BUFFER = 512 * 1024
SIZE = 4 * BUFFER + 100
CONTENT = random.Random(6).randbytes(SIZE)


@pytest.mark.parametrize("step", [700, BUFFER // 2 - 1, BUFFER // 2, BUFFER])
def test_the_memory_lent_is_bounded_however_little_a_buffer_holds(
    tmp_path: Path, step: int
) -> None:
    """Prevents a slow line, which flushes nearly empty buffers, from filling the memory."""
    with PartFile(tmp_path / "file", 2**32, "0" * 64, pytest.fail) as part:
        hasher = FrontHasher(part)
        try:
            lent, buffer = 0, memoryview(bytearray(BUFFER))
            # The first byte is still to come, so nothing that is lent is given back.
            for offset in range(1, WINDOW_BYTES, step):
                next_buffer = hasher.borrow(offset, buffer[:step], buffer)
                lent += 0 if next_buffer is buffer else len(buffer)
                buffer = next_buffer
        finally:
            hasher.stop()
    assert lent <= WINDOW_BYTES
    assert bool(lent) == (step >= BUFFER // 2)


def test_the_hash_is_right_when_some_buffers_are_lent_and_others_read_back(tmp_path: Path) -> None:
    """Prevents a whole file from being thrown away because a slow line flushed small pieces."""
    with PartFile(tmp_path / "file", SIZE, "0" * 64, pytest.fail) as part:
        hasher = FrontHasher(part)
        buffer = memoryview(bytearray(BUFFER))
        offset, chance = 0, random.Random(7)
        while offset < SIZE:
            count = min(SIZE - offset, chance.choice([1, 999, BUFFER // 2, BUFFER]))
            filled = buffer[:count]
            filled[:] = CONTENT[offset : offset + count]
            buffer = hasher.borrow(offset, filled, buffer)
            part.write(offset, filled, "first")
            offset += count
        assert hasher.result() == hashlib.sha256(CONTENT).hexdigest()
