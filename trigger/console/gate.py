"""Who may use the console: signing in and out, and the checks before each page and each change.

A change is a POST from a page of ours: browsers say so in Sec-Fetch-Site or Origin, and what says nothing is refused
(https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from flask import Response, g, request
from redis.exceptions import RedisError

from trigger.config.model import Config
from trigger.console.page import Pages, see_other
from trigger.errors import BadRequest, PathNotFound, QueueUnavailable, TooManyRequests, Unauthorized
from trigger.inputs import Form
from trigger.web import sender, sessions
from trigger.web.answers import only
from trigger.web.auth import Credentials
from trigger.web.request_body import whole_body
from trigger.web.service import Service
from trigger.web.sessions import COOKIE, Session

logger = logging.getLogger("trigger.console")

MAX_FORM = 16 * 1024  # bytes of a form without an input
MAX_NEXT = 2000  # characters of where to go on after signing in
ESCAPED = 3  # bytes that a form takes at most for one of its input

_WRONG = "The user or the password is wrong."
_BAD_LINK = "This link can't be used any more: each signs in once, within an hour. Sign in with the password."

View = Callable[..., Response]


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
        def wrapper(**arguments: str) -> Response:
            only("GET")
            if self._signed_in() is not None:
                return view(**arguments)
            if sender.is_foreign(request.environ):
                return self.pages("arrival.html", here=_here())
            return see_other(f"/console/sign-in?next={quote(_here(), safe='')}")

        return wrapper

    def change(self, view: View) -> View:
        """As `page`, for a form of a page of ours. It may hold an input as large as that of a call."""

        @functools.wraps(view)
        def wrapper(**arguments: str) -> Response:
            only("POST")
            _check_origin()
            if self._signed_in() is None:
                return see_other("/console/sign-in")
            config: Config = g.config
            _read_form(MAX_FORM + ESCAPED * config.server.max_body)
            return view(**arguments)

        return wrapper

    def sign_in(self) -> Response:
        """GET /console/sign-in: the form, or with a link's key the session itself; POST: with user and password."""
        only("GET", "POST")
        self._check_on()
        if request.method == "POST":
            return self._with_password()
        if key := request.args.get("key", ""):
            return self._with_link(key)
        return self._form()

    def sign_out(self) -> Response:
        """POST /console/sign-out: this session is over, here and wherever else its cookie is."""
        only("POST")
        _check_origin()
        session = self._signed_in()
        if session is not None:
            try:
                self.service.sessions.end(session)
            except RedisError as error:
                raise QueueUnavailable("Signing out must be noted in Redis, which can't be reached now") from error
        return see_other("/console/sign-in", {"Set-Cookie": self._cookie("", 0)})

    def _signed_in(self) -> Session | None:
        self._check_on()
        config: Config = g.config
        session = self.service.sessions.of_cookies(request.cookies, config.operators)
        if session is not None:
            g.operator = g.caller = session.operator
        return session

    def _check_on(self) -> None:
        config: Config = g.config
        if not config.operators:
            raise PathNotFound("The console is off: config.yaml names no operator with a password")

    def _with_password(self) -> Response:
        _check_origin()
        _read_form(MAX_FORM)
        config: Config = g.config
        user, password = (g.form.get(name, "") for name in ("user", "password"))
        credentials = Credentials(user=user.encode() or None, password=password.encode() or None)
        try:
            operator = self.service.guard.operator(config.operators, credentials, self._client())
        except TooManyRequests as error:
            g.refused = error
            return self._form(error.message, error.status, user, error.headers)
        if operator is None:
            logger.warning("signing in failed", extra={"fields": {"client": self._client()}})
            g.refused = Unauthorized(_WRONG)
            return self._form(_WRONG, 401, user)
        return self._begin(operator)

    def _with_link(self, key: str) -> Response:
        """A link is followed by a GET; what only looks at it beforehand must not use it up."""
        config: Config = g.config
        if request.method == "HEAD":
            return self._form()
        if request.headers.get("Sec-Purpose"):
            raise BadRequest("A browser's prefetch signs nobody in")
        try:
            operator = self.service.sessions.use_link(key, config.operators)
        except RedisError as error:
            raise QueueUnavailable("Redis can't be reached: a link can't sign in now, a password can") from error
        if operator is None:
            g.refused = Unauthorized(_BAD_LINK)
            return self._form(_BAD_LINK, 401)
        return self._begin(operator)

    def _begin(self, operator: str) -> Response:
        config: Config = g.config
        try:
            token = self.service.sessions.begin(operator, config.operators[operator])
        except RedisError as error:
            raise QueueUnavailable("Nobody can sign in until Redis can be reached") from error
        g.caller = operator
        logger.info("%s signed in", operator, extra={"fields": {"operator": operator, "client": self._client()}})
        return see_other(_next(), {"Set-Cookie": self._cookie(token, sessions.LIFETIME)})

    def _form(
        self, problem: str = "", status: int = 200, user: str = "", headers: Mapping[str, str] | None = None
    ) -> Response:
        return self.pages("sign_in.html", status, headers, problem=problem, user=user, next=_next())

    def _cookie(self, value: str, seconds: int) -> str:
        config: Config = g.config
        secure = "; Secure" if sender.behind_tls(request.environ, config.server.proxies) else ""
        return f"{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"

    def _client(self) -> str:
        config: Config = g.config
        return sender.address(request.environ, config.server.proxies)


def _check_origin() -> None:
    """Refuses what no page of ours has sent."""
    if sender.is_foreign(request.environ) is not False:
        raise BadRequest("Only a page of this console may do this", status=403)


def _read_form(limit: int) -> None:
    """Reads the form, of at most `limit` bytes, into g.form: its fields by name, the last of those of one name."""
    form = whole_body(request.environ, limit)
    if not isinstance(form, Form) and form != {}:
        raise BadRequest("Only a form is taken here")
    g.form = {name: value[-1] if isinstance(value, list) else value for name, value in form.items()}


def _here() -> str:
    query = request.query_string.decode("latin-1")
    return f"{request.path}?{query}" if query else request.path


def _next() -> str:
    """Where to go on after signing in: a page of the console, whatever else was asked for."""
    asked = g.form.get("next", "") if request.method == "POST" else request.args.get("next", "")
    path = unquote(asked)
    fits = path.startswith("/console/") and path.isprintable() and ".." not in path and "\\" not in path
    return asked if fits and asked.isascii() and " " not in asked and len(asked) <= MAX_NEXT else "/console/"
