"""What an edited video was made from, brought to the geometry and the frames of the result.

Source and result are compared on small pictures of one pixel a VAE cell (8x8 pixels of a result of
480P): what the VAE and H.264 cannot keep, the texture inside of a cell, is averaged away there,
while whatever a person would call a change is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from smoke_tests.media.clip import Clip
from smoke_tests.media.finding import MediaError

#: Longest side of the compared pictures: 832 pixels are 104 cells of the VAE.
COMPARED = 104

Fit = Literal["crop", "pad"]
Pictures = NDArray[np.float32]
Mask = NDArray[np.bool_]
Area = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Source:
    """The inputs of an edit.

    Attributes:
        clip: the source or control video, at its own size and rate; None where there is none.
        mask: where the model may paint: 1 there, 0 elsewhere; shape (height, width). Of the
            result's size, or of any other: then it lies over the source and is fitted with it.
        reference: the reference picture. No check uses it: lighting and style rightly change its
            colours, and by chance every fourth unrelated video shares them, so that neither a
            pass nor a fail would mean anything.
        first_frames: how many of the source's frames the result begins with.
        inner: (left, top, right, bottom) in pixels of the result, where an outpainted source lies.
        fit: how a source of another shape was brought to the result's (or to the inner area's):
            cut at two sides, or with bars added; None where it was stretched.
        skip: frames of the source left out at its start, at the result's rate.
    """

    clip: Clip | None = None
    mask: NDArray[np.float32] | None = None
    reference: Path | None = None
    first_frames: int = 0
    inner: tuple[int, int, int, int] | None = None
    fit: Fit | None = "crop"
    skip: int = 0

    def needed_clip(self, check: str) -> Clip:
        """The source video.

        Raises:
            MediaError: there is none, so the check cannot say anything.
        """
        if self.clip is None or not self.clip.frames:
            raise MediaError(
                check,
                measured="no source video given" if self.clip is None else "an empty source video",
                limit="the video that was edited",
                reason="The check compares result and source: pass it as Source(clip=...).",
            )
        return self.clip


def frame_indices(source: Clip, result: Clip, skip: int = 0) -> list[int]:
    """Which frame of the source each frame of the result was made from, as far as it reaches.

    As VHS_LoadVideo picks them with `force_rate` (cv_frame_generator of VideoHelperSuite 4ee72c0):
    it counts the source's frames as evenly spaced at their mean rate, whatever their times, begins
    with the first, and then takes at each wanted time the first frame that begins no earlier. It
    adds up times as doubles; so does this, since their rounding decides between two frames where
    a frame begins exactly at a wanted time.
    """
    want, have = result.video.rate, source.video.rate
    period = 1 / float(have) if have else 1.0
    wanted = 1 / float(want) if have and want else period
    picked: list[int] = []
    index, elapsed = 0, wanted
    while len(picked) < skip + len(result.frames):
        if elapsed < wanted:
            index += 1
            elapsed += period
        if elapsed < wanted:
            continue
        if index >= len(source.frames):
            break
        elapsed -= wanted
        picked.append(index)
    return picked[skip:]


def compared_size(clip: Clip) -> tuple[int, int]:
    """Width and height of the pictures on which a result is compared."""
    width, height = clip.video.width, clip.video.height
    scale = min(1.0, COMPARED / max(width, height))
    return max(2, round(width * scale)), max(2, round(height * scale))


def scaled(pictures: NDArray[np.uint8], width: int, height: int, box: Area | None) -> Pictures:
    """Pictures of shape (n, height, width, 3), or a part of them, at another size."""
    return np.stack(
        [
            np.asarray(
                Image.fromarray(one).resize((width, height), Image.Resampling.BOX, box), np.float32
            )
            for one in pictures
        ]
    )


def result_pictures(result: Clip, check: str) -> Pictures:
    """The result's frames as compared.

    Raises:
        MediaError: no frame could be decoded.
    """
    if not result.frames:
        raise MediaError(
            check, measured="no frame", limit="a decodable video",
            reason="There is nothing to compare with the source: see the check `decodable`.",
        )  # fmt: skip
    return scaled(result.pictures, *compared_size(result), None)


def source_pictures(source: Source, result: Clip, check: str) -> Pictures:
    """The source's frames as they belong to those of the result, in the result's geometry.

    Bars that `pad` adds are NaN; the source's frames may be fewer than the result's.
    """
    clip = source.needed_clip(check)
    indices = frame_indices(clip, result, source.skip)
    if not indices:
        raise MediaError(
            check,
            measured=f"a source of {len(clip.frames)} frames, {source.skip} left out at its start",
            limit="at least one frame in common with the result",
            reason="Nothing is left to compare: leave out fewer frames (Source.skip).",
        )
    width, height = compared_size(result)
    target = inner_area(source, result) or (0.0, 0.0, float(width), float(height))
    canvas = np.full((len(indices), height, width, 3), np.nan, np.float32)
    proportion = clip.video.width / clip.video.height
    have_height, have_width = clip.pictures.shape[1:3]
    box, place = _fitted((have_width, have_height), proportion, target, source.fit)
    left, top, right, bottom = place
    canvas[:, top:bottom, left:right] = scaled(
        clip.pictures[indices], right - left, bottom - top, box
    )
    return canvas


def inner_area(source: Source, result: Clip) -> Area | None:
    """`Source.inner` in pixels of the compared pictures, of which it may cut some in two."""
    if source.inner is None:
        return None
    width, height = compared_size(result)
    across, down = width / result.video.width, height / result.video.height
    left, top, right, bottom = source.inner
    return left * across, top * down, right * across, bottom * down


def painted(source: Source, result: Clip, check: str) -> NDArray[np.float32]:
    """How far each compared pixel may be painted, 0 to 1.

    Raises:
        MediaError: there is no mask.
    """
    mask = source.mask
    if mask is None or mask.ndim != 2:
        raise MediaError(
            check,
            measured="no mask" if mask is None else f"a mask of shape {mask.shape}",
            limit="one mask of shape (height, width)",
            reason="The check needs to know where painting was allowed: pass Source(mask=...).",
        )
    width, height = compared_size(result)
    picture = Image.fromarray((np.clip(mask, 0, 1) * 255).astype(np.uint8))
    video = result.video
    place, box = (0, 0, width, height), None
    if source.clip is not None and picture.size != (video.width, video.height):
        size, of, whole = picture.size, source.clip.video, (0.0, 0.0, float(width), float(height))
        box, place = _fitted(size, of.width / of.height, whole, source.fit)
    left, top, right, bottom = place
    result_mask = np.zeros((height, width), np.float32)
    small = picture.resize((right - left, bottom - top), Image.Resampling.BOX, box)
    result_mask[top:bottom, left:right] = np.asarray(small, np.float32) / 255
    return result_mask


def grown(mask: Mask, pixels: int) -> Mask:
    """The mask and all within so many pixels of it, both ways."""
    wide = np.pad(mask, pixels)
    for axis in (0, 1):
        windows = np.lib.stride_tricks.sliding_window_view(wide, 2 * pixels + 1, axis=axis)
        wide = np.asarray(windows.any(axis=-1), np.bool_)
    return wide


def _fitted(
    have: tuple[int, int], proportion: float, target: Area, fit: Fit | None
) -> tuple[Area, tuple[int, int, int, int]]:
    """What is cut from a picture of size `have`, and at which whole pixels of the target it lies.

    `proportion` is the true width by height: that of the small picture is rounded.
    """
    left, top, right, bottom = target
    width, height = right - left, bottom - top
    wanted = width / height
    whole: Area = (0.0, 0.0, float(have[0]), float(have[1]))
    # shapes within two percent are the same but for rounding to a multiple of 16
    if fit is None or abs(proportion / wanted - 1) < 0.02:
        return _whole_pixels(whole, target)
    wide = proportion > wanted
    if fit == "crop":
        share = wanted / proportion if wide else proportion / wanted
        lost = (1 - share) / 2
        if wide:
            part = (lost * have[0], 0.0, (1 - lost) * have[0], float(have[1]))
        else:
            part = (0.0, lost * have[1], float(have[0]), (1 - lost) * have[1])
        return _whole_pixels(part, target)
    if wide:
        bar = (height - width / proportion) / 2
        return _whole_pixels(whole, (left, top + bar, right, bottom - bar))
    bar = (width - height * proportion) / 2
    return _whole_pixels(whole, (left + bar, top, right - bar, bottom))


def _whole_pixels(box: Area, place: Area) -> tuple[Area, tuple[int, int, int, int]]:
    """The pixels that lie wholly inside of a place, and the part of the box that they show.

    Rounding the place alone would move the picture by up to half a pixel, i.e. half a cell.
    """
    # a hundredth of a pixel is rounding
    first = [math.ceil(side - 0.01) for side in place[:2]]
    last = [math.floor(side + 0.01) for side in place[2:]]
    start, end = [], []
    for axis in (0, 1):
        scale = (box[axis + 2] - box[axis]) / (place[axis + 2] - place[axis])
        start.append(max(box[axis], box[axis] + (first[axis] - place[axis]) * scale))
        end.append(min(box[axis + 2], box[axis] + (last[axis] - place[axis]) * scale))
    return (start[0], start[1], end[0], end[1]), (first[0], first[1], last[0], last[1])
