"""What a workflow's own code may use: `current()`, the execution it runs in."""

from trigger.workflows.context import CurrentExecution, current

__all__ = ["CurrentExecution", "current"]
