"""Numbers that count once: those of sign-in links that were used, and of sessions that were signed out of."""

from __future__ import annotations

from redis import Redis

from trigger.executions.keys import SPENT


def spend(redis: Redis, number: str, seconds: int) -> bool:
    """Uses a number up; whether that is the first time. It is remembered for so many seconds."""
    return bool(redis.set(SPENT + number, "", nx=True, ex=seconds))


def is_spent(redis: Redis, number: str) -> bool:
    """Whether the number was used up."""
    return bool(redis.exists(SPENT + number))
