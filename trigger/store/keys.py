"""The keys that we have in Redis beside RQ's own, and the uid of executions.

We add fields to RQ's job hash, which `stored` reads, an index by time, and the ledger: two sorted sets for each queue
which together hold every execution that is not final. An execution that waits in the queue stands in `waiting`, scored
with the time it was queued; one that a worker holds, or that is due later, stands in `leased`, scored with the time at
which the lease ends or it is due (+inf where that is when another one ends). Times in these sets are Redis' own, in
milliseconds. Every step from one to the other is one Lua script, so an execution is always in exactly one of them.

Beside executions there are figures of APIs and workflows, the last refused calls, and what signs in to the console.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Any

from trigger.config.model import CALLBACK

INDEX = "trigger:executions"  # sorted set: uid by the millisecond it was accepted
STATS = "trigger:stats"  # hash: counters of the reaper
POISON = "trigger:poison"  # list: entries that no worker could read, newest first

WAITING = "trigger:waiting:"  # and a queue's name: sorted set, see above
LEASED = "trigger:leased:"  # likewise
DROPPED = "trigger:dropped:"  # and a queue's name: set of uids that were cancelled and still stand in its list
REAPER = "trigger:reaper:"  # and a queue's name: when its ledger was last looked at

QUEUES = "rq:queues"  # set: the key of each queue's list
QUEUE = "rq:queue:"  # and a queue's name: list of uids
JOB = "rq:job:"
RESULTS = "rq:results:"
RUNNING = "rq:wip:"  # and a queue's name: sorted set, "uid:run" of each execution that runs
LATER = "rq:scheduled:"  # and a queue's name: sorted set, uids of those that wait for their next attempt
HELD_BACK = "rq:deferred:"  # and a queue's name: sorted set, uids of those that are not to be queued yet
RUN = "rq:execution:"  # and "uid:run": hash
SUSPENDED = "rq:suspended"  # is there while RQ's tools keep workers from taking anything
WORKERS = "rq:workers"  # set: the keys of all workers; with ":" and a queue's name, those of a queue
WORKER = "rq:worker:"  # and a worker's name: hash; and that with ":executions": set, "uid:run" of what it holds

RATE = "trigger:rate:"  # and what is counted together: when all that was let through is paid for, in us since 1970
QUIET = "trigger:quiet:"  # and what is merged together: hash, the execution that calls become part of, and since when
MERGED = "trigger:merged:"  # and the uid of a call that was merged: the uid of the execution, for REPEATED_FOR seconds
SLOTS = "trigger:slots:"  # and a slot's name: hash, how many there are under "", and the uids that have one
HELD = "trigger:held:"  # likewise: sorted set, the uids that wait for one, in their order
SLOTTED = "trigger:slotted"  # set: the names of slots that somebody has or waits for
CALLBACKS = "trigger:callbacks"  # as INDEX, of executions that call back: these are in no other index

STEPS = "trigger:steps:"  # and a uid: hash, the plan under "" and the state of each step that has begun
TOLD = "trigger:told:"  # and a uid: no key, but the channel on which it is told what has changed; see telling
LOG = "trigger:log:"  # and a uid: stream, a line of its log each
APIS = "trigger:apis"  # sorted set, all scores 0: the names (module/method) of the APIs that API_INDEX has keys for
API_INDEX = "trigger:executions:api:"  # and module/method: as INDEX, of one API
FAILED_INDEX = "trigger:executions:failed"  # as INDEX, of those that have failed or were cancelled
FIGURES = "trigger:figures:"  # and "api:", "workflow:" or "service:" and a name: hash, see counting; and "apis",
# "workflows" or "services": sorted set, the names by the hour in which something last began
FAILING = "trigger:figures:failing"  # sorted set: the APIs that failed lately, by the hour in which they last did
USED = "trigger:figures:used:"  # and module/method: hash, when each caller last had right credentials (ms since 1970)
CALLS = "trigger:figures:calls"  # hash: totals of what web processes have counted, see calls
SENDER = "trigger:figures:sender:"  # and a web process' name: the number of the last batch it has added
REFUSED = "trigger:refused"  # list: the last refused calls, newest first
WRONG = "trigger:figures:wrong:"  # and an API or "operator", and a network: how many wrong credentials came lately
SAID = "trigger:figures:said:"  # and a short name: there while a process has warned of that in the log

SPENT = "trigger:spent:"  # and a number that may be used once, and was
SIGNING = "trigger:signing"  # string: the key that the console's sessions and sign-in links are signed with

# The function every job of ours names. No worker imports it: it runs the workflow of the config instead.
RUNNER = "trigger.worker.run"
# The executions that call back: their queue and workflow, the module that their API seems to have (none can be named
# so), and how many seconds an attempt may take.
CALLBACK_QUEUE, CALLBACK_WORKFLOW, CALLBACK_MODULE, CALLBACK_TIMEOUT = CALLBACK.queue, CALLBACK.name, "@callbacks", 15

_UID = re.compile(r"[0-9]{25}")


def waiting_key(queue: str) -> str:
    """The half of a queue's ledger that holds the executions waiting in it."""
    return WAITING + queue


def leased_key(queue: str) -> str:
    """The half of a queue's ledger that holds the executions a worker has, or that are due later."""
    return LEASED + queue


def api_index_key(module: str, method: str) -> str:
    """The index of one API's executions."""
    return f"{API_INDEX}{module}/{method}"


def idempotency_key(digest: str) -> str:
    """Where the uid that the first call with an Idempotency-Key was answered is kept."""
    return f"trigger:idempotency:{digest}"


def is_key(text: str) -> bool:
    """Whether the text can be an Idempotency-Key."""
    return 1 <= len(text) <= 255 and text.isascii() and text.isprintable()


def told_key(queue: str, version: str) -> str:
    """Is there for a while when a worker of the queue has told what this version of the config leaves waiting."""
    return f"trigger:told:{queue}:{version}"


def new_uid() -> str:
    """A new uid: 25 decimal digits, milliseconds since 1970 times 2^40 plus 40 random bits. Sorts by time."""
    return f"{(time.time_ns() // 1_000_000 << 40) | secrets.randbits(40):025d}"


def accepted_ms(uid: str) -> int:
    """When an execution was accepted, in milliseconds since 1970, by the clock of who made its uid."""
    return int(uid) >> 40


def is_uid(text: str) -> bool:
    """Whether the text has the form of a uid."""
    return _UID.fullmatch(text) is not None


def known_uid(value: Any) -> str | None:
    """The value if it is a uid, else None: what is stored may be anything."""
    return value if isinstance(value, str) and is_uid(value) else None
