"""Our RQ job: it runs a workflow that the config names, whatever is written in Redis."""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

from rq.job import Job as RqJob
from rq.job import JobStatus

from trigger import executions
from trigger.errors import WorkflowError
from trigger.executions import tracing
from trigger.queueing import RUNNER


class Job(RqJob):
    """A job of ours, as restored from its hash: the name of its workflow, the input, and which API asked for it.

    RQ would import and call whatever function the hash names, and its callbacks and webhooks with it. Nothing in the
    hash is ever called here.
    """

    workflow: str
    input: Any
    module: str
    method: str
    request: str  # the id of the request that started it
    secrets: list[list[str]]
    attempt: int  # this one, counted from 1
    failures: int  # of earlier attempts that raised or took too long
    crashes: int  # how often its worker or its process has died

    def with_id(self, uid: str) -> Job:
        """Another one like this, which has not been restored; RQ's constructor takes three times as long."""
        job = copy.copy(self)
        job.id = uid
        return job

    def restore(self, raw_data: Mapping[bytes, bytes]) -> None:
        """Takes over the fields of the hash; raises WorkflowError when they are not those of a job of ours.

        RQ's own restore looks for what no job of ours has (callbacks, dependencies, webhooks) and reads times slowly.
        """
        try:
            self._status = JobStatus(raw_data[b"status"].decode())
            self.origin = raw_data[b"origin"].decode()
            self.description = raw_data[b"description"].decode()
            self.worker_name = raw_data[b"worker_name"].decode()
            self.timeout = int(raw_data[b"timeout"])
            self.result_ttl, self.failure_ttl = int(raw_data[b"result_ttl"]), int(raw_data[b"failure_ttl"])
            self.created_at = _moment(raw_data[b"created_at"])
            self.enqueued_at = _moment(raw_data[b"enqueued_at"])
            self.started_at = self.last_heartbeat = _moment(raw_data[b"started_at"])
            runner, instance, (self.workflow, self.input), options = json.loads(zlib.decompress(raw_data[b"data"]))
            self.meta = meta = json.loads(raw_data[b"meta"])
            self.module, self.method = executions.split_api(raw_data[b"description"])
            self.request = tracing.request_id(meta, self.id)
            self.secrets = [[str(part) for part in path] for path in meta.get("secrets", ())]
            self.attempt = int(raw_data[b"attempt"])
            self.failures = int(raw_data.get(b"failures", 0))
            self.crashes = int(raw_data.get(b"crashes", 0))
        except (ValueError, TypeError, KeyError, AttributeError, zlib.error) as error:
            raise WorkflowError(f"the job in Redis can't be read ({type(error).__name__})") from error
        if runner != RUNNER or instance is not None or options or not isinstance(self.workflow, str):
            raise WorkflowError("the job in Redis does not start a workflow of the config")

    @property
    def func(self) -> NoReturn:
        raise WorkflowError("a job of ours is run by its worker alone")


def _moment(text: bytes) -> datetime:
    return datetime.fromisoformat(text.decode())
