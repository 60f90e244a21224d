"""The keys of an API that say what its sender sends and expects: signatures, headers, body, answer."""

from __future__ import annotations

import re
from typing import Any, get_args

from marshmallow import ValidationError

from trigger.config import hints
from trigger.config.declarations import choice
from trigger.config.forms import TEXT, accepts, form_of, mapping, pattern
from trigger.config.model import Answer, BodyKind, Files, Handshake, SignatureAuth
from trigger.config.parts import Scalar, Strict, Value, checked, each, loaded
from trigger.config.references import Replaced
from trigger.config.scalars import DAY, duration, integer, shown, size
from trigger.config.secret import HASH_PREFIX, Secret
from trigger.signatures import SCHEMES, Digest, Encoding, Scheme
from trigger.signatures.schemes import IN_BODY, split

CUSTOM = "custom"
TOLERANCE = 300.0  # seconds
MAX_SECRETS = 4
MAX_HEADERS = 20
# Keys that say how a sender signs, where no scheme does.
_OF_CUSTOM = ("header", "digest", "encoding", "prefix", "signed", "timestamp", "id")
# They hold secrets, or belong to the connection, or are Trigger's own.
_NOT_DECLARED = frozenset(
    [
        "authorization",
        "proxy-authorization",
        "cookie",
        "token",
        "user",
        "password",
        "connection",
        "transfer-encoding",
        "content-length",
        "te",
        "trailer",
        "upgrade",
    ]
)

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^`|~-]{1,100}")  # as in RFC 9110, 5.6.2, but for "_", which WSGI has as "-"
_ALIAS = re.compile(r"[a-z][a-z0-9_]{0,63}")
_IN_BODY = re.compile(rf"{IN_BODY}[A-Za-z0-9_-]{{1,64}}(?:\.[A-Za-z0-9_-]{{1,64}}){{0,4}}")


def is_header(text: str) -> bool:
    """Whether a text can be the name of a header."""
    return _HEADER.fullmatch(text) is not None


@accepts(pattern(_HEADER.pattern))
def header(text: str) -> str:
    """The name of a header."""
    if not is_header(text):
        raise ValueError(f"must be the name of a header, such as X-Signature, not {shown(text)}")
    return str(text)


@accepts({"anyOf": [form_of(header), pattern(_IN_BODY.pattern)]})
def place(text: str) -> str:
    """The header that the id of a delivery is in, or `body:` and the dotted path to it in a body of JSON."""
    if text.startswith(IN_BODY) and not _IN_BODY.fullmatch(text):
        raise ValueError(f"must be a header, or a path in the body such as {IN_BODY}event.id, not {shown(text)}")
    return str(text) if text.startswith(IN_BODY) else header(text)


@accepts(
    {**TEXT, "description": "The secret, or a reference such as ${NAME} or ${file:PATH}; an empty one is left out"}
)
def signing_secret(text: str) -> Secret | None:
    """What a sender signs with. The messages never show it."""
    if not text:
        return None
    if not text.isprintable() or text != text.strip():
        raise ValueError("begins or ends with a blank, or holds a character that can't be printed")
    if text.startswith(HASH_PREFIX):
        raise ValueError("is a hash: a signature can be checked only with the secret itself")
    if isinstance(text, Replaced):
        return Secret(str(text), reference=text.reference, unset=text.unset)
    return Secret(str(text))


@accepts({"anyOf": [{"const": "off"}, form_of(duration(1, 365 * DAY))]})
def once(text: str) -> float | None:
    """For how long a delivery's id is remembered, in seconds; None for not at all."""
    return None if text == "off" else duration(1, 365 * DAY)(text)


@accepts({"type": "string"})
def signed(text: str) -> str:
    """What is signed, with `{body}`, `{timestamp}` and `{id}` for parts of the request."""
    split(text)
    return str(text)


def signature_auth(given: dict[str, Any], wrong: dict[str, Any]) -> SignatureAuth | None:
    """Return {mode: signature, …} as a value; None where something is added to what is `wrong`."""
    named = given.get("scheme")
    if named == CUSTOM:
        scheme = _custom(given, wrong)
    elif named is not None:
        scheme = SCHEMES[named]
        for key in _OF_CUSTOM:
            if key in given:
                wrong[key] = [f"is fixed by the scheme {named}: take it away, or say scheme: {CUSTOM}"]
    else:
        scheme = None
    secrets = {name: secret for name, secret in (given.get("secrets") or {}).items() if secret is not None}
    if "secrets" in given and "secrets" not in wrong:
        _check_secrets(scheme, given["secrets"], secrets, wrong)
    if scheme is not None and "tolerance" in given and not scheme.has_time:
        wrong["tolerance"] = ["has no effect: this sender signs no time"]
    if scheme is not None and given.get("once") is not None and not scheme.ids:
        wrong["once"] = [
            "needs the id of a delivery: say its header, as id: X-Delivery, or its place, as id: body:event.id"
        ]
    if wrong or scheme is None or named is None:
        return None
    tolerance = given.get("tolerance", TOLERANCE) if scheme.has_time else None
    return SignatureAuth(scheme, secrets, tolerance, given.get("once"), named)


def _custom(given: dict[str, Any], wrong: dict[str, Any]) -> Scheme | None:
    if "header" not in given:
        wrong.setdefault("header", ["is missing: name the header that the signature is in"])
        return None
    what = given.get("signed", "{body}")
    if "{timestamp}" in what and "timestamp" not in given:
        wrong.setdefault("timestamp", ["is missing: name the header that {timestamp} in `signed` is in"])
    if "timestamp" in given and "{timestamp}" not in what:
        wrong.setdefault("timestamp", ["is not signed, so anybody can change it: write {timestamp} in `signed`"])
    if "{id}" in what and "id" not in given:
        wrong.setdefault("id", ["is missing: name the header that {id} in `signed` is in"])
    if "{id}" in what and given.get("id", "").startswith(IN_BODY):
        wrong.setdefault("id", ["is in the body: an {id} that is signed beside it must be in a header"])
    ids = (given["id"],) if "id" in given else ()
    keys = {key: given[key] for key in _OF_CUSTOM if key in given and key != "id"}
    return Scheme(**keys, ids=ids)


def _check_secrets(
    scheme: Scheme | None, given: dict[str, Any], secrets: dict[str, Secret], wrong: dict[str, Any]
) -> None:
    if not secrets:
        wrong["secrets"] = ["are all empty: one must have a value"]
    elif len(given) > MAX_SECRETS:
        wrong["secrets"] = [f"are more than {MAX_SECRETS}: all of them are tried for each call"]
    elif scheme is not None:
        bad: dict[str, list[str]] = {}
        for name, secret in secrets.items():
            try:
                if not secret.unset:
                    scheme.key(secret.reveal())
            except ValueError as error:
                bad[name] = [str(error)]
        if bad:
            wrong["secrets"] = bad


def _alias(text: str) -> str | None:
    """What is wrong with the name that a header has in templates."""
    if _ALIAS.fullmatch(text):
        return None
    return "must begin with a small letter, and have small letters, digits and '_': templates use it as headers.NAME"


@accepts({"type": "object", "additionalProperties": form_of(header), "propertyNames": pattern(_ALIAS.pattern)})
def headers(value: Any) -> dict[str, str]:
    """The headers that templates and the record show, by the names that they have there."""
    found: dict[str, str] = each(Scalar(header), _alias, 1)(value)
    wrong = {
        name: [f"{shown(text)} is never shown: it holds a secret, or belongs to the connection"]
        for name, text in found.items()
        if text.lower() in _NOT_DECLARED
    }
    if len(found) > MAX_HEADERS:
        wrong["_schema"] = [f"are more than {MAX_HEADERS}"]
    checked(None, wrong)
    return found


@accepts(lambda: _ANSWER)
def answer(value: Any) -> Answer:
    """What the sender is answered where it needs something else than 202 and the uid."""
    given, wrong = loaded(_ANSWER.load, value)
    needs = given.get("handshake") == "meta"
    if needs != ("verify" in given) and "verify" not in wrong and "handshake" not in wrong:
        wrong["verify"] = [
            "is missing: the handshake of meta compares it with hub.verify_token"
            if needs
            else "is for the handshake of meta only"
        ]
    if given.get("body") == "uid" and given.get("status") == 204:
        wrong["body"] = ["can't be sent with the status 204"]
    checked(None, wrong)
    return Answer(**given)


@accepts({"anyOf": [{"const": "ignore"}, mapping({"max": {}, "size": {}}, ["max", "size"])]})
def files(value: Any) -> Files:
    """What becomes of a form's files."""
    if value == "ignore":
        return Files()
    if not isinstance(value, dict):
        raise ValidationError("must be ignore, or a mapping such as {max: 5, size: 10 MiB}")
    return Files(**_FILES.load(value))


SIGNATURE_FIELDS: dict[str, Value] = {
    "scheme": Scalar(choice((*SCHEMES, CUSTOM)), required=True),
    "secrets": Value(each(Scalar(signing_secret), lambda _: None, 1), required=True),
    "tolerance": Scalar(duration(1, 3600), metadata={"default": "5m"}),
    "once": Scalar(once),
    "header": Scalar(header),
    "digest": Scalar(choice(get_args(Digest))),
    "encoding": Scalar(choice(get_args(Encoding))),
    "prefix": Scalar(str),
    "signed": Scalar(signed),
    "timestamp": Scalar(header),
    "id": Scalar(place),
}
_ANSWER: Strict = Strict.from_dict(
    {
        "status": Scalar(integer(200, 204), metadata={"default": 202}),
        "body": Scalar(choice(("uid", "none")), metadata={"default": "uid"}),
        "head": Scalar(integer(200, 204)),
        "handshake": Scalar(choice(get_args(Handshake))),
        "verify": Scalar(signing_secret),
    }
)(hints.ANSWER)
_FILES: Strict = Strict.from_dict(
    {
        "max": Scalar(integer(1, 100), required=True),
        "size": Scalar(size(1, 64 * 1024**2), required=True),
    }
)()
BODIES = get_args(BodyKind)
KEYS: dict[str, Value] = {
    "headers": Value(headers),
    "answer": Value(answer),
    "body": Scalar(choice(BODIES), metadata={"default": "auto"}),
    "files": Value(files),
}
