"""Run what takes long on the processor away from the loop that serves every connection of a web process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def offload(function: Callable[..., T], *args: Any) -> T:
    """Return `function(*args)`, run in a real thread where gevent has patched this process, directly elsewhere.

    The other greenlets go on meanwhile. The function must be pure computation: Redis clients, locks and Flask's
    context belong to the loop's own thread.
    """
    monkey = sys.modules.get("gevent.monkey")  # in a web process it is loaded; no other process should pay for it
    if monkey is None or not monkey.is_module_patched("threading"):
        return function(*args)
    from gevent import get_hub

    def outcome() -> tuple[T | None, Exception | None]:
        try:
            return function(*args), None
        except Exception as error:  # noqa: BLE001  raised below: the hub would print it as one that nobody handles
            return None, error

    result, error = get_hub().threadpool.apply(outcome)
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]
