"""A job of ours, as a worker reads it from its hash: it names a workflow of the config, whatever is written in Redis.

RQ would import and call whatever function the hash names, and its callbacks and webhooks with it. Nothing in the hash
is ever called here.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from trigger import store
from trigger.errors import WorkflowError
from trigger.store import tracing
from trigger.store.queueing import RUNNER

# The fields of the hash that are read.
FIELDS = ("data", "meta", "description", "timeout", "started_at", "attempt", "failures", "crashes", "unknown_since")


@dataclass(slots=True)
class Job:
    """The name of its workflow, the input, and which API asked for it.

    `request` is the id of the request that started it; `secrets` are the paths of the input's secrets; `timeout` is in
    seconds; `started_at` in seconds since 1970, by Redis' clock; `attempt` is this one, counted from 1; `failures` is
    how many earlier ones have failed, and `crashes` how often its worker or its process has died.
    `version` is that of the config that accepted it, empty where that is not known. `unknown_since` is set while it
    waits for a worker that knows its workflow: when the first one did not, in seconds since 1970, by Redis' clock.
    """

    uid: str
    workflow: str
    input: Any = field(repr=False)
    module: str
    method: str
    request: str
    secrets: list[list[str]]
    timeout: int
    started_at: float
    attempt: int
    failures: int
    crashes: int
    version: str
    unknown_since: float | None

    @classmethod
    def of_hash(cls, uid: str, fields: Mapping[bytes, bytes]) -> Job:
        """From those FIELDS of the hash that there are. Raises WorkflowError when they are not of a job of ours."""
        try:
            runner, instance, (workflow, value), options = json.loads(zlib.decompress(fields[b"data"]).decode())
            meta = json.loads(fields[b"meta"].decode())
            module, method = store.split_api(fields[b"description"])
            job = cls(
                uid=uid,
                workflow=workflow,
                input=value,
                module=module,
                method=method,
                request=tracing.request_id(meta, uid),
                secrets=[[str(part) for part in path] for path in meta.get("secrets", ())],
                timeout=int(fields[b"timeout"]),
                started_at=datetime.fromisoformat(fields[b"started_at"].decode()).timestamp(),
                attempt=int(fields[b"attempt"]),
                failures=int(fields.get(b"failures", 0)),
                crashes=int(fields.get(b"crashes", 0)),
                version=str(meta.get("config") or ""),
                unknown_since=int(since) / 1000 if (since := fields.get(b"unknown_since")) else None,
            )
        except (ValueError, TypeError, KeyError, AttributeError, zlib.error) as error:
            raise WorkflowError(f"the job in Redis can't be read ({type(error).__name__})") from error
        if runner != RUNNER or instance is not None or options or not isinstance(workflow, str):
            raise WorkflowError("the job in Redis does not start a workflow of the config")
        return job
