"""The queues as they are now: what waits, what runs, and who is there to do it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from redis import Redis

from trigger.store.keys import HELD_BACK, LATER, QUEUE, RUNNING, SAID, WORKERS, leased_key, waiting_key


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue now. `retrying` are waiting for their next attempt, or for that of a step; `held` are kept out of it by a
    limit of their API.

    `oldest_waiting` and `oldest_unowned` are seconds: for how long the one waits that has waited longest, and for how
    long the one in the ledger has had no owner that has been so longest; 0 where there is none. Of the `workers`, which
    have beaten lately, so many are `busy`.
    """

    name: str
    waiting: int
    running: int
    retrying: int
    held: int
    oldest_waiting: float
    oldest_unowned: float
    workers: int
    busy: int

    @property
    def unfinished(self) -> int:
        """How many executions there are in it."""
        return self.waiting + self.running + self.retrying + self.held


def queues(redis: Redis, names: Sequence[str]) -> list[Queue]:
    """Those queues, in that order, in two round trips."""
    pipeline = redis.pipeline(transaction=False)
    pipeline.time()
    for name in names:
        pipeline.zcard(waiting_key(name))
        pipeline.zcard(RUNNING + name)
        pipeline.zcard(LATER + name)
        pipeline.zcard(HELD_BACK + name)
        pipeline.zrange(waiting_key(name), 0, 0, withscores=True)
        pipeline.zrange(leased_key(name), 0, 0, withscores=True)
        pipeline.smembers(f"{WORKERS}:{name}")
    (seconds, microseconds), *answers = pipeline.execute()
    now = seconds + microseconds / 1e6
    per_queue = [answers[begin : begin + 7] for begin in range(0, len(answers), 7)]
    states = _states(redis, sorted({worker for *_, workers in per_queue for worker in workers}))

    def since(first: list[tuple[bytes, float]]) -> float:
        return max(0.0, now - first[0][1] / 1000) if first else 0.0

    return [
        Queue(
            name=name,
            waiting=waiting,
            running=running,
            retrying=retrying,
            held=held,
            oldest_waiting=since(first_waiting),
            oldest_unowned=since(first_leased),
            workers=sum(worker in states for worker in workers),
            busy=sum(states.get(worker) == b"busy" for worker in workers),
        )
        for name, (waiting, running, retrying, held, first_waiting, first_leased, workers) in zip(
            names, per_queue, strict=True
        )
    ]


def is_first_to_say(redis: Redis, what: str, seconds: int = 60) -> bool:
    """Return whether nobody has said this in the last `seconds`, in which it counts as said from now on."""
    key = SAID + what
    if redis.set(key, 1, ex=seconds, nx=True):
        return True
    redis.expire(key, seconds)
    return False


def names_of(keys: Iterable[bytes]) -> frozenset[str]:
    """The names of the queues whose lists have these keys."""
    return frozenset(key.decode("utf-8", "replace").removeprefix(QUEUE) for key in keys)


def _states(redis: Redis, workers: Sequence[bytes]) -> dict[bytes, bytes | None]:
    """RQ's word for what each worker does that lives: its key runs out soon after its last beat."""
    pipeline = redis.pipeline(transaction=False)
    for worker in workers:
        pipeline.exists(worker)
        pipeline.hget(worker, "state")
    answers = pipeline.execute() if workers else []
    return {worker: state for worker, lives, state in zip(workers, answers[::2], answers[1::2], strict=True) if lives}
