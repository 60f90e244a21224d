"""What an API's expressions say of a call: whether it starts anything, and what it counts against: the rate, the slots
and the burst that it shares with others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from trigger import templates
from trigger.config.model import Api
from trigger.errors import InvalidParams, TemplateError

# By the kind of limit: its key, which says what counts together, and what accept_limited.lua reads of its rule.
Limits = dict[str, dict[str, Any]]

# Processor time of one expression: nobody else is served meanwhile.
SECONDS = 0.1


def is_wanted(
    api: Api, value: Any, headers: Mapping[str, str | None], caller: str | None, secrets: Sequence[Sequence[str]] = ()
) -> bool:
    """Return whether the API's `when` lets a call with the input `value` start an execution. `secrets` are the paths of
    the input's secrets. Raises InvalidParams where that can't be told for this input."""
    if api.when is None:
        return True
    names = {"input": value, "headers": headers, "caller": caller}
    return bool(_given(api.when, names, "The condition of this API", is_shown=not secrets))


def limits_of(
    api: Api,
    value: Any,
    headers: Mapping[str, str | None],
    caller: str | None,
    address: str | None = None,
    secrets: Sequence[Sequence[str]] = (),
) -> Limits | None:
    """Return what a call of an API with the input `value` counts against, None where the API has no limits.

    `address` is where it comes from, of IPv6 the network; None for what is not a caller's but an operator's: that needs
    a slot all the same, but counts against no rate, and is part of no burst. `secrets` are the paths of the input's
    secrets. Raises InvalidParams where an expression of the config can't be told for this input.
    """
    if not api.is_limited:
        return None
    names = {"input": value, "headers": headers, "caller": caller}

    def key(kind: str, per: str, *more: Any) -> str:
        shared = {"api": None, "caller": caller, "address": address}
        given = (
            shared[per] if per in shared else _given(per, names, "What this counts together with", is_shown=not secrets)
        )
        written = json.dumps([api.module, api.method, per, given, *more], sort_keys=True)
        return hashlib.sha256(f"{kind} {written}".encode("utf-8", "surrogatepass")).hexdigest()[:40]

    found: Limits = {}
    if (rate := api.rate) is not None and address is not None:
        interval = rate.seconds * 1e6 / rate.limit
        rule = [rate.limit, rate.seconds, rate.burst]  # another rule begins anew
        found["rate"] = {"key": key("rate", rate.per, rule), "burst": rate.burst, "interval": interval}
    if (debounce := api.debounce) is not None and address is not None:
        apart = () if debounce.per in ("api", "address") else (caller,)
        found["debounce"] = {
            "key": key("debounce", debounce.per, *apart),
            "quiet": int(debounce.quiet * 1000),
            "at_most": int(debounce.at_most * 1000),
            "run": debounce.run,
        }
    if (slots := api.concurrency) is not None:
        named = {"limit": slots.limit, "full": slots.full, "waiting": slots.waiting}
        found["concurrency"] = {"key": key("slots", slots.per), **named}
    return found or None


def _given(expression: str, names: Mapping[str, Any], what: str, *, is_shown: bool) -> Any:
    """Render an expression; operators may see why that fails only if no secret can be quoted in it."""
    try:
        return templates.render(expression, names, seconds=SECONDS)
    except TemplateError as error:
        reason = f"{error}" if is_shown else "why may quote a secret field"
        raise InvalidParams(f"{what} can't be told for this input", reason=reason) from None
