"""A contact sheet: all frames of a clip on one picture, to be judged by a person at a glance."""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from smoke_tests.media.clip import Clip

MOST_TILES = 64  # more are sampled evenly; beyond this tiles get too many to look at
GAP, MARGIN, LABEL, HEADER = 8, 24, 20, 74  # pixels
PAPER, TILE_EDGE, INK, FAINT = (24, 26, 30), (52, 56, 64), (236, 238, 242), (150, 156, 168)


def write_contact_sheet(clip: Clip, path: Path, *, title: str, subtitle: str = "") -> None:
    """Write a PNG with a header and every frame, labelled with its number and time.

    Args:
        title, subtitle: one line each. Characters that the built-in font lacks (Chinese, for
            one) show as boxes, so pass names and numbers, not prompts.
    """
    shown = _evenly(len(clip.frames), MOST_TILES)
    tile_width, tile_height = clip.thumbnails[0].size if clip.thumbnails else (160, 160)
    # as square as the tiles allow, a little wider than high
    columns = max(4, math.ceil(math.sqrt(len(shown) * tile_height / tile_width)))
    rows = math.ceil(len(shown) / columns)
    size = (
        2 * MARGIN + columns * (tile_width + GAP) - GAP,
        HEADER + rows * (tile_height + LABEL + GAP) - GAP + MARGIN,
    )
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 16), title, INK, ImageFont.load_default(20))
    draw.text((MARGIN, 44), subtitle, FAINT, ImageFont.load_default(13))
    label = ImageFont.load_default(12)
    for place, index in enumerate(shown):
        left = MARGIN + (place % columns) * (tile_width + GAP)
        top = HEADER + (place // columns) * (tile_height + LABEL + GAP)
        sheet.paste(clip.thumbnails[index], (left, top))
        draw.rectangle((left, top, left + tile_width - 1, top + tile_height - 1), outline=TILE_EDGE)
        baseline = top + tile_height + 3
        draw.text((left, baseline), f"#{index}", INK, label)
        draw.text(
            (left + tile_width, baseline),
            f"{clip.frames[index].time:.3f} s",
            FAINT,
            label,
            anchor="ra",
        )
    sheet.save(path, optimize=False)


def _evenly(count: int, most: int) -> list[int]:
    """At most `most` indices below `count`, evenly spread, first and last among them."""
    if count <= most:
        return list(range(count))
    return [round(n * (count - 1) / (most - 1)) for n in range(most)]
