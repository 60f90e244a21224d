"""Who may use the console: signing in and out, and the checks before each page and each change.

A change is a POST from a page of ours: browsers say so in Sec-Fetch-Site or Origin, and what says nothing is refused
(https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from flask import Response
from redis.exceptions import RedisError

from trigger.console.page import Pages, see_other
from trigger.errors import BadRequest, PathNotFound, QueueUnavailable, TooManyRequests, Unauthorized
from trigger.inputs import Form
from trigger.web import sender, sessions
from trigger.web.admission import only
from trigger.web.auth import Credentials
from trigger.web.call import ReceivedCall, View
from trigger.web.request_body import raw_body, value_of
from trigger.web.service import Service
from trigger.web.sessions import COOKIE, Session

logger = logging.getLogger("trigger.console")

MAX_FORM = 16 * 1024  # bytes of a form without an input
MAX_NEXT = 2000  # characters of where to go on after signing in
ESCAPED = 3  # bytes that a form takes at most for one of its input

_WRONG = "The user or the password is wrong."
_BAD_LINK = "This link can't be used any more: each signs in once, within an hour. Sign in with the password."


@dataclass(frozen=True, slots=True)
class Gate:
    """The checks, and the views of signing in and out."""

    service: Service
    pages: Pages

    def page(self, view: View) -> View:
        """Only for operators who are signed in; others are sent to the page where one does that.

        Who has followed a link on another site may be signed in: a browser sends no SameSite=Strict cookie along with
        that. So the page has it come again, from here, and then it does.
        """

        @functools.wraps(view)
        def wrapper(call: ReceivedCall, **arguments: str) -> Response:
            only(call, "GET")
            if self._signed_in(call) is not None:
                return view(call, **arguments)
            if sender.is_foreign(call.environ):
                return self.pages("arrival.html", here=_here(call))
            return see_other(f"/console/sign-in?next={quote(_here(call), safe='')}")

        return wrapper

    def change(self, view: View) -> View:
        """As `page`, for a form of a page of ours. It may hold an input as large as that of a call."""

        @functools.wraps(view)
        def wrapper(call: ReceivedCall, **arguments: str) -> Response:
            only(call, "POST")
            _check_origin(call)
            if self._signed_in(call) is None:
                return see_other("/console/sign-in")
            _read_form(call, MAX_FORM + ESCAPED * call.config.server.max_body)
            return view(call, **arguments)

        return wrapper

    def sign_in(self, call: ReceivedCall) -> Response:
        """GET /console/sign-in: the form, or with a link's key the session itself; POST: with user and password."""
        only(call, "GET", "POST")
        _check_on(call)
        if call.method == "POST":
            return self._with_password(call)
        if key := call.args.get("key", ""):
            return self._with_link(call, key)
        return self._form(call)

    def sign_out(self, call: ReceivedCall) -> Response:
        """POST /console/sign-out: this session is over, here and wherever else its cookie is."""
        only(call, "POST")
        _check_origin(call)
        session = self._signed_in(call)
        if session is not None:
            try:
                self.service.sessions.end(session)
            except RedisError as error:
                raise QueueUnavailable("Signing out must be noted in Redis, which can't be reached now") from error
        return see_other("/console/sign-in", {"Set-Cookie": _cookie(call, "", 0)})

    def _signed_in(self, call: ReceivedCall) -> Session | None:
        _check_on(call)
        session = self.service.sessions.of_cookies(call.cookies, call.config.operators)
        if session is not None:
            call.operator = call.caller = session.operator
        return session

    def _with_password(self, call: ReceivedCall) -> Response:
        _check_origin(call)
        _read_form(call, MAX_FORM)
        user, password = (call.posted.get(name, "") for name in ("user", "password"))
        credentials = Credentials(user=user.encode() or None, password=password.encode() or None)
        try:
            operator = self.service.guard.operator(call.config.operators, credentials, call.client)
        except TooManyRequests as error:
            call.refused = error
            return self._form(call, error.message, error.status, user, error.headers)
        if operator is None:
            logger.warning("signing in failed", extra={"fields": {"client": call.client}})
            call.refused = Unauthorized(_WRONG)
            return self._form(call, _WRONG, 401, user)
        return self._begin(call, operator)

    def _with_link(self, call: ReceivedCall, key: str) -> Response:
        """A link is followed by a GET; what only looks at it beforehand must not use it up."""
        if call.method == "HEAD":
            return self._form(call)
        if call.headers.get("Sec-Purpose"):
            raise BadRequest("A browser's prefetch signs nobody in")
        try:
            operator = self.service.sessions.use_link(key, call.config.operators)
        except RedisError as error:
            raise QueueUnavailable("Redis can't be reached: a link can't sign in now, a password can") from error
        if operator is None:
            call.refused = Unauthorized(_BAD_LINK)
            return self._form(call, _BAD_LINK, 401)
        return self._begin(call, operator)

    def _begin(self, call: ReceivedCall, operator: str) -> Response:
        try:
            token = self.service.sessions.begin(operator, call.config.operators[operator])
        except RedisError as error:
            raise QueueUnavailable("Nobody can sign in until Redis can be reached") from error
        call.caller = operator
        logger.info("%s signed in", operator, extra={"fields": {"operator": operator, "client": call.client}})
        return see_other(_next(call), {"Set-Cookie": _cookie(call, token, sessions.LIFETIME)})

    def _form(
        self,
        call: ReceivedCall,
        problem: str = "",
        status: int = 200,
        user: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        return self.pages("sign_in.html", status, headers, problem=problem, user=user, next=_next(call))


def _check_on(call: ReceivedCall) -> None:
    if not call.config.operators:
        raise PathNotFound("The console is off: config.yaml names no operator with a password")


def _cookie(call: ReceivedCall, value: str, seconds: int) -> str:
    secure = "; Secure" if sender.behind_tls(call.environ, call.config.server.proxies) else ""
    return f"{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"


def _check_origin(call: ReceivedCall) -> None:
    """Refuses what no page of ours has sent."""
    if sender.is_foreign(call.environ) is not False:
        raise BadRequest("Only a page of this console may do this", status=403)


def _read_form(call: ReceivedCall, limit: int) -> None:
    """Read the form, of at most `limit` bytes, into call.posted: its fields by name, the last of those of one name."""
    form = value_of(call.environ, raw_body(call.environ, limit), limit)
    if not isinstance(form, Form) and form != {}:
        raise BadRequest("Only a form is taken here")
    call.posted = {name: value[-1] if isinstance(value, list) else value for name, value in form.items()}


def _here(call: ReceivedCall) -> str:
    query = call.query_string.decode("latin-1")
    return f"{call.path}?{query}" if query else call.path


def _next(call: ReceivedCall) -> str:
    """Where to go on after signing in: a page of the console, whatever else was asked for."""
    asked = (call.posted if call.method == "POST" else call.args).get("next", "")
    path = unquote(asked)
    fits = path.startswith("/console/") and path.isprintable() and ".." not in path and "\\" not in path
    return asked if fits and asked.isascii() and " " not in asked and len(asked) <= MAX_NEXT else "/console/"
