"""What real workers leave in the figures of APIs and workflows."""

from __future__ import annotations

import os
import signal
import time

from redis import Redis

from bench.processes import children
from tests.support import eventually
from tests.worker.conftest import Rig
from trigger.store import Status, acts, counters


def test_all_that_ends_in_a_worker_counts_once(rig: Rig, redis: Redis) -> None:
    rig.configure("  patient: {python: 'work:flaky', retry: {attempts: 3, backoff: 1s}}\n")
    worker = rig.start()
    good = [rig.submit("noted") for _ in range(20)]
    bad = [rig.submit("fails", {}) for _ in range(3)]
    patient = rig.submit("patient", {"good": 3})
    once = rig.submit("killed_once")
    ended = [rig.ended(uid) for uid in (*good, *bad, patient, once)]
    assert [record.status for record in ended].count(Status.FAILED) == 3
    running = rig.submit("stubborn")
    eventually(lambda: rig.evidence()[f"S {running}"])
    os.kill(eventually(lambda: children(worker.pid))[0], signal.SIGKILL)  # it runs again
    eventually(lambda: rig.evidence()[f"S {running}"] == 2)
    acts.cancel(redis, running, "ada")
    ended.append(rig.ended(running))
    found = {of.method: of for of in counters.api_totals(redis)}
    assert {method: of.ended for method, of in found.items()} == {
        "noted": {"succeeded": 20},
        "fails": {"failed": 3},
        "patient": {"succeeded": 1},
        "killed_once": {"succeeded": 1},
        "stubborn": {"cancelled": 1},
    }
    assert found["patient"].attempts == {"retried": 2, "succeeded": 1}
    assert found["killed_once"].attempts == {"interrupted": 1, "succeeded": 1}
    assert found["stubborn"].attempts == {"interrupted": 1, "cancelled": 1}
    attempts = sum(sum(of.attempts.values()) for of in found.values())
    assert attempts == sum(record.attempt for record in ended)
    hours = counters.hours(redis, [("shop", "noted"), ("shop", "fails")], time.time())
    assert [(sum(of.calls), sum(of.failures)) for of in hours] == [(20, 0), (3, 3)]


def test_the_duration_of_a_run_is_from_its_start_to_its_end(rig: Rig, redis: Redis) -> None:
    rig.start()
    record = rig.ended(rig.submit("noted", {"seconds": 0.5}))
    (outcomes,) = counters.outcomes(redis, ["noted"], time.time())
    assert outcomes.p50 == outcomes.p95
    assert outcomes.p50
    running = next(span.ms for span in record.timeline if span.what == "running")
    assert running
    assert outcomes.p50 * 1000 / running < 1.12
    assert outcomes.p50 * 1000 / running > 0.88
