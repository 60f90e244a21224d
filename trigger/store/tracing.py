"""Following one call through all logs: the id of its request.

A request has the id that the proxy in front has given it. Without one it has an id of ours: that of a call that started
an execution is the execution's uid, so that nothing more need be kept.
"""

from __future__ import annotations

import re
import secrets

# What stands in a header, a log and the environment of programs: nothing there may take it for anything else.
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def is_request_id(text: str) -> bool:
    """Whether the text can be the id of a request."""
    return _REQUEST_ID.fullmatch(text) is not None


def new_request_id() -> str:
    """An id for a request that starts no execution."""
    return secrets.token_hex(8)
