"""The interface for a workflow's own code: `current()`, the execution it runs in."""

from trigger.workflows.context import CurrentExecution, current

__all__ = ["CurrentExecution", "current"]
