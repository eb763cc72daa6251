"""Pictures and clips as data: URIs, within bounds."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import av
from PIL import Image

MIB = 1 << 20
# A clip of 5 s at 480P has about 1 MiB. Browsers take data: URIs of far more, but a report is
# mailed and attached to tickets, where 25 MiB is a common end; base64 adds a third.
LARGEST_CLIP = 6 * MIB
ALL_TOGETHER = 16 * MIB
SHEET_WIDTH = 1400  # pixels; tiles stay recognisable, and a sheet is a few hundred KiB
STILL_WIDTH = 640
QUALITY = 78
# What current browsers play; others get a still instead.
PLAYABLE = {".mp4": "video/mp4", ".webm": "video/webm", ".mov": "video/mp4"}
PICTURES = {".png", ".jpg", ".jpeg", ".webp"}


@dataclass(frozen=True)
class Media:
    """A file as the page shows it.

    Attributes:
        name: for people. link: relative URL of the file itself, or empty.
        kind: "video", "image" or "none". data: data: URI, or empty.
        poster: still of a video as data: URI, or empty. said: why there is no more to see.
    """

    name: str
    link: str
    kind: str
    data: str = ""
    poster: str = ""
    said: str = ""


class Embedder:
    """Reads files of one folder; what does not fit any more becomes a link.

    Args:
        folder: where the report lies, so that links can be relative.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._left = ALL_TOGETHER

    def media(self, name: str, *, sheet: bool = False, still: bool = False) -> Media:
        """A picture or clip by its path relative to the folder.

        Args:
            sheet: it is a contact sheet, shown larger than a still.
            still: of a clip only its first frame.
        """
        path, link = self._folder / name, quote(name)
        suffix = path.suffix.lower()
        try:
            if suffix in PICTURES:
                width = SHEET_WIDTH if sheet else STILL_WIDTH
                with Image.open(path) as picture:
                    return Media(name, link, "image", self._take(_jpeg(picture, width)))
            return self._clip(name, path, link, still=still)
        except (OSError, ValueError, av.FFmpegError) as error:
            exists = path.is_file()
            return Media(
                name,
                link if exists else "",
                "none",
                said=f"It cannot be shown here ({type(error).__name__}).",
            )

    def _clip(self, name: str, path: Path, link: str, *, still: bool) -> Media:
        size = path.stat().st_size
        suffix = path.suffix.lower()
        poster = self._take(_still(path))
        if suffix not in PLAYABLE:
            said = f"Browsers do not play {suffix.removeprefix('.').upper()}; its first frame."
            return Media(name, link, "image", poster, said=said)
        if still:
            said = "Its first frame; the clip lies beside this page."
            return Media(name, link, "image", poster, said=said)
        if size > LARGEST_CLIP or size > self._left:
            bound = min(LARGEST_CLIP, self._left)
            said = (
                f"The clip has {size / MIB:.1f} MiB; {bound / MIB:.1f} MiB would have fitted into "
                "this page, so it lies beside it."
            )
            return Media(name, link, "image", poster, said=said)
        return Media(name, link, "video", self._take(path.read_bytes(), PLAYABLE[suffix]), poster)

    def _take(self, content: bytes, kind: str = "image/jpeg") -> str:
        self._left -= len(content)
        return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _jpeg(picture: Image.Image, width: int) -> bytes:
    flat = picture.convert("RGB")
    if flat.width > width:
        flat = flat.resize((width, max(1, round(flat.height * width / flat.width))))
    out = io.BytesIO()
    flat.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def _still(path: Path) -> bytes:
    """The first frame of a clip."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            picture: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]
            return _jpeg(picture, STILL_WIDTH)
    raise ValueError(f"{path.name} has no frame")
