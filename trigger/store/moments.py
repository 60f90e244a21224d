"""Moments as people write them: what `since` and `until` of a list are, in a URL, the console or a command.

A day begins at midnight of the machine that reads it: that of the service for HTTP and the console, of the shell for
commands.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

from trigger.config.scalars import DURATIONS

FORMS = "a time such as 2026-01-31T12:00:00Z, a day such as 2026-01-31, today, yesterday, or 24h for that long ago"

_DURATION = re.compile(r"([0-9]{1,9}) ?([smhdw])")
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# RFC 3339, and the same without seconds or without a zone: then it is this machine's.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)
_DAYS_AGO = {"today": 0, "yesterday": 1}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_moment(text: str, now: float) -> int:
    """The moment that a text means, in milliseconds since 1970; none before that.

    `now`, in seconds since 1970, is what durations and days count back from.

    Raises ValueError, which says what would be right.
    """
    word = text.strip().lower()
    try:
        if duration := _DURATION.fullmatch(word):
            return max(0, int((now - int(duration[1]) * DURATIONS[duration[2]]) * 1000))
        if word == "now":
            return int(now * 1000)
        if word in _DAYS_AGO:
            return _begin_of(date.fromtimestamp(now) - timedelta(days=_DAYS_AGO[word]))
        if _DAY.fullmatch(word):
            return _begin_of(date.fromisoformat(word))
        if _TIME.fullmatch(word):
            return _ms(datetime.fromisoformat(word.upper()))
    except (ValueError, OverflowError):  # no such day or time
        pass
    hint = " (in a URL, + is %2B)" if " " in text else ""
    raise ValueError(f"must be {FORMS}{hint}")


def _begin_of(day: date) -> int:
    return _ms(datetime.combine(day, time.min))


def _ms(moment: datetime) -> int:
    """A moment without a zone is this machine's time."""
    return max(0, int(((moment if moment.tzinfo else moment.astimezone()) - _EPOCH) / timedelta(milliseconds=1)))
