"""JSON that a caller has sent."""

from __future__ import annotations

from typing import Any

from trigger import strict_json
from trigger.errors import InvalidParams


def parse_json(body: bytes, what: str = "The body") -> Any:
    """Return the value of a JSON text; `what` it is, for the messages. Raises InvalidParams for what is not strict."""
    try:
        return strict_json.read(body, what)
    except strict_json.StrictJsonError as error:
        raise InvalidParams(f"{error}") from None
