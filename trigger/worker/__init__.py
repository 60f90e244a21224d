"""The worker: takes executions from one RQ queue and runs their workflows."""

from trigger.worker.worker import Worker, run

__all__ = ["Worker", "run"]
