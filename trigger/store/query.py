"""The query of a list of executions: filters, how many, and from where on."""

from __future__ import annotations

import base64
import binascii
import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NoReturn

from trigger.errors import InvalidParams
from trigger.store.keys import is_uid
from trigger.store.moments import read_moment
from trigger.store.status import Status

LIMIT = 50
MAX_LIMIT = 200

_REPORTED = 20  # how many parameters are looked at, and characters of a name in a report
_CURSOR_BYTES = 11  # 25 decimal digits


@dataclass(frozen=True, slots=True)
class Query:
    """Which executions to list, newest first; a filter that is None is none.

    `since` and `until` are milliseconds since 1970: those accepted at or after the one, and before the other. `before`
    is the uid after which (that is, before whose time) to go on.
    """

    module: str | None = None
    method: str | None = None
    status: Status | None = None
    since: int | None = None
    until: int | None = None
    caller: str | None = None
    limit: int = LIMIT
    before: str | None = None

    @classmethod
    def parse(cls, given: Mapping[str, Any], *, now: float) -> Query:
        """From the parameters of a URL or a command line, as text; empty ones count as not given.

        `now` is the time that durations count back from, in seconds since 1970.

        Raises InvalidParams; its details hold every mistake by the parameter's name.
        """
        values: dict[str, Any] = {}
        mistakes: dict[str, list[str]] = {}
        for name, text in islice(given.items(), _REPORTED):
            try:
                read = _READERS.get(name) or _unknown(name)
                if text:
                    values["before" if name == "cursor" else name] = read(_single(text), now)
            except ValueError as error:
                mistakes[name[:_REPORTED]] = [str(error)]
        if mistakes:
            raise InvalidParams("The query is invalid", details={"fields": mistakes})
        return cls(**values)


def cursor_of(uid: str) -> str:
    """The cursor with which a list goes on after an execution."""
    return base64.urlsafe_b64encode(int(uid).to_bytes(_CURSOR_BYTES, "big")).decode().rstrip("=")


def _before(text: str, now: float) -> str:
    try:
        raw = base64.b64decode(text.encode() + b"=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    uid = f"{int.from_bytes(raw, 'big'):025d}"
    if len(raw) != _CURSOR_BYTES or not is_uid(uid):
        raise ValueError("must be the `next` of an earlier answer")
    return uid


def _limit(text: str, now: float) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise ValueError(f"must be a whole number from 1 to {MAX_LIMIT}")
    return int(text)


def _status(text: str, now: float) -> Status:
    try:
        return Status(text)
    except ValueError:
        raise ValueError(f"must be one of {', '.join(Status)}") from None


def _text(text: str, now: float) -> str:
    return text


_READERS: Mapping[str, Callable[[str, float], Any]] = {
    "module": _text,
    "method": _text,
    "status": _status,
    "since": read_moment,
    "until": read_moment,
    "caller": _text,
    "limit": _limit,
    "cursor": _before,
}


def _unknown(name: str) -> NoReturn:
    near = difflib.get_close_matches(name, _READERS, 1)
    raise ValueError(f"unknown parameter; did you mean {near[0]}?" if near else f"must be one of {', '.join(_READERS)}")


def _single(text: object) -> str:
    if isinstance(text, str):
        return text
    raise ValueError("must be given once")  # the kind that all mistakes here are of
