"""Flask without what no view of ours uses: sessions, asynchronous views, and URLs that it would make for links."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import Flask, Request
from flask.ctx import RequestContext
from flask.sessions import NullSession, SessionInterface
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter, Rule

from trigger.answers import Answer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class AnyVerb(Rule):
    """A route that takes every verb to its view: which ones an API accepts is the config's to say, after other checks.

    werkzeug itself would answer HEAD like GET, and start a workflow with it.
    """

    def __init__(self, string: str, **options: Any) -> None:
        super().__init__(string, **options | {"methods": None})


class NoSessions(SessionInterface):
    """Nothing is kept about a caller between two calls."""

    _null = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._null


class App(Flask):
    """Our Flask app: a path is what it is, without a second slash that is merged or added."""

    url_rule_class = AnyVerb
    response_class = Answer
    session_interface = NoSessions()

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        self.url_map.merge_slashes = False
        self.url_map.strict_slashes = True
        self._paths: MapAdapter | None = None

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """One for all requests: neither the host nor the scheme has a say in which view answers."""
        if request is None:
            return None
        if self._paths is None:
            self._paths = self.url_map.bind("trigger")
        return self._paths

    def request_context(self, environ: WSGIEnvironment) -> RequestContext:
        return _Context(self, environ)

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """All of ours are: there is nothing to find out at each call."""
        return func


class _Context(RequestContext):
    def match_request(self) -> None:
        paths, request = self.url_adapter, self.request
        if paths is None:  # never: see create_url_adapter
            return
        try:
            matched = paths.match(request.path, method=request.method, return_rule=True)
        except HTTPException as error:
            request.routing_exception = error
        else:
            request.url_rule, request.view_args = matched
