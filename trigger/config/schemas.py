"""The schemas of config.yaml: each key's form, checked and converted. What keys mean together is in rules.py."""

from __future__ import annotations

import builtins
import keyword
import re
import sys
from collections.abc import Callable
from typing import Any, get_args
from urllib.parse import urlsplit

from marshmallow import Schema, ValidationError

from trigger.config.declarations import UNKNOWNS, choice, declare, field_name
from trigger.config.model import Auth, Input, NoAuth, PasswordAuth, Retry, TokenAuth, Verb
from trigger.config.parts import Scalar, Strict, Value, by_key, each, part, refuse, section, unknown_key
from trigger.config.scalars import boolean, duration, free, integer, shown, size
from trigger.config.secret import HASH_PREFIX, Secret

DAY = 86400
VERBS: tuple[str, ...] = get_args(Verb)
MODES = ("none", "token", "password")
REDIS_SCHEMES = ("redis", "rediss", "unix")
NAME = r"[A-Za-z0-9_.-]{1,64}"
QUEUE = r"[A-Za-z0-9_-]{1,64}"
REFERENCE_FORM = "'package.module:callable'"

_NAME = re.compile(NAME)
_QUEUE = re.compile(QUEUE)
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_HOST = re.compile(r"(\.?[A-Za-z0-9_]([A-Za-z0-9_-]*)(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_SCRYPT = re.compile(r"scrypt:([0-9]{1,8}):([0-9]{1,3}):([0-9]{1,3})\$[^$]+\$[0-9a-f]{128}")
_PYTHONS_OWN = sys.stdlib_module_names | set(sys.builtin_module_names) | set(dir(builtins))


def name(what: str, pattern: re.Pattern[str] = _NAME) -> Callable[[str], str | None]:
    """Says what is wrong with a name in the config."""
    allowed = "letters, digits, '_', '-' and '.'" if pattern is _NAME else "letters, digits, '_' and '-'"

    def check(text: str) -> str | None:
        if pattern.fullmatch(text) and text not in {".", ".."}:
            return None
        dots = ", and is not '.' or '..'" if pattern is _NAME else ""
        return f"the name of a {what} has {allowed}, from 1 to 64 of them{dots}"

    return check


def caller(text: str) -> str | None:
    """What is wrong with the name of a token, a user or an operator, as records will show it."""
    if ":" in text:
        return "the name must not hold ':', which ends the user's name in HTTP Basic (RFC 7617)"
    if not text or len(text) > 64 or not text.isprintable() or text != text.strip():
        return "the name must have from 1 to 64 printable characters and no blank at either end"
    return None


def secret(text: str) -> Secret:
    """A token or password. The messages never show it."""
    if not text:
        raise ValueError("is empty: a secret must have a value")
    if not text.isprintable():
        raise ValueError("holds a control character, a line end or another character that can't be printed")
    if text != text.strip():
        raise ValueError("begins or ends with a blank: take it away")
    if text.startswith(HASH_PREFIX):
        match = _SCRYPT.fullmatch(text)
        cost = int(match[1]) if match else 0
        # hashlib.scrypt raises on other costs, and needs 128 * n * r bytes for what it takes.
        if not match or cost < 2 or cost & (cost - 1) or cost > 2**20 or not 1 <= int(match[2]) <= 32:
            raise ValueError("begins like a hash but is none: make one with `python -m trigger hash`")
        if not 1 <= int(match[3]) <= 16:
            raise ValueError("begins like a hash but is none: make one with `python -m trigger hash`")
    return Secret(str(text))


def operator_secret(text: str) -> Secret | None:
    """As `secret`, but an empty one means that the operator is off."""
    return secret(text) if text else None


def redis_url(text: str) -> Secret | None:
    """A redis://, rediss:// or unix:// URL, None when empty. The messages never show it: it may hold a password."""
    if not text.strip():
        return None
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise ValueError("is not a URL: it must look like redis://host:6379/0") from None
    if url.scheme not in REDIS_SCHEMES or not text.startswith(f"{url.scheme}://") or not text.isprintable():
        raise ValueError("must be a URL that begins with redis://, rediss:// or unix://")
    if url.scheme == "unix" and not url.path:
        raise ValueError("names no socket: it must look like unix:///run/redis.sock")
    if url.scheme != "unix" and (not url.hostname or port == 0):
        raise ValueError("names no host: it must look like redis://host:6379/0")
    return Secret(str(text))


def reference(text: str) -> str:
    """The "package.module:callable" of a workflow. Only its form is checked here."""
    module, _, path = text.partition(":")
    parts = [*module.split("."), *path.split(".")]
    if not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
        raise ValueError(f"{shown(text)} must be a callable of yours as {REFERENCE_FORM}, such as examples.hello:greet")
    if any(part.startswith("__") for part in path.split(".")):
        raise ValueError(f"{shown(text)} names something of Python's own; a workflow is a function of yours")
    if parts[0] in _PYTHONS_OWN:
        raise ValueError(f"{parts[0]!r} is Python's own; a workflow is a function of yours, in a package of yours")
    return str(text)


def verbs(value: Any) -> tuple[str, ...]:
    """A list of GET and POST."""
    if not isinstance(value, list) or not value:
        raise ValidationError("must be a list of GET and POST, such as [GET, POST]")
    wrong: dict[int, list[str]] = {}
    for index, item in enumerate(value):
        if item not in VERBS:
            wrong[index] = [f"must be GET or POST, not {shown(item) if isinstance(item, str) else 'this'}"]
        elif item in value[:index]:
            wrong[index] = [f"{item} is given twice"]
    if wrong:
        raise ValidationError(wrong)
    return tuple(str(item) for item in value)


def hosts(value: Any) -> tuple[str, ...]:
    """A list of host names."""
    if not isinstance(value, list):
        raise ValidationError("must be a list of host names, such as [trigger.example.org]")
    wrong = {
        index: [f"must be a host name such as trigger.example.org, not {shown(item)}"]
        for index, item in enumerate(value)
        if not isinstance(item, str) or not _HOST.fullmatch(item)
    }
    if wrong:
        raise ValidationError(wrong)
    return tuple(str(item) for item in value)


def prefix(text: str) -> str:
    """The path before module and method."""
    if not _PREFIX.fullmatch(text) or len(text) > 200 or any(part in {".", ".."} for part in text.split("/")):
        raise ValueError(
            "must be a path such as /v1/api: it begins with '/', does not end with it, "
            "and has letters, digits, '.', '_', '~' and '-' between"
        )
    return str(text)


def queue(text: str) -> str:
    """The name of an RQ queue."""
    wrong = name("queue", _QUEUE)(text)
    if wrong:
        raise ValueError(wrong)
    return str(text)


def auth(value: Any) -> Auth:
    """Who may call an API: {mode: none}, {mode: token, token: …} or {mode: password, users: …}."""
    if not isinstance(value, dict):
        raise ValidationError("must be a mapping such as {mode: none}, {mode: token, token: …}; its mode must be said")
    mode = value.get("mode")
    schema = _AUTH.get(mode, _ANY_AUTH) if isinstance(mode, str) else _ANY_AUTH
    wrong: dict[str, Any] = {}
    given: dict[str, Any] = {}
    try:
        given = schema.load(value)
    except ValidationError as error:
        wrong = by_key(error)
    for key in value:
        other = next((name for name, known in _AUTH.items() if key in known.fields), None)
        if other and key not in schema.fields:
            wrong[key] = [f"mode {mode!s} takes no {key}: say mode: {other}, or take {key} away"]
    if mode == "token" and ("token" in value) == ("tokens" in value):
        wrong["_schema"] = ["mode token takes exactly one of token and tokens"]
    if mode == "password" and "users" not in value:
        wrong["_schema"] = ["mode password takes users, such as users: {ada: …}"]
    if wrong:
        refuse(wrong)
    if mode == "token":
        return TokenAuth(given["tokens"] if "tokens" in given else {"token": given["token"]})
    return PasswordAuth(given["users"]) if mode == "password" else NoAuth()


def workflow(value: Any) -> dict[str, Any]:
    """A workflow: "package.module:callable", or a mapping with it as `python`."""
    if isinstance(value, str):
        try:
            return {"python": reference(value)}
        except ValueError as error:
            raise ValidationError(str(error)) from None
    if not isinstance(value, dict):
        raise ValidationError(f"must be {REFERENCE_FORM}, or a mapping with python: {REFERENCE_FORM}")
    loaded: dict[str, Any] = _WORKFLOW.load(value)
    return loaded


def backoff(value: Any) -> tuple[float, ...]:
    """A list of pauses; one alone may stand for a list of it."""
    items = value if isinstance(value, list) else [value]
    wait = duration(1, 30 * DAY)
    wrong: dict[int, list[str]] = {}
    pauses = []
    for index, item in enumerate(items):
        try:
            pauses.append(wait(item if isinstance(item, str) else ""))
        except ValueError as error:
            wrong[index] = [str(error)]
    if wrong:
        raise ValidationError(wrong if isinstance(value, list) else wrong[0])
    if not pauses:
        raise ValidationError("must be a list of pauses, such as [1s, 10s, 1m]")
    return tuple(pauses)


def retry(value: Any) -> Retry:
    """How often a workflow that fails is tried, and how long is waited before each further attempt."""
    return Retry(**section(_RETRY)(value))


def declared_input(value: Any) -> Input:
    """What an API accepts."""
    given = section(_INPUT)(value)
    return Input(fields=tuple(given["fields"].values()), unknown=given.get("unknown", "reject"))


def _secret_of(convert: Callable[[str], Secret | None]) -> Callable[[str, Any], Any]:
    field = Scalar(convert)

    def load(_: str, value: Any) -> Any:
        return field.deserialize(value)

    return load


def _optional(convert: Callable[[Any], Any]) -> Value:
    """A section that may stand there empty, all its entries commented out."""
    return Value(convert, allow_none=True)


class _AuthSchema(Strict):
    def handle_error(self, error: ValidationError, data: Any, *, many: bool, **kwargs: Any) -> None:
        """A key of another mode is `auth`'s to tell; what is left is misspelt."""
        super().handle_error(error, data, many=many, **kwargs)
        if isinstance(error.messages, dict):
            for key in set(data) - _ANY_AUTH.fields.keys():
                error.messages[key] = [unknown_key(key, self.fields)]


class _WorkflowSchema(Strict):
    hints = {  # noqa: RUF012  # a ClassVar in the base
        "steps": "workflows of steps are not there yet: name one callable as python: package.module:callable"
    }


_mode = Scalar(choice(MODES, show=False), required=True)
_one = Scalar(secret)
_tokens = Value(each(_secret_of(secret), caller, at_least=1))
_AUTH: dict[str, Schema] = {
    "none": _AuthSchema.from_dict({"mode": _mode})(),
    "token": _AuthSchema.from_dict({"mode": _mode, "token": _one, "tokens": _tokens})(),
    "password": _AuthSchema.from_dict({"mode": _mode, "users": _tokens})(),
}
_ANY_AUTH = _AuthSchema.from_dict({"mode": _mode, "token": _one, "tokens": _tokens, "users": _tokens})()

_WORKFLOW = _WorkflowSchema.from_dict(
    {
        "python": Scalar(reference, required=True),
        "description": Scalar(str),
        "timeout": Scalar(duration(1, 30 * DAY)),
        "queue": Scalar(queue),
        "retry": Value(retry),
    }
)()

_RETRY = Strict.from_dict(
    {
        "attempts": Scalar(integer(2, 100), required=True),
        "backoff": Value(backoff),
    }
)()

_INPUT = Strict.from_dict(
    {
        "fields": Value(each(declare, field_name), required=True),
        "unknown": Scalar(choice(UNKNOWNS)),
    }
)()

_API = Strict.from_dict(
    {
        "description": Scalar(str),
        "enabled": Scalar(boolean),
        "verbs": Value(verbs),
        "auth": Value(
            auth,
            required=True,
            error_messages={
                "required": "is missing: it must be said who may call, as in auth: {{mode: none}}"
            },  # goes through str.format
        ),
        "workflow": Scalar(
            lambda text: text,  # what it names is found in rules.py
            required=True,
            error_messages={"required": f"is missing: name one of `workflows`, or {REFERENCE_FORM}"},
        ),
        "input": Value(declared_input),
        "debug": Value(free, allow_none=True),
    }
)()

_MODULE = Strict.from_dict(
    {
        "description": Scalar(str),
        "methods": _optional(each(part(_API), name("method"))),
    }
)()

_SERVER = Strict.from_dict(
    {
        "prefix": Scalar(prefix),
        "max_body": Scalar(size(1, 64 * 1024**2)),
        "proxies": Scalar(integer(0, 16)),
        "hosts": Value(hosts),
        "backlog": Scalar(integer(1, 10_000_000)),
        "auth_failures": Scalar(integer(1, 1_000_000)),
    }
)()

CONFIG: Schema = Strict.from_dict(
    {
        "server": _optional(section(_SERVER)),
        "redis": Scalar(redis_url, allow_none=True),
        "retention": Scalar(duration(60, 3650 * DAY)),
        "idempotency": Scalar(duration(1, 365 * DAY)),
        "crashes": Scalar(integer(1, 1000)),
        "stop_grace": Scalar(duration(0, DAY)),
        "operators": _optional(each(_secret_of(operator_secret), caller)),
        "workflows": _optional(each(lambda _, value: Value(workflow).deserialize(value), name("workflow"))),
        "modules": Value(each(part(_MODULE), name("module")), required=True, allow_none=True),
    }
)()
