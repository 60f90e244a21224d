"""The schemas of config.yaml: each key's form, checked and converted. What keys mean together is in rules.py."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, get_args
from urllib.parse import urlsplit

from marshmallow import Schema, ValidationError

from trigger.config import callbacks, hints, limits
from trigger.config.declarations import UNKNOWNS, choice, declared
from trigger.config.forms import TEXT, Form, Named, accepts, form_of, mapping
from trigger.config.model import Audience, Auth, NoAuth, PasswordAuth, TokenAuth, Verb
from trigger.config.names import REFERENCE_FORM, name
from trigger.config.parts import Partial, Scalar, Section, Strict, Value, checked, each, loaded, unknown_key
from trigger.config.scalars import DAY, boolean, duration, free, integer, shown, size, workers
from trigger.config.secret import HASH_PREFIX, Secret
from trigger.config.senders import KEYS, SIGNATURE_FIELDS, header, signature_auth
from trigger.config.texts import expression
from trigger.config.workflows import workflow
from trigger.fields.model import Input
from trigger.invocation import ours

VERBS: tuple[str, ...] = get_args(Verb)
AUDIENCES: tuple[str, ...] = get_args(Audience)
MODES = ("none", "token", "password", "signature")
REDIS_SCHEMES = ("redis", "rediss", "unix")

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_HOST = re.compile(r"(\.?[A-Za-z0-9_]([A-Za-z0-9_-]*)(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_SCRYPT = re.compile(r"scrypt:([0-9]{1,8}):([0-9]{1,3}):([0-9]{1,3})\$[^$]+\$[0-9a-f]{128}")


def caller(text: str) -> str | None:
    """Return what is wrong with the name of a token, a user or an operator, as records will show it."""
    if ":" in text:
        return "the name must not hold ':', which ends the user's name in HTTP Basic (RFC 7617)"
    if not text or len(text) > 64 or not text.isprintable() or text != text.strip():
        return "the name must have from 1 to 64 printable characters and no blank at either end"
    return None


@accepts({**TEXT, "description": "The secret, its hash, or a reference such as ${NAME} or ${file:PATH}"})
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
            raise ValueError(f"begins like a hash but is none: make one with `{ours()} hash`")
        if not 1 <= int(match[3]) <= 16:
            raise ValueError(f"begins like a hash but is none: make one with `{ours()} hash`")
    return Secret(str(text))


@accepts(form_of(secret))
def operator_secret(text: str) -> Secret | None:
    """As `secret`, but an empty one means that the operator is off."""
    return secret(text) if text else None


@accepts({"type": "string"})
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


@accepts({"type": "array", "items": {"enum": VERBS}, "minItems": 1, "uniqueItems": True})
def verbs(value: Any) -> tuple[str, ...]:
    """A list of HTTP's verbs."""
    if not isinstance(value, list) or not value:
        raise ValidationError("must be a list of verbs, such as [GET, POST]")
    wrong: dict[int, list[str]] = {}
    for index, item in enumerate(value):
        if item not in VERBS:
            found = shown(item) if isinstance(item, str) else "this"
            wrong[index] = [f"must be {', '.join(VERBS[:-1])} or {VERBS[-1]}, not {found}"]
        elif item in value[:index]:
            wrong[index] = [f"{item} is given twice"]
    if wrong:
        raise ValidationError(wrong)
    return tuple(str(item) for item in value)


@accepts({"type": "array", "items": {"type": "string"}})
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


@accepts({"type": "string", "pattern": rf"^{_PREFIX.pattern}$|\$\{{"})
def prefix(text: str) -> str:
    """The path before module and method."""
    if not _PREFIX.fullmatch(text) or len(text) > 200 or any(part in {".", ".."} for part in text.split("/")):
        raise ValueError(
            "must be a path such as /v1/api: it begins with '/', does not end with it, "
            "and has letters, digits, '.', '_', '~' and '-' between"
        )
    return str(text)


@accepts(lambda: Named("auth", {"oneOf": [_auth_form(*one) for one in _AUTH_FORMS]}))
def auth(value: Any) -> Auth:
    """Who may call an API: {mode: none}, {mode: token, token: …} or {mode: password, users: …}."""
    if not isinstance(value, dict):
        raise ValidationError("must be a mapping such as {mode: none}, {mode: token, token: …}; its mode must be said")
    mode = value.get("mode")
    schema = _AUTH.get(mode, _ANY_AUTH) if isinstance(mode, str) else _ANY_AUTH
    given, wrong = loaded(schema.load, value)
    for key in value:
        other = next((name for name, known in _AUTH.items() if key in known.fields), None)
        if other and key not in schema.fields:
            wrong[key] = [f"mode {mode!s} takes no {key}: say mode: {other}, or take {key} away"]
    if mode == "signature":
        signature = signature_auth(given, wrong)
        checked(None, wrong)
        if signature is not None:
            return signature
    if mode == "token" and ("token" in value) == ("tokens" in value):
        wrong["_schema"] = ["mode token takes exactly one of token and tokens"]
    if mode == "token" and "header" in value and "in" in value:
        wrong["in"] = ["and header are two places: the token comes in one"]
    if mode == "password" and "users" not in value:
        wrong["_schema"] = ["mode password takes users, such as users: {ada: …}"]
    checked(None, wrong)
    if mode == "token":
        tokens = given["tokens"] if "tokens" in given else {"token": given["token"]}
        return TokenAuth(tokens, "" if given.get("in") == "path" else given.get("header", "token"))
    return PasswordAuth(given["users"]) if mode == "password" else NoAuth()


@accepts(lambda: _INPUT)
def declared_input(value: Any) -> Input:
    """Read the `input` of an API."""
    given = _INPUT.load(value)
    return Input(fields=given["fields"], unknown=given.get("unknown", "reject"))


def _optional(convert: Callable[[Any], Any], **options: Any) -> Partial:
    """Return a field for what may stand there empty, all its entries commented out."""
    return Partial(convert, allow_none=True, **options)


def _auth_form(mode: str, keys: Sequence[str], more: Sequence[str]) -> Form:
    fields = _AUTH[mode].fields
    return mapping({"mode": {"const": mode}, **{key: fields[key] for key in (*keys, *more)}}, ["mode", *keys])


class _AuthSchema(Strict):
    def handle_error(self, error: ValidationError, data: Any, *, many: bool, **kwargs: Any) -> None:
        """A key of another mode is `auth`'s to tell; what is left is misspelt."""
        super().handle_error(error, data, many=many, **kwargs)
        if isinstance(error.messages, dict):
            for key in set(data) - _ANY_AUTH.fields.keys() - self.fields.keys():
                error.messages[key] = [unknown_key(key, self.fields, hints.AUTH)]


_mode = Scalar(choice(MODES, show=False), required=True)
_one = Scalar(secret)
_tokens = Value(each(_one, caller, at_least=1))
_place = {"header": Scalar(header), "in": Scalar(choice(("header", "path")))}
_AUTH: dict[str, Schema] = {
    "none": _AuthSchema.from_dict({"mode": _mode})(),
    "token": _AuthSchema.from_dict({"mode": _mode, "token": _one, "tokens": _tokens, **_place})(),
    "password": _AuthSchema.from_dict({"mode": _mode, "users": _tokens})(),
    "signature": _AuthSchema.from_dict({"mode": _mode, **SIGNATURE_FIELDS})(),
}
_ANY_AUTH = _AuthSchema.from_dict({"mode": _mode, "token": _one, "tokens": _tokens, "users": _tokens, **_place})()

# By mode: the key with its secrets, if it takes any, of which each has exactly one; and further keys.
_AUTH_FORMS: tuple[tuple[str, Sequence[str], Sequence[str]], ...] = (
    ("none", (), ()),
    ("token", ("token",), tuple(_place)),
    ("token", ("tokens",), tuple(_place)),
    ("password", ("users",), ()),
    ("signature", ("scheme", "secrets"), tuple(set(SIGNATURE_FIELDS) - {"scheme", "secrets"})),
)
_INPUT: Strict = Strict.from_dict(
    {
        "fields": Value(declared, required=True),
        "unknown": Scalar(choice(UNKNOWNS)),
    }
)()

_API = Strict.from_dict(
    {
        "description": Scalar(str),
        "enabled": Scalar(boolean, metadata={"default": False}),
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
            {"type": "string", "minLength": 1},
            required=True,
            error_messages={"required": f"is missing: name one of `workflows`, or {REFERENCE_FORM}"},
        ),
        "input": Value(declared_input),
        "when": Scalar(expression),
        "sync": Scalar(duration(1, 60)),
        **KEYS,
        **limits.KEYS,
        "callback": callbacks.NAMES,
        "debug": Value(free, allow_none=True, metadata={"description": "A simulated request's input"}),
    }
)(hints.API)

_MODULE = Strict.from_dict(
    {
        "description": Scalar(str),
        "methods": _optional(each(Section(_API, "api"), name("method"))),
    }
)(hints.MODULE)

_SERVER = Strict.from_dict(
    {
        "prefix": Scalar(prefix, metadata={"default": "/v1/api"}),
        "max_body": Scalar(size(1, 64 * 1024**2), metadata={"default": "1 MiB"}),
        "proxies": Scalar(integer(0, 16), metadata={"default": 0}),
        "hosts": Value(hosts),
        "backlog": Scalar(integer(1, 10_000_000), metadata={"default": 100_000}),
        "auth_failures": Scalar(integer(1, 1_000_000), metadata={"default": 30}),
        "from": Value(limits.networks),
        "callback": callbacks.NAMES,
    }
)(hints.SERVER)

CONFIG: Schema = Strict.from_dict(
    {
        "server": Section(_SERVER, allow_none=True),
        "redis": Scalar(redis_url, allow_none=True, metadata={"description": "URL of a Redis; empty: a private one"}),
        "retention": Scalar(duration(60, 3650 * DAY), metadata={"default": "7d"}),
        "workers": Scalar(workers, metadata={"default": 2}),
        "idempotency": Scalar(duration(1, 365 * DAY), metadata={"default": "24h"}),
        "crashes": Scalar(integer(1, 1000), metadata={"default": 5}),
        "stop_grace": Scalar(duration(0, DAY), metadata={"default": "25s"}),
        "cancel_grace": Scalar(duration(0, DAY), metadata={"default": "10s"}),
        "logs": Scalar(size(16 * 1024, 64 * 1024**2), metadata={"default": "1 MiB"}),
        "keep": Scalar(integer(1, 10_000_000)),
        "docs": Scalar(choice(AUDIENCES), metadata={"default": "operators"}),
        "metrics": Scalar(choice(AUDIENCES), metadata={"default": "operators"}),
        "operators": _optional(each(Scalar(operator_secret), caller)),
        "callbacks": _optional(each(Partial(callbacks.callback), name("callback"))),
        "workflows": _optional(each(Partial(workflow), name("workflow"))),
        "modules": _optional(each(Section(_MODULE, "module"), name("module")), required=True),
    }
)(
    hints.ROOT,
    {"patternProperties": {"^x-": {"description": "Anything: for anchors (&NAME) that are used elsewhere (*NAME)"}}},
)
