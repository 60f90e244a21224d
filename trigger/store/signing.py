"""Signing in to the console, as far as Redis keeps it: the key that signs, and the numbers that count once.

Those are of sign-in links that were used, and of sessions that were signed out of.
"""

from __future__ import annotations

import secrets
from typing import cast

from redis import Redis

from trigger.store.keys import SIGNING, SPENT

_KEY_BYTES = 32


def signing_key(redis: Redis) -> bytes | None:
    """The key of everything that is signed here, the same for all processes of the service; None: none is made yet."""
    return cast(bytes | None, redis.get(SIGNING))


def make_signing_key(redis: Redis) -> bytes:
    """The key, made if there is none."""
    kept = signing_key(redis)
    if kept is not None:
        return kept
    made = secrets.token_bytes(_KEY_BYTES)
    if redis.set(SIGNING, made, nx=True):
        return made
    return signing_key(redis) or made  # another process was quicker


def spend(redis: Redis, number: str, seconds: int) -> bool:
    """Uses a number up; whether that is the first time. It is remembered for so many seconds."""
    return bool(redis.set(SPENT + number, "", nx=True, ex=seconds))


def is_spent(redis: Redis, number: str) -> bool:
    """Whether the number was used up."""
    return bool(redis.exists(SPENT + number))
