"""Checks of the file: container, streams, rate, tags. Each has its limit and the reason for it."""

from __future__ import annotations

from datetime import UTC, timedelta
from itertools import pairwise

from smoke_tests.media.clip import Clip, ColourTags
from smoke_tests.media.finding import Expectation, Finding, verdict


def mp4(clip: Clip, _: Expectation) -> Finding:
    """The container is MP4: ftyp first, then moov and mdat, none of them cut."""
    kinds = [box.kind for box in clip.boxes]
    whole = bool(clip.boxes) and clip.boxes[-1].offset + clip.boxes[-1].size <= clip.size
    ok = kinds[:1] == ["ftyp"] and {"moov", "mdat"} <= set(kinds) and whole
    brand = clip.brand.strip() or "none"
    ok = ok and brand != "qt"
    return verdict(
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
    """There is exactly one video stream, H.264, and beside it nothing but the sound asked for."""
    listed = ", ".join(f"{stream.kind} {stream.codec}" for stream in clip.streams)
    videos = [stream.codec for stream in clip.streams if stream.kind == "video"]
    others = [stream.kind for stream in clip.streams if stream.kind != "video"]
    allowed = [[]] if expected.audio is False else [[], ["audio"]]
    return verdict(
        videos == ["h264"] and others in allowed,
        "one_h264_stream",
        listed or "no stream",
        "one H.264 video stream" + ("" if expected.audio is False else ", one of sound allowed"),
        "H.264 is what was promised and what every browser plays.",
    )


def profile(clip: Clip, expected: Expectation) -> Finding:
    """The H.264 profile is one that phones and browsers decode."""
    found = clip.video.profile
    return verdict(
        found in expected.profiles,
        "profile",
        found or "none named",
        " or ".join(expected.profiles),
        "Hardware decoders know these only; High 10 and 4:4:4 come from a wrong pix_fmt of "
        "VHS_VideoCombine and show as a black window.",
    )


def pixel_format(clip: Clip, _: Expectation) -> Finding:
    """Pixels are yuv420p."""
    return verdict(
        clip.video.pixel_format == "yuv420p",
        "pixel_format",
        clip.video.pixel_format or "unknown",
        "yuv420p",
        "Browsers and hardware decoders play no other layout of H.264.",
    )


def colour_tags(clip: Clip, _: Expectation) -> Finding:
    """The stream says BT.709 in limited range, or at least nothing that contradicts it.

    VHS_VideoCombine converts to BT.709 and says so in all four tags (seen in both recorded files).
    A stream that says nothing, as of ComfyUI's own SaveVideo, plays everywhere, but players guess
    the matrix: some take 480 lines for BT.601, which turns greens and reds by a few percent. So
    that is a warning, and a tag that says something else is a fault.
    """
    tags = clip.video.colour
    wanted = ColourTags(range=1, primaries=1, transfer=1, matrix=1)
    pairs = (
        (tags.range, 1, 0),
        (tags.primaries, 1, 2),
        (tags.transfer, 1, 2),
        (tags.matrix, 1, 2),
    )
    finding = verdict(
        all(found in {right, unsaid} for found, right, unsaid in pairs),
        "colour_tags",
        str(tags),
        str(wanted),
        "Another range shows grey blacks or crushed shadows, another matrix shifts the colours.",
    )
    if tags == wanted:
        return finding
    return Finding(
        finding.check, finding.measured, finding.limit,
        "Where nothing is said players guess, and colours differ a little between them.",
        level="warning",
    )  # fmt: skip


def frame_size(clip: Clip, expected: Expectation) -> Finding:
    """Width and height in pixels are those of the graph."""
    return verdict(
        (clip.video.width, clip.video.height) == (expected.width, expected.height),
        "frame_size",
        f"{clip.video.width}x{clip.video.height}",
        f"{expected.width}x{expected.height}",
        "Another size means that another graph ran, or that the picture was scaled.",
    )


def frame_count(clip: Clip, expected: Expectation) -> Finding:
    """As many frames can be decoded as the graph asks for and the container declares."""
    decoded, declared = len(clip.frames), clip.video.declared_frames
    return verdict(
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
    return verdict(
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
    return verdict(
        abs(measured - expected.seconds) <= period / 2,
        "duration",
        f"{measured:.3f} s",
        f"{expected.seconds:.3f} s within half a frame",
        "A shorter clip lost frames, a longer one shows some of them too long.",
    )


def decodable(clip: Clip, _: Expectation) -> Finding:
    """Every frame can be decoded, to the very end, without an error."""
    return verdict(
        not clip.damage and bool(clip.frames),
        "decodable",
        clip.damage or f"{len(clip.frames)} frames without error",
        "no error up to the last frame",
        "The file was damaged on the way or on disk, or the encoder was killed.",
    )


# Sound is coded in packets of 1024 samples, with up to two of them before the first sound and one
# after the last: 0.064 s at 48 kHz; the recorded file (audio_kept.mp4) is 0.02 s off. A tenth of
# a second is where an offset between lips and voice is first noticed (ITU-R BT.1359: 0.125 s).
SOUND_SLACK_S = 0.1
# Of full scale; AAC of digital silence decodes to exactly 0, one bit of 16 is 0.00003.
SILENCE = 0.0001


def audio(clip: Clip, expected: Expectation) -> Finding:
    """The sound is there where it was to be kept, whole and as long as the video; else none is."""
    found, limit = clip.audio, SOUND_SLACK_S
    wanted = {True: "sound", False: "no sound", None: "with or without sound"}[expected.audio]
    if found is None or expected.audio is False:
        return verdict(
            (found is not None) == bool(expected.audio),
            "audio",
            "no sound" if found is None else f"{found.seconds:.2f} s of sound",
            wanted,
            "VHS_VideoCombine writes a silent twin beside the file with sound: the wrong one was "
            "taken, or the graph does not carry the sound as its recipe says.",
        )
    video = len(clip.frames) / float(expected.fps)
    finding = verdict(
        not found.damage and abs(found.seconds - video) <= limit,
        "audio",
        found.damage or f"{found.seconds:.2f} s of sound beside {video:.2f} s of video",
        f"{wanted}, decodable, as long as the video within {limit:g} s",
        "Sound that ends early or late belongs to another length of video.",
    )
    if found.peak > SILENCE:
        return finding
    return Finding(
        finding.check, finding.measured + ", silent", finding.limit,
        "The stream holds silence only; that is right for a silent source alone.",
        level="warning",
    )  # fmt: skip


# Tags that every muxer writes; none of them tells what was asked for.
HARMLESS_TAGS = {
    "major_brand", "minor_version", "compatible_brands", "encoder", "creation_time", "language",
    "handler_name", "vendor_id", "duration", "timecode",
}  # fmt: skip


def no_metadata(clip: Clip, expected: Expectation) -> Finding:
    """The file does not give away prompt, graph or workflow, unless that is allowed.

    Tags are held against a list of harmless ones; and the bytes outside of the coded pictures are
    searched for words of a graph, since `udta`, `uuid` and `free` boxes escape a demultiplexer.
    """
    tags = {key for key in clip.metadata if key.rsplit(": ", 1)[-1] not in HARMLESS_TAGS}
    leaks = [f"tag {tag} ({len(clip.metadata[tag])} characters)" for tag in sorted(tags)]
    leaks += clip.graph_words
    finding = verdict(
        not leaks or expected.metadata_allowed is not False,
        "no_metadata",
        "; ".join(leaks) or "no tag beyond the muxer's own",
        "prompt and graph may be embedded" if expected.metadata_allowed else "no prompt, no graph",
        "VHS_VideoCombine's save_metadata puts the whole graph with its prompts into the file: "
        "set it to false, or start ComfyUI with --disable-metadata.",
    )
    if leaks and expected.metadata_allowed is None:
        return Finding(
            finding.check, finding.measured, finding.limit, finding.reason, level="warning"
        )
    return finding


# Clocks of the server and of the caller are kept by NTP, to well under a second; a container runs
# on its host's clock. Two minutes are beyond any such drift and below the time of one video.
CLOCK_SLACK = timedelta(minutes=2)


def made_after_submission(clip: Clip, expected: Expectation) -> Finding:
    """The container's creation time, where it has one, is not before the submission."""
    name = "made_after_submission"
    if expected.submitted is None or clip.created is None:
        said = "no time of submission" if expected.submitted is None else "no creation time"
        return Finding(
            name, f"{said} to compare", "a creation time after the submission, where there is one",
            "Name, content and embedded seed tell the same (see smoke_tests/provenance.py).",
        )  # fmt: skip
    sent, made = (when.astimezone(UTC) for when in (expected.submitted, clip.created))
    return verdict(
        made >= sent - CLOCK_SLACK,
        name,
        f"made {made:%Y-%m-%d %H:%M:%S} UTC",
        f"{sent:%Y-%m-%d %H:%M:%S} UTC or later, within {CLOCK_SLACK.seconds} s of drifting clocks",
        "An older file was handed out in place of a new one, or a clock is wrong.",
    )
