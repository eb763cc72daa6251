"""Do two videos show the same outlines at the same moments?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smoke_tests.media.source import Pictures

#: Of the outlines' variance in a control video, the share that must be motion before motion can be
#: compared. A still scene measures 0.00, with a sensor's noise of 8 of 255 0.015; a figure of two
#: percent of the frame that moves through it 0.09 to 0.13, one of seven percent 0.31.
MOVING = 0.02
LIGHT = np.array([0.2126, 0.7152, 0.0722], np.float32)  # BT.709
#: Frames nearer than this look alike and are no other moment; half a second at 16 frames a second.
FAR = 8
#: A moment whose moving outlines correlate this much with the right one's looks the same: a swing
#: filmed from one turning point to the next and turned round in time measures 0.98, a movement to
#: and fro twice a second, half a second later, 0.71; scenes that do not repeat themselves 0.07.
ALIKE = 0.5
#: Share of a control frame's pixels that its outlines are taken from, the steepest. Texture below
#: them is what a line drawing leaves out, and what a model that is led by lines makes up.
STRONGEST = 0.15
#: Pixels around a place; a part of the picture is calm or busy over more than that.
AROUND = 12

Maps = NDArray[np.float32]


@dataclass(frozen=True)
class Structure:
    """Correlations, -1 to 1.

    Attributes:
        outlines: of the result's outlines and the strongest of the control's, frame by frame.
        places: the same of `local` outlines. Two landscapes with a calm sky over busy ground have
            outlines in common, but not at the same places.
        by_chance: the most that the same control video gives for `places` when mirrored, turned or
            shifted.
        moving: of the moving part of the local outlines; None where the control video hardly moves.
        moving_by_chance: the most that other moments of the control video give, at least 0;
            moments that look the same, as in a movement that repeats itself, are none.
    """

    outlines: float
    places: float
    by_chance: float
    moving: float | None
    moving_by_chance: float


def compare_structure(result: Pictures, control: Pictures) -> Structure:
    """Compare outlines; both of shape (frames, height, width, 3), bars of the control being NaN."""
    known: NDArray[np.bool_] = np.asarray(np.isfinite(control).all(axis=(0, 3)), np.bool_)
    rows, columns = np.flatnonzero(known.any(axis=1)), np.flatnonzero(known.any(axis=0))
    part = np.s_[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    ours, theirs = outlines(result[part]), outlines(control[part])
    lines = strongest(theirs)
    here, there = local(ours), local(lines)
    moving, chance = _motion(here, local(theirs))
    height, width = there.shape[1:]
    others = (
        there[:, :, ::-1],
        there[:, ::-1],
        there[:, ::-1, ::-1],
        np.roll(there, (height // 3, width // 3), axis=(1, 2)),
    )
    return Structure(
        _correlation(ours, lines),
        _correlation(here, there),
        max(_correlation(here, other) for other in others),
        moving,
        chance,
    )


def outlines(pictures: Pictures) -> Maps:
    """How steep the light is, compressed so that faint outlines count beside strong ones."""
    light = pictures @ LIGHT
    # a light blur: noise within one cell is no outline
    light = (light[:, :-1] + light[:, 1:]) / 2
    light = (light[:, :, :-1] + light[:, :, 1:]) / 2
    down, across = light[:, 1:, :-1] - light[:, :-1, :-1], light[:, :-1, 1:] - light[:, :-1, :-1]
    steep: Maps = np.log1p(np.hypot(down, across))
    return steep


def strongest(maps: Maps) -> Maps:
    """The steepest `STRONGEST` of each frame's outlines; 0 elsewhere."""
    limits = np.quantile(maps, 1 - STRONGEST, axis=(1, 2), keepdims=True)
    lines: Maps = np.where(maps > limits, maps, np.float32(0))
    return lines


def local(maps: Maps) -> Maps:
    """Outlines less their mean within `AROUND` pixels: where they lie, not how many there are."""
    side = 2 * AROUND + 1
    wide = np.pad(maps, ((0, 0), (AROUND, AROUND), (AROUND, AROUND)), mode="edge")
    sums = np.pad(wide.cumsum(axis=1), ((0, 0), (1, 0), (0, 0)))
    wide = sums[:, side:] - sums[:, :-side]
    sums = np.pad(wide.cumsum(axis=2), ((0, 0), (0, 0), (1, 0)))
    less: Maps = maps - (sums[:, :, side:] - sums[:, :, :-side]) / side**2
    return less


def _motion(ours: Maps, theirs: Maps) -> tuple[float | None, float]:
    count = len(theirs)
    residue = theirs - theirs.mean(axis=0)
    if count < 2 * FAR or float(residue.var()) < MOVING * float(theirs.var()):
        return None, 0.0
    other = ours - ours.mean(axis=0)
    # moments spread over the clip, and the order of time turned round
    moments = [np.roll(residue, shift, axis=0) for shift in range(FAR, count - FAR + 1, FAR)]
    moments.append(residue[::-1])
    others = [moment for moment in moments if _correlation(residue, moment) < ALIKE]
    by_chance = max((_correlation(other, moment) for moment in others), default=0.0)
    return _correlation(other, residue), max(0.0, by_chance)


def _correlation(ours: Maps, theirs: Maps) -> float:
    """Mean over the frames of the correlation of two maps; 0 where one of them is plain."""
    left = ours - ours.mean(axis=(1, 2), keepdims=True)
    right = theirs - theirs.mean(axis=(1, 2), keepdims=True)
    together = (left * right).sum(axis=(1, 2))
    alone = np.sqrt((left * left).sum(axis=(1, 2)) * (right * right).sum(axis=(1, 2)))
    return float(np.where(alone > 1e-6, together / np.maximum(alone, 1e-6), 0.0).mean())
