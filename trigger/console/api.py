"""The page of an API: how it is declared, called and faring, and Debug, which calls it with a simulated request."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from flask import Response

from trigger import store
from trigger.config.model import Answer, Api, NoAuth, PasswordAuth, SignatureAuth, TokenAuth
from trigger.console.answers_shown import refusals
from trigger.console.bars import Day, days
from trigger.console.fields import MAX_ROWS, UNKNOWN, rows
from trigger.console.limits_shown import limits
from trigger.console.page import Pages, see_other
from trigger.console.switching import NotSwitched, find_api, follow_edit, switched
from trigger.errors import BadRequest, BodyTooLarge, RequestError
from trigger.fields.model import MISSING
from trigger.inputs import as_query, parse_json, parse_query, secrets_of_debug, unmask
from trigger.store import Query, Summary, acts, calls
from trigger.store.counters import calls_of
from trigger.store.queueing import Accepted
from trigger.store.times import shown_ms
from trigger.web import curl, sender
from trigger.web.call import ReceivedCall
from trigger.web.service import Service

RECENT = 10  # executions that the page has
MAX_NAMES = 20  # of tokens or users
MAX_LINE = 2_000  # characters of a curl line with its input
MAX_HEADER = 1_000  # characters of a header that Debug sends

# Before the name of a header, in the form of Debug.
_HEADER = "header-"

_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Typed:
    """A text that was sent from the Debug editor with headers, and why it started nothing."""

    text: str
    headers: Mapping[str, str]
    problem: RequestError


@dataclass(frozen=True, slots=True)
class ApiActivity:
    """How an API fares: its last day and executions, how many calls `when` let start nothing, and when each of its
    callers' credentials was last used (RFC 3339 in UTC), None for never."""

    day: Day
    recent: tuple[Summary, ...]
    ignored: int
    used: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class ApiPage:
    """GET /console/apis/<module>/<method>, and POST to /debug below it"""

    service: Service
    pages: Pages

    def __call__(self, call: ReceivedCall, module: str, method: str) -> Response:
        follow_edit(call)
        return self.show(call, find_api(call, module, method))

    def debug(self, call: ReceivedCall, module: str, method: str) -> Response:
        """Start an execution with what the editor holds, and go on to its page."""
        api = find_api(call, module, method)
        text = call.posted.get("input", "")
        headers = {name: found for name in api.headers if (found := call.posted.get(_HEADER + name))}
        try:
            new = self._start(call, api, call.posted.get("verb", ""), text, headers)
        except RequestError as problem:
            call.refused = problem
            return self.show(call, api, typed=Typed(text, headers, problem))
        call.note_started(new)
        return see_other(f"/console/executions/{new.uid}")

    def show(
        self, call: ReceivedCall, api: Api, refused: NotSwitched | None = None, typed: Typed | None = None
    ) -> Response:
        """The page, with what was just refused: a switch, or what was typed."""
        activity = store.unless_away(lambda: self._activity(api))
        status, headers = 409 if refused else 200 if activity else 503, {}
        if typed is not None:
            status, headers = typed.problem.status, typed.problem.headers
        sample = curl.sample(api)
        fields = list(islice(rows(api.input.fields if api.input else ()), MAX_ROWS + 1))
        return self.pages(
            "api.html",
            status,
            headers,
            api=api,
            config=call.config,
            names=_names(api),
            fields=fields[:MAX_ROWS],
            more_fields=len(fields) > MAX_ROWS,
            others=UNKNOWN[api.input.unknown] if api.input else "",
            lines=[
                *((verb, *_line(call, api, verb, sample)) for verb in api.verbs),
                *((f"{verb} sync", *_line(call, api, verb, sample, waits=True)) for verb in api.verbs[-1:] if api.sync),
            ],
            answer=_answer(api),
            limits=list(limits(api, call.config.server)),
            refusals=refusals(api, call.config),
            activity=activity,
            declared=api.debug is not MISSING,
            sample=sample,
            masked=sample != api.debug and api.debug is not MISSING,
            refused=refused,
            switched=switched(call),
            typed=typed,
        )

    def _start(self, call: ReceivedCall, api: Api, verb: str, text: str, headers: Mapping[str, str]) -> Accepted:
        """Starts an execution of an API, called by a verb with the JSON that `text` is. Raises RequestError."""
        config, service = call.config, self.service
        if verb not in api.verbs:
            raise BadRequest(f"The API is called by {' or '.join(api.verbs)}")
        body = text.encode()
        if len(body) > config.server.max_body:
            raise BodyTooLarge(f"The input may have at most {config.server.max_body:,} bytes")
        value: Any = parse_json(body) if body.strip() else {}
        declared = {} if api.debug is MISSING else api.debug
        value = unmask(value, declared, secrets_of_debug(api))
        query: Mapping[str, Any] = {}
        if verb == "GET":
            value, query = {}, parse_query(as_query(value).encode())
        for name, header in headers.items():
            if len(header) > MAX_HEADER or not header.isprintable():
                raise BadRequest(f"The header {name} may have at most {MAX_HEADER:,} characters, all of them printable")
        return acts.debug(service.parts(config), api, value, query, headers=headers, request=call.request_id)

    def _activity(self, api: Api) -> ApiActivity:
        redis = self.service.redis
        (day,) = days(redis, [(api.module, api.method)], time.time())
        query = Query(module=api.module, method=api.method, limit=RECENT)
        used = calls.last_used(redis, api.module, api.method)
        return ApiActivity(
            day=day,
            recent=store.page(redis, query).executions,
            ignored=calls_of(redis, api.module, api.method).get("ignored", 0) if api.when is not None else 0,
            used={name: shown_ms(used[name]) if name in used else None for name in islice(_callers(api), MAX_NAMES)},
        )


def _callers(api: Api) -> Collection[str]:
    """The names of those who may call: of tokens, users or secrets, never what they are known by."""
    match api.auth:
        case TokenAuth(named) | PasswordAuth(named) | SignatureAuth(_, named):
            return named.keys()
        case NoAuth():
            return ()


def _names(api: Api) -> str:
    named = _callers(api)
    more = f" and {len(named) - MAX_NAMES} more" if len(named) > MAX_NAMES else ""
    return ", ".join(islice(named, MAX_NAMES)) + more


def _answer(api: Api) -> str:
    """How calls are answered, where it is not as usual."""
    answer = api.answer
    said = [f"{answer.status}{'' if answer.has_body else ' without a body'}"] if answer != Answer() else []
    if answer.head is not None:
        said.append(f"{answer.head} to HEAD")
    if answer.handshake:
        said.append(f"the handshake of {answer.handshake}")
    return ", ".join(said)


def _line(call: ReceivedCall, api: Api, verb: Any, sample: Any, *, waits: bool = False) -> tuple[str, bool]:
    """The curl line that calls an API as this page was asked for, and whether it has the input: not a long one."""
    config, environ = call.config, call.environ
    scheme = "https" if sender.behind_tls(environ, config.server.proxies) else "http"
    host = environ.get("HTTP_HOST", "")
    base = f"{scheme}://{host if _HOST.fullmatch(host) else 'localhost'}{config.server.prefix}"
    now = time.time()
    line = f"curl {curl.arguments(api, verb, base, sample, signed=now, waits=waits)}"
    if len(line) <= MAX_LINE:
        return line, True
    return f"curl {curl.arguments(api, verb, base, {}, signed=now, waits=waits)}", False
