"""Our RQ job: it runs a workflow that the config names, whatever is written in Redis."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from rq.job import Job as RqJob

from trigger.errors import WorkflowError
from trigger.queueing import RUNNER


class Job(RqJob):
    """A job of ours, as restored from its hash: the name of its workflow, the input, and which API asked for it.

    RQ would import and call whatever function the hash names, and its callbacks and webhooks with it. Here `func` is
    what the worker has bound, and nothing else in the hash is ever called.
    """

    workflow: str
    input: Any
    module: str
    method: str
    secrets: list[list[str]]
    attempt: int  # this one, counted from 1
    failures: int  # of earlier attempts that raised or took too long
    bound: Callable[[Any], Any] | None = None

    def restore(self, raw_data: Mapping[bytes, bytes]) -> None:
        """Takes over the fields of the hash; raises WorkflowError when they are not those of a job of ours."""
        try:
            super().restore(raw_data)
            runner, instance, (self.workflow, self.input), options = json.loads(zlib.decompress(raw_data[b"data"]))
            meta = json.loads(raw_data[b"meta"])
            self.module, self.method = str(meta["module"]), str(meta["method"])
            self.secrets = [[str(part) for part in path] for path in meta.get("secrets", ())]
            self.attempt = int(raw_data[b"attempt"])
            self.failures = int(raw_data.get(b"failures", 0))
        except (ValueError, TypeError, KeyError, AttributeError, zlib.error) as error:
            raise WorkflowError(f"the job in Redis can't be read ({type(error).__name__})") from error
        if runner != RUNNER or instance is not None or options or not isinstance(self.workflow, str):
            raise WorkflowError("the job in Redis does not start a workflow of the config")
        self._success_callback_name = self._failure_callback_name = self._stopped_callback_name = None
        self.webhooks = []

    @property
    def func(self) -> Callable[[Any], Any]:
        if self.bound is None:
            raise WorkflowError("no workflow is bound to the job")
        return self.bound

    @property  # type: ignore[misc]  # RQ lets its be set; ours come from the hash alone
    def args(self) -> tuple[Any, ...]:
        return (self.input,)

    @property  # type: ignore[misc]
    def kwargs(self) -> dict[str, Any]:
        return {}
