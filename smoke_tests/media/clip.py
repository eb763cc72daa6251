"""Read a video once: its container, its streams, and a few numbers and a small picture per frame.

All checks work on what is kept here, so a clip is decoded exactly once however many checks run.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from smoke_tests.media.boxes import Box, graph_words, top_level_boxes
from smoke_tests.media.finding import MediaError
from smoke_tests.media.frames import NOISE_LAG, Bytes, Frame, decode

__all__ = [
    "NOISE_LAG", "Audio", "Box", "Clip", "ColourTags", "Frame", "MediaError", "Stream", "read_clip",
]  # fmt: skip


@dataclass(frozen=True)
class ColourTags:
    """How the numbers of a stream are meant: code points of ISO/IEC 23091-2; range 1 is limited.

    Matrix, transfer and primaries are 2 where nothing is said, range is 0; BT.709 is 1.
    """

    range: int = 0
    primaries: int = 2
    transfer: int = 2
    matrix: int = 2

    def __str__(self) -> str:
        said = [
            f"{name} {NAMES.get(code, str(code))}"
            for name, code in (
                ("matrix", self.matrix), ("transfer", self.transfer), ("primaries", self.primaries)
            )
        ]  # fmt: skip
        ranges = {0: "range not said", 1: "limited range", 2: "full range"}
        return ", ".join([ranges.get(self.range, f"range {self.range}"), *said])


NAMES = {
    0: "RGB", 1: "BT.709", 2: "not said", 5: "BT.470BG", 6: "BT.601", 7: "SMPTE 240M",
    9: "BT.2020", 13: "sRGB", 16: "PQ", 18: "HLG",
}  # fmt: skip


@dataclass(frozen=True)
class Stream:
    """One stream as the container declares it; `seconds` is None where it says nothing."""

    kind: str
    codec: str
    pixel_format: str = ""
    width: int = 0
    height: int = 0
    declared_frames: int = 0
    rate: Fraction | None = None
    profile: str = ""
    colour: ColourTags = ColourTags()
    seconds: float | None = None


@dataclass(frozen=True)
class Audio:
    """The first sound stream, decoded: length in seconds, largest sample (1 is full scale)."""

    seconds: float
    peak: float
    damage: str


@dataclass(frozen=True, eq=False)
class Clip:
    """A decoded video file.

    Attributes:
        boxes: top-level boxes in file order; empty when the file is no ISO media file.
        brand: major brand of the ftyp box, or empty.
        frames: in presentation order, up to the first that could not be decoded.
        pictures: small RGB pictures, shape (frames, height, width, 3), longest side 208 at most.
        correlation: mean over sampled frames of the light's autocorrelation at NOISE_LAG pixels;
            None for frames too small to say.
        damage: what the decoder said about the first undecodable frame, or empty.
        audio: the sound, or None.
        metadata: tags of the container, such as `prompt`, the graph that VHS embeds; tags of
            streams are in it as `stream 0: name`.
        graph_words: words of a graph found anywhere outside of the coded pictures.
        created: when the container says that it was made, if it does.
    """

    path: Path
    size: int
    sha256: str
    boxes: tuple[Box, ...]
    brand: str
    streams: tuple[Stream, ...]
    frames: tuple[Frame, ...]
    pictures: Bytes
    correlation: float | None
    damage: str
    audio: Audio | None
    metadata: dict[str, str]
    graph_words: tuple[str, ...]
    created: datetime | None

    @property
    def video(self) -> Stream:
        """The first video stream; `checks.one_h264_stream` guards that it is the only one."""
        return next(stream for stream in self.streams if stream.kind == "video")

    @property
    def thumbnails(self) -> tuple[Image.Image, ...]:
        """The small pictures as Pillow's images."""
        return tuple(Image.fromarray(picture) for picture in self.pictures)

    @property
    def embedded_graph(self) -> dict[str, Any] | None:
        """The graph that VHS_VideoCombine stored in the file (save_metadata), if any."""
        for tag in ("prompt", "comment"):
            try:
                found = json.loads(self.metadata.get(tag, ""))
            except ValueError:
                continue
            if isinstance(found, dict):
                inner = found.get("prompt", found)
                found = json.loads(inner) if isinstance(inner, str) else inner
                if isinstance(found, dict):
                    return found
        return None


def read_clip(path: Path) -> Clip:
    """Decode a file to its end.

    Raises:
        MediaError: the file is missing or empty, or no decoder finds a video stream in it.
    """
    data = path.read_bytes() if path.is_file() else b""
    if not data:
        raise MediaError(
            "readable",
            measured=f"{path.name} is {'empty' if path.exists() else 'missing'}",
            limit="a video file",
            reason="The download did not store anything.",
        )
    boxes = top_level_boxes(data)
    brand = data[8:12].decode("latin-1") if boxes and boxes[0].kind == "ftyp" else ""
    try:
        with av.open(str(path)) as container:
            streams = tuple(_stream(stream) for stream in container.streams)
            if not container.streams.video:
                raise _no_video(path, "the container has no video stream", data)
            decoded = decode(container)
            metadata = _metadata(container)
        audio = _audio(path) if any(stream.kind == "audio" for stream in streams) else None
    except av.FFmpegError as error:
        raise _no_video(path, str(error), data) from error
    return Clip(
        path=path,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        boxes=boxes,
        brand=brand,
        streams=streams,
        frames=decoded.frames,
        pictures=decoded.pictures,
        correlation=decoded.correlation,
        damage=decoded.damage,
        audio=audio,
        metadata=metadata,
        graph_words=graph_words(data, boxes),
        created=_created(metadata),
    )


def _no_video(path: Path, said: str, data: bytes) -> MediaError:
    return MediaError(
        "readable",
        measured=f"{said} ({len(data)} bytes, beginning with {data[:12]!r})",
        limit="a video that can be opened",
        reason=f"{path.name} is cut, or it is another kind of file, such as an error page.",
    )


def _stream(stream: Any) -> Stream:
    codec = stream.codec_context
    seconds = float(stream.duration * stream.time_base) if stream.duration else None
    if stream.type != "video":
        return Stream(stream.type, codec.name if codec else "unknown", seconds=seconds)
    return Stream(
        "video",
        codec.name,
        pixel_format=codec.pix_fmt or "",
        width=codec.width,
        height=codec.height,
        declared_frames=stream.frames,
        rate=stream.average_rate,
        profile=codec.profile or "",
        colour=ColourTags(
            int(codec.color_range),
            int(codec.color_primaries),
            int(codec.color_trc),
            int(codec.colorspace),
        ),
        seconds=seconds,
    )


def _metadata(container: Any) -> dict[str, str]:
    tags = {key: str(value) for key, value in container.metadata.items()}
    for stream in container.streams:
        for key, value in stream.metadata.items():
            tags[f"stream {stream.index}: {key}"] = str(value)
    return tags


def _created(metadata: dict[str, str]) -> datetime | None:
    """The latest creation time with a time zone; `now`, which VHS writes too, is none."""
    found = []
    for key, value in metadata.items():
        if key.rsplit(": ", 1)[-1] == "creation_time":
            try:
                when = datetime.fromisoformat(value)
            except ValueError:
                continue
            if when.tzinfo is not None:
                found.append(when)
    return max(found, default=None)


def _audio(path: Path) -> Audio:
    """Decode the sound; its length is counted in samples, whatever the container claims."""
    samples, peak, rate, damage = 0, 0.0, 1, ""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        rate = int(stream.rate or 1)
        convert = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
        try:
            for frame in container.decode(stream):
                for part in convert.resample(frame):
                    samples += part.samples
                    peak = max(peak, float(np.abs(part.to_ndarray()).max(initial=0.0)))
        except av.FFmpegError as error:
            damage = f"after {samples / rate:.2f} s: {error}"
    return Audio(samples / rate, peak, damage)
