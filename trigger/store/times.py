"""Times as records show them: RFC 3339 in UTC, with milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

_SHOWN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z")
_RQ_TIME = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")


def shown(moment: datetime) -> str:
    """A moment in UTC as text."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shown_ms(ms: int) -> str:
    """Milliseconds since 1970 as text."""
    return shown(datetime.fromtimestamp(ms / 1000, UTC))


def read_rq_time(raw: bytes) -> str:
    """Return RQ's time text ("2026-01-31T12:00:00.123456Z"), which is one; raises ValueError for what is none."""
    if not _RQ_TIME.fullmatch(raw):
        raise ValueError
    text = raw.decode()
    datetime.fromisoformat(text)
    return text


def shown_rq(text: str) -> str:
    """RQ's time text with milliseconds."""
    return f"{text[:23]}Z"


def rq_time(raw: bytes | None) -> str | None:
    """RQ's time text with milliseconds, or None for what is none."""
    try:
        return shown_rq(read_rq_time(raw or b""))
    except ValueError:
        return None


def known(value: Any) -> str | None:
    """The value if it is such a time, else None: what is stored may be anything."""
    if not isinstance(value, str) or not _SHOWN.fullmatch(value):
        return None
    try:
        datetime.fromisoformat(value)
    except ValueError:  # no such day
        return None
    return value
