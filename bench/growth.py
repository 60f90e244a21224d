"""Growth: what 10,000 APIs, 1,000,000 queued executions or 1,000,000 finished ones cost; and the memory of a record.

    python -m bench.growth --rounds 3 --cases records

Each case is compared with a service that has 10 APIs and an empty Redis. The queue and the records are copies of a real
one, with all the keys and entries in sets, lists and sorted sets that have its uid. The memory of a record is that of
real executions.
"""

from __future__ import annotations

from contextlib import ExitStack
from itertools import product

from bench import tables
from bench.session import Session, run
from bench.stacks import BY_NAME, Stack
from bench.stage import TOKEN, Stage
from bench.wrk import load
from trigger import store

STACKS = ("ours", "rq-simple", "celery")
BASE, APIS, QUEUED, KEPT = "base", "10,000 APIs", "1,000,000 queued", "1,000,000 records"
MANY = 1_000_000
PACE = 2_000  # jobs for each second that a measurement is to take
BATCH = 2_000
# So many executions tell the memory of one. The peers' workers take their time.
RECORDS = {"ours": 20_000, "rq-simple": 1_000, "celery": 2_000}

_COPY = """
-- KEYS: all there are.  ARGV: the uid that is copied, the copies' uids.
for _, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  local head, tail = string.match(key, '^(.*)' .. ARGV[1] .. '(.*)$')
  local score = kind == 'zset' and redis.call('ZSCORE', key, ARGV[1])
  local listed = kind == 'list' and redis.call('LPOS', key, ARGV[1])
  local member = kind == 'set' and redis.call('SISMEMBER', key, ARGV[1]) == 1
  for i = 2, #ARGV do
    if head then
      redis.call('COPY', key, head .. ARGV[i] .. tail)
    elseif score then
      redis.call('ZADD', key, score, ARGV[i])
    elseif listed then
      redis.call('RPUSH', key, ARGV[i])
    elseif member then
      redis.call('SADD', key, ARGV[i])
    end
  end
end
"""


def apis(count: int) -> str:
    """So many more APIs for our config."""
    auth = f"{{mode: token, token: {TOKEN}}}"
    return "".join(f"      api{n}: {{enabled: true, auth: {auth}, workflow: work:noop}}\n" for n in range(count))


def fill(stage: Stage, count: int) -> None:
    """Copies the one execution that the stage's Redis holds."""
    redis = stage.redis
    keys = sorted(redis.scan_iter(count=1000))
    (original,) = redis.zrange(store.INDEX, 0, -1)
    script = redis.register_script(_COPY)
    for begin in range(0, count, BATCH):
        uids = [f"{int(original) + (number << 20):025d}" for number in range(begin + 1, min(begin + BATCH, count) + 1)]
        script(keys=keys, args=[original, *uids])


def one_finished(stage: Stage) -> None:
    """Leaves the stage's Redis with one finished execution."""
    stage.preload(1)
    with stage.workers() as (worker,):
        stage.wait_for_effects(1, worker)  # it is recorded before the worker stops


def call(session: Session, stage: Stage, case: str, connections: int) -> None:
    """One round of calls in one case; its web runs already."""
    result = load(stage.port, stage.stack.path, connections, session.seconds, stage.folder)
    metrics = {"p50": result.p50} if connections == 1 else {"rps": result.rps}
    session.add(stage.stack, case, **metrics, failed=result.failed)
    _tidy(stage, case)


def work(session: Session, stage: Stage, case: str) -> None:
    """One round of jobs in one case."""
    count = int(PACE * session.seconds)
    stage.preload(count)
    before = stage.effect_count()
    with stage.workers() as (worker,):
        stage.wait_for_effects(before + count, worker)
    times = [moment for _, moment in stage.effects()[before : before + count]]
    session.add(stage.stack, case, rate=(count - 1) / (max(times) - min(times)) * 1e9)
    _tidy(stage, case)


def _tidy(stage: Stage, case: str) -> None:
    """Takes out what waits, or all where there is to be nothing: it would be the next round's queue and records."""
    if case in (BASE, APIS):
        stage.clear()
    elif case == KEPT:
        stage.redis.delete("rq:queue:default", store.waiting_key("default"))


def record_size(session: Session, stack: Stack) -> None:
    """One round of the memory that a finished execution takes, in KiB."""
    count = RECORDS[stack.name]
    with Stage(stack, "none") as stage:
        one_finished(stage)
        used = stage.redis.info("memory")["used_memory"]
        stage.preload(count)
        with stage.workers() as (worker,):
            stage.wait_for_effects(count + 1, worker)
        kib = (stage.redis.info("memory")["used_memory"] - used) / count / 1024
    session.add(stack, "record", kib=kib)


def main() -> None:
    session = Session("growth", __doc__ or "", STACKS, rounds=5, seconds=2, program="wrk")
    ours = BY_NAME["ours"]
    with ExitStack() as exits:
        stages = {}
        for case in (BASE, APIS, QUEUED, KEPT) if ours in session.stacks else ():
            if case == BASE or session.wants(case):
                more = apis(10_000 if case == APIS else 10)
                stages[case] = exits.enter_context(Stage(ours, "none", config=more))
        if QUEUED in stages:
            stages[QUEUED].preload(1)
            fill(stages[QUEUED], MANY)
        if KEPT in stages:
            one_finished(stages[KEPT])
            fill(stages[KEPT], MANY)
        for stage in stages.values() if len(stages) > 1 else ():
            exits.enter_context(stage.web())
            load(stage.port, ours.path, 16, 1, stage.folder)
        for connections, case in session.turns(product((1, 16, 0), stages) if len(stages) > 1 else ()):
            if connections:
                call(session, stages[case], case, connections)
            else:
                work(session, stages[case], case)
    for stack in session.turns(session.stacks if session.wants("record size") else (), at_most=3):
        record_size(session, stack)
    session.finish(tables.growth)


if __name__ == "__main__":
    run(main)
