"""Long lists: made once for each config, a search among thousands of rows, and a page of what it has found."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from trigger.config.model import Config

ROWS = 50  # of a page
MAX_SEARCH = 200  # characters

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """A page of a list: its rows, its number and that of the last page, from 1, and how many rows the list has."""

    rows: Sequence[T]
    number: int
    last: int
    count: int


class PerConfig(Generic[T]):
    """A value that `make` makes of the config in force, anew only when that is another one."""

    def __init__(self, make: Callable[[Config], T]) -> None:
        self._make = make
        self._made: tuple[Config, T] | None = None

    def of(self, config: Config) -> T:
        """Return the value for this config. Two threads may make it twice; both results are right."""
        made = self._made
        if made is None or made[0] is not config:
            made = self._made = config, self._make(config)
        return made[1]


def part(rows: Sequence[T], number: str, size: int = ROWS) -> Part[T]:
    """The page, of `size` rows, that a query asks for by its number; the first for what is no number, the last for one
    beyond it."""
    last = max(1, math.ceil(len(rows) / size))
    asked = int(number) if number.isascii() and number.isdecimal() and len(number) < 9 else 1
    current = min(max(1, asked), last)
    return Part(rows[(current - 1) * size : current * size], current, last, len(rows))


def found(rows: Sequence[T], texts: Sequence[str], search: str) -> Sequence[T]:
    """The rows in whose text, in lower case, each word of `search` occurs: all of them for no word."""
    words = search[:MAX_SEARCH].casefold().split()
    if not words:
        return rows
    return [row for row, text in zip(rows, texts, strict=True) if all(word in text for word in words)]
