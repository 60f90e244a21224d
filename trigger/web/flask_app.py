"""Flask without what no view of ours uses: sessions, asynchronous views, and URLs that it would make for links."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from flask import Flask, Request, Response
from flask.ctx import RequestContext
from flask.sessions import NullSession, SessionInterface
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter, Rule

from trigger.web.answers import WholeAnswer
from trigger.web.call import ReceivedCall, current

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


# So many paths are remembered with what they match, none longer than this.
REMEMBERED = 1024
LONGEST = 200


class App(Flask):
    """Our Flask app: a path is what it is, without a second slash that is merged or added."""

    url_rule_class = AnyVerb  # type: ignore[assignment]  # Flask means "a class", and says "this one"
    request_class = ReceivedCall
    response_class = WholeAnswer
    session_interface = NoSessions()

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        self.stopping: list[Callable[[], object]] = []
        self.closing: list[Callable[[], object]] = []
        self.url_map.merge_slashes = False
        self.url_map.strict_slashes = True
        self._paths: MapAdapter = self.url_map.bind("trigger")
        self._matched: dict[str, tuple[Rule, Mapping[str, Any]]] = {}

    def stop(self) -> None:
        """Does what is to be done when its process is told to end: calls go on, but none waits for anything."""
        for call in self.stopping:
            call()

    def close(self) -> None:
        """Does what is to be done when its process ends in order."""
        for call in self.closing:
            call()

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """None for a request: neither its host nor its scheme nor its verb has a say in which view answers."""
        return None

    def match(self, path: str) -> tuple[Rule, Mapping[str, Any]]:
        """The route of a path, whatever the verb, and what it has in place of the route's variables.

        Raises werkzeug's NotFound.
        """
        found = self._matched.get(path)
        if found is None:
            found = self._paths.match(path, return_rule=True)
            if len(path) <= LONGEST:
                if len(self._matched) >= REMEMBERED:
                    self._matched.clear()
                self._matched[path] = found
        return found

    def dispatch_request(self) -> Response:
        """Call the view of the request's route with the call and the route's variables, whatever the verb: Flask would
        answer OPTIONS before a view has checked anything."""
        call = current()
        if call.routing_exception is not None:
            raise call.routing_exception
        rule, arguments = cast(Rule, call.url_rule), cast(Mapping[str, Any], call.view_args)
        return cast(Response, self.view_functions[rule.endpoint](call, **arguments))

    def request_context(self, environ: WSGIEnvironment) -> RequestContext:
        return _Context(self, environ)

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """All of ours are: there is nothing to find out at each call."""
        return func


class _Context(RequestContext):
    def push(self) -> None:
        super().push()
        try:
            self.request.url_rule, arguments = cast(App, self.app).match(self.request.path)
            self.request.view_args = dict(arguments)
        except HTTPException as error:
            self.request.routing_exception = error
