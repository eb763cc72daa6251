"""A contact sheet: frames of a clip on one picture, to be judged by a person at a glance.

With a source, each row of the result has the source's row above it, frame under frame.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from smoke_tests.media.clip import Clip
from smoke_tests.media.source import frame_indices

MOST_TILES = 64  # more are sampled evenly; beyond this tiles get too many to look at
TILE = 160  # longest side of a tile in pixels
GAP, MARGIN, LABEL, HEADER = 8, 24, 20, 74  # pixels
PAPER, TILE_EDGE, INK, FAINT = (24, 26, 30), (52, 56, 64), (236, 238, 242), (150, 156, 168)
ROW_GAP = 14  # between pairs of rows, so that a result is seen to belong to the row above it

Row = tuple[str, Sequence[tuple[Image.Image, str, str]]]


def write_contact_sheet(clip: Clip, path: Path, *, title: str, subtitle: str = "") -> None:
    """Write a PNG with a header and every frame, labelled with its number and time.

    Args:
        title, subtitle: one line each. Characters that the built-in font lacks (Chinese, for
            one) show as boxes, so pass names and numbers, not prompts.
    """
    path.write_bytes(contact_sheet(clip, title=title, subtitle=subtitle))


def contact_sheet(
    clip: Clip,
    *,
    title: str = "",
    subtitle: str = "",
    source: Clip | None = None,
    skip: int = 0,
    most: int = MOST_TILES,
    columns: int | None = None,
    format: Literal["PNG", "JPEG"] = "PNG",
) -> bytes:
    """The sheet as a picture file's bytes.

    Args:
        title, subtitle: one line each; without both there is no header, as suits a report whose
            own text says it.
        source: what the clip was made from; its frame of the same moment stands above each.
        skip: frames of the source left out at its start (`Source.skip`).
        most: number of frames shown, evenly spread, first and last among them.
        columns: tiles side by side; None makes the sheet about square. Three columns are 528
            pixels wide, whose labels are still read on a phone held upright.
        format: PNG is exact; JPEG is a tenth of its size, for a report that is sent around.
    """
    shown = _evenly(len(clip.frames), most)
    width, height = _tile(clip)
    side_by_side = columns or max(4, math.ceil(math.sqrt(len(shown) * height / width)))
    rows = _rows(clip, source, shown, side_by_side, skip)
    heights = [_tile(source)[1] if source and name == "input" else height for name, _ in rows]
    top = HEADER if title or subtitle else MARGIN
    pairs = (len(rows) // 2 - 1) * ROW_GAP if source else 0
    size = (
        2 * MARGIN + side_by_side * (width + GAP) - GAP,
        top + sum(tall + LABEL + GAP for tall in heights) - GAP + max(0, pairs) + MARGIN,
    )
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    if title or subtitle:
        draw.text((MARGIN, 16), title, INK, ImageFont.load_default(20))
        draw.text((MARGIN, 44), subtitle, FAINT, ImageFont.load_default(13))
    for (name, tiles), tall in zip(rows, heights, strict=True):
        for place, (picture, number, note) in enumerate(tiles):
            at = (MARGIN + place * (width + GAP), top)
            _draw_tile(sheet, picture, at, width=width, number=number, note=note)
        top += tall + LABEL + GAP + (ROW_GAP if source and name == "output" else 0)
    file = io.BytesIO()
    sheet.save(file, format, **({"quality": 85} if format == "JPEG" else {}))
    return file.getvalue()


def _rows(
    clip: Clip, source: Clip | None, shown: Sequence[int], columns: int, skip: int
) -> list[Row]:
    rows: list[Row] = []
    outputs = {index: _scaled(clip, index) for index in shown}
    origin = frame_indices(source, clip, skip) if source is not None else []
    for start in range(0, len(shown), columns):
        part = shown[start : start + columns]
        if source is not None:
            inputs = [
                (
                    _scaled(source, origin[index]),
                    f"in #{origin[index]}",
                    _time(source, origin[index]),
                )
                for index in part
                if index < len(origin)
            ]
            rows.append(("input", inputs))
        mark = "out " if source is not None else ""
        tiles = [(outputs[index], f"{mark}#{index}", _time(clip, index)) for index in part]
        rows.append(("output", tiles))
    return rows


def _draw_tile(
    sheet: Image.Image,
    picture: Image.Image,
    at: tuple[int, int],
    *,
    width: int,
    number: str,
    note: str,
) -> None:
    draw, label = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    left, top = at
    # an upright source stands in the middle of its column
    inset = max(0, (width - picture.width) // 2)
    sheet.paste(picture, (left + inset, top))
    edge = (left + inset, top, left + inset + picture.width - 1, top + picture.height - 1)
    draw.rectangle(edge, outline=TILE_EDGE)
    baseline = top + picture.height + 3
    draw.text((left, baseline), number, INK, label)
    draw.text((left + width, baseline), note, FAINT, label, anchor="ra")


def _tile(clip: Clip) -> tuple[int, int]:
    """Width and height of a tile; a square where there is no frame to go by."""
    if not len(clip.pictures):
        return TILE, TILE
    height, width = clip.pictures.shape[1:3]
    scale = TILE / max(width, height)
    return max(2, round(width * scale)), max(2, round(height * scale))


def _scaled(clip: Clip, index: int) -> Image.Image:
    return Image.fromarray(clip.pictures[index]).resize(_tile(clip), Image.Resampling.LANCZOS)


def _time(clip: Clip, index: int) -> str:
    return f"{clip.frames[index].time:.3f} s"


def _evenly(count: int, most: int) -> list[int]:
    """At most `most` indices below `count`, evenly spread, first and last among them."""
    if count <= most:
        return list(range(count))
    if most < 2:
        return [0]
    return [round(n * (count - 1) / (most - 1)) for n in range(most)]
