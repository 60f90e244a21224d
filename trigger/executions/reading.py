"""What a reader is told when Redis can't answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

from trigger.errors import QueueUnavailable


@contextmanager
def reading(what: str = "Records") -> Iterator[None]:
    """What Redis can't answer now is a 503; `what` is read, for the message."""
    try:
        yield
    except RedisError as error:
        raise QueueUnavailable(f"{what} can't be read now; try again", headers={"Retry-After": "1"}) from error
