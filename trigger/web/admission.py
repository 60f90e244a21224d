"""Who may read what the config opens to an audience."""

from __future__ import annotations

from collections.abc import Callable

from trigger.config.model import Audience
from trigger.errors import PathNotFound
from trigger.web.answers import only


def admit(audience: Audience, operator: Callable[[], str]) -> None:
    """Lets the present request read by GET what is for this audience.

    `operator` tells the name of the operator whose request it is; it raises the refusal where it is nobody's. What is
    "off" is as if it were not there: PathNotFound.
    """
    if audience == "off":
        raise PathNotFound("There is nothing at this path")
    only("GET")
    if audience == "operators":
        operator()
