"""Accepting a call: what is in Redis afterwards, and what a caller is told when it can't be."""

from __future__ import annotations

import os
import signal
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from rq.job import Job as RqJob
from rq.queue import Queue as RqQueue
from rq.serializers import JSONSerializer

from tests.support import CONFIG, OwnRedis, eventually
from trigger import store
from trigger.config.model import Api, NoAuth, Workflow
from trigger.errors import IdempotencyMismatch, QueueUnavailable, TooManyRequests
from trigger.store.keys import RUNNER
from trigger.store.queueing import Call, Submitter, connect

WORKFLOW = Workflow(name="hello", python="examples.hello:greet", timeout=90, queue="default")
API = Api(module="shop", method="restock", auth=NoAuth(), workflow=WORKFLOW)
CALL = Call(API, {"sku": "A1"}, "ci")


def submit(redis: Redis, call: Call = CALL, *, backlog: int = 1000) -> str:
    server = replace(CONFIG.server, backlog=backlog)
    return Submitter(redis).submit(call, replace(CONFIG, server=server)).uid


def test_an_accepted_call_is_a_queued_job_that_rq_itself_can_read(redis: Redis) -> None:
    uid = submit(redis)
    job = RqJob.fetch(uid, connection=redis, serializer=JSONSerializer)
    assert job.get_status() == "queued"
    assert job.func_name == RUNNER
    assert list(job.args) == ["hello", {"sku": "A1"}]
    assert RqQueue("default", connection=redis, serializer=JSONSerializer).job_ids == [uid]
    assert redis.smembers("rq:queues") == {b"rq:queue:default"}


def test_the_job_has_the_fields_that_rq_would_write_but_for_those_that_are_empty(redis: Redis) -> None:
    ours = cast(dict[bytes, bytes], redis.hgetall(f"rq:job:{submit(redis)}"))
    queue = RqQueue("default", connection=redis, serializer=JSONSerializer)
    job = queue.enqueue_call(
        RUNNER,
        args=("hello", {"sku": "A1"}),
        timeout=90,
        result_ttl=3600,
        failure_ttl=3600,
        description="shop/restock",
        meta={"caller": "ci", "workflow": "hello", "config": ""},
    )
    theirs = {k: v for k, v in cast(dict[bytes, bytes], redis.hgetall(f"rq:job:{job.id}")).items() if v}
    assert ours.keys() == theirs.keys()
    for fields in (ours, theirs):
        assert fields.pop(b"created_at")
        assert fields.pop(b"enqueued_at")
        fields[b"data"] = zlib.decompress(fields[b"data"])
    assert ours == theirs


def test_only_a_request_with_an_id_from_outside_has_it_kept(redis: Redis) -> None:
    submitter = Submitter(redis)
    given = [None, "of-nginx", None, "of-nginx-too"]
    uids = [submitter.submit(replace(CALL, request=request), CONFIG).uid for request in given]
    metas = [RqJob.fetch(uid, connection=redis, serializer=JSONSerializer).meta for uid in uids]
    usual = {"caller": "ci", "workflow": "hello", "config": ""}
    assert metas == [usual | ({"request": request} if request else {}) for request in given]


@pytest.mark.parametrize("size", [0, 1, 300, 700, 5_000, 900_000])
def test_an_input_of_any_size_is_one_that_rq_can_read(redis: Redis, size: int) -> None:
    text = "".join(map(str, range(size)))[:size]
    uid = submit(redis, Call(API, {"text": text}, "ci"))
    assert RqJob.fetch(uid, connection=redis, serializer=JSONSerializer).args[1] == {"text": text}
    assert json_input(redis, uid) == {"text": text}


def test_an_accepted_call_stands_in_the_index_and_in_the_ledger(redis: Redis) -> None:
    uid = submit(redis)
    assert redis.zrange(store.INDEX, 0, -1) == [uid.encode()]
    assert redis.zrange(store.waiting_key("default"), 0, -1) == [uid.encode()]


def test_accepting_takes_one_round_trip(redis: Redis) -> None:
    submitter = Submitter(redis)
    submitter.submit(CALL, CONFIG)  # loads the script
    with redis.monitor() as monitor:
        redis.echo("begin")  # the monitor has taken the pool's connection: this makes another one
        submitter.submit(CALL, CONFIG)
        redis.echo("end")
        sent = []
        for seen in monitor.listen():
            if seen["client_type"] != "lua":
                sent.append(seen["command"].split()[0])
            if seen["command"] == "ECHO end":
                break
    assert sent[sent.index("ECHO") :] == ["ECHO", "EVALSHA", "ECHO"]


def test_the_uid_is_25_digits_that_sort_by_time_and_tell_it(redis: Redis) -> None:
    first, second = submit(redis), submit(redis)
    assert store.is_uid(first)
    assert store.is_uid(second)
    assert abs((int(first) >> 40) - redis.time()[0] * 1000) < 5_000
    assert (int(first) >> 40) <= (int(second) >> 40)


def test_a_full_queue_refuses_and_stores_nothing(redis: Redis) -> None:
    submit(redis, backlog=2)
    submit(redis, backlog=2)
    keys = redis.dbsize()
    with pytest.raises(TooManyRequests) as refused:
        submit(redis, backlog=2)
    assert refused.value.headers["Retry-After"]
    assert redis.dbsize() == keys
    assert redis.llen("rq:queue:default") == 2


class LosesReplies:
    """A script whose first replies get lost on the way, after Redis has done what it was asked to."""

    def __init__(self, script: Any, times: int) -> None:
        self.script, self.times = script, times

    def __call__(self, *arguments: Any) -> Any:
        reply = self.script(*arguments)
        if self.times:
            self.times -= 1
            raise RedisConnectionError("Connection closed by server.")
        return reply


@pytest.mark.parametrize("times", [1, 3])
def test_a_lost_reply_is_asked_for_again_with_the_same_uid(redis: Redis, times: int) -> None:
    submitter = Submitter(redis)
    submitter._accept = LosesReplies(submitter._accept, times)  # type: ignore[assignment]
    uid = submitter.submit(CALL, CONFIG).uid
    assert redis.lrange("rq:queue:default", 0, -1) == [uid.encode()]


def test_a_uid_that_somebody_else_has_is_replaced(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = submit(redis)
    fresh = store.new_uid()
    uids = iter([taken, fresh])
    monkeypatch.setattr(store, "new_uid", lambda: next(uids))
    assert submit(redis, Call(API, {"sku": "B2"}, "ci")) == fresh
    assert redis.llen("rq:queue:default") == 2
    assert json_input(redis, taken) == {"sku": "A1"}


def json_input(redis: Redis, uid: str) -> Any:
    record = store.read(redis, uid)
    assert record is not None
    return record.input


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    """A Redis of the test's own, which it may stop and kill."""
    with OwnRedis(tmp_path / "data") as server:
        yield server


def test_a_redis_that_is_down_is_said_to_be(own_redis: OwnRedis) -> None:
    redis = connect(own_redis.url)
    submit(redis)
    own_redis.kill()
    submitter = Submitter(redis)
    for _ in range(2):  # the second is refused at once, without waiting again
        with pytest.raises(QueueUnavailable) as refused:
            submitter.submit(CALL, CONFIG)
        assert refused.value.headers["Retry-After"]


def test_a_redis_that_hangs_is_not_waited_for(own_redis: OwnRedis) -> None:
    redis = connect(own_redis.url)
    submit(redis)
    own_redis.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(QueueUnavailable):
            submit(redis)
    finally:
        os.kill(own_redis.process.pid, signal.SIGCONT)


def test_a_redis_that_is_out_of_memory_refuses_whole(own_redis: OwnRedis) -> None:
    redis = connect(own_redis.url)
    submit(redis)
    keys = redis.dbsize()
    redis.config_set("maxmemory", 1)
    with pytest.raises(QueueUnavailable):
        submit(redis)
    redis.config_set("maxmemory", 0)
    assert redis.dbsize() == keys
    assert redis.llen("rq:queue:default") == 1


def test_a_connection_that_a_restart_of_redis_has_closed_is_replaced(own_redis: OwnRedis) -> None:
    redis = connect(own_redis.url)
    first = submit(redis)
    own_redis.restart()
    second = submit(redis)
    assert redis.lrange("rq:queue:default", 0, -1) == [first.encode(), second.encode()]


def test_options_of_rq_in_the_input_stay_data(redis: Redis) -> None:
    hostile = {"job_id": "x", "timeout": 1, "on_success": "os.system", "result_ttl": 0, "at_front": True}
    uid = submit(redis, Call(API, hostile, None))
    job = RqJob.fetch(uid, connection=redis, serializer=JSONSerializer)
    assert job.args[1] == hostile
    assert (job.timeout, job.result_ttl) == (90, 3600)


def test_secret_paths_travel_with_the_job_and_hide_the_values_in_the_record(redis: Redis) -> None:
    uid = submit(redis, Call(API, {"card": {"number": "4111"}, "sku": "A1"}, None, (("card", "number"),)))
    assert json_input(redis, uid) == {"card": {"number": "***"}, "sku": "A1"}


def test_the_description_that_rq_logs_holds_no_input(redis: Redis) -> None:
    uid = submit(redis, Call(API, {"password": "hush-hush"}, None))
    assert redis.hget(f"rq:job:{uid}", "description") == b"shop/restock"


def keyed(input_: Any, key: str = "k1", caller: str | None = "ci", api: Api = API) -> Call:
    return Call(api, input_, caller, key=key)


def test_the_same_key_with_the_same_input_gives_the_first_uid_again(redis: Redis) -> None:
    submitter = Submitter(redis)
    first = submitter.submit(keyed({"a": 1, "b": 2}), CONFIG)
    again = submitter.submit(keyed({"b": 2, "a": 1}), CONFIG)
    assert (again.uid, first.replayed, again.replayed) == (first.uid, False, True)
    assert redis.llen("rq:queue:default") == 1


def test_the_same_key_with_another_input_is_refused(redis: Redis) -> None:
    submitter = Submitter(redis)
    submitter.submit(keyed({"a": 1}), CONFIG)
    with pytest.raises(IdempotencyMismatch):
        submitter.submit(keyed({"a": 2}), CONFIG)
    assert redis.llen("rq:queue:default") == 1


def test_a_key_counts_for_its_api_and_caller_alone(redis: Redis) -> None:
    submitter = Submitter(redis)
    other = replace(API, method="report")
    calls = [keyed({}), keyed({}, caller="backup"), keyed({}, caller=None), keyed({}, api=other), keyed({}, key="k2")]
    assert len({submitter.submit(call, CONFIG).uid for call in calls}) == 5


def test_a_key_is_forgotten_after_the_configured_time(redis: Redis) -> None:
    submitter = Submitter(redis)
    first = submitter.submit(keyed({}), replace(CONFIG, idempotency=1))
    eventually(lambda: submitter.submit(keyed({}), CONFIG).uid != first.uid)


def test_calls_without_a_key_are_never_taken_for_each_other(redis: Redis) -> None:
    assert submit(redis) != submit(redis)


def test_a_keyed_call_whose_replies_got_lost_is_no_replay(redis: Redis) -> None:
    submitter = Submitter(redis)
    submitter._accept = LosesReplies(submitter._accept, 2)  # type: ignore[assignment]
    accepted = submitter.submit(keyed({}), CONFIG)
    assert not accepted.replayed
    assert redis.lrange("rq:queue:default", 0, -1) == [accepted.uid.encode()]


def test_a_full_queue_still_answers_a_repeated_call(redis: Redis) -> None:
    submitter = Submitter(redis)
    first = submitter.submit(keyed({}), CONFIG)
    full = replace(CONFIG, server=replace(CONFIG.server, backlog=1))
    assert submitter.submit(keyed({}), full).uid == first.uid


def test_fifty_callers_with_one_key_start_one_execution(redis: Redis, redis_server: OwnRedis) -> None:
    submitter = Submitter(connect(redis_server.url, reply_timeout=30))
    with ThreadPoolExecutor(50) as pool:
        uids = {accepted.uid for accepted in pool.map(lambda _: submitter.submit(keyed({}), CONFIG), range(50))}
    assert len(uids) == 1
    assert redis.llen("rq:queue:default") == 1
