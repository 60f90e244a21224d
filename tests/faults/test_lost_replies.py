"""Redis does what it was asked to, and its reply is lost on the way back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.conftest import FaultRig, child_of
from tests.faults.lossy import LossyProxy
from tests.support import CONFIG, eventually
from trigger.config.model import Api, NoAuth, Workflow
from trigger.errors import QueueUnavailable
from trigger.store import exchange, queueing
from trigger.store.lua import load
from trigger.store.queueing import Call, Submitter, connect

API = Api(
    module="shop", method="noted", auth=NoAuth(), workflow=Workflow(name="noted", python="work:noted", timeout=60)
)


@pytest.fixture
def lossy(rig: FaultRig) -> Iterator[LossyProxy]:
    with LossyProxy(rig.folder, rig.url) as proxy:
        yield proxy


@pytest.mark.parametrize("times", [1, 3])
def test_a_call_whose_reply_is_lost_is_accepted_once(rig: FaultRig, lossy: LossyProxy, times: int) -> None:  # F30
    submitter = Submitter(connect(lossy.url))
    uids = [submitter.submit(Call(API, {}, None), CONFIG).uid]
    lossy.lose(queueing._ACCEPT.text, times)
    uids.append(submitter.submit(Call(API, {}, None), CONFIG).uid)
    assert lossy.lost == times
    assert rig.redis.lrange("rq:queue:default", 0, -1) == [uid.encode() for uid in uids]
    rig.start_with()
    for uid in uids:
        rig.succeeded(uid)
    rig.is_tidy()
    assert rig.evidence() == {f"{word} {uid}": 1 for uid in uids for word in "SD"}


def test_a_call_whose_replies_are_all_lost_is_refused_and_repeated_finds_its_uid(
    rig: FaultRig, lossy: LossyProxy
) -> None:  # F30
    submitter = Submitter(connect(lossy.url))
    uids = [submitter.submit(Call(API, {}, None), CONFIG).uid]
    lossy.lose(queueing._ACCEPT.text, 1000, silently=True)
    with pytest.raises(QueueUnavailable):
        submitter.submit(Call(API, {"seconds": 0}, "ann", key="k"), CONFIG)
    waiting: Any = rig.redis.lrange("rq:queue:default", 0, -1)
    (stored,) = set(waiting) - {uids[0].encode()}
    again = Submitter(rig.redis).submit(Call(API, {"seconds": 0}, "ann", key="k"), CONFIG)
    assert (again.uid, again.replayed) == (stored.decode(), True)


@pytest.mark.parametrize("silently", [False, True])
@pytest.mark.parametrize("what", ["take", "end", "beat", "reap"])
def test_an_execution_runs_once_although_a_reply_to_its_worker_is_lost(
    rig: FaultRig, lossy: LossyProxy, what: str, silently: bool
) -> None:  # F31
    script = load(what).text if what in ("beat", "reap") else exchange._EXCHANGE.text
    worker = rig.start_with({"lease": 20.0, "beat": 0.4, "reap": 0.4}, url=lossy.url, FAULT_PATIENCE="4")
    first = rig.submit("noted")
    rig.succeeded(first)
    if what != "end":
        lossy.lose(script, silently=silently)
    uid = rig.submit("noted", {"seconds": 1})
    if what == "end":
        rig.started(uid)
        lossy.lose(script, silently=silently)
    eventually(lambda: lossy.lost == 1)
    rig.succeeded(uid, within=30)
    rig.is_tidy()
    assert rig.evidence() == {f"{word} {u}": 1 for u in (first, uid) for word in "SD"}
    assert worker.poll() is None


def test_an_execution_is_put_back_once_although_the_reply_is_lost(rig: FaultRig, lossy: LossyProxy) -> None:  # F31
    worker = rig.start_with({"lease": 600.0}, url=lossy.url)
    rig.redis.script_load(load("release").text)
    lossy.lose(load("release").text)
    uid = rig.submit("slow_first", {"seconds": 60})
    rig.started(uid)
    os.kill(child_of(worker), signal.SIGKILL)
    eventually(lambda: lossy.lost == 1)
    assert rig.succeeded(uid).attempt == 2
    rig.is_tidy()
    assert rig.evidence() == {f"S {uid}": 2, f"D {uid}": 1}
    assert rig.redis.hget(f"rq:job:{uid}", "crashes") == b"1"
