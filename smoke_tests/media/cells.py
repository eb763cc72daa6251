"""Find cells of the VAE that went wrong inside a frame that is otherwise all right.

Wan's VAE makes 8x8 pixels of one latent cell and its transformer works on 2x2 cells. A number that
overflows to NaN or infinity in one of them leaves a block of one colour or of garbage, whose four
sides lie exactly on that raster. Shapes of a scene do not: their outlines cross the cells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CELL = 8  # pixels a side
#: Of 255. A side is cut when the step across it exceeds the steps beside it by this much. Scenes
#: after H.264 at crf 19, with panning texture and hard-edged boxes, have no cell cut on all sides.
#: A black or white block in three such scenes stands out by 100 in the middle, by 31 and more in 95
#: of 100 places, by 19 where the scene itself is nearly black or white.
STEP = 24.0
#: A side is also cut when the pixels along it vary this much more on one hand than on the other:
#: garbage in a smooth scene has no clear step, but it is rough (white noise: 85), scenes are not.
ROUGHNESS = 32.0
#: Larger cut-off areas are left alone: they are bars and insets that somebody drew on the raster.
MOST_CELLS = 64

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]


def broken_cells(luma: Bytes) -> int:
    """Number of cells in small areas that are cut off from the rest of the frame on all sides.

    Args:
        luma: brightness plane, shape (height, width), its origin being the raster's.
    """
    rows, columns = luma.shape[0] // CELL, luma.shape[1] // CELL
    if rows < 3 or columns < 3:
        return 0
    area = luma[: rows * CELL, : columns * CELL]
    beside = _cut_sides(area)  # between (row, column) and (row, column + 1)
    below = _cut_sides(area.T).T
    # fewer sides than one cell has cut off nothing, and most frames have none; in a corner it is 2
    if int(beside.sum()) + int(below.sum()) < 2:
        return 0
    labels = _connected(beside, below)
    sizes = np.bincount(labels.ravel())
    small = (sizes > 0) & (sizes <= MOST_CELLS)
    # whatever is the largest area is the frame itself, even where the frame is tiny
    small[int(sizes.argmax())] = False
    return int(sizes[small].sum())


def _cut_sides(area: Bytes) -> Flags:
    """Which sides between horizontal neighbours are cut; shape (rows, columns - 1)."""
    outer, left, right, inner = (
        area[:, start :: CELL][:, : area.shape[1] // CELL - 1].astype(np.int16)
        for start in (CELL - 2, CELL - 1, CELL, CELL + 1)
    )  # fmt: skip
    step = _per_cell(np.abs(right - left))
    usual = np.maximum(_per_cell(np.abs(left - outer)), _per_cell(np.abs(inner - right)))
    rough = np.abs(_roughness(left) - _roughness(right))
    flags: Flags = (step - usual > STEP) | (rough > ROUGHNESS)
    return flags


def _per_cell(values: NDArray[np.int16]) -> NDArray[np.float32]:
    """Mean over the eight pixels of each side."""
    means: NDArray[np.float32] = values.reshape(-1, CELL, values.shape[1]).mean(
        axis=1, dtype=np.float32
    )
    return means


def _roughness(line: NDArray[np.int16]) -> NDArray[np.float32]:
    """Mean absolute step between the pixels along each side."""
    cells = line.reshape(-1, CELL, line.shape[1])
    steps: NDArray[np.float32] = np.abs(np.diff(cells, axis=1)).mean(axis=1, dtype=np.float32)
    return steps


def _connected(beside: Flags, below: Flags) -> NDArray[np.int64]:
    """A number for each cell, the same for all that can be reached without crossing a cut side."""
    shape = (beside.shape[0], below.shape[1])
    labels = np.arange(shape[0] * shape[1], dtype=np.int64).reshape(shape)
    while True:
        seen = labels.copy()
        for near, far, passable in (
            (labels[:, :-1], labels[:, 1:], ~beside),
            (labels[:-1], labels[1:], ~below),
        ):
            # what is read and what is written overlap, so the least is found first
            least = np.minimum(near, far)
            np.minimum(near, least, out=near, where=passable)
            np.minimum(far, least, out=far, where=passable)
        # follow the pointers: every label is the index of a cell, whose own label is smaller
        labels = labels.ravel()[labels]
        if np.array_equal(labels, seen):
            return labels
