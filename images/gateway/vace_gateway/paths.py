"""Request targets: decode once, check, and build anew.

What goes to ComfyUI is never the text that the client sent. It is encoded again from the decoded
segments, so ComfyUI can't read another path out of it than the one that was checked here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from vace_gateway.errors import Refusal

MAX_PATH_CHARACTERS: Final = 2048
MAX_QUERY_CHARACTERS: Final = 4096
MAX_QUERY_FIELDS: Final = 64

# ComfyUI's web interface stores a workflow at /userdata/workflows%2Fname.json: the one place where
# a slash inside a segment is part of the protocol. routes.py checks such a segment part by part.
_SLASH_ALLOWED_BELOW: Final = (("userdata",), ("api", "userdata"))

Query = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Target:
    """A checked request target: decoded path segments and decoded query fields."""

    segments: tuple[str, ...]
    query: Query

    @property
    def path(self) -> str:
        """The canonical encoded path; also what logs show (never the query)."""
        return encode_path(self.segments)


def encode_path(segments: tuple[str, ...]) -> str:
    """Encode decoded segments; a slash inside a segment becomes %2F."""
    return "/" + "/".join(quote(segment, safe="") for segment in segments)


def parse_target(raw: str) -> Target:
    """Parse the request target of the HTTP request line.

    Raises Refusal ``bad_path`` or ``bad_query`` for anything that two servers could read in two
    ways: dot segments, empty segments, encoded slashes, backslashes, control characters, a second
    layer of percent encoding, bytes that are not UTF-8.
    """
    path, _, query = raw.partition("?")
    if not path.startswith("/"):
        raise Refusal("bad_path", "the path must begin with a slash")
    if len(path) > MAX_PATH_CHARACTERS:
        raise Refusal("bad_path", f"the path is longer than {MAX_PATH_CHARACTERS} characters")
    if "#" in raw:
        raise Refusal("bad_path", "a fragment is never part of a request")
    segments: tuple[str, ...] = ()
    if path != "/":
        for part in path[1:].split("/"):
            below = segments[:1], segments[:2]
            slash_allowed = any(folder in below for folder in _SLASH_ALLOWED_BELOW)
            segments += (_segment(part, slash_allowed=slash_allowed),)
    return Target(segments, _query(query))


def _segment(part: str, *, slash_allowed: bool) -> str:
    text = _decode(part, "bad_path")
    if not text:
        raise Refusal("bad_path", "an empty path segment (a doubled or trailing slash)")
    if text in {".", ".."}:
        raise Refusal("bad_path", "a dot segment")
    if "\\" in text:
        raise Refusal("bad_path", "a backslash")
    if "%" in text:
        raise Refusal("bad_path", "a percent sign after decoding (double encoding)")
    if "/" in text and not slash_allowed:
        raise Refusal("bad_path", "an encoded slash")
    return text


def _query(raw: str) -> Query:
    if not raw:
        return ()
    if len(raw) > MAX_QUERY_CHARACTERS:
        raise Refusal("bad_query", f"longer than {MAX_QUERY_CHARACTERS} characters")
    try:
        fields = parse_qsl(
            raw, keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY_FIELDS
        )
    except ValueError:
        raise Refusal("bad_query", f"not UTF-8, or more than {MAX_QUERY_FIELDS} fields") from None
    for name, value in fields:
        if _has_control_characters(name) or _has_control_characters(value):
            raise Refusal("bad_query", "a control character")
    return tuple(fields)


def _decode(text: str, error_type: str) -> str:
    try:
        decoded = unquote_to_bytes(text).decode("utf-8")
    except UnicodeError:
        raise Refusal(error_type, "not UTF-8") from None
    if _has_control_characters(decoded):
        raise Refusal(error_type, "a control character")
    return decoded


def _has_control_characters(text: str) -> bool:
    # C0, DEL and C1, and the two separators that some log viewers take for line breaks.
    return any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" for c in text)
