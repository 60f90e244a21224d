"""The worker: takes executions from one RQ queue and runs their workflows."""

from trigger.worker.worker import QueueWorker, run

__all__ = ["QueueWorker", "run"]
