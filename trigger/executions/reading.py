"""What a reader gets when Redis can't answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from redis.exceptions import RedisError

from trigger.errors import QueueUnavailable

T = TypeVar("T")


@contextmanager
def reading(what: str = "Records") -> Iterator[None]:
    """What Redis can't answer now is a 503; `what` is read, for the message."""
    try:
        yield
    except RedisError as error:
        raise QueueUnavailable(f"{what} can't be read now; try again", headers={"Retry-After": "1"}) from error


def unless_away(look: Callable[[], T]) -> T | None:
    """What `look` finds in Redis; None while that can't answer, for a page that has other things to show."""
    try:
        return look()
    except RedisError:
        return None
