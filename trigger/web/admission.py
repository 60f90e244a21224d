"""Who and what is let in to a view: the checks before it, in the order that the contract has them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from flask import Response

from trigger.config.model import Api, Audience, NoAuth, PasswordAuth, SignatureAuth, TokenAuth
from trigger.errors import (
    AddressNotAllowed,
    ApiNotEnabled,
    ApiNotFound,
    BadRequest,
    CredentialMissing,
    MethodNotAllowed,
    PathNotFound,
    Unauthorized,
)
from trigger.web import handshakes, sender
from trigger.web.answers import answer, bare
from trigger.web.auth import BASIC, Credentials, is_forgeable
from trigger.web.call import ReceivedCall, View
from trigger.web.request_body import check_length

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

ApiView = Callable[[ReceivedCall, Api], Response]


def only(call: ReceivedCall, *verbs: str) -> None:
    """Refuse other verbs than these. With GET goes HEAD, which gets the same without a body."""
    allowed = (*verbs, "HEAD") if "GET" in verbs else verbs
    if call.method not in allowed:
        raise MethodNotAllowed(f"Only {' and '.join(verbs)} is answered here", headers={"Allow": ", ".join(allowed)})


def resolved(view: ApiView) -> View:
    """Find the API in the config's table, and make the checks that need no credential."""

    @functools.wraps(view)
    def wrapper(call: ReceivedCall, prefix: str, module: str, method: str, token: str = "") -> Response:
        config, environ = call.config, call.environ
        check_length(environ, config.server.max_body)
        if prefix != config.server.prefix[1:]:
            raise PathNotFound("There is nothing at this path")
        api = config.apis.get((module, method))
        if api is None or _has_escapes(environ) or (token and not api.token_in_path):
            raise ApiNotFound("There is no such API")
        call.path_token = token
        call.api = api
        verb = environ["REQUEST_METHOD"]
        if api.answer.has_own and api.enabled and (early := _early(call, api)) is not None:
            return early
        if verb not in api.verbs:
            allow = {"Allow": ", ".join(api.verbs)}
            if verb == "OPTIONS":
                return answer({"verbs": list(api.verbs)}, headers=allow)
            raise MethodNotAllowed(f"The API accepts {' and '.join(api.verbs)}", headers=allow)
        if not api.enabled:
            raise ApiNotEnabled("API is not enabled")
        if not sender.is_among(call.client, config.server.networks_of(api)):
            raise AddressNotAllowed(
                "This API is not open to your address", reason=f"{call.client} is not in its `from`"
            )
        if "prefetch" in environ.get("HTTP_SEC_PURPOSE", ""):
            raise BadRequest("A browser's prefetch starts nothing")
        return view(call, api)

    return wrapper


def _early(call: ReceivedCall, api: Api) -> Response | None:
    """Answer what carries no credential and starts nothing: a HEAD, and some senders' handshakes."""
    if call.method == "HEAD" and api.answer.head is not None:
        return bare(api.answer.head)
    return handshakes.before(call, api)


def authenticated(view: ApiView) -> ApiView:
    """Enforce the API's configured authentication, and note the caller's name. Calls that a page of another site could
    have made a browser send are refused."""

    @functools.wraps(view)
    def wrapper(call: ReceivedCall, api: Api) -> Response:
        auth, guard = api.auth, call.service.guard
        if isinstance(auth, SignatureAuth):
            call.caller = guard.signer(api, auth, call.header, call.body, call.client)
            return view(call, api)
        # An API that asks for none looks at none: what a proxy or a browser adds does not concern it.
        credentials = Credentials() if isinstance(auth, NoAuth) else _credentials(call, auth)
        call.caller = guard.admit(api, credentials, call.client)
        if is_forgeable(auth, credentials):
            sender.refuse_foreign(call.environ)
        return view(call, api)

    return wrapper


def _credentials(call: ReceivedCall, auth: TokenAuth | PasswordAuth) -> Credentials:
    if isinstance(auth, PasswordAuth):
        return Credentials.of(call.environ)
    if auth.in_path:
        return Credentials(token=call.path_token.encode() if call.path_token else None)
    return Credentials.of(call.environ, token=(auth.header, call.header(auth.header)), with_basic=True)


def operator(call: ReceivedCall) -> str:
    """Return the name of the operator who calls; raises CredentialMissing, Unauthorized or TooManyRequests."""
    credentials = Credentials.of(call.environ)
    if credentials.user is None or credentials.password is None:
        raise CredentialMissing("User/Password is required", headers=BASIC)
    name = call.service.guard.operator(call.config.operators, credentials, call.client)
    if name is None:
        raise Unauthorized("User/Password is invalid", headers=BASIC)
    call.caller = name
    return name


def admit(call: ReceivedCall, audience: Audience, operator: Callable[[ReceivedCall], object] = operator) -> None:
    """Let the call read by GET what the config opens to an audience. What is "off" is as if it were not there.

    `operator` raises the refusal of a call that is no operator's. Raises PathNotFound and MethodNotAllowed, too.
    """
    if audience == "off":
        raise PathNotFound("There is nothing at this path")
    only(call, "GET")
    if audience == "operators":
        operator(call)


def _has_escapes(environ: WSGIEnvironment) -> bool:
    """Whether the path was sent with percent escapes: "/a%2Fb" is decoded to "/a/b", but it is not that path."""
    return "%" in environ.get("RAW_URI", "").partition("?")[0]
