"""Read a video once: its container, its stream, and a few numbers and a thumbnail per frame.

All checks work on what is kept here, so a clip is decoded exactly once however many checks run.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

THUMBNAIL = 160  # longest side in pixels; the contact sheet's tiles
# Distance at which neighbouring pixels are compared to tell a picture from noise: two cells of
# Wan's VAE, which makes 8x8 pixels of one latent cell. Decoded noise is smooth inside a cell (the
# recorded clip of a model with random weights: 0.78 at 1 pixel) and unrelated two cells apart.
NOISE_LAG = 16
CORRELATED_FRAMES = 8  # frames, spread over the clip, on which that is measured

Plane = NDArray[np.float32]


class MediaError(Exception):
    """A video is not what it should be.

    Attributes:
        check: name of the check.
        measured: the value found; limit: what is allowed; reason: why, and what it points to.
    """

    def __init__(self, check: str, *, measured: str, limit: str, reason: str) -> None:
        self.check, self.measured, self.limit, self.reason = check, measured, limit, reason
        super().__init__(f"{check}: measured {measured}; expected {limit}. {reason}")


@dataclass(frozen=True)
class Box:
    """A top-level box of an ISO media file (ISO/IEC 14496-12, 4.2)."""

    kind: str
    offset: int
    size: int


@dataclass(frozen=True)
class Stream:
    """One stream as the container declares it."""

    kind: str
    codec: str
    pixel_format: str = ""
    width: int = 0
    height: int = 0
    declared_frames: int = 0
    rate: Fraction | None = None


@dataclass(frozen=True)
class Frame:
    """Numbers of one frame. Light is 0 (black) to 255 (white), whatever the video's range.

    Attributes:
        time: presentation time in seconds.
        mean, spread: mean and standard deviation of the light.
        highlight: light of the 99th percentile; a black frame has none.
        chroma_spread: larger standard deviation of the two colour planes.
        change: mean absolute difference of light to the frame before; None for the first.
    """

    index: int
    time: float
    mean: float
    spread: float
    highlight: float
    chroma_spread: float
    change: float | None


@dataclass(frozen=True)
class Clip:
    """A decoded video file.

    Attributes:
        boxes: top-level boxes in file order; empty when the file is no ISO media file.
        brand: major brand of the ftyp box, or empty.
        frames: in presentation order, up to the first that could not be decoded.
        correlation: mean over sampled frames of the light's autocorrelation at NOISE_LAG pixels;
            None for frames too small to say.
        damage: what the decoder said about the first undecodable frame, or empty.
        thumbnails: one small RGB picture per frame.
        metadata: tags of the container, such as `prompt`, the graph that VHS embeds.
    """

    path: Path
    size: int
    sha256: str
    boxes: tuple[Box, ...]
    brand: str
    streams: tuple[Stream, ...]
    frames: tuple[Frame, ...]
    correlation: float | None
    damage: str
    thumbnails: tuple[Image.Image, ...]
    metadata: dict[str, str]

    @property
    def video(self) -> Stream:
        """The first video stream; `checks.one_h264_stream` guards that it is the only one."""
        return next(stream for stream in self.streams if stream.kind == "video")

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
            frames, thumbnails, correlation, damage = _decode(container)
            metadata = {key: str(value) for key, value in container.metadata.items()}
    except av.FFmpegError as error:
        raise _no_video(path, str(error), data) from error
    return Clip(
        path=path,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        boxes=boxes,
        brand=brand,
        streams=streams,
        frames=tuple(frames),
        correlation=correlation,
        damage=damage,
        thumbnails=tuple(thumbnails),
        metadata=metadata,
    )


def top_level_boxes(data: bytes) -> tuple[Box, ...]:
    """The top-level boxes of an ISO media file; empty when it is none.

    A box that claims to reach beyond the file's end is kept with its claimed size, so that a cut
    file can be told from a foreign one.
    """
    boxes: list[Box] = []
    position = 0
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        if size == 1 and position + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, position + 8)
        elif size == 0:
            size = len(data) - position
        name = kind.decode("latin-1")
        if size < 8 or not (name.isprintable() and name.isascii()):
            break
        boxes.append(Box(name, position, size))
        position += size
    known = {"ftyp", "moov", "mdat", "free", "skip", "wide", "moof"}
    return tuple(boxes) if boxes and boxes[0].kind in known else ()


def _no_video(path: Path, said: str, data: bytes) -> MediaError:
    return MediaError(
        "readable",
        measured=f"{said} ({len(data)} bytes, beginning with {data[:12]!r})",
        limit="a video that can be opened",
        reason=f"{path.name} is cut, or it is another kind of file, such as an error page.",
    )


def _stream(stream: Any) -> Stream:
    codec = stream.codec_context
    if stream.type != "video":
        return Stream(stream.type, codec.name if codec else "unknown")
    return Stream(
        "video",
        codec.name,
        pixel_format=codec.pix_fmt or "",
        width=codec.width,
        height=codec.height,
        declared_frames=stream.frames,
        rate=stream.average_rate,
    )


def _decode(
    container: Any,
) -> tuple[list[Frame], list[Image.Image], float | None, str]:
    stream = container.streams.video[0]
    # without this, damage is painted over and the decoder reports success
    stream.codec_context.options = {"err_detect": "explode"}
    every = max(1, stream.frames // CORRELATED_FRAMES)
    frames: list[Frame] = []
    thumbnails: list[Image.Image] = []
    correlations: list[float] = []
    before: Plane | None = None
    damage = ""
    try:
        for index, picture in enumerate(container.decode(stream)):
            if picture.is_corrupt:
                damage = f"frame {index} is marked as corrupt"
                break
            light = _light(picture)
            frames.append(_frame(index, picture, light, before))
            thumbnails.append(_thumbnail(picture))
            if index % every == 0 and min(light.shape) > 2 * NOISE_LAG:
                correlations.append(autocorrelation(light, NOISE_LAG))
            before = light
    except av.FFmpegError as error:
        damage = f"after {len(frames)} frames: {error}"
    return frames, thumbnails, float(np.mean(correlations)) if correlations else None, damage


def _frame(index: int, picture: Any, light: Plane, before: Plane | None) -> Frame:
    change = None
    if before is not None and before.shape == light.shape:
        change = float(np.abs(light - before).mean())
    chroma = max((float(_plane(picture, n).std()) for n in (1, 2)), default=0.0)
    return Frame(
        index=index,
        time=float(picture.time or 0.0),
        mean=float(light.mean()),
        spread=float(light.std()),
        highlight=float(np.percentile(light[::2, ::2], 99)),
        chroma_spread=chroma,
        change=change,
    )


def _light(picture: Any) -> Plane:
    """The brightness plane as 0..255, from the limited range (16..235) that video uses."""
    light = _plane(picture, 0)
    if int(picture.color_range) == 2 or picture.format.name.startswith("yuvj"):
        return light
    stretched: Plane = np.clip((light - 16.0) * (255.0 / 219.0), 0.0, 255.0, dtype=np.float32)
    return stretched


def _plane(picture: Any, number: int) -> Plane:
    planes = picture.planes
    # other layouts are refused by `checks.pixel_format`; they only need to be decodable here
    if picture.format.name not in {"yuv420p", "yuvj420p"} or number >= len(planes):
        return np.asarray(picture.to_ndarray(format="gray"), np.float32)
    plane = planes[number]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return np.asarray(rows[:, : plane.width], np.float32)


def _thumbnail(picture: Any) -> Image.Image:
    scale = THUMBNAIL / max(picture.width, picture.height)
    width, height = (max(2, round(side * scale)) for side in (picture.width, picture.height))
    return picture.to_image(width=width, height=height)  # type: ignore[no-any-return]


def autocorrelation(light: Plane, lag: int) -> float:
    """Correlation of a picture with itself moved by `lag` pixels, both ways averaged; -1..1.

    A picture of one colour has none to speak of and counts as 1.
    """
    centred = light - light.mean()
    variance = float((centred * centred).mean())
    if variance < 1e-6:
        return 1.0
    across = float((centred[:, :-lag] * centred[:, lag:]).mean())
    down = float((centred[:-lag] * centred[lag:]).mean())
    return (across + down) / 2 / variance
