"""Our worker leaves in Redis what RQ's own would leave, so that RQ's tools and classes show the truth."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, cast

import pytest
from redis import Redis
from rq import Queue
from rq import SimpleWorker as RqSimpleWorker
from rq.job import Job as RqJob
from rq.results import Result
from rq.serializers import JSONSerializer

from tests.support import eventually
from tests.worker.conftest import Rig

# What our hash has beside RQ's fields.
OURS = {b"attempt", b"error"}
# What RQ leaves of one that has succeeded and we don't.
THEIRS = {b"last_heartbeat"}


def returns(value: Any) -> Any:
    return {"got": value}


def raises(value: Any) -> Any:
    raise ValueError("no")


def left_by_rq(redis: Redis, function: Any) -> str:
    """Runs one job in RQ's own worker and returns its id."""
    queue = Queue("stock", connection=redis, serializer=JSONSerializer)
    job = queue.enqueue_call(function, args=({},), result_ttl=3600, failure_ttl=3600, meta={"a": 1}, timeout=60)
    worker = RqSimpleWorker([queue], connection=redis, serializer=JSONSerializer)
    worker.work(burst=True, logging_level="CRITICAL")
    return job.id


def state(redis: Redis, uid: str, queue: str) -> dict[str, Any]:
    """The keys that belong to a job, with their types, fields and, in steps of ten seconds, their times to live."""
    keys = {f"rq:job:{uid}", f"rq:results:{uid}", f"rq:executions:{uid}", f"rq:job:{uid}:dependents"}
    found: dict[str, Any] = {}
    for key in keys:
        if redis.exists(key):
            found[key.replace(uid, "UID")] = (redis.type(key), round(redis.ttl(key) / 10))
    fields = cast(dict[bytes, bytes], redis.hgetall(f"rq:job:{uid}"))
    found["fields"] = (
        {name for name, value in fields.items() if value} - OURS - THEIRS
    )  # RQ reads an empty one as not there
    ((_, result),) = cast(list[Any], redis.xrange(f"rq:results:{uid}"))
    found["result"] = {name: b"" if name != b"type" else value for name, value in result.items()}
    for registry in ("finished", "failed"):
        score = redis.zscore(f"rq:{registry}:{queue}", uid)
        found[registry] = score and round((score - redis.time()[0]) / 10)
    found["wip"] = redis.zcard(f"rq:wip:{queue}")
    found["queued"] = redis.llen(f"rq:queue:{queue}")
    return found


@pytest.mark.parametrize(("workflow", "function"), [("echo", returns), ("fails", raises)])
def test_a_job_that_ended_looks_as_if_rq_had_run_it(rig: Rig, redis: Redis, workflow: str, function: Any) -> None:
    theirs = state(redis, left_by_rq(redis, function), "stock")
    rig.start()
    uid = rig.submit(workflow, {})
    rig.ended(uid)
    assert state(redis, uid, "default") == theirs


def test_rqs_classes_read_status_result_and_error(rig: Rig, redis: Redis) -> None:
    rig.start()
    good, bad = rig.submit("echo", {"a": 1}), rig.submit("fails", {})
    rig.ended(good)
    rig.ended(bad)
    fetched = RqJob.fetch(good, connection=redis, serializer=JSONSerializer)
    result = fetched.latest_result()
    assert result
    assert (result.type, result.return_value) == (Result.Type.SUCCESSFUL, {"a": 1})
    failure = RqJob.fetch(bad, connection=redis, serializer=JSONSerializer).latest_result()
    assert failure
    assert failure.type is Result.Type.FAILED
    assert "ValueError" in str(failure.exc_string)


def rq_info(rig: Rig) -> str:
    command = [sys.executable, "-m", "rq.cli", "info", "-u", rig.url, "-S", "json", "--raw"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_rq_info_shows_the_worker_its_queue_and_what_it_has_done(rig: Rig, redis: Redis) -> None:
    rig.start()
    rig.ended(rig.submit("echo", {}))
    rig.ended(rig.submit("fails", {}))
    shown = rq_info(rig)
    assert "queue default 0" in shown
    (key,) = cast(set[bytes], redis.smembers("rq:workers:default"))
    assert key.decode().removeprefix("rq:worker:") in shown
    assert redis.hmget(key, "successful_job_count", "failed_job_count", "state") == [b"1", b"1", b"idle"]


def test_counting_rqs_registries_disturbs_no_running_execution(rig: Rig, redis: Redis) -> None:
    """RQ's counts clean up as they go, and fail what they take for abandoned: our leases are not theirs to judge."""
    rig.start()
    uid = rig.submit("noted", {"seconds": 3})
    eventually(lambda: rig.evidence()[f"S {uid}"])
    queue = Queue("default", connection=redis, serializer=JSONSerializer)
    while rig.record(uid).status == "running":
        assert queue.started_job_registry.count in (0, 1)
        assert queue.started_job_registry.get_job_ids() in ([], [uid])
    assert rig.evidence() == {f"S {uid}": 1, f"D {uid}": 1}
