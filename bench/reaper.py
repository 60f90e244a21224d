"""What a pass of the reaper costs with an empty queue and with a long one.

    python -m bench.reaper --queued 100000

Prints in microseconds the median and the slowest pass as the worker sees them, and the average within Redis by its own
count (INFO commandstats). Nothing runs meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from redis import Redis

from bench.processes import running_redis
from trigger import store
from trigger.config.model import Api, Config, NoAuth, ServerConfig, Workflow
from trigger.redis_server import RedisServer
from trigger.store.lua import load
from trigger.store.queueing import Call, Submitter, connect

PASSES = 500
LEASE = 10_000  # milliseconds, as by default

API = Api("bench", "noted", NoAuth(), Workflow(name="noted", python="work:noted", timeout=60))
CONFIG = Config(
    path=Path("config.yaml"),
    server=ServerConfig(backlog=10_000_000),
    retention=3600.0,
    operators={},
    workflows={},
    modules={},
    apis={},
    files=(),
    digest="",
)

_COPY = """
-- KEYS: job, queue's list, waiting half of the ledger, index.  ARGV: uids.
local fields = redis.call('HGETALL', KEYS[1])
local now = redis.call('TIME')
for _, uid in ipairs(ARGV) do
  redis.call('HSET', 'rq:job:' .. uid, unpack(fields))
  redis.call('RPUSH', KEYS[2], uid)
  redis.call('ZADD', KEYS[3], now[1] * 1000 + math.floor(now[2] / 1000), uid)
  redis.call('ZADD', KEYS[4], math.floor(tonumber(uid) / 2 ^ 40), uid)
end
"""


def fill(redis: Redis, api: Api, count: int) -> list[str]:
    """Queues `count` executions of an API: one is accepted, and the others are copies of it. Returns their uids."""
    uids = [Submitter(redis).submit(Call(api, {}, None), CONFIG).uid]
    copy = redis.register_script(_COPY)
    queue = api.workflow.queue
    keys = [store.JOB + uids[0], f"rq:queue:{queue}", store.waiting_key(queue), store.INDEX]
    while len(uids) < count:
        more = [store.new_uid() for _ in range(min(5000, count - len(uids)))]
        copy(keys=keys, args=more)
        uids += more
    return uids


def passes(redis: Redis) -> list[float]:
    """How long each of PASSES passes takes, in microseconds."""
    reap = load("reap").on(redis)
    took = []
    for _ in range(PASSES):
        began = time.perf_counter()
        reap(
            list="rq:queue:default",
            queue="default",
            grace=LEASE,
            retention=3_600_000,
            budget=5,
            error="",
            exc_string="",
        )
        took.append((time.perf_counter() - began) * 1e6)
    return took


def within_redis(redis: Redis) -> float:
    """How long one pass takes Redis itself on average, in microseconds."""
    redis.config_resetstat()
    passes(redis)
    return float(redis.info("commandstats")["cmdstat_evalsha"]["usec_per_call"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queued", type=int, default=100_000, help="how many executions wait in the long queue")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trigger-reaper-") as folder:
        server = RedisServer(Path(folder), fsync="everysec")
        server.prepare()
        with running_redis(server.command, server.url):
            redis = connect(server.url, reply_timeout=60.0)
            passes(redis)
            sys.stdout.write(f"microseconds of one pass of the reaper, of {PASSES}\n")
            first = 0.0
            for queued in (0, 10, options.queued):
                if queued:
                    fill(redis, API, queued - redis.llen("rq:queue:default"))
                took, usec = passes(redis), within_redis(redis)
                first = first or usec
                sys.stdout.write(
                    f"{queued:>8} queued: median {statistics.median(took):6.1f}, slowest {max(took):7.1f}; "
                    f"in Redis itself {usec:5.1f}, ratio {usec / first:.2f}\n"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
