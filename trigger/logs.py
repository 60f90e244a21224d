"""What the log looks like: a line per event, for people as text or for machines as JSON.

It is always exactly one line, but for tracebacks in the text: their lines begin with "  | ".
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

# What a line holds at most, in characters: a caller's path or header must not fill the disk.
MAX_LINE = 4_000


class _OneLine(logging.Formatter):
    """One line per record: characters that end a line or steer a terminal are written as escapes."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        time = moment.replace("+00:00", "Z")
        text = record.getMessage()
        return self.line(record, time, text if len(text) <= MAX_LINE else text[:MAX_LINE] + "…")

    def line(self, record: logging.LogRecord, time: str, text: str) -> str:
        raise NotImplementedError


class TextFormatter(_OneLine):
    def line(self, record: logging.LogRecord, time: str, text: str) -> str:
        line = f"{time} {record.levelname:<7} {record.name.removeprefix('trigger.')}: {text}"
        if record.exc_info:
            # A traceback keeps its lines, each marked as such: what is raised may quote a caller.
            return "\n  | ".join(map(_escaped, [line, *self.formatException(record.exc_info).split("\n")]))
        return _escaped(line)


class JsonFormatter(_OneLine):
    def line(self, record: logging.LogRecord, time: str, text: str) -> str:
        entry: dict[str, Any] = {"time": time, "level": record.levelname.lower(), "logger": record.name, "event": text}
        entry.update(getattr(record, "fields", {}))
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def configure(form: Literal["text", "json"]) -> None:
    """Sends the log to stderr in that form. Libraries speak only when something is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("trigger").setLevel(logging.INFO)
