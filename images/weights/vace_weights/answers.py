"""Judges an HTTP answer before its body is trusted.

Every answer to a range request is checked against what was asked for, against the size in the
manifest and against the first answer of the same source: a page of HTML, another size, another
range or another version under the same name is an error here, not a wrong hash gigabytes later.
"""

from __future__ import annotations

import datetime
import email.utils
import re
import threading

from vace_weights.connection import Asked, Head, number
from vace_weights.errors import (
    ChangedFileError,
    RangeError,
    ServerStatusError,
    SourceError,
    WebPageError,
    WrongSizeError,
)
from vace_weights.files import readable_bytes

_PAGE_TYPES = {"text/html", "application/xhtml+xml"}
_PAGE_START = re.compile(
    rb"\s*(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|\?xml)", re.IGNORECASE
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REASONS = {
    401: "The repository wants a login: set HF_TOKEN, or use another source.",
    403: "Access is refused: accept the licence there and set HF_TOKEN, or use another source.",
    404: "The file is not there: repository, revision or path is wrong, or this mirror lacks it.",
    429: "The server limits requests: it is tried again later, then the next source.",
}


class Validator:
    """Checks the answers of one source for one file. Safe from several threads."""

    def __init__(self, asked: Asked, size: int, sha256: str) -> None:
        self._asked = asked
        self._size = size
        self._sha256 = sha256
        self._lock = threading.Lock()
        self._accepted = False
        self._version = ""

    def check(self, head: Head, start: int, end: int) -> None:
        """Raise the SourceError that fits, unless the answer can hold bytes `start` to `end`.

        A status of 200 (the server knows no ranges) passes, when it promises the right size or
        none; `wrong_length` is for one that promises another.
        """
        self._check_status(head)
        if head.get("content-type").partition(";")[0].strip().lower() in _PAGE_TYPES:
            raise self._web_page(head)
        encoding = head.get("content-encoding").lower()
        if encoding not in {"", "identity"}:
            raise self._bad_range(f"an answer encoded with {encoding}, which was not asked for")
        self._check_linked(head)
        if head.status == 206:
            self._check_partial(head, start, end)
        if not self.has_wrong_length(head):
            self._check_version(head)

    def has_wrong_length(self, head: Head) -> bool:
        """Whether a whole answer (200) promises another size than the manifest's."""
        return head.status == 200 and head.length is not None and head.length != self._size

    def wrong_length(self, head: Head, first_bytes: bytes) -> SourceError:
        """The error for a whole answer of another length: a web page, or another file."""
        if looks_like_a_page(first_bytes):
            return self._web_page(head)
        return self._wrong_size(head.length or 0)

    def too_long(self) -> SourceError:
        """The error for a body of unannounced length that goes on past the file's end."""
        return self._other_file("more bytes than that")

    def _check_status(self, head: Head) -> None:
        if head.status in {200, 206}:
            return
        found = head.content_range
        if head.status == 416 and found is not None and found[2] not in {None, self._size}:
            raise self._wrong_size(found[2])
        raise ServerStatusError(
            file=self._asked.file,
            source=self._asked.source,
            expected="status 206 or 200",
            came=f"status {head.status}",
            advice=_REASONS.get(
                head.status,
                "It is tried again, then the next source."
                if head.status >= 500
                else "The next source is tried.",
            ),
            retry_after_s=retry_after(head.get("retry-after")),
            status=head.status,
        )

    def _check_partial(self, head: Head, start: int, end: int) -> None:
        found = head.content_range
        if found is None:
            raise self._bad_range(f"Content-Range {head.get('content-range')!r}", start, end)
        low, high, total = found
        if total is not None and total != self._size:
            raise self._wrong_size(total)
        if low != start or not start < high <= end:
            raise self._bad_range(f"bytes {low}-{high - 1}", start, end)
        if head.length is not None and head.length != high - low:
            raise self._bad_range(f"{head.length} bytes for bytes {low}-{high - 1}", start, end)

    def _check_linked(self, head: Head) -> None:
        # Hugging Face's redirect names size and SHA-256 of a large file before its first byte.
        for hop in head.hops:
            size, digest = hop.get("x-linked-size", ""), hop.get("x-linked-etag", "").strip('W/"')
            linked = number(size)
            if linked is not None and linked != self._size:
                raise self._wrong_size(linked)
            if _SHA256.fullmatch(digest) and digest != self._sha256:
                raise self._changed(f"SHA-256 {self._sha256}", f"SHA-256 {digest} in X-Linked-ETag")

    def _check_version(self, head: Head) -> None:
        etag = head.get("etag")
        version = etag if etag and not etag.startswith("W/") else head.get("last-modified")
        with self._lock:
            before, accepted = self._version, self._accepted
            self._accepted = True
            if not before:
                self._version = version
        if accepted and before and version and version != before:
            raise self._changed(f"the version {before} that was begun", f"the version {version}")

    def _changed(self, expected: str, came: str) -> ChangedFileError:
        return ChangedFileError(
            file=self._asked.file,
            source=self._asked.source,
            expected=expected,
            came=came,
            advice="The file was replaced under the same name; what this source gave is dropped "
            "and the next source is tried. If the new version is wanted, change the manifest.",
        )

    def _wrong_size(self, came: int | None) -> SourceError:
        with self._lock:
            accepted = self._accepted
        words = "a size that is not given" if came is None else f"{came} bytes"
        if accepted:
            return self._changed(f"{self._size} bytes, as at the start", words)
        return self._other_file(words)

    def _other_file(self, came: str) -> WrongSizeError:
        return WrongSizeError(
            file=self._asked.file,
            source=self._asked.source,
            expected=f"{self._size} bytes ({readable_bytes(self._size)})",
            came=came,
            advice="It is another file or another version under this name; nothing of it is "
            "believed and the next source is tried.",
        )

    def _web_page(self, head: Head) -> WebPageError:
        return WebPageError(
            file=self._asked.file,
            source=self._asked.source,
            expected=f"{self._size} bytes of data",
            came=f"a web page (status {head.status}, {head.get('content-type') or 'no type'}, "
            f"{head.get('content-length') or 'unknown'} bytes)",
            advice="A mirror answered with a web page: a login, an error page or a captive portal. "
            "Open the address in a browser to read it; the next source is tried.",
        )

    def _bad_range(self, came: str, start: int = 0, end: int = 0) -> RangeError:
        expected = f"bytes {start}-{end - 1} of {self._size}" if end else "unencoded bytes"
        return RangeError(
            file=self._asked.file,
            source=self._asked.source,
            expected=expected,
            came=came,
            advice="The server or a proxy on the way handles ranges wrongly; nothing of this "
            "answer was kept and the next source is tried.",
        )

    def not_partial(self, start: int, end: int) -> RangeError:
        """The error for a whole answer from a server that gave ranges before."""
        return self._bad_range("the whole file, although it gave ranges before", start, end)


def looks_like_a_page(first_bytes: bytes) -> bool:
    """Whether a body begins like an HTML or XML document."""
    return _PAGE_START.match(first_bytes) is not None


def retry_after(value: str) -> float | None:
    """Seconds that a Retry-After header asks for: a number, or a date."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        return max(0.0, (moment - datetime.datetime.now(datetime.UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None
