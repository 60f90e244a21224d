"""How values look in pages: times, durations, sizes, JSON. All of it is text, which templates escape."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

# The word for what is not there.
NOTHING = "-"

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def seconds_of(text: str) -> float:
    """A moment, RFC 3339 in UTC, in seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


def ago(text: str | None, now: float) -> str:
    """How long a moment, RFC 3339 in UTC, is past at `now` (seconds since 1970): "3 min ago"."""
    if not text:
        return NOTHING
    seconds = now - seconds_of(text)
    if seconds < 1:
        return "just now"
    return f"{coarse(seconds)} ago"


def coarse(seconds: float) -> str:
    """A duration in its largest unit: "45 s", "3 min", "2 h"."""
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def span(seconds: float | None) -> str:
    """A duration with three digits: "12.3 ms", "1.2 s", "3 min 20 s", "5 min"."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else "1.00 s"
    if seconds < 60:
        return f"{seconds:.3g} s"
    if seconds < 3_600:
        return _two(int(seconds // 60), "min", int(seconds % 60), "s")
    if seconds < 86_400:
        return _two(int(seconds // 3_600), "h", int(seconds % 3_600 // 60), "min")
    return _two(int(seconds // 86_400), "d", int(seconds % 86_400 // 3_600), "h")


def _two(large: int, unit: str, small: int, smaller: str) -> str:
    return f"{large} {unit} {small} {smaller}" if small else f"{large} {unit}"


def between(begin: str | None, end: str | None, now: float) -> float | None:
    """Seconds between two moments, RFC 3339 in UTC; to `now` where the second is not reached; None without a first."""
    if begin is None:
        return None
    return max(0.0, (now if end is None else seconds_of(end)) - seconds_of(begin))


def moment(text: str | None) -> str:
    """A moment, RFC 3339 in UTC, for people: "2026-01-31 12:00:00 UTC"."""
    return f"{text[:19].replace('T', ' ')} UTC" if text else NOTHING


def at(seconds: float) -> str:
    """Seconds since 1970 as a moment for people."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def size(count: float) -> str:
    """Bytes: "1.2 MiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.3g} {unit}" if unit != "B" else f"{int(count)} B"
        count /= 1024
    raise AssertionError  # the last unit has no end


def percent(part: int, whole: int) -> str:
    """The share in percent, rounded down: only what never fails is 100 %."""
    return f"{part * 1000 // whole / 10:g} %" if whole else NOTHING


def as_json(value: Any) -> str:
    """A value as JSON, indented."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def cut(text: str, length: int) -> str:
    """A text of at most so many characters."""
    return text if len(text) <= length else f"{text[:length]}…"


def plural(count: int, word: str, many: str = "") -> str:
    """A number and its noun: "1 call", "2 calls"; `many` is the plural where that is not the noun with an s."""
    return f"{count:,} {word if count == 1 else many or f'{word}s'}"


def in_path(text: str) -> str:
    """A text as one part of a URL's path, or as a value in its query."""
    return quote(text, safe="")


FILTERS = {
    "ago": ago,
    "coarse": coarse,
    "span": span,
    "moment": moment,
    "at": at,
    "size": size,
    "percent": percent,
    "json": as_json,
    "cut": cut,
    "plural": plural,
    "in_path": in_path,
}
GLOBALS = {"NOTHING": NOTHING, "between": between}
