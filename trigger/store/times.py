"""Times as records show them: RFC 3339 in UTC, with milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

_SHOWN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z")
_RQ_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")


def shown(moment: datetime) -> str:
    """A moment in UTC as text."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shown_ms(ms: int) -> str:
    """Milliseconds since 1970 as text."""
    return shown(datetime.fromtimestamp(ms / 1000, UTC))


def rq_time(raw: bytes | None) -> str | None:
    """RQ's time text ("2026-01-31T12:00:00.123456Z") with milliseconds, or None for an empty one."""
    text = (raw or b"").decode("ascii", "replace")
    return known(f"{text[:23]}Z") if _RQ_TIME.fullmatch(text) else None


def known(value: Any) -> str | None:
    """The value if it is such a time, else None: what is stored may be anything."""
    if not isinstance(value, str) or not _SHOWN.fullmatch(value):
        return None
    try:
        datetime.fromisoformat(value)
    except ValueError:  # no such day
        return None
    return value
