"""The keys of an API that say how often, how many at once, in which bursts, and from where it may be called."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, get_args

from marshmallow import ValidationError

from trigger import templates
from trigger.config import hints
from trigger.config.declarations import choice
from trigger.config.forms import Form, accepts, form_of, mapping, pattern
from trigger.config.model import Concurrency, Debounce, Network, Rate, Together
from trigger.config.parts import Scalar, Strict, Value, checked, loaded
from trigger.config.scalars import DAY, DURATIONS, duration, integer, shown
from trigger.config.texts import expression

MAX_RATE = 1_000_000
MAX_SLOTS = 10_000
MAX_WAITING = 100_000
MAX_NETWORKS = 1_000
TOGETHER: tuple[str, ...] = get_args(Together)

_RATE_TEXT = re.compile(r"([0-9]{1,9}) ?/ ?([0-9]{0,9}) ?([a-z]+)")


@accepts(pattern(r"[0-9]+ ?/ ?[0-9]* ?[smhd]"))
def rate_text(text: str) -> tuple[int, float]:
    """How many calls in how many seconds, such as 100/1m."""
    match = _RATE_TEXT.fullmatch(text)
    unit = DURATIONS.get(match[3]) if match else None
    if match is None or unit is None:
        raise ValueError(f"must be a number of calls and a time, such as 100/1m or 5/s, not {shown(text)}")
    limit, seconds = int(match[1]), int(match[2] or 1) * unit
    if not 1 <= limit <= MAX_RATE:
        raise ValueError(f"must let from 1 to {MAX_RATE} calls through: `enabled: false` lets none")
    if not 1 <= seconds <= DAY:
        raise ValueError("must count over a time from 1s to 1d")
    return limit, float(seconds)


@accepts({"anyOf": [{"enum": list(TOGETHER)}, form_of(expression)]})
def per(text: str) -> str:
    """What is counted together: `api`, `caller`, `address`, or what one expression gives."""
    if text in TOGETHER:
        return str(text)
    if not templates.is_template(text):
        raise ValueError(f'must be {", ".join(TOGETHER)}, or an expression such as "{{{{ input.host }}}}"')
    return expression(text)


@accepts(lambda: _short_or_long(_RATE))
def rate(value: Any) -> Rate:
    """How often an API may be called."""
    given = _given(value, _RATE)
    limit, seconds = given["limit"]
    return Rate(limit, seconds, given.get("burst", limit), given.get("per", "api"))


@accepts(lambda: _short_or_long(_CONCURRENCY))
def concurrency(value: Any) -> Concurrency:
    """How many executions of an API may be queued or run at once."""
    given = _given(value, _CONCURRENCY)
    if "waiting" in given and given.get("full", "queue") != "queue":
        raise ValidationError({"waiting": ["has no effect: it is for `full: queue`"]})
    return Concurrency(**given)


@accepts(lambda: _short_or_long(_DEBOUNCE))
def debounce(value: Any) -> Debounce:
    """How calls that come in bursts become one execution."""
    given = _given(value, _DEBOUNCE)
    quiet = given["quiet"]
    if given.setdefault("at_most", 10 * quiet) <= quiet:
        raise ValidationError({"at_most": ["must be longer than `quiet`: it ends a burst that would not end"]})
    return Debounce(**given)


@accepts({"type": "array", "items": {"type": "string"}, "minItems": 1})
def networks(value: Any) -> tuple[Network, ...]:
    """Addresses and networks."""
    if not isinstance(value, list) or not value or len(value) > MAX_NETWORKS:
        raise ValidationError(f"must be a list of 1 to {MAX_NETWORKS} networks, such as [192.0.2.0/24]")
    found: list[Network] = []
    wrong: dict[int, list[str]] = {}
    for index, item in enumerate(value):
        try:
            found.append(ipaddress.ip_network(item if isinstance(item, str) else ""))
        except ValueError as error:
            why = ": it has bits beyond its prefix" if "host bits" in str(error) else ""
            wrong[index] = [
                f'must be an address or a network such as 192.0.2.0/24 or "2001:db8::/32", not {shown(item)}{why}'
            ]
    if wrong:
        raise ValidationError(wrong)
    return tuple(found)


def _given(value: Any, schema: Strict) -> dict[str, Any]:
    """Load a mapping, or its first key alone."""
    given, wrong = loaded(schema.load, value if isinstance(value, dict) else {next(iter(schema.fields)): value})
    if wrong and not isinstance(value, dict):
        raise ValidationError(next(iter(wrong.values())))
    checked(None, wrong)
    return dict(given)


def _short_or_long(schema: Strict) -> Form:
    key, first = next(iter(schema.fields.items()))
    return {"anyOf": [first, mapping(schema.fields, [key])]}


_PER = Scalar(per, metadata={"description": "What is counted together"})
_RATE: Strict = Strict.from_dict(
    {"limit": Scalar(rate_text, required=True), "burst": Scalar(integer(1, MAX_RATE)), "per": _PER}
)(hints.RATE)
_CONCURRENCY: Strict = Strict.from_dict(
    {
        "limit": Scalar(integer(1, MAX_SLOTS), required=True),
        "per": _PER,
        "full": Scalar(choice(("queue", "reject", "newest")), metadata={"default": "queue"}),
        "waiting": Scalar(integer(1, MAX_WAITING), metadata={"default": 100}),
    }
)(hints.CONCURRENCY)
_DEBOUNCE: Strict = Strict.from_dict(
    {
        "quiet": Scalar(duration(1, DAY), required=True),
        "at_most": Scalar(duration(1, DAY)),
        "per": _PER,
        "run": Scalar(choice(("last", "first")), metadata={"default": "last"}),
    }
)(hints.DEBOUNCE)
KEYS: dict[str, Value] = {
    "rate": Value(rate),
    "concurrency": Value(concurrency),
    "debounce": Value(debounce),
    "from": Value(networks),
}
