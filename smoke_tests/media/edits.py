"""Was the source edited as asked? Each check has its limit and the reason for it.

Differences are mean absolute differences of red, green and blue, of 255. On the compared pictures
(one pixel a VAE cell) a generated source of 832x480 differs from its copy by 1.1 after JPEG and
H.264, by 1.5 after blur, noise and light as of a VAE round trip, by 4.0 after a shift of light by
4; another scene by 40 to 60. At 208x120, where a codec's errors average away less: 2.8 and 5.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from smoke_tests.media.clip import Clip
from smoke_tests.media.finding import EditCheck, Finding, MediaError, verdict
from smoke_tests.media.picture_checks import PLAIN_SPREAD, STILL_CHANGE, STILL_SHARE
from smoke_tests.media.source import (
    Mask,
    Pictures,
    Source,
    compared_size,
    frame_indices,
    grown,
    inner_area,
    painted,
    result_pictures,
    scaled,
    source_pictures,
)
from smoke_tests.media.structure import Structure, compare_structure

# A kept area may differ by this much: the model paints it anew from the source, a little softer
# and often a few levels lighter or darker. Twice the hardest round trip measured (5.0, a small
# picture scaled down), a quarter of the difference to any other scene.
KEPT_DIFFERENCE = 10.0
# Share of a kept area that may differ by more than KEPT_CELL: a shadow or a reflection of the new
# object may fall there; an object painted in the wrong place takes more.
KEPT_CELL, KEPT_SHARE = 40.0, 0.05
# A painted area differs by at least this much: above the hardest round trip (5.0); another object
# or colour measures 45 and more.
PAINTED_DIFFERENCE = 8.0
# The least that an edit of the whole frame does, on pictures of two pixels a cell, so that sharper
# details count (quality enhancement). A copy coded again measures 1.1, after a round trip 1.5;
# other colours 46; the sharp original of a source that was reduced to a sixteenth of its width 3.8,
# to an eighth 1.7, to a quarter 1.1: an enhancement can be told from a copy on a poor source only.
CHANGED_DIFFERENCE = 2.0
# Painting starts up to two cells beyond the mask: the mask is reduced to cells of 8 pixels, the
# transformer works on pairs of them, and the VAE smears over one more.
MARGIN_PX = 24
# Least number of compared pixels that a statement about an area can rest on.
LEAST_AREA = 16


def changed(clip: Clip, source: Source) -> Finding:
    """The result is not just the source again."""
    before = source_pictures(source, clip, "changed")
    after = result_pictures(clip, "changed")[: len(before)]
    fine = _fine_difference(clip, source) if source.fit is None or _same_shape(clip, source) else 0
    difference = max(fine, _mean(np.abs(after - before)))
    return verdict(
        difference >= CHANGED_DIFFERENCE,
        "changed",
        f"differs from the source by {difference:.1f} of 255",
        f"at least {CHANGED_DIFFERENCE:g}",
        "The source came back: the graph passed it by the model, or strength and denoise are 0.",
    )


def changed_inside_mask(clip: Clip, source: Source) -> Finding:
    """Where the mask allowed painting, something was painted."""
    name = "changed_inside_mask"
    before = source_pictures(source, clip, name)
    inside = painted(source, clip, name) > 0.5
    _needs_area(name, inside, "white")
    after = result_pictures(clip, name)[: len(before)]
    difference = _mean(np.abs(after - before)[:, inside])
    return verdict(
        difference >= PAINTED_DIFFERENCE,
        name,
        f"differs inside the mask by {difference:.1f} of 255",
        f"at least {PAINTED_DIFFERENCE:g}",
        "The mask did not reach the model, or black and white of it are exchanged.",
    )


def unchanged_outside_mask(clip: Clip, source: Source) -> Finding:
    """Beyond a margin around the mask, the result shows the source."""
    name = "unchanged_outside_mask"
    before = source_pictures(source, clip, name)
    mask = painted(source, clip, name) > 0.02
    margin = max(1, round(MARGIN_PX * compared_size(clip)[0] / clip.video.width))
    outside = ~grown(mask, margin)
    _needs_area(name, outside, "black")
    after = result_pictures(clip, name)[: len(before)]
    return _kept(name, np.abs(after - before)[:, outside], f"beyond {MARGIN_PX} pixels of the mask")


def keeps_inner_area(clip: Clip, source: Source) -> Finding:
    """An outpainted clip shows its source in the inner area, and a picture around it."""
    name = "keeps_inner_area"
    area = inner_area(source, clip)
    if area is None:
        raise MediaError(
            name, measured="no inner area given", limit="(left, top, right, bottom) in pixels",
            reason="The check needs to know where the source lies: pass Source(inner=...).",
        )  # fmt: skip
    before = source_pictures(source, clip, name)
    after = result_pictures(clip, name)[: len(before)]
    left, top, right, bottom = (round(side) for side in area)
    inside = np.zeros(before.shape[1:3], np.bool_)
    inside[top:bottom, left:right] = True
    margin = max(1, round(MARGIN_PX * compared_size(clip)[0] / clip.video.width))
    kept = ~grown(~inside, margin)
    # the frame's own border is no seam: nothing was painted beyond it
    kept &= inside
    _needs_area(name, kept, "inner")
    finding = _kept(name, np.abs(after - before)[:, kept], "in the inner area")
    around = ~grown(inside, margin)
    if int(around.sum()) < LEAST_AREA:
        around = ~inside
    _needs_area(name, around, "outer")
    spread = float(after[:, around].std(axis=1).mean())
    return verdict(
        spread >= PLAIN_SPREAD,
        name,
        f"{finding.measured}; a spread of {spread:.1f} around it",
        f"{finding.limit}; at least {PLAIN_SPREAD:g} around it",
        "The border was left as it was padded: the mask of the border did not reach the model.",
    )


def starts_with(clip: Clip, source: Source) -> Finding:
    """The first frames are the source's, and the later ones go on from there."""
    name, count = "starts_with", source.first_frames
    before = source_pictures(source, clip, name)[:count]
    if not 0 < count < len(clip.frames) or len(before) < count:
        raise MediaError(
            name,
            measured=f"{count} first frames of a source of {len(before)} and a result of "
            f"{len(clip.frames)}",
            limit="from 1 up to all frames of the source, and fewer than the result has",
            reason="There must be frames to keep and frames to add: see Source.first_frames.",
        )
    after = result_pictures(clip, name)
    finding = _kept(name, np.abs(after[:count] - before), f"in the first {count} frames")
    steps = [frame.change or 0.0 for frame in clip.frames[count:]]
    still = sum(step < STILL_CHANGE for step in steps)
    return verdict(
        still <= STILL_SHARE * len(steps),
        name,
        f"{finding.measured}; {still} of {len(steps)} later steps without change",
        f"{finding.limit}; at most {STILL_SHARE:.0%} of the later steps still",
        "The clip was filled up with its last frame in place of being continued.",
    )


# Correlation of outlines with the strongest of the control video. Unrelated scenes measure at most
# 0.04, other landscapes 0.17; the source as a line drawing 0.38 to 0.60, in other colours 0.66.
STRUCTURE = 0.25
# Their places must also agree better than with the mirrored and shifted control video, which has
# the same kind and number of outlines elsewhere: what remains is not owed to chance or to symmetry.
# Measured: unrelated scenes at most 0.03, a landscape as a line drawing 0.24, other colours 0.62.
STRUCTURE_GAIN = 0.1
# What moves, outlines less their mean over time, must correlate by this much, and by more than with
# any other moment of the control. In other colours it measures 0.7 and more, a line drawing of a
# landscape with slow clouds 0.06 (other moments 0.04), the same reversed in time -0.03 (0.06), a
# frozen one 0.00.
MOTION = 0.05


def follows_control(clip: Clip, source: Source) -> Finding:
    """Outlines lie where those of the control video lie, and move when they move."""
    name = "follows_control"
    before = source_pictures(source, clip, name)
    after = result_pictures(clip, name)[: len(before)]
    found: Structure = compare_structure(after, before)
    moves = found.moving is None or found.moving >= max(MOTION, found.moving_by_chance)
    motion = (
        "the control video hardly moves"
        if found.moving is None
        else f"moving outlines {found.moving:.2f}, at other moments {found.moving_by_chance:.2f}"
    )
    return verdict(
        found.outlines >= STRUCTURE and found.places - found.by_chance >= STRUCTURE_GAIN and moves,
        name,
        f"outlines correlate by {found.outlines:.2f}, their places by {found.places:.2f}, "
        f"by chance {found.by_chance:.2f}; {motion}",
        f"at least {STRUCTURE:g}, places {STRUCTURE_GAIN:g} above chance, moving ones at least "
        f"{MOTION:g} and as at no other moment",
        "The control video did not reach the model, its strength is 0, or its frames came in "
        "another order or at another rate.",
    )


def _kept(name: str, differences: Pictures, where: str) -> Finding:
    """The finding about an area that must show the source; shape (frames, pixels..., 3)."""
    difference = _mean(differences)
    cells = differences.mean(axis=-1)  # the bars of a padded source stay NaN
    share = float((cells > KEPT_CELL).sum() / max(1, int(np.isfinite(cells).sum())))
    return verdict(
        difference <= KEPT_DIFFERENCE and share <= KEPT_SHARE,
        name,
        f"differs {where} by {difference:.1f} of 255, {share:.1%} of it by more than {KEPT_CELL:g}",
        f"at most {KEPT_DIFFERENCE:g}, and at most {KEPT_SHARE:.0%} by more than {KEPT_CELL:g}",
        "What should have been kept was painted anew: a mask that is lost, exchanged or of "
        "another size, or a source that lies elsewhere.",
    )


def _needs_area(name: str, area: Mask, kind: str) -> None:
    if int(area.sum()) >= LEAST_AREA:
        return
    raise MediaError(
        name,
        measured=f"{int(area.sum())} of {area.size} cells are {kind}",
        limit=f"at least {LEAST_AREA}",
        reason="Too little is left of the mask to say anything: give one with a larger such part.",
    )


def _mean(differences: NDArray[np.float32]) -> float:
    """The mean without the bars of a padded source, which are NaN."""
    known = differences[np.isfinite(differences)]
    return float(known.mean()) if known.size else 0.0


def _same_shape(clip: Clip, source: Source) -> bool:
    have = source.needed_clip("changed").video
    want = clip.video
    return abs((have.width / have.height) / (want.width / want.height) - 1) < 0.02


def _fine_difference(clip: Clip, source: Source) -> float:
    """The difference on pictures of two pixels a cell, for sources of the result's shape."""
    before = source.needed_clip("changed")
    indices = frame_indices(before, clip, source.skip)
    height, width = clip.pictures.shape[1:3]
    wanted = scaled(before.pictures[indices], width, height, None)
    return _mean(np.abs(clip.pictures[: len(indices)] - wanted))


EDIT_CHECKS: Mapping[str, EditCheck] = {
    check.__name__: check
    for check in (
        changed,
        changed_inside_mask,
        unchanged_outside_mask,
        follows_control,
        starts_with,
        keeps_inner_area,
    )
}

_OF_KEPT: Mapping[str, tuple[str, ...]] = {
    "nothing": (),
    "structure": ("follows_control", "changed"),
    "outside_mask": ("changed_inside_mask", "unchanged_outside_mask"),
    "first_frames": ("starts_with",),
    "inside_frame": ("keeps_inner_area",),
}


def edit_checks(kept: str) -> tuple[str, ...]:
    """Names of the checks for what a recipe keeps of its source (`Recipe.kept`).

    Raises:
        ValueError: no recipe keeps that.
    """
    if kept not in _OF_KEPT:
        raise ValueError(
            f"kept is {kept!r}; allowed is one of {', '.join(_OF_KEPT)}, since each has its own "
            "checks against the source: give one of these, or add a check to EDIT_CHECKS"
        )
    return _OF_KEPT[kept]
