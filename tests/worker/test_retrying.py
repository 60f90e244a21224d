"""A workflow that fails is tried again after a pause, in which no worker is held."""

from __future__ import annotations

import os
import signal

import pytest
from redis import Redis
from rq.registry import ScheduledJobRegistry
from rq.serializers import JSONSerializer

from tests.support import eventually
from tests.worker.conftest import Rig
from trigger import store
from trigger.store import Status


@pytest.fixture
def patient(rig: Rig) -> Rig:
    """A worker whose workflow `patient` is tried three times, with a second in between."""
    rig.configure("  patient: {python: 'work:flaky', retry: {attempts: 3, backoff: 1s}}\n")
    rig.start()
    return rig


def retrying(rig: Rig, uid: str) -> bool:
    return rig.record(uid).status is Status.RETRYING


def test_it_succeeds_at_the_attempt_that_does(patient: Rig) -> None:
    uid = patient.submit("patient", {"good": 3})
    record = patient.ended(uid)
    assert (record.status, record.output, record.attempt, record.error) == (Status.SUCCEEDED, 3, 3, None)
    assert patient.evidence() == {f"S {uid}": 3, f"D {uid}": 1}


def test_it_fails_with_the_last_reason_when_the_attempts_are_used_up(patient: Rig) -> None:
    record = patient.ended(patient.submit("patient", {"good": 9}))
    assert (record.status, record.attempt) == (Status.FAILED, 3)
    assert record.error == {"class": "RuntimeError", "message": "attempt 3"}


def test_in_between_the_record_says_so_and_the_worker_is_free(patient: Rig, redis: Redis) -> None:
    uid = patient.submit("patient", {"good": 2})
    eventually(lambda: retrying(patient, uid))
    record = patient.record(uid)
    assert (record.ended_at, record.error) == (None, {"class": "RuntimeError", "message": "attempt 1"})
    registry = ScheduledJobRegistry("default", connection=redis, serializer=JSONSerializer)
    assert registry.get_job_ids() == [uid]
    assert patient.ended(patient.submit("echo")).status is Status.SUCCEEDED
    assert patient.ended(uid).status is Status.SUCCEEDED
    assert registry.get_job_ids() == []
    assert redis.zcard(store.leased_key("default")) == 0


def test_a_worker_that_dies_in_the_pause_takes_no_attempt_away(rig: Rig) -> None:
    rig.configure("  patient: {python: 'work:flaky', retry: {attempts: 2, backoff: 1s}}\n")
    worker = rig.start()
    uid = rig.submit("patient", {"good": 2})
    eventually(lambda: retrying(rig, uid))
    os.killpg(worker.pid, signal.SIGKILL)
    rig.start()
    record = rig.ended(uid)
    assert (record.status, record.attempt) == (Status.SUCCEEDED, 2)


def test_a_workflow_without_retry_fails_at_once(rig: Rig) -> None:
    rig.start()
    record = rig.ended(rig.submit("flaky", {"good": 2}))
    assert (record.status, record.attempt) == (Status.FAILED, 1)
