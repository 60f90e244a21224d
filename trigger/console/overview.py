"""The first page: is all well? Problems come first, each with a link to the page that shows it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from flask import Response
from redis import Redis

from trigger import store
from trigger.config import Config
from trigger.console.bars import Day, days
from trigger.console.page import Pages
from trigger.console.seen import Seen, sentence
from trigger.console.shown import coarse, plural
from trigger.store import counters
from trigger.store.counters import Hours, Lately
from trigger.store.queues import Queue
from trigger.store.refused import KEPT, recent_refusals
from trigger.web import readiness
from trigger.web.call import ReceivedCall
from trigger.web.readiness import Readiness
from trigger.web.service import Service

MAX_APIS = 10  # failing ones that are shown

FAILED = "/console/executions?status=failed&since=24h"
QUEUED = "/console/executions?status=queued"
SYSTEM = "/console/system"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong, and the page that shows it."""

    text: str
    path: str
    link: str


@dataclass(frozen=True, slots=True)
class LastDay:
    """The results of calls in the last 24 hours, and the state of now.

    `failing` are the APIs that failed, with their day; `refused` says how many calls were refused, by reason, the most
    frequent first, of the last ones, which are kept. `is_all`: no others were refused in that time.
    """

    seen: Seen
    lately: Lately
    day: Day
    failing: Sequence[tuple[tuple[str, str], Day]]
    refused: Sequence[tuple[str, int]]
    is_all: bool

    @classmethod
    def of(cls, redis: Redis, config: Config, known: Sequence[Queue], now: float) -> LastDay:
        """Read it; `known` are the queues that were read before, `now` is the time in seconds since 1970.

        Raises RedisError.
        """
        lately = counters.lately(redis, now, MAX_APIS)
        ended = tuple(map(sum, zip(*lately.by_status.values(), strict=True)))
        calls = recent_refusals(redis, KEPT)
        since = datetime.fromtimestamp(now - 86_400, UTC).isoformat()
        reasons = Counter(call.reason for call in calls if call.time >= since)
        return cls(
            seen=Seen.of(redis, config, known),
            lately=lately,
            day=Day(Hours(ended, lately.by_status["failed"]), int(now // 3600), "execution"),
            failing=list(zip(lately.failing, days(redis, lately.failing, now), strict=True)),
            refused=reasons.most_common(),
            is_all=reasons.total() < KEPT,
        )

    @property
    def waiting(self) -> int:
        return sum(queue.waiting for queue in self.seen.queues)

    @property
    def oldest(self) -> float:
        """For how many seconds the one waits that has waited longest."""
        return max((queue.oldest_waiting for queue in self.seen.queues), default=0.0)


@dataclass(frozen=True, slots=True)
class OverviewPage:
    """GET /console/"""

    service: Service
    pages: Pages

    def __call__(self, call: ReceivedCall) -> Response:
        service = self.service
        config = call.config
        state = readiness.state(service.redis, service.watcher, service.watermark)
        activity = None
        if state.redis["status"] != "unreachable":  # a second look would wait for the same again
            activity = store.unless_away(lambda: LastDay.of(service.redis, config, state.found, time.time()))
        return self.pages(
            "overview.html",
            200 if activity else 503,
            state=state,
            activity=activity,
            problems=list(_problems(call, state, activity)),
            config=config,
            since=service.watcher.since,
            mistakes=call.refused_edit.mistakes if call.refused_edit else (),
            failed_path=FAILED,
            queued_path=QUEUED,
        )


def _problems(call: ReceivedCall, state: Readiness, activity: LastDay | None) -> Iterator[Problem]:
    """Yield the problems, the worst first."""
    for refusal in state.refusals:
        yield Problem(f"No calls are accepted: {refusal}.", SYSTEM, "System")
    config = call.config
    if call.refused_edit:
        refused = f"The last edit of {config.path.name} was refused and is not in force."
        yield Problem(refused, f"{SYSTEM}#config", "its mistakes")
    if activity is None:
        return
    for concern in activity.seen.concerns(config.queues):
        yield Problem(concern, SYSTEM, "System")
    for queue in activity.seen.queues:
        if queue.name in config.queues and not queue.workers and not queue.waiting:
            yield Problem(sentence(readiness.without_worker(queue)), SYSTEM, "System")
    if activity.oldest > readiness.OLD:
        waiting = plural(activity.waiting, "waiting execution")
        yield Problem(f"The oldest of {waiting} has waited for {coarse(activity.oldest)}.", QUEUED, "what waits")
    if failed := activity.lately.count("failed"):
        yield Problem(f"{plural(failed, 'execution')} failed in the last 24 hours.", FAILED, "show them")
    for warning in state.durability.warnings if state.durability else ():
        yield Problem(f"{warning}.", SYSTEM, "System")
