"""What a good video is: one function a check, each with its limit and the reason for it.

A check returns a `Finding` when the clip passes and raises `MediaError` when it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from smoke_tests.media.clip import NOISE_LAG, Clip, MediaError

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
# Mean light outside of this is under- or over-exposed beyond any scene: number overflow.
BRIGHTNESS = (16.0, 239.0)


@dataclass(frozen=True)
class Expectation:
    """What the video must be.

    Attributes:
        width, height: pixels. frames: exact count. fps: constant rate in frames per second.
        silent: no other stream than the video; graphs that carry audio along set it to False.
    """

    width: int
    height: int
    frames: int
    fps: Fraction
    silent: bool = True

    @property
    def seconds(self) -> float:
        """Duration: each frame is shown for one period."""
        return float(self.frames / self.fps)


@dataclass(frozen=True)
class Finding:
    """A passed check; `level` is "warning" for what works but could be better."""

    check: str
    measured: str
    limit: str
    reason: str
    level: Literal["ok", "warning"] = "ok"

    def __str__(self) -> str:
        return f"{self.check}: {self.measured} (expected {self.limit})"


Check = Callable[[Clip, Expectation], Finding]


def _verdict(ok: bool, check: str, measured: str, limit: str, reason: str) -> Finding:
    if not ok:
        raise MediaError(check, measured=measured, limit=limit, reason=reason)
    return Finding(check, measured, limit, reason)


def mp4(clip: Clip, _: Expectation) -> Finding:
    """The container is MP4: ftyp first, then moov and mdat, none of them cut."""
    kinds = [box.kind for box in clip.boxes]
    whole = bool(clip.boxes) and clip.boxes[-1].offset + clip.boxes[-1].size <= clip.size
    ok = kinds[:1] == ["ftyp"] and {"moov", "mdat"} <= set(kinds) and whole
    brand = clip.brand.strip() or "none"
    ok = ok and brand != "qt"
    return _verdict(
        ok,
        "mp4",
        f"boxes {' '.join(kinds) or 'none'}, brand {brand}{'' if whole else ', the last one cut'}",
        "ftyp first, moov and mdat, a brand other than qt",
        "Browsers and players go by these boxes, whatever the file's name says.",
    )


def faststart(clip: Clip, _: Expectation) -> Finding:
    """The index (moov) lies before the data; only noted, never failed.

    VHS_VideoCombine 4ee72c0 writes moov last (seen in the recorded run), and /view answers ranges,
    so players manage; a player that streams without ranges must first load the whole file.
    """
    order = [box.kind for box in clip.boxes if box.kind in {"moov", "mdat"}]
    fast = order[:1] == ["moov"]
    return Finding(
        "faststart",
        " before ".join(dict.fromkeys(order)) or "no moov",
        "moov before mdat",
        "Playback can start before the download has ended.",
        level="ok" if fast else "warning",
    )


def one_h264_stream(clip: Clip, expected: Expectation) -> Finding:
    """There is exactly one video stream, H.264, and no other unless audio is expected."""
    listed = ", ".join(f"{stream.kind} {stream.codec}" for stream in clip.streams)
    videos = [stream.codec for stream in clip.streams if stream.kind == "video"]
    others = {stream.kind for stream in clip.streams} - {"video"}
    allowed: set[str] = set() if expected.silent else {"audio"}
    return _verdict(
        videos == ["h264"] and others <= allowed,
        "one_h264_stream",
        listed or "no stream",
        "one H.264 video stream" + ("" if expected.silent else ", audio allowed"),
        "H.264 is what was promised and what every browser plays.",
    )


def pixel_format(clip: Clip, _: Expectation) -> Finding:
    """Pixels are yuv420p."""
    return _verdict(
        clip.video.pixel_format == "yuv420p",
        "pixel_format",
        clip.video.pixel_format or "unknown",
        "yuv420p",
        "Browsers and hardware decoders play no other layout of H.264.",
    )


def frame_size(clip: Clip, expected: Expectation) -> Finding:
    """Width and height in pixels are those of the graph."""
    return _verdict(
        (clip.video.width, clip.video.height) == (expected.width, expected.height),
        "frame_size",
        f"{clip.video.width}x{clip.video.height}",
        f"{expected.width}x{expected.height}",
        "Another size means that another graph ran, or that the picture was scaled.",
    )


def frame_count(clip: Clip, expected: Expectation) -> Finding:
    """As many frames can be decoded as the graph asks for and the container declares."""
    decoded, declared = len(clip.frames), clip.video.declared_frames
    return _verdict(
        decoded == expected.frames and declared in {0, decoded},
        "frame_count",
        f"{decoded} decoded, {declared} declared",
        f"{expected.frames}",
        "Wan makes 4n+1 frames and ComfyUI rounds a wish down to that without a word; "
        "a gap between decoded and declared means a damaged file.",
    )


def constant_rate(clip: Clip, expected: Expectation) -> Finding:
    """Every frame is shown for the same time, one period of the expected rate."""
    period = float(1 / expected.fps)
    steps = [after.time - before.time for before, after in pairwise(clip.frames)]
    worst = max((abs(step - period) for step in steps), default=0.0)
    rate = clip.video.rate
    # 1 ms: above the rounding of every time base in use, far below the 62.5 ms of a lost frame
    ok = worst <= 0.001 and (rate is None or abs(float(rate) - float(expected.fps)) < 0.01)
    return _verdict(
        ok,
        "constant_rate",
        f"{float(rate) if rate else 0:g} fps, steps off by at most {1000 * worst:.2f} ms",
        f"{float(expected.fps):g} fps, within 1 ms",
        "Uneven steps judder, and another rate plays the motion too fast or too slow.",
    )


def duration(clip: Clip, expected: Expectation) -> Finding:
    """The clip lasts as long as its frames need."""
    period = float(1 / expected.fps)
    measured = clip.frames[-1].time - clip.frames[0].time + period if clip.frames else 0.0
    return _verdict(
        abs(measured - expected.seconds) <= period / 2,
        "duration",
        f"{measured:.3f} s",
        f"{expected.seconds:.3f} s within half a frame",
        "A shorter clip lost frames, a longer one shows some of them too long.",
    )


def decodable(clip: Clip, _: Expectation) -> Finding:
    """Every frame can be decoded, to the very end, without an error."""
    return _verdict(
        not clip.damage and bool(clip.frames),
        "decodable",
        clip.damage or f"{len(clip.frames)} frames without error",
        "no error up to the last frame",
        "The file was damaged on the way or on disk, or the encoder was killed.",
    )


def not_black(clip: Clip, _: Expectation) -> Finding:
    """The frames are not black."""
    black = [frame.index for frame in clip.frames if frame.highlight < BLACK_HIGHLIGHT]
    return _verdict(
        bool(clip.frames) and len(black) <= DEFECT_SHARE * len(clip.frames),
        "not_black",
        f"{len(black)} of {len(clip.frames)} frames black{_which(black)}",
        f"at most {DEFECT_SHARE:.0%} with their brightest hundredth below {BLACK_HIGHLIGHT:g}",
        "Black frames are what an attention kernel or fp8 mode that yields NaN looks like: "
        "try without --fast, SageAttention and fp8_e4m3fn_fast.",
    )


def not_plain(clip: Clip, _: Expectation) -> Finding:
    """The frames show more than one colour."""
    plain = [f.index for f in clip.frames if max(f.spread, f.chroma_spread) < PLAIN_SPREAD]
    return _verdict(
        bool(clip.frames) and len(plain) <= DEFECT_SHARE * len(clip.frames),
        "not_plain",
        f"{len(plain)} of {len(clip.frames)} frames of one colour{_which(plain)}",
        f"at most {DEFECT_SHARE:.0%} with a spread below {PLAIN_SPREAD:g}",
        "A plain field means that the decoder got an empty latent, or the wrong VAE.",
    )


def not_frozen(clip: Clip, _: Expectation) -> Finding:
    """Consecutive frames differ."""
    changes = [frame.change for frame in clip.frames if frame.change is not None]
    still = [n for n, change in enumerate(changes, start=1) if change < STILL_CHANGE]
    smallest = min(changes, default=0.0)
    return _verdict(
        bool(changes) and len(still) <= STILL_SHARE * len(changes),
        "not_frozen",
        f"{len(still)} of {len(changes)} steps without change{_which(still)}, "
        f"smallest change {smallest:.2f}",
        f"at most {STILL_SHARE:.0%} of the steps below {STILL_CHANGE:g} of 255",
        "Repeated frames mean a still picture, or a clip padded to its length.",
    )


def not_noise(clip: Clip, _: Expectation) -> Finding:
    """The frames hold shapes that are larger than two cells of the VAE."""
    measured = clip.correlation
    return _verdict(
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
    return _verdict(
        low <= mean <= high,
        "brightness",
        f"mean light {mean:.0f} of 255",
        f"{low:g} to {high:g}",
        "Outside of this the values overflowed, or a colour range was taken for the other.",
    )


def _which(indices: list[int]) -> str:
    if not indices:
        return ""
    shown = ", ".join(map(str, indices[:5])) + (", ..." if len(indices) > 5 else "")
    return f" ({shown})"


CHECKS: Mapping[str, Check] = {
    check.__name__: check
    for check in (
        mp4,
        faststart,
        one_h264_stream,
        pixel_format,
        frame_size,
        frame_count,
        constant_rate,
        duration,
        decodable,
        not_black,
        not_plain,
        not_frozen,
        not_noise,
        brightness,
    )
}
