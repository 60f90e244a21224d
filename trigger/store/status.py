"""The status of an execution, in our words and in RQ's."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """The status of an execution. The last three are final: reached once, never left."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})

# RQ's words for the same (rq.job.JobStatus). A deferred or created job waits like a queued one.
OF_RQ = {
    "created": Status.QUEUED,
    "queued": Status.QUEUED,
    "deferred": Status.QUEUED,
    "started": Status.RUNNING,
    "scheduled": Status.RETRYING,
    "finished": Status.SUCCEEDED,
    "failed": Status.FAILED,
    "stopped": Status.CANCELLED,
    "canceled": Status.CANCELLED,
}
# RQ's words for what is over.
FINAL_OF_RQ = frozenset(word for word, status in OF_RQ.items() if status in FINAL)


def words_of_rq(status: Status) -> list[str]:
    """All of RQ's words that stand for `status`."""
    return [word for word, meant in OF_RQ.items() if meant is status]
