"""What operators see of a worker: what it has done, and what it does now."""

from __future__ import annotations

import os

from tests.support import eventually
from tests.worker.conftest import Rig
from trigger.store.overview import LiveWorker, workers
from trigger.store.queues import queues


def only(rig: Rig) -> LiveWorker:
    (worker,) = workers(rig.redis)
    return worker


def test_a_worker_is_shown_while_it_lives(rig: Rig) -> None:
    child = rig.start()
    eventually(lambda: workers(rig.redis))
    worker = only(rig)
    assert (worker.queue, worker.host, worker.pid) == ("default", os.uname().nodename, str(child.pid))
    assert worker.since is not None
    assert worker.beat is not None
    assert queues(rig.redis, ["default", "slow"])[0].workers == 1
    child.terminate()
    child.wait(20)
    assert workers(rig.redis) == []
    assert queues(rig.redis, ["default"])[0].workers == 0


def test_it_says_what_it_holds_and_what_it_has_done(rig: Rig) -> None:
    rig.start()
    rig.ended(rig.submit("echo"))
    rig.ended(rig.submit("fails"))
    uid = rig.submit("slow")
    eventually(lambda: only(rig).holds)
    busy = only(rig)
    assert busy.state == "busy"
    assert [held.uid for held in busy.holds] == [uid]
    assert busy.holds[0].seconds >= 0
    assert (busy.succeeded, busy.failed) == (1, 1)
    assert busy.worked > 0
