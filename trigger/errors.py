"""Every error Trigger raises on purpose.

    TriggerError
    ├── ConfigError            the YAML has mistakes; carries all of them
    ├── UsageError             a command or an environment variable is wrong
    ├── StartError             the service can't start; says why and what to do
    ├── WorkflowError          a workflow could not be run as the config says
    │   ├── TemplateError          a template in it is broken, or uses what is not there
    │   ├── ArgumentError          a program can't be given an argument or a variable
    │   └── HttpError              the request of an http step can't be made, or did not succeed
    │       ├── ConnectionFailed        also a ConnectionError: no connection, or it broke
    │       ├── AnswerTimeout           also a TimeoutError: no whole answer in time
    │       ├── AnswerTooLarge          larger than the step's max_size
    │       └── UnexpectedStatus        an answer, but not a success; carries its status
    └── RequestError           what a caller is answered instead of a uid
        ├── BodyTooLarge            413
        ├── ApiNotFound             404
        ├── ExecutionNotFound       404
        ├── CallbackNotFound        404
        ├── PathNotFound            404
        ├── MethodNotAllowed        405
        ├── ApiNotEnabled           403
        ├── AddressNotAllowed       403
        ├── CredentialMissing       401  requestError.invalidParams
        ├── Unauthorized            401
        ├── InvalidParams           400
        ├── UnsupportedMediaType    415
        ├── Conflict                409  what was asked for does not fit what has become of the execution
        │   ├── ExecutionEnded           it has ended
        │   ├── ExecutionNotEnded        it has not ended
        │   ├── ApiNotAvailable          its API is gone or not enabled
        │   ├── NotResumable             its workflow has no steps
        │   └── WorkflowChanged          its workflow is another one now
        ├── IdempotencyMismatch     422
        ├── BadRequest              400 and other statuses the HTTP layer refuses with
        ├── ExecutionFailed         424  workflowError.failed: to a call that waits for the end
        ├── ExecutionCancelled      424  workflowError.cancelled
        ├── TooManyRequests         429
        │   └── Throttled                too many wrong credentials came from the caller's address
        ├── QueueUnavailable        503
        ├── NotReady                503
        └── InternalError           500

A RequestError's `code` and `message` are for the caller: they never hold a secret, a path or a traceback.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class TriggerError(Exception):
    """The base of every error that Trigger raises on purpose."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in the config: where it is, what is wrong, what would be right.

    `line` and `column` count from 1; `key` is the dotted path of the value, empty for the file itself. As text it is
    one line, whatever of the file is repeated in it: what can't be printed is written as an escape.
    """

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: "
        text = f"{where}{self.key}: {self.message}" if self.key else f"{where}{self.message}"
        if text.isprintable():
            return text
        return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


class ConfigError(TriggerError):
    """The config can't be used; `mistakes` holds everything that is wrong with it, in the order of the file."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes, key=lambda mistake: (mistake.line, mistake.column)))
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


class UsageError(TriggerError):
    """A command line or an environment variable can't be understood."""


class StartError(TriggerError):
    """The service can't start here; the message says why and what to do about it."""


class Unfinished(Exception):
    """A config is not checked to its end: who waited for that has to stop."""


class WorkflowError(TriggerError):
    """A workflow could not be run as the config says."""


class TemplateError(WorkflowError):
    """A template is broken or could not be rendered; the message names the expression."""


class ArgumentError(WorkflowError):
    """A program can't be given an argument or a variable: it is larger than the system takes, or no text of it."""


class HttpError(WorkflowError):
    """A step's HTTP request can't be made, or failed; the message holds no credential and no query of a URL."""


class ConnectionFailed(HttpError, ConnectionError):
    """There was no connection, or it broke: no address, refused, a certificate that can't be trusted, not HTTP."""


class AnswerTimeout(HttpError, TimeoutError):
    """The answer was not there, or not whole, in the time that the step has."""


class AnswerTooLarge(HttpError):
    """The answer is larger than the step's `max_size`."""


class UnexpectedStatus(HttpError):
    """An answer whose status is not one that the step expects; `answer` is what would have been the step's output."""

    def __init__(self, message: str, status: int, answer: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.status = status
        self.answer = answer


class RequestError(TriggerError):
    """A refusal, as the caller is told it. Subclasses fix status and code; instances add message and details."""

    status = 400
    code = "requestError.badRequest"

    def __init__(
        self,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        reason: str | None = None,
    ) -> None:
        """`reason` is more of why it was refused, for operators only."""
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.details = details
        self.headers = dict(headers or {})


class BodyTooLarge(RequestError):
    status = 413
    code = "requestError.bodyTooLarge"


class ApiNotFound(RequestError):
    status = 404
    code = "requestError.apiNotFound"


class ExecutionNotFound(RequestError):
    status = 404
    code = "requestError.executionNotFound"


class CallbackNotFound(RequestError):
    status = 404
    code = "requestError.callbackNotFound"


class PathNotFound(RequestError):
    status = 404
    code = "requestError.notFound"


class MethodNotAllowed(RequestError):
    status = 405
    code = "requestError.methodNotAllowed"


class ApiNotEnabled(RequestError):
    status = 403
    code = "requestError.apiNotEnabled"


class AddressNotAllowed(RequestError):
    status = 403
    code = "requestError.forbidden"


class CredentialMissing(RequestError):
    status = 401
    code = "requestError.invalidParams"


class Unauthorized(RequestError):
    status = 401
    code = "requestError.unauthorized"


class InvalidParams(RequestError):
    """The input is unreadable or invalid; `details` maps each field's dotted path to its mistakes."""

    status = 400
    code = "requestError.invalidParams"


class UnsupportedMediaType(RequestError):
    status = 415
    code = "requestError.unsupportedMediaType"


class BadRequest(RequestError):
    """The request breaks HTTP's rules; `status` may be any 4xx that no other class stands for."""

    def __init__(self, message: str, *, status: int = 400, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, headers=headers)
        self.status = status


class Conflict(RequestError):
    status = 409
    code = "requestError.conflict"


class ExecutionEnded(Conflict):
    code = "requestError.executionEnded"


class ExecutionNotEnded(Conflict):
    code = "requestError.executionNotEnded"


class ApiNotAvailable(Conflict):
    code = "requestError.apiNotAvailable"


class NotResumable(Conflict):
    code = "requestError.notResumable"


class WorkflowChanged(Conflict):
    code = "requestError.workflowChanged"


class IdempotencyMismatch(RequestError):
    status = 422
    code = "requestError.idempotencyMismatch"


class ExecutionFailed(RequestError):
    """The call was accepted and its execution has failed; `details` has the class of the error, and the step."""

    status = 424
    code = "workflowError.failed"


class ExecutionCancelled(RequestError):
    status = 424
    code = "workflowError.cancelled"


class TooManyRequests(RequestError):
    status = 429
    code = "requestError.tooManyRequests"


class Throttled(TooManyRequests):
    """Too many wrong credentials came from the caller's address."""


class QueueUnavailable(RequestError):
    status = 503
    code = "serverError.queueUnavailable"


class NotReady(RequestError):
    status = 503
    code = "serverError.notReady"


class InternalError(RequestError):
    """Our own fault; the message carries a reference that the log has too."""

    status = 500
    code = "serverError.internal"
