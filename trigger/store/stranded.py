"""Executions that wait for workflows that a config does not have (any more)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import cast

from redis import Redis

from trigger.store.keys import CALLBACK_WORKFLOW, QUEUES, leased_key, waiting_key
from trigger.store.queues import names_of
from trigger.store.status import Status
from trigger.store.stored import AWAITED, all_stored

# How many executions of a queue are looked at, the first to run, and how many in one round trip.
MOST, BATCH = 10_000, 500
NAMED = 20  # how many workflows are named


def stranded(redis: Redis, workflows: Collection[str], queues: Collection[str] | None = None) -> Mapping[str, int]:
    """How many executions wait for each workflow that is none of these, the most first.

    `queues` are the names of those that are looked at: all, when it is None. Of each no more than MOST executions of
    either half of its ledger are looked at.
    """
    if queues is None:
        queues = names_of(cast(set[bytes], redis.smembers(QUEUES)))
    counted = Counter(name for queue in queues for name in _workflows(redis, queue) if name not in workflows)
    return dict(counted.most_common(NAMED))


def _workflows(redis: Redis, queue: str) -> Iterator[str]:
    """The workflows of what waits in a queue, or for its next attempt."""
    keys = waiting_key(queue), leased_key(queue)
    entries = [uid for key in keys for uid in cast(list[bytes], redis.zrange(key, 0, MOST - 1))]
    uids = [uid.decode("utf-8", "replace") for uid in entries]
    for start in range(0, len(uids), BATCH):
        for found in all_stored(redis, uids[start : start + BATCH], AWAITED):
            if found.workflow not in ("", CALLBACK_WORKFLOW) and found.status is not Status.RUNNING:
                yield found.workflow
