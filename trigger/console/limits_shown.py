"""The limits of an API in words."""

from __future__ import annotations

from collections.abc import Iterator

from trigger.config.model import Api, ServerConfig
from trigger.console.shown import coarse, cut, plural

# Characters of an expression, and how many networks are named.
_EXPRESSION, _NETWORKS = 100, 5

_FULL = {"reject": "further calls are refused", "newest": "a further call cancels those that wait"}


def limits(api: Api, server: ServerConfig) -> Iterator[str]:
    """Yield each limit as a sentence without its stop."""
    if rate := api.rate:
        burst = "" if rate.burst == rate.limit else f", {rate.burst:,} at once"
        yield f"At most {plural(rate.limit, 'call')} in {coarse(rate.seconds)}{burst}{_per(rate.per)}"
    if debounce := api.debounce:
        quiet, longest = coarse(debounce.quiet), coarse(debounce.at_most)
        yield (
            f"Calls are one execution, with the {debounce.run} input, until none has come for {quiet}, at most for "
            f"{longest}{_per(debounce.per)}"
        )
    if slots := api.concurrency:
        full = _FULL.get(slots.full) or f"up to {slots.waiting:,} more wait"
        yield f"{plural(slots.limit, 'execution')} at once, {full}{_per(slots.per)}"
    if networks := server.networks_of(api):
        more = f" and {len(networks) - _NETWORKS:,} more" if len(networks) > _NETWORKS else ""
        yield f"Only from {', '.join(map(str, networks[:_NETWORKS]))}{more}"


def _per(per: str) -> str:
    return "" if per == "api" else f", for each {per}" if per.isalpha() else f", for each {cut(per, _EXPRESSION)}"
