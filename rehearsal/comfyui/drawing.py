"""Draws the frames that a Wan VACE model would make of its inputs.

No art, but what a content check looks at is there:

- prompt and seed decide what is painted (`scene`);
- where the mask is clear, the source is kept, with the small error that a VAE adds;
- a control video shows as structure (light and edges), the more the higher the strength, and not at
  all at 0; places of it that are grey (127) ask for nothing, as VACE takes them;
- frames that are kept whole lead into the painted ones without a cut;
- the reference picture's colours and the picture itself are seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageFilter

from rehearsal.comfyui.scene import Scene
from rehearsal.comfyui.values import Pixels

if TYPE_CHECKING:
    from rehearsal.comfyui.values import Control, Sampled

#: Share of the control's light and colour in a guided place at strength 1.
LIGHT_WEIGHT, COLOUR_WEIGHT = 0.75, 0.45
#: How dark the lines of a line drawing come out at strength 1.
LINE_WEIGHT = 0.85
#: Where half of a line's shade is left, as a share of the picture's shorter side.
SHADE_REACH = 1 / 40
REFERENCE_WEIGHT = 0.85
#: The same where a control video gives the structure: the reference is then a style, no subject.
REFERENCE_WEIGHT_GUIDED = 0.25
#: Levels (of 255) around 127 that count as grey, i.e. as "paint here".
GREY_TOLERANCE = 4
#: A VAE place is 8 by 8 pixels; whether a place is grey is decided for the whole of it.
CELL = 8
#: Places on a side that a grey area must have where no mask says that it is meant.
GREY_CELLS = 5
#: Frames after (or before) a kept one in which the painting takes over.
TAKE_OVER_FRAMES = 12
#: Share of fine detail that a VAE round trip loses, its pattern, and its largest error, in levels.
DETAIL_LOST, PATTERN_LEVELS, LARGEST_ERROR = 0.3, 3, 8

LINE_INK = (24, 22, 28)
Picture = Image.Image
Shorts = npt.NDArray[np.int16]


def _pattern(width: int, height: int) -> Shorts:
    """The error that a VAE adds everywhere: fixed, mean absolute value about 1.5 levels."""
    random = np.random.default_rng(8)
    grain = random.integers(-PATTERN_LEVELS, PATTERN_LEVELS + 1, size=(height, width, 1))
    return grain.astype(np.int16)


class RoundTrip:
    """A picture after encoding and decoding: a little softer, off by at most 8 levels."""

    def __init__(self, width: int, height: int) -> None:
        self._pattern = _pattern(width, height)

    def __call__(self, pixels: Pixels) -> Pixels:
        soft = np.asarray(Image.fromarray(pixels).filter(ImageFilter.BoxBlur(1)), np.int16)
        source = pixels.astype(np.int16)
        # Integers: 3/10 of the difference to the softened picture, which is the detail.
        error = (soft - source) * round(10 * DETAIL_LOST) // 10 + self._pattern
        np.clip(error, -LARGEST_ERROR, LARGEST_ERROR, out=error)
        source += error
        result: Pixels = np.clip(source, 0, 255, out=source).astype(np.uint8)
        return result


def _fitted(picture: Pixels, width: int, height: int) -> Pixels:
    """Cut to a size that the VAE rounded down."""
    return np.ascontiguousarray(picture[:height, :width])


def _asks(picture: Pixels, *, masked: bool) -> Picture | None:
    """Where a control frame asks for structure (255) and where it is grey (0); None: nowhere.

    Args:
        picture: the control frame.
        masked: whether the frame's mask names places, whose grey then counts however small they
            are. Otherwise only larger grey areas do: a light of 127 also occurs in pictures.
    """
    height, width = picture.shape[:2]
    rows, columns = -(-height // CELL), -(-width // CELL)
    padded = np.pad(
        picture, ((0, rows * CELL - height), (0, columns * CELL - width), (0, 0)), mode="edge"
    )
    cells = padded.reshape(rows, CELL, columns, CELL, 3)
    low, high = cells.min(axis=(1, 3, 4)), cells.max(axis=(1, 3, 4))
    asked = (high > 127 + GREY_TOLERANCE) | (low < 127 - GREY_TOLERANCE)
    grown = Image.fromarray(np.where(asked, 255, 0).astype(np.uint8))
    if not masked:
        grown = grown.filter(ImageFilter.MaxFilter(GREY_CELLS))
        grown = grown.filter(ImageFilter.MinFilter(GREY_CELLS))
    if grown.getbbox() is None:
        return None
    whole = grown.resize((columns * CELL, rows * CELL), Image.Resampling.NEAREST)
    return whole.crop((0, 0, width, height))


def _line_art(control: Control) -> Literal["", "bright", "dark"]:
    """Whether a control video is thin lines on a plain ground, and whether these are the bright.

    Edge detectors draw bright lines on black; VACE's own preparation, dark ones on white.
    """
    if control.video is None:
        return ""
    light = control.video.pixels[:: max(1, control.video.count // 4), ::2, ::2]
    dark, bright = float((light.max(axis=3) < 24).mean()), float((light.min(axis=3) > 231).mean())
    if 1 - dark - bright >= 0.2 or max(dark, bright) <= 0.6:
        return ""
    return "bright" if dark > bright else "dark"


def _share(weight: float) -> float:
    return max(0.0, min(1.0, weight))


class _Plan:
    """What of the control is in force in each frame."""

    def __init__(self, control: Control | None, frames: int, width: int, height: int) -> None:
        self.strength = _share(control.strength) if control is not None else 0.0
        self.control = control if self.strength > 0 else None
        self._size = (width, height)
        self.lines = "" if self.control is None else _line_art(self.control)
        video = self.control.video if self.control is not None else None
        # a control may be longer: the video's length is rounded down to 4n+1 frames
        self._count = min(video.count, frames) if video is not None else 0
        #: Mean of the mask a frame, 0 to 255; frames without control are painted whole.
        self.painted = [
            float(self.control.masks.pixels[n].mean())
            if self.control and n < self._count
            else 255.0
            for n in range(frames)
        ]
        self.kept_whole = [n for n, level in enumerate(self.painted) if level < 2]

    def source(self, index: int) -> Pixels | None:
        if self.control is None or self.control.video is None or index >= self._count:
            return None
        return _fitted(self.control.video.pixels[index], *self._size)

    def mask(self, index: int) -> Pixels:
        if self.control is None:
            width, height = self._size
            return np.full((height, width), 255, np.uint8)
        return _fitted(self.control.masks.pixels[index], *self._size)

    def asks(self, index: int) -> Picture | None:
        """Where the control of a frame asks for structure; None: nowhere."""
        source = self.source(index)
        return None if source is None else _asks(source, masked=self.painted[index] < 250)

    def reference(self) -> Pixels | None:
        if self.control is None or self.control.reference is None:
            return None
        return _fitted(self.control.reference.pixels[0], *self._size)

    def guided(self) -> bool:
        """Whether the control video asks for structure anywhere that may be painted."""
        if self.control is None:
            return False
        for index in range(0, self._count, max(1, self._count // 5)):
            asked = self.asks(index)
            if asked is None:
                continue
            inside = ImageChops.multiply(asked, Image.fromarray(self.mask(index)))
            if inside.getbbox() is not None:
                return True
        return False

    def neighbour(self, index: int) -> tuple[int, float] | None:
        """The nearest frame that is kept whole, and how much of it is still seen (0 to 1)."""
        if not self.kept_whole or self.painted[index] < 250:
            return None
        nearest = min(self.kept_whole, key=lambda kept: abs(kept - index))
        weight = 1 - abs(nearest - index) / TAKE_OVER_FRAMES
        return (nearest, weight * self.strength) if weight > 0 else None


def _shaded(ink: Picture) -> Picture:
    """Lines with a shade that fades away to one side of each, as a painter sets off a shape.

    So there is one step of light at each line, as at the outline of a thing, and not two.
    """
    half, reach = max(1.0, SHADE_REACH * min(ink.size)), 1
    while reach < 4 * half:
        left = 0.5 ** (reach / half)
        moved = ImageChops.offset(ink.point(lambda level, left=left: round(level * left)), reach)
        moved.paste(0, (0, 0, reach, ink.height))
        moved.paste(0, (0, 0, ink.width, reach))
        ink = ImageChops.lighter(ink, moved)
        reach *= 2
    return ink


def _structured(picture: Picture, source: Pixels, plan: _Plan, asked: Picture) -> Picture:
    """The painting with the light and edges of a control frame."""
    control = Image.fromarray(source)
    if plan.lines:
        ink = control.convert("L")
        if plan.lines == "dark":
            ink = ImageChops.invert(ink)
        weighed = _shaded(ink).point(lambda level: round(level * LINE_WEIGHT * plan.strength))
        return Image.composite(Image.new("RGB", picture.size, LINE_INK), picture, weighed)
    light, *colours = picture.convert("YCbCr").split()
    wanted, *tints = control.convert("YCbCr").split()
    light = Image.blend(light, wanted, LIGHT_WEIGHT * plan.strength)
    mixed = [
        Image.blend(mine, other, COLOUR_WEIGHT * plan.strength) if _is_tinted(other) else mine
        for mine, other in zip(colours, tints, strict=True)
    ]
    guided = Image.merge("YCbCr", [light, *mixed]).convert("RGB")
    return Image.composite(guided, picture, asked)


def _is_tinted(plane: Picture) -> bool:
    low, high = plane.getextrema()
    return bool(low < 124 or high > 132)  # type: ignore[operator]


def _inset(picture: Picture, reference: Pixels, index: int, mask: Pixels, weight: float) -> Picture:
    """The reference as a subject that sways inside the area that may be painted."""
    box = Image.fromarray(mask).point(lambda level: 255 if level > 127 else 0).getbbox()
    left, top, right, bottom = box or (0, 0, picture.width, picture.height)
    whole = (right - left, bottom - top) == picture.size
    # A subject in an open picture leaves room around it; one that replaces an object fills it.
    part = 0.6 if whole else 0.9
    width, height = max(2, round((right - left) * part)), max(2, round((bottom - top) * part))
    small = Image.fromarray(reference).resize((width, height), Image.Resampling.BILINEAR)
    sway = 0.5 + 0.25 * float(np.sin(index * 0.13))
    place = (left + int((right - left - width) * sway), top + (bottom - top - height) // 2)
    result = picture.copy()
    under = result.crop((*place, place[0] + width, place[1] + height))
    result.paste(Image.blend(under, small, weight), place)
    return result


def draw(sampled: Sampled, *, frames: int, width: int, height: int) -> Pixels:
    """The video that a sampler's result decodes to.

    Args:
        sampled: prompt, seed, sampler settings and control.
        frames: number of frames.
        width: in pixels.
        height: in pixels.

    Returns:
        RGB frames, shape (frames, height, width, 3).
    """
    plan = _Plan(sampled.control, frames, width, height)
    guided, reference = plan.guided(), plan.reference()
    scene = Scene(sampled, width, height, reference=reference, quiet=guided)
    round_trip = RoundTrip(width, height)
    result = np.empty((frames, height, width, 3), dtype=np.uint8)
    for index in range(frames):
        result[index] = _frame(plan, scene, round_trip, index, guided=guided, reference=reference)
    if sampled.encoded is not None and sampled.denoise < 1:
        _stay_near(result, sampled.encoded.pixels, sampled.denoise, round_trip)
    return result


def _frame(
    plan: _Plan,
    scene: Scene,
    round_trip: RoundTrip,
    index: int,
    *,
    guided: bool,
    reference: Pixels | None,
) -> Pixels:
    source, mask = plan.source(index), plan.mask(index)
    keeping = plan.strength * (1 - plan.painted[index] / 255)
    if source is not None and keeping >= 1:
        return round_trip(source)
    picture = Image.fromarray(scene.frame(index))
    asked = plan.asks(index) if guided else None
    near = plan.neighbour(index)
    # A control that gives the structure of this frame says more than its neighbour.
    if near is not None and asked is None:
        before = plan.source(near[0])
        if before is not None:
            picture = Image.blend(picture, Image.fromarray(round_trip(before)), near[1])
    if reference is not None:
        weight = REFERENCE_WEIGHT_GUIDED if guided else REFERENCE_WEIGHT
        picture = _inset(picture, reference, index, mask, weight * plan.strength)
    if source is not None and asked is not None:
        picture = _structured(picture, source, plan, asked)
    if source is not None and keeping > 0:
        kept = Image.fromarray(255 - mask).point(lambda level: round(level * plan.strength))
        picture = Image.composite(Image.fromarray(round_trip(source)), picture, kept)
    return np.asarray(picture)


def _stay_near(result: Pixels, encoded: Pixels, denoise: float, round_trip: RoundTrip) -> None:
    """What sampling from a half-noised source keeps of it: about as much as was not noised."""
    height, width = result.shape[1:3]
    for index in range(min(len(result), len(encoded))):
        source = Image.fromarray(round_trip(_fitted(encoded[index], width, height)))
        result[index] = np.asarray(
            Image.blend(source, Image.fromarray(result[index]), _share(denoise))
        )
