"""The web app, in processes that kill themselves at a point of a call: `gunicorn tests.faults.faulty_wsgi:app`.

FAULT_POINT is `before accept` or `after accept`; FAULT_FUSE names the file that must exist, and is removed then.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from trigger.store.queueing import Call, Submitter
from wsgi import app

__all__ = ["app"]

_submit = Submitter.submit


def _die() -> None:
    try:
        os.unlink(os.environ["FAULT_FUSE"])
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _submit_or_die(self: Submitter, call: Call, *args: Any) -> Any:
    if os.environ["FAULT_POINT"] == "before accept":
        _die()
    accepted = _submit(self, call, *args)
    if os.environ["FAULT_POINT"] == "after accept":
        _die()
    return accepted


Submitter.submit = _submit_or_die  # type: ignore[method-assign,assignment]
