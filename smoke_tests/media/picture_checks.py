"""Checks of what the eye would see. Each has its limit and the reason for it."""

from __future__ import annotations

import math

import numpy as np

from smoke_tests.media.clip import NOISE_LAG, Clip
from smoke_tests.media.finding import Expectation, Finding, verdict, which

# A frame whose brightest hundredth stays below this is black. The all-zero frames of a failed
# attention kernel measure exactly 0; a lamp, a star or a face at night is far above.
BLACK_HIGHLIGHT = 24.0
# Standard deviation of light and of colour below which a frame is one colour. Encoded plain
# fields measure 0.0; the palest recorded clip (audio_kept.mp4) has 2.9.
PLAIN_SPREAD = 1.5
# Share of frames that may be black or plain: a fade is a few frames, a failure is most of them.
DEFECT_SHARE = 0.1
# Mean change of light between neighbours below which they are the same picture. After H.264 at
# crf 19 a still scene measures at most 0.002, a pan of one pixel a second at least 0.059.
STILL_CHANGE = 0.02
# The model makes motion in every frame; a quarter of still pairs means repeated frames.
STILL_SHARE = 0.25
# Correlation NOISE_LAG pixels apart. The recorded clips of a model with random weights have 0.04,
# white noise 0.00, noise cells of one VAE cell -0.06; shapes of 32 pixels have 0.7 already.
NOISE_CORRELATION = 0.2
# Mean light outside of this is number overflow in a scene by day or lamplight, as the shipped
# prompts ask for. A night sky would be darker; it is not asked for.
BRIGHTNESS = (16.0, 239.0)
# Cells that may look broken in a whole clip: one small square thing that happens to lie on the
# raster. A single broken latent cell already shows in the four frames that it is decoded to.
BROKEN_CELLS = 2
# Mean light of a frame against the mean of its neighbours, of 255. Scenes that move measure at most
# 0.3, a fade 0.3, a pulse of 10 % 13; the recorded noise of random weights 9 and 55.
FLICKER_JUMP = 3.0
# Share of the change between frames that such a jump is. Pure flicker is all of it (1.0).
FLICKER_OF_CHANGE = 0.5
# Two cuts, a flash or a lightning are a few frames; flicker is most of them, or every fourth.
FLICKER_SHARE = 0.15
# Distance of the mean (Cb, Cr) from grey. Scenes measure 2 to 12, in evening light 30, the recorded
# noise 33; frames in shades of one primary 86 and 113, chroma planes full of zeros 181. What is
# asked for may be strong, so the limit lies near what only a fault makes.
MOST_CAST = 80.0
# Of 255, for what limited range and H.264 round: pure colours come back within 10.
CORNER = 12
# Share of pixels in a coloured corner. Scenes measure 0 %, also with contrast raised by half;
# contrast raised twentyfold, as of values that overflow, 62 %. A flag may fill a third.
MOST_CORNERS = 0.35
# Share of empty grey levels. Scenes measure 0 to 25 %, 32 shades a channel 26 %; four bands a
# channel 71 %, although H.264 blurs their edges. So do drawings in pastel: 71 to 78 %.
EMPTY_LEVELS = 0.6


def not_black(clip: Clip, _: Expectation) -> Finding:
    """The frames are not black."""
    black = [frame.index for frame in clip.frames if frame.highlight < BLACK_HIGHLIGHT]
    return verdict(
        bool(clip.frames) and len(black) <= DEFECT_SHARE * len(clip.frames),
        "not_black",
        f"{len(black)} of {len(clip.frames)} frames black{which(black)}",
        f"at most {DEFECT_SHARE:.0%} with their brightest hundredth below {BLACK_HIGHLIGHT:g}",
        "Black frames are what an attention kernel or fp8 mode that yields NaN looks like: "
        "try without --fast, SageAttention and fp8_e4m3fn_fast.",
    )


def not_plain(clip: Clip, _: Expectation) -> Finding:
    """The frames show more than one colour."""
    plain = [f.index for f in clip.frames if max(f.spread, f.chroma_spread) < PLAIN_SPREAD]
    return verdict(
        bool(clip.frames) and len(plain) <= DEFECT_SHARE * len(clip.frames),
        "not_plain",
        f"{len(plain)} of {len(clip.frames)} frames of one colour{which(plain)}",
        f"at most {DEFECT_SHARE:.0%} with a spread below {PLAIN_SPREAD:g}",
        "A plain field means that the decoder got an empty latent, or the wrong VAE.",
    )


def not_frozen(clip: Clip, _: Expectation) -> Finding:
    """Consecutive frames differ."""
    changes = [frame.change for frame in clip.frames if frame.change is not None]
    still = [n for n, change in enumerate(changes, start=1) if change < STILL_CHANGE]
    smallest = min(changes, default=0.0)
    return verdict(
        bool(changes) and len(still) <= STILL_SHARE * len(changes),
        "not_frozen",
        f"{len(still)} of {len(changes)} steps without change{which(still)}, "
        f"smallest change {smallest:.2f}",
        f"at most {STILL_SHARE:.0%} of the steps below {STILL_CHANGE:g} of 255",
        "Repeated frames mean a still picture, or a clip padded to its length.",
    )


def not_noise(clip: Clip, _: Expectation) -> Finding:
    """The frames hold shapes that are larger than two cells of the VAE."""
    measured = clip.correlation
    return verdict(
        measured is None or measured >= NOISE_CORRELATION,
        "not_noise",
        "too small to say" if measured is None else f"correlation {measured:.2f}",
        f"at least {NOISE_CORRELATION:g} at a distance of {NOISE_LAG} pixels",
        "Noise means weights that are wrong or not loaded, or sampling that never converged.",
    )


def brightness(clip: Clip, _: Expectation) -> Finding:
    """The mean light of the clip lies where scenes do."""
    mean = sum(frame.mean for frame in clip.frames) / max(1, len(clip.frames))
    low, high = BRIGHTNESS
    return verdict(
        low <= mean <= high,
        "brightness",
        f"mean light {mean:.0f} of 255",
        f"{low:g} to {high:g}",
        "Outside of this the values overflowed, or a colour range was taken for the other.",
    )


def no_broken_blocks(clip: Clip, _: Expectation) -> Finding:
    """No VAE cells of one colour or of garbage stand in frames that are otherwise all right."""
    broken = [frame.index for frame in clip.frames if frame.broken]
    cells = sum(frame.broken for frame in clip.frames)
    return verdict(
        cells <= BROKEN_CELLS,
        "no_broken_blocks",
        f"{cells} broken cells in {len(broken)} of {len(clip.frames)} frames{which(broken)}",
        f"at most {BROKEN_CELLS} cells of 8x8 pixels cut off on all sides",
        "Blocks on the raster of the VAE are NaN or infinity in single latent cells: an overflow "
        "in fp8 or fp16. Try --fp32-vae or --bf16-vae, and without --fast.",
    )


def no_flicker(clip: Clip, _: Expectation) -> Finding:
    """The light of whole frames does not jump to and fro."""
    light = np.array([frame.mean for frame in clip.frames])
    change = np.array([frame.change or 0.0 for frame in clip.frames])
    jumps = np.abs(light[:-2] - 2 * light[1:-1] + light[2:]) / 2
    # motion moves light about within the frame; flicker changes all of it the same way
    moved = np.maximum(change[1:-1], change[2:])
    flagged = [
        index
        for index, (jump, most) in enumerate(zip(jumps, moved, strict=True), start=1)
        if jump > FLICKER_JUMP and jump > FLICKER_OF_CHANGE * most
    ]
    return verdict(
        len(flagged) <= FLICKER_SHARE * max(1, len(jumps)),
        "no_flicker",
        f"{len(flagged)} of {len(jumps)} frames jump{which(flagged)}, "
        f"largest {float(jumps.max(initial=0.0)):.1f}",
        f"at most {FLICKER_SHARE:.0%} that leave their neighbours' mean light by more than "
        f"{FLICKER_JUMP:g} of 255",
        "Light that pulses comes from latents that were joined or scaled wrongly, "
        "often in the rhythm of four frames a latent.",
    )


def colour_cast(clip: Clip, _: Expectation) -> Finding:
    """The mean colour of the clip is not far from grey."""
    tints = np.array([frame.tint for frame in clip.frames]).reshape(-1, 2)
    blue, red = tints.mean(axis=0) if len(tints) else (0.0, 0.0)
    cast = math.hypot(blue, red)
    return verdict(
        cast <= MOST_CAST,
        "colour_cast",
        f"mean colour {cast:.0f} from grey (Cb {blue:+.0f}, Cr {red:+.0f})",
        f"at most {MOST_CAST:g}",
        "A frame drowned in one colour means colour planes that were lost or exchanged, "
        "or a VAE of another model.",
    )


def colour_overflow(clip: Clip, _: Expectation) -> Finding:
    """Few pixels are driven to the corners of the colour cube."""
    low = (clip.pictures <= CORNER).any(axis=-1)
    high = (clip.pictures >= 255 - CORNER).any(axis=-1)
    inner = ((clip.pictures > CORNER) & (clip.pictures < 255 - CORNER)).any(axis=-1)
    share = float((low & high & ~inner).mean()) if clip.pictures.size else 0.0
    return verdict(
        share <= MOST_CORNERS,
        "colour_overflow",
        f"{share:.0%} of the pixels are pure red, green, blue, cyan, magenta or yellow",
        f"at most {MOST_CORNERS:.0%}",
        "Values that overflow end in such colours: cfg far too high, or fp8 out of its range.",
    )


def colour_levels(clip: Clip, _: Expectation) -> Finding:
    """Light runs in fine steps, not in a few bands; only noted, never failed.

    A drawing of few shades, which a style may well ask for, leaves as many levels empty as bands.
    """
    levels = [frame.levels for frame in clip.frames if frame.levels is not None]
    empty = float(np.median(levels)) if levels else 0.0
    return Finding(
        "colour_levels",
        f"{empty:.0%} of the grey levels are empty" if levels else "too little contrast to say",
        f"at most {EMPTY_LEVELS:.0%} between the darkest and the brightest hundredth",
        "Bands in place of shades mean that numbers were rounded too far on the way: "
        "a latent or picture passed through a type of too few bits.",
        level="ok" if empty <= EMPTY_LEVELS else "warning",
    )
