"""Following one call through all logs: the id of its request, and what each line about an execution says of it.

A request has the id that the proxy in front has given it. Without one it has an id of ours: that of a call that started
an execution is the execution's uid, so that nothing more need be kept.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from trigger.store.keys import JOB, split_api

# What stands in a header, a log and the environment of programs: nothing there may take it for anything else.
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def is_request_id(text: str) -> bool:
    """Whether the text can be the id of a request."""
    return _REQUEST_ID.fullmatch(text) is not None


def new_request_id() -> str:
    """An id for a request that starts no execution."""
    return secrets.token_hex(8)


def request_id(meta: Mapping[str, Any], uid: str) -> str:
    """The id of the request that started an execution, from the meta of its job."""
    given = meta.get("request")
    return given if isinstance(given, str) and is_request_id(given) else uid


def named(uid: str, request: str, module: str, method: str, workflow: str) -> dict[str, Any]:
    """What log lines carry about an execution."""
    return {"uid": uid, "request": request, "module": module, "method": method, "workflow": workflow}


def of_job(uid: str, meta: bytes | None, description: bytes | None) -> dict[str, Any]:
    """What log lines carry about an execution, from its job's fields; only its uid where they are not those of ours."""
    try:
        about = json.loads(meta or b"")
        module, method = split_api(description or b"")
        return named(uid, request_id(about, uid), module, method, str(about["workflow"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return {"uid": uid}


def look_up(redis: Redis, uids: Sequence[str]) -> list[dict[str, Any]]:
    """What log lines carry about each execution, in one round trip; only the uid of what can't be read."""
    pipeline = redis.pipeline(transaction=False)
    for uid in uids:
        pipeline.hmget(JOB + uid, "meta", "description")
    try:
        answers = pipeline.execute(raise_on_error=False) if uids else []
    except RedisError:  # what is to be said does not wait for it
        answers = [None] * len(uids)
    # An answer that is an error is that of a key which is no hash.
    return [
        of_job(uid, *(answer if isinstance(answer, list) else (None, None)))
        for uid, answer in zip(uids, answers, strict=True)
    ]
