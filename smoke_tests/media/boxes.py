"""The boxes of an ISO media file (ISO/IEC 14496-12), read without a decoder."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

#: Words that only a ComfyUI graph, prompt or workflow brings into a file: keys of its API format,
#: of its UI format, and of the tags that VideoHelperSuite and SaveVideo write.
_GRAPH_WORDS = re.compile(
    rb'class_type|last_node_id|widgets_values|extra_pnginfo|\\?"(?:prompt|workflow)\\?"\s*:'
)


@dataclass(frozen=True)
class Box:
    """A top-level box (4.2): its four letters, and where it begins and how long it is in bytes."""

    kind: str
    offset: int
    size: int


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


def graph_words(data: bytes, boxes: tuple[Box, ...]) -> tuple[str, ...]:
    """Traces of a graph in the bytes outside of the coded pictures: "box: word", each once.

    A demultiplexer shows the tags it knows; whatever lies in `udta`, `uuid`, `free` or behind the
    last box is still in the file that is handed out, so the bytes themselves are searched.
    """
    parts = [(box.kind, data[box.offset : box.offset + box.size]) for box in boxes]
    end = max((box.offset + box.size for box in boxes), default=0)
    parts.append(("end of file", data[end:]))
    found = (
        f"{kind}: {match.group().decode('latin-1').strip()}"
        for kind, part in parts
        if kind != "mdat"
        for match in _GRAPH_WORDS.finditer(part)
    )
    return tuple(dict.fromkeys(found))
