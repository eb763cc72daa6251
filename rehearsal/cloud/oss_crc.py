"""CRC-64 (ECMA-182, reflected), which OSS states for every object as x-oss-hash-crc64ecma.

Checked against the published check value of CRC-64/XZ: ``crc64(b"123456789")`` is
0x995DC9BBDF1939FA. Large bodies are cut into rows that advance together in numpy, because a loop in
Python over each byte would take minutes for a film.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_POLYNOMIAL = 0xC96C5795D7870F42
_ALL_ONES = 0xFFFFFFFFFFFFFFFF
_ROWS = 4096
#: Below this size the plain loop is quicker.
_SMALL = 64 * 1024

Words = npt.NDArray[np.uint64]


def _make_table() -> list[int]:
    table = []
    for value in range(256):
        entry = value
        for _ in range(8):
            entry = (entry >> 1) ^ (_POLYNOMIAL if entry & 1 else 0)
        table.append(entry)
    return table


_TABLE = _make_table()
_NUMPY_TABLE: Words = np.array(_TABLE, dtype=np.uint64)


def _advance(state: int, data: bytes | memoryview) -> int:
    for byte in data:
        state = _TABLE[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state


def _rows_alone(data: npt.NDArray[np.uint8]) -> Words:
    """State after each row, every row started at zero; data has shape (rows, length)."""
    states = np.zeros(data.shape[0], dtype=np.uint64)
    for column in data.T:
        states = _NUMPY_TABLE[(states ^ column) & np.uint64(0xFF)] ^ (states >> np.uint64(8))
    return states


def _times(matrix: list[int], vector: int) -> int:
    result, index = 0, 0
    while vector:
        if vector & 1:
            result ^= matrix[index]
        vector >>= 1
        index += 1
    return result


def _zeros_matrix(length: int) -> list[int]:
    """The linear map that ``length`` zero bytes apply to a state, as columns over GF(2)."""
    power = [_advance(1 << bit, b"\0") for bit in range(64)]
    result = [1 << bit for bit in range(64)]
    while length:
        if length & 1:
            result = [_times(power, column) for column in result]
        power = [_times(power, column) for column in power]
        length >>= 1
    return result


def crc64(data: bytes) -> int:
    """The checksum of ``data`` as an unsigned number."""
    state = _ALL_ONES
    rest = memoryview(data)
    if len(data) > _SMALL:
        length = len(data) // _ROWS
        block = np.frombuffer(data, dtype=np.uint8, count=length * _ROWS)
        alone = _rows_alone(block.reshape(_ROWS, length))
        matrix = _zeros_matrix(length)
        for row in alone.tolist():
            state = _times(matrix, state) ^ row
        rest = rest[length * _ROWS :]
    return _advance(state, rest) ^ _ALL_ONES
