"""Redis dies, hangs, or refuses, while executions run: they run to their end, and workers outlive it."""

from __future__ import annotations

import os
import signal
import time

import pytest
from redis import Redis

from tests.faults.conftest import FaultRig, child_of, kill_both
from tests.support import OwnRedis, eventually
from trigger.errors import QueueUnavailable


def pass_by(seconds: float) -> None:
    """Lets an outage last: the one thing that can't be polled for."""
    time.sleep(seconds)


# Seconds that Redis is away, and that the execution takes; SHORT's lease is 2 s.
OUTAGES = {"short": (0.5, 2.0), "longer than the lease": (3.5, 5.0), "longer than the execution": (3.5, 1.5)}


@pytest.mark.parametrize("name", OUTAGES)
def test_an_execution_goes_on_while_redis_is_away(own_rig: FaultRig, own_redis: OwnRedis, name: str) -> None:  # F32
    outage, takes = OUTAGES[name]
    busy, other = own_rig.start_with(), own_rig.start_with()
    uid = own_rig.submit("noted", {"seconds": takes})
    own_rig.started(uid)
    children = {child_of(busy), child_of(other)}
    own_redis.kill()
    pass_by(outage)
    own_redis.start()
    own_rig.succeeded(uid)
    own_rig.is_tidy()
    assert own_rig.evidence() == {f"S {uid}": 1, f"D {uid}": 1}
    assert {child_of(busy), child_of(other)} == children


def test_redis_hangs_for_longer_than_the_lease_and_nothing_is_taken_over(
    own_rig: FaultRig, own_redis: OwnRedis
) -> None:  # F25
    workers = [own_rig.start_with() for _ in range(2)]
    uids = [own_rig.submit("noted", {"seconds": 6.5}) for _ in workers]
    for uid in uids:
        own_rig.started(uid)
    own_redis.process.send_signal(signal.SIGSTOP)
    pass_by(5)
    own_redis.process.send_signal(signal.SIGCONT)
    for uid in uids:
        assert own_rig.succeeded(uid).attempt == 1
    own_rig.is_tidy()
    assert own_rig.evidence() == {f"{word} {uid}": 1 for uid in uids for word in "SD"}


def test_workers_and_redis_stand_still_together_and_nothing_is_taken_over(
    own_rig: FaultRig, own_redis: OwnRedis
) -> None:  # F19: a paused machine
    workers = [own_rig.start_with() for _ in range(2)]
    uids = [own_rig.submit("noted", {"seconds": 3}) for _ in workers]
    for uid in uids:
        own_rig.started(uid)
    pids = [own_redis.process.pid, *(pid for worker in workers for pid in (worker.pid, child_of(worker)))]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    pass_by(5)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    for uid in uids:
        assert own_rig.succeeded(uid).attempt == 1
    own_rig.is_tidy()
    assert own_rig.evidence() == {f"{word} {uid}": 1 for uid in uids for word in "SD"}


@pytest.mark.parametrize("both", [False, True])
def test_an_execution_whose_child_dies_while_redis_is_away_runs_again(
    own_rig: FaultRig, own_redis: OwnRedis, both: bool
) -> None:
    worker = own_rig.start_with()
    uid = own_rig.submit("slow_first", {"seconds": 60})
    own_rig.started(uid)
    own_redis.kill()
    if both:
        kill_both(worker)
    else:
        child = child_of(worker)
        os.kill(child, signal.SIGKILL)
        eventually(lambda: "the execution's end can't be recorded" in own_rig.log())
    own_redis.start()
    if both:
        own_rig.start_with()
    assert own_rig.succeeded(uid).attempt == 2
    own_rig.is_tidy()
    assert own_rig.evidence() == {f"S {uid}": 2, f"D {uid}": 1}


def refuse_readonly(redis: Redis) -> None:
    redis.replicaof("127.0.0.1", 1)


def accept_readonly(redis: Redis) -> None:
    redis.replicaof("NO", "ONE")


def refuse_memory(redis: Redis) -> None:
    redis.config_set("maxmemory", 1)


def accept_memory(redis: Redis) -> None:
    redis.config_set("maxmemory", 0)


def refuse_password(redis: Redis) -> None:
    redis.config_set("requirepass", "another")
    redis.client_kill_filter(_type="normal", skipme=True)


def accept_password(redis: Redis) -> None:
    redis.execute_command("AUTH", "another")
    redis.config_set("requirepass", "")


REFUSALS = {
    "read only replica": (refuse_readonly, accept_readonly),
    "maxmemory": (refuse_memory, accept_memory),
    "HELLO must be called": (refuse_password, accept_password),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_redis_that_refuses_ends_no_worker_and_loses_nothing(
    own_rig: FaultRig, own_redis: OwnRedis, name: str
) -> None:  # F29, F39
    refuse, accept = REFUSALS[name]
    busy, idle = own_rig.start_with(), own_rig.start_with()
    ends_meanwhile = own_rig.submit("noted", {"seconds": 1})
    ends_after = own_rig.submit("noted", {"seconds": 5})
    own_rig.started(ends_meanwhile)
    own_rig.started(ends_after)
    children = {child_of(busy), child_of(idle)}
    waiting = own_rig.submit("noted")
    # One connection, which stays: the password is asked for when a new one is made.
    with Redis.from_url(own_redis.url, single_connection_client=True) as admin:
        admin.ping()
        refuse(admin)
        with pytest.raises(QueueUnavailable):
            own_rig.submit("noted")
        eventually(lambda: name in own_rig.log())
        pass_by(3)  # longer than the lease
        accept(admin)
    uids = [ends_meanwhile, ends_after, waiting, own_rig.submit("noted")]
    for uid in uids:
        assert own_rig.succeeded(uid, within=40).attempt == 1
    own_rig.is_tidy()
    assert own_rig.evidence() == {f"{word} {uid}": 1 for uid in uids for word in "SD"}
    assert {child_of(busy), child_of(idle)} == children
    # An outage is told once by each process, however long it is.
    assert own_rig.log().count(name) <= 2 * len(children) + 1


def test_a_redis_that_takes_its_time_to_load_loses_nothing(own_rig: FaultRig, own_redis: OwnRedis) -> None:  # F39
    for part in range(14):  # in parts, each shorter than a client waits for a reply
        fill = "for i = 1, 50000 do redis.call('SET', 'filler:' .. ARGV[1] .. ':' .. i, i) end"
        own_rig.redis.eval(fill, 0, str(part))
    worker = own_rig.start_with()
    uid = own_rig.submit("noted", {"seconds": 3})
    waiting = own_rig.submit("noted")
    own_rig.started(uid)
    own_redis.restart()
    own_rig.succeeded(uid)
    own_rig.succeeded(waiting)
    assert own_rig.evidence() == {f"{word} {u}": 1 for u in (uid, waiting) for word in "SD"}
    assert worker.poll() is None
