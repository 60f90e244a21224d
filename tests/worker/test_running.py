"""What a worker makes of an execution: output, error, timeout, and what the workflow itself may know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from redis import Redis
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from tests.support import eventually
from tests.worker.conftest import Rig
from trigger import store
from trigger.store import Record, Status
from trigger.store.log_reading import read
from trigger.store.outcome import MAX_OUTPUT

Run = Callable[..., Record]


def test_a_workflow_gets_the_input_and_its_output_is_recorded(run: Run) -> None:
    record = run("echo", {"sku": "A1", "qty": [1, 2.5, None, "ü"]})
    assert record.status is Status.SUCCEEDED
    assert record.output == {"sku": "A1", "qty": [1, 2.5, None, "ü"]}
    assert record.error is None
    assert record.attempt == 1
    assert record.caller == "tester"
    assert record.created_at
    assert record.started_at
    assert record.ended_at
    assert record.created_at <= record.started_at <= record.ended_at


def test_a_workflow_may_know_which_execution_it_is_and_log(run: Run, rig: Rig) -> None:
    record = run("who")
    assert record.output == [record.uid, "shop", "who", 1]
    (line,) = read(rig.redis, record.uid).lines
    assert (line.stream, line.level, line.text) == ("log", "INFO", "hello from who")


def test_an_async_workflow_is_awaited(run: Run) -> None:
    assert run("waits").output == "waited"


def test_a_workflow_that_raises_fails_with_its_reason(run: Run) -> None:
    record = run("fails", {"sku": "A1"})
    assert record.status is Status.FAILED
    assert record.error == {"class": "ValueError", "message": "no stock of A1"}
    assert record.traceback
    assert record.traceback.startswith("Traceback (most recent call last):\n")
    assert 'work.py", line' in record.traceback
    assert "child.py" not in record.traceback


def test_only_an_operator_sees_the_traceback(run: Run) -> None:
    record = run("fails", {})
    assert "traceback" in record.as_json(operator=True)["error"]
    assert "traceback" not in record.as_json(operator=False)["error"]


def test_an_output_that_is_not_json_fails_saying_so(run: Run) -> None:
    record = run("not_json")
    assert record.status is Status.FAILED
    assert record.error == {
        "class": "OutputError",
        "message": "The workflow's output is not JSON: Object of type set is not JSON serializable",
    }


def test_a_large_output_is_cut_with_a_marker(run: Run) -> None:
    record = run("big")
    assert record.status is Status.SUCCEEDED
    assert record.truncated
    assert record.as_json(operator=False)["truncated"] is True
    assert record.output["truncated"] is True
    assert record.output["bytes"] > MAX_OUTPUT


def test_a_workflow_that_takes_too_long_is_stopped(run: Run) -> None:
    record = run("slow", timeout=1)
    assert record.status is Status.FAILED
    assert record.error == {"class": "Timeout", "message": "The workflow took longer than 1 s"}


def test_a_workflow_that_ignores_its_timeout_is_killed(run: Run, rig: Rig) -> None:
    record = run("stubborn", timeout=1)
    assert record.error == {"class": "Timeout", "message": "The workflow took longer than 1 s and had to be killed"}
    assert rig.ended(rig.submit("echo")).status is Status.SUCCEEDED


def test_a_workflow_that_exits_fails_and_the_worker_goes_on(run: Run) -> None:
    record = run("exits")
    assert record.error == {"class": "SystemExit", "message": "3"}
    assert run("echo").status is Status.SUCCEEDED


def test_secret_values_are_masked_in_output_error_and_traceback(run: Run, rig: Rig) -> None:
    secrets = (("sku",),)
    failed = run("fails", {"sku": "canary-4711"}, secrets=secrets)
    echoed = run("echo", {"sku": "canary-4711"}, secrets=secrets)
    assert failed.error == {"class": "ValueError", "message": "no stock of ***"}
    assert "canary-4711" not in str(failed)
    assert "canary-4711" not in str(echoed)
    assert "canary-4711" not in rig.log()


def test_a_workflow_that_the_config_does_not_name_is_not_run(run: Run, rig: Rig) -> None:
    uid = rig.submit("gone")
    eventually(lambda: rig.record(uid).status is Status.RETRYING)
    assert run("echo").status is Status.SUCCEEDED
    assert rig.record(uid).attempt == 0


def test_a_function_written_into_redis_is_never_called(run: Run, rig: Rig, redis: Redis) -> None:
    hostile = RqJob.create(
        "os.system",
        args=(f"touch {rig.folder}/pwned",),
        id=store.new_uid(),
        connection=redis,
        serializer=JSONSerializer,
        origin="default",
        timeout=60,
        description="shop/echo",
        meta={},
        status="queued",  # type: ignore[arg-type]
    )
    hostile._success_callback_name = "os.system"
    hostile.save()
    redis.rpush("rq:queue:default", hostile.id)
    eventually(lambda: redis.hget(hostile.key, "status") == b"failed")
    assert not (rig.folder / "pwned").exists()
    assert redis.lrange(store.POISON, 0, -1)
    assert run("echo").status is Status.SUCCEEDED


def test_a_pickle_written_into_redis_is_never_loaded(run: Run, rig: Rig, redis: Redis) -> None:
    trap = rig.folder / "pwned"
    bomb = f"cposix\nsystem\n(S'touch {trap}'\ntR.".encode()
    uid = rig.submit("echo")
    eventually(lambda: rig.record(uid).status is Status.SUCCEEDED)
    redis.hset(f"rq:job:{uid}", "meta", bomb)
    assert store.read(redis, uid) is None
    other = store.new_uid()
    redis.hset(
        f"rq:job:{other}", mapping={"status": "queued", "timeout": 9, "data": bomb, "meta": bomb, "origin": "default"}
    )
    redis.rpush("rq:queue:default", other)
    eventually(lambda: redis.hget(f"rq:job:{other}", "status") == b"failed")
    assert not trap.exists()


def test_an_edit_of_the_config_brings_a_new_workflow_without_a_restart(run: Run, rig: Rig) -> None:
    uid = rig.submit("late")
    eventually(lambda: rig.record(uid).status is Status.RETRYING)
    rig.configure("  late: work:echo\n")
    assert rig.ended(uid).status is Status.SUCCEEDED
    assert run("late").status is Status.SUCCEEDED


def test_a_broken_edit_changes_nothing(run: Run, rig: Rig) -> None:
    (rig.folder / "config.yaml").write_text("workflows: [\n")
    eventually(lambda: "the config has mistakes" in rig.log())
    assert run("echo").status is Status.SUCCEEDED


def test_rq_sees_what_we_see(run: Run, rig: Rig, redis: Redis) -> None:
    good, bad = run("echo", {"a": 1}), run("fails", {})
    for record, status in ((good, "finished"), (bad, "failed")):
        job: Any = RqJob.fetch(record.uid, connection=redis, serializer=JSONSerializer)
        assert job.get_status() == status
        assert not redis.exists(f"rq:executions:{record.uid}")
        assert redis.ttl(f"rq:job:{record.uid}") > 3000
        assert redis.ttl(f"rq:results:{record.uid}") > 3000
    fetched = RqJob.fetch(good.uid, connection=redis, serializer=JSONSerializer)
    assert fetched.return_value() == {"a": 1}
    assert redis.zscore("rq:finished:default", good.uid)
    assert redis.zscore("rq:failed:default", bad.uid)
    assert redis.zcard("rq:wip:default") == 0
    assert redis.zcard(store.leased_key("default")) == 0
    assert redis.zcard(store.waiting_key("default")) == 0


def test_each_end_is_logged_also_of_those_that_end_at_once(rig: Rig, redis: Redis) -> None:
    uids = [rig.submit("gone") for _ in range(5)]
    for uid in uids:  # each has waited for long enough for a worker that knows its workflow
        redis.hset(store.JOB + uid, "unknown_since", 1)
    rig.start()
    for uid in uids:
        rig.ended(uid)
    eventually(lambda: rig.log().count("shop/gone failed") == len(uids))


def test_an_idle_worker_asks_for_work_when_there_is_some(run: Run, rig: Rig, redis: Redis) -> None:
    run("echo")

    def calls(command: str) -> int:
        found = cast(dict[str, dict[str, int]], redis.info("commandstats"))
        return found.get(f"cmdstat_{command}", {"calls": 0})["calls"]

    waits, scripts = calls("blmove"), calls("evalsha")
    eventually(lambda: calls("blmove") >= waits + 2)  # each lasts three seconds
    # Beats and passes of the reaper, and one look after each wait: it looked four times a second.
    assert calls("evalsha") - scripts < 14
