"""What a page of the list of executions costs with few records and with a million.

    python -m bench.listing --records 1000 1000000

Records of 50 APIs in 5 modules and of 10 callers, 1 in 100 of them failed and 1 in 100,000 of one rare caller. Prints
the median and the slowest of the pages in milliseconds, as a web process sees them, what a page costs at the beginning
and at the end of the whole list, and how much memory of Redis one record takes with all that belongs to it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from redis import Redis

from bench.processes import running_redis
from bench.reaper import CONFIG
from trigger import store
from trigger.config.model import Api, NoAuth, Workflow
from trigger.redis_server import RedisServer
from trigger.store import Query, outcome
from trigger.store.exchange import Ended, Exchange
from trigger.store.queueing import Call, Submitter, connect

PAGES = 200
WORKFLOW = Workflow(name="noted", python="work:noted", timeout=60)
API = Api("m0", "a0", NoAuth(), WORKFLOW)
INPUT = {"sku": "A-1000-23", "count": 3, "note": "x" * 60}  # 100 bytes as JSON

_COPY = """
-- KEYS: job, index, index of what failed, names of APIs.
-- ARGV: prefix of the APIs' indexes, how many modules, how many methods in each, number of the first, uids.
local fields = redis.call('HGETALL', KEYS[1])
for i = 5, #ARGV do
  local uid, n = ARGV[i], ARGV[4] + i - 5
  local module, method = 'm' .. n % ARGV[2], 'a' .. math.floor(n / ARGV[2]) % ARGV[3]
  local api, ms = module .. '/' .. method, string.format('%.0f', n + 1700000000000)
  local failed = n % 100 == 0
  local caller = n % 100000 == 7 and 'rare' or 'caller' .. n % 10
  redis.call('HSET', 'rq:job:' .. uid, unpack(fields))
  redis.call('HSET', 'rq:job:' .. uid, 'status', failed and 'failed' or 'finished', 'description', api, 'meta',
    cjson.encode({caller = caller, workflow = 'noted'}))
  redis.call('ZADD', KEYS[2], ms, uid)
  redis.call('ZADD', ARGV[1] .. api, ms, uid)
  redis.call('ZADD', KEYS[4], 0, api)
  if failed then
    redis.call('ZADD', KEYS[3], ms, uid)
  end
end
"""


def ended(redis: Redis) -> str:
    """Runs one execution to its end, as a worker does, and returns its uid."""
    uid = Submitter(redis).submit(Call(API, INPUT, "ci"), CONFIG).uid
    exchange = Exchange(redis, "default", "bench", lease=10)
    taken = exchange().taken
    assert taken is not None
    exchange(Ended(uid, taken.run, outcome.succeeded({"greeting": "Hello, Ada"})), take=False)
    return uid


def fill(redis: Redis, template: str, have: int, wanted: int, *, modules: int = 5, methods: int = 10) -> None:
    """Adds records until there are `wanted`, one a millisecond, of so many APIs in so many modules."""
    copy = redis.register_script(_COPY)
    keys = [store.JOB + template, store.INDEX, store.FAILED_INDEX, store.APIS]
    while have < wanted:
        uids = [f"{(1_700_000_000_000 + n << 40) + n:025d}" for n in range(have, min(have + 2_000, wanted))]
        copy(keys=keys, args=[store.API_INDEX, modules, methods, have, *uids])
        have += len(uids)


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """The median and the longest of PAGES calls, in milliseconds."""
    took = []
    for _ in range(PAGES):
        began = time.perf_counter()
        call()
        took.append((time.perf_counter() - began) * 1e3)
    return statistics.median(took), max(took)


def walk(redis: Redis) -> tuple[int, float, float]:
    """Goes through the whole list: how many executions it has, and what a page of the first and of the last tenth of
    the pages costs, the median in milliseconds."""
    took, found, before = [], 0, None
    while True:
        began = time.perf_counter()
        page = store.page(redis, Query(limit=200, before=before))
        took.append((time.perf_counter() - began) * 1e3)
        found += len(page.executions)
        if page.next is None:
            break
        before = page.executions[-1].uid
    tenth = max(1, len(took) // 10)
    return found, statistics.median(took[:tenth]), statistics.median(took[-tenth:])


def memory(redis: Redis, count: int = 5_000) -> float:
    """What an execution that has ended takes of Redis' memory, in bytes."""
    ended(redis)
    before = redis.info("memory")["used_memory"]
    for _ in range(count):
        ended(redis)
    return float(redis.info("memory")["used_memory"] - before) / count


def queries(records: int) -> dict[str, Query]:
    middle = f"{1_700_000_000_000 + records // 2 << 40:025d}"
    return {
        "no filter": Query(),
        "no filter, 200 a page": Query(limit=200),
        "cursor in the middle": Query(before=middle),
        "one API": Query(module="m1", method="a1"),
        "one API, cursor in the middle": Query(module="m1", method="a1", before=middle),
        "one module": Query(module="m1"),
        "status=failed": Query(status=store.Status.FAILED),
        "status=failed of one API": Query(module="m0", method="a0", status=store.Status.FAILED),
        "status=running": Query(status=store.Status.RUNNING),
        "caller=caller3": Query(caller="caller3"),
        "caller=rare": Query(caller="rare"),
        "since and until": Query(since=1_700_000_000_000 + records // 3, until=1_700_000_000_000 + records // 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[1_000, 1_000_000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trigger-listing-") as folder:
        server = RedisServer(Path(folder), fsync="no")
        server.prepare()
        with running_redis(server.command, server.url):
            redis = connect(server.url, reply_timeout=60.0)
            sys.stdout.write(f"one record with all that belongs to it: {memory(redis):.0f} bytes of Redis' memory\n")
            redis.flushall()
            redis.config_set("appendonly", "no")
            template = ended(redis)
            redis.persist(store.JOB + template)
            have = 0
            for records in sorted(options.records):
                fill(redis, template, have, records)
                have = records
                sys.stdout.write(f"{records} records: a page in ms, median and slowest of {PAGES}\n")
                for name, query in queries(records).items():
                    page = store.page(redis, query)
                    median, slowest = timed(lambda query=query: store.page(redis, query))  # type: ignore[misc]
                    sys.stdout.write(f"  {name:32} {median:7.2f} {slowest:7.2f}   {len(page.executions):3} found\n")
                found, first, last = walk(redis)
                sys.stdout.write(
                    f"  all {found}, 200 a page: {first:.2f} ms a page in the first tenth, {last:.2f} ms in the last\n"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
