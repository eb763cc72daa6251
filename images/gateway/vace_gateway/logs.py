"""Logs: one JSON object a line on stderr, with secrets taken out of the finished line.

Redaction works on the text that is about to be written, so it holds for every logger, library
and traceback, and nobody has to remember it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

LOGGER: Final = logging.getLogger("vace_gateway")
ACCESS_LOGGER: Final = logging.getLogger("vace_gateway.access")

HIDDEN: Final = "[hidden]"
_PATTERNS: Final = (
    re.compile(r"(?i)(bearer\s+)[^\s\"'\\,;]+"),
    re.compile(r"(?i)(authorization[\"']?\s*[:=,]\s*[\"']?)(?!bearer\b)[^\"'\\\r\n]+"),
    re.compile(r"(vace_session=)[^\s\"'\\;,]+"),
    re.compile(r"()\b[0-9]{1,12}\.[0-9a-f]{32}\.[0-9a-f]{64}\b"),
)


class Redactor:
    """Replaces bearer tokens, session cookies and known secrets in a text."""

    def __init__(self, literals: Callable[[], Iterable[str]] = tuple) -> None:
        self._literals = literals

    def __call__(self, text: str) -> str:
        for literal in self._literals():
            text = text.replace(literal, HIDDEN)
        for pattern in _PATTERNS:
            text = pattern.sub(rf"\g<1>{HIDDEN}", text)
        return text


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON line; ``extra={"fields": {...}}`` becomes top-level keys."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """One line; line breaks inside values are escaped by JSON, so no line can be forged."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            line.update(fields)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return self._redactor(json.dumps(line, ensure_ascii=False, default=str))


def configure(redactor: Redactor, stream: TextIO | None = None) -> logging.Handler:
    """Send all logging of the process to ``stream`` (default: stderr) as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(redactor))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    return handler
