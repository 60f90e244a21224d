"""The call that is being answered: Flask's request, with all that is known of it. Every view gets it first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from flask import Request, Response, request

from trigger.config.model import Api, BodyKind, Config
from trigger.errors import ConfigError, InvalidParams, RequestError
from trigger.inputs.forms import Upload
from trigger.store import is_key, tracing
from trigger.store.queueing import Accepted
from trigger.web.request_body import raw_body, value_of

if TYPE_CHECKING:
    from trigger.web.service import Service

View = Callable[..., Response]  # of the call, and of the variables in its route's path


class ReceivedCall(Request):
    """A request as it was received, and what was found out about it since.

    `service` and `config` are what answers it: one version of the config for all of the call, whatever is edited
    meanwhile. `started` is time.perf_counter() when it began, and `client` the caller's address. The id of the request,
    the API, the caller's name, the uid of the execution that it is about, and why it was refused are None until they
    are known. The console adds the operator who is signed in, the fields of the form that was posted, and the last edit
    of the config that was refused.
    """

    service: Service
    config: Config
    started: float
    client: str
    request_id: str | None = None
    api: Api | None = None
    caller: str | None = None
    uid: str | None = None
    refused: RequestError | None = None
    delivery: str | None = None  # the sender's own id of what it has sent, where that counts as an Idempotency-Key
    path_token: str = ""  # the last part of the path, where an API has its token there
    outcome: str = ""  # of a right call: whether it has started something, and why it has not
    waited: float = 0.0  # seconds that were spent on waiting for news of an execution, as the caller wanted
    wait_ended: str | None = None  # how the wait for the end of the execution that it started has ended

    operator: str = ""
    posted: Mapping[str, str] = {}
    refused_edit: ConfigError | None = None

    _body: bytes | None = None

    def body(self) -> bytes:
        """Return the body's bytes, however often they are asked for. This waits for the client: do it after a check of
        the caller that needs no body. Raises BodyTooLarge and BadRequest."""
        if self._body is None:
            self._body = raw_body(self.environ, self.config.server.max_body)
        return self._body

    def value(self, kind: BodyKind = "auto", uploads: list[Upload] | None = None) -> Any:
        """Return the value that the body stands for, and add the files of a form to `uploads`; None refuses them.
        Raises as `body` does, InvalidParams and UnsupportedMediaType."""
        return value_of(self.environ, self.body(), self.config.server.max_body, kind, uploads)

    def header(self, name: str) -> bytes | None:
        """Return the bytes of a header, None if it is absent or empty."""
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        return self.environ.get(key, "").encode("latin-1") or None

    def idempotency_key(self) -> str | None:
        """Return the id of the delivery, where that counts as one; else the Idempotency-Key: a quoted string as in
        draft-ietf-httpapi-idempotency-key-header, or a bare one.

        The delivery's goes first: it may be signed, and then who sends a call again can't choose another.
        Raises InvalidParams.
        """
        raw: str | None = self.environ.get("HTTP_IDEMPOTENCY_KEY")
        if raw is None or self.delivery is not None:
            return self.delivery
        quoted = len(raw) >= 2 and raw[0] == raw[-1] == '"'
        key = raw[1:-1] if quoted else raw
        if not is_key(key):
            raise InvalidParams("The Idempotency-Key must have 1 to 255 printable ASCII characters")
        return key

    def note_started(self, new: Accepted) -> None:
        """Note the execution that the request has started, or has become part of.

        A request without an id from outside gets the uid as its own, if it is the one that has started it.
        """
        self.uid, self.outcome = new.uid, new.outcome
        if self.request_id is None and self.outcome == "accepted":
            self.request_id = new.uid

    def traced(self) -> dict[str, str]:
        """Return what finds the call in all logs: the uid of its execution, and the id of its request: that of the
        proxy, else the uid of what it has started, else one that is made here."""
        if self.request_id is None:
            self.request_id = tracing.new_request_id()
        return {"uid": self.uid, "request": self.request_id} if self.uid else {"request": self.request_id}


def current() -> ReceivedCall:
    """Return the present call itself: going through Flask's proxy at each look costs more than the look."""
    return cast(ReceivedCall, request._get_current_object())  # type: ignore[attr-defined]
