"""The answers to a call of an API, for its page: docs/http.md has the whole table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trigger.config.model import Api, Config, NoAuth, SignatureAuth, TokenAuth
from trigger.console.shown import size
from trigger.errors import (
    AddressNotAllowed,
    ApiNotEnabled,
    BodyTooLarge,
    CredentialMissing,
    ExecutionCancelled,
    ExecutionFailed,
    InvalidParams,
    MethodNotAllowed,
    QueueUnavailable,
    RequestError,
    TooManyRequests,
    Unauthorized,
    UnsupportedMediaType,
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal, and when it comes."""

    status: int
    code: str
    when: str


def refusals(api: Api, config: Config) -> list[Refusal]:
    """The refusals that a call of this API may get, in the order of the checks."""
    return [Refusal(kind.status, kind.code, when) for kind, when in _refusals(api, config)]


def _refusals(api: Api, config: Config) -> Iterator[tuple[type[RequestError], str]]:
    has_body = any(verb != "GET" for verb in api.verbs)
    if has_body:
        yield BodyTooLarge, f"The body is larger than {size(config.server.max_body)}"
    if len(api.verbs) == 1:
        yield MethodNotAllowed, f"It was not called by {api.verbs[0]}"
    yield ApiNotEnabled, "The API is not enabled" + ("" if api.enabled else ": as now")
    if config.server.networks_of(api):
        yield AddressNotAllowed, "The API is not open to the caller's address"
    if not isinstance(api.auth, NoAuth):
        kinds = {TokenAuth: "token", SignatureAuth: "signature"}
        what = kinds.get(type(api.auth), "user or password")
        yield CredentialMissing, f"There is no {what}"
        yield Unauthorized, f"The {what} is wrong"
    if api.input is not None or has_body:
        yield (
            InvalidParams,
            "The input can't be read, or is not as declared; details say what is wrong, by field",
        )
    if has_body:
        yield UnsupportedMediaType, "The Content-Type or the Content-Encoding is none that is read here"
    yield TooManyRequests, f"{_too_many(api)}; Retry-After says when to call again"
    if api.sync:
        yield ExecutionFailed, "At …/sync: it was accepted, and has failed; the uid is in the answer"
        newer = " or by a newer call" if api.cancels_older else ""
        yield ExecutionCancelled, f"At …/sync: it was accepted, and was cancelled by an operator{newer}"
    yield QueueUnavailable, "Redis can't take the call; Retry-After says when to call again"


def _too_many(api: Api) -> str:
    """Return what a call may be too much for."""
    reasons = ["it is called too often"] if api.rate else []
    if api.refuses_when_full:
        reasons.append("too many of its executions are running or waiting")
    reasons.append("too many executions are waiting in its queue")
    if not isinstance(api.auth, NoAuth):
        reasons.append("the credentials from this address were wrong too often")
    text = ", or ".join(reasons)
    return f"{text[0].upper()}{text[1:]}"
