"""The form of the log: a line per event, for people as text or for machines as JSON.

It is always exactly one line, but for tracebacks in the text: their lines begin with "  | ". What a line is about is
given as `extra={"fields": {…}}`: in JSON all of it is there, in the text what TRACED names.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Mapping
from typing import Any, Literal, TextIO

# What a line holds at most, in characters: a caller's path or header must not fill the disk.
MAX_LINE = 4_000

# The fields that find a call in all logs. A line of text ends with them, so no text need name them; they are never cut.
TRACED = ("uid", "request")


# Control characters, line separators, what changes the direction of the text around it, what has no width and no use in
# a language, and half surrogate pairs.
_STEERING = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


class _OneLine(logging.Formatter):
    """One line per record: characters that end a line or steer a terminal are written as escapes."""

    _second = (-1, "")  # the last one, and how it is written: it is the same for many lines

    def format(self, record: logging.LogRecord) -> str:
        second, milliseconds = divmod(int(record.created * 1000), 1000)
        known, written = self._second
        if second != known:
            written = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second, written
        text = record.getMessage()
        shown = text if len(text) <= MAX_LINE else text[:MAX_LINE] + "…"
        return self.line(record, f"{written}.{milliseconds:03d}Z", shown)

    def line(self, record: logging.LogRecord, moment: str, text: str) -> str:
        raise NotImplementedError


class TextFormatter(_OneLine):
    def line(self, record: logging.LogRecord, moment: str, text: str) -> str:
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        line = f"{moment} {record.levelname:<7} {record.name.removeprefix('trigger.')}: {text}"
        for name in TRACED:
            if name in fields:
                line += f" {name}={fields[name]}"
        if record.exc_info:
            # A traceback keeps its lines, each marked as such: what is raised may quote a caller.
            return "\n  | ".join(map(escaped, [line, *self.formatException(record.exc_info).split("\n")]))
        return escaped(line)


class JsonFormatter(_OneLine):
    def line(self, record: logging.LogRecord, moment: str, text: str) -> str:
        entry: dict[str, Any] = {
            "time": moment,
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": text,
        }
        entry.update(getattr(record, "fields", {}))
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to a stream that is buffered by line, as stderr is: nothing is ever kept back."""

    def flush(self) -> None:
        """There is nothing to do."""


def escaped(text: str, keep: str = "") -> str:
    """Return the text with escapes for what could steer a terminal or hide in a line, but for the characters `keep`.

    What languages are written with stays: the no-break space of French, the joiners of Persian and of emoji.
    """
    if text.isprintable():
        return text

    def written(found: re.Match[str]) -> str:
        return found[0] if found[0] in keep else found[0].encode("unicode_escape").decode()

    return _STEERING.sub(written, text)


def configure(form: Literal["text", "json"]) -> None:
    """Sends the log to stderr in that form. Libraries speak only when something is wrong."""
    # What no line shows need not be found out for each (https://docs.python.org/3/howto/logging.html#optimization).
    logging._srcfile = None
    logging.logThreads = logging.logMultiprocessing = logging.logProcesses = False
    handler = _Handler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("trigger").setLevel(logging.INFO)
