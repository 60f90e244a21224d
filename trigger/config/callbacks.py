"""The schema of an entry of `callbacks`, and of the key `callback` that names some of them."""

from __future__ import annotations

import base64
import ipaddress
import re
import socket
from collections.abc import Mapping
from email.errors import MessageError
from email.headerregistry import Address
from typing import Any, get_args
from urllib.parse import unquote, urlsplit

from marshmallow import ValidationError

from trigger.config import hints
from trigger.config.addresses import PORTS, is_public
from trigger.config.declarations import choice
from trigger.config.forms import TEXT, accepts, form_of, items
from trigger.config.model import Callback, CallbackFormat, End, Included, Mail
from trigger.config.parts import Scalar, Strict, Value, checked, loaded, many
from trigger.config.references import Replaced
from trigger.config.scalars import shown
from trigger.config.secret import Secret
from trigger.config.senders import MAX_SECRETS, signing_secret
from trigger.signatures import SCHEMES

MAX_NAMES = 10
MAX_URL = 2000
MAX_ADDRESS = 254
SCHEMES_OF_MAIL = ("smtp", "smtps")
LOCAL = ("localhost", "localhost.localdomain")

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")


@accepts({**TEXT, "description": "A URL, or a reference such as ${NAME}: it may hold a secret"})
def url(text: str) -> Secret:
    """Where a callback is sent. The messages never show it."""
    return _url(text, ("http", "https"), "https://host/path")


@accepts({**TEXT, "description": "smtp://USER:PASSWORD@HOST:587, or smtps:// where all of the connection is TLS"})
def smtp(text: str) -> Secret:
    """The server that mail is handed to. The messages never show it."""
    found = _url(text, SCHEMES_OF_MAIL, "smtp://user:password@host:587")
    parts = urlsplit(text)
    if not found.unset and (parts.username is None) != (parts.password is None):
        raise ValueError("has a user without a password, or the other way round: smtp://user:password@host:587")
    return found


def _url(text: str, schemes: tuple[str, ...], example: str) -> Secret:
    if isinstance(text, Replaced) and text.unset:
        return Secret(str(text), reference=text.reference, unset=True)
    try:
        parts = urlsplit(text)
        valid = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or len(text) > MAX_URL or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"must be a URL such as {example}")
    return Secret(str(text), reference=text.reference if isinstance(text, Replaced) else "")


@accepts(form_of(signing_secret))
def secret(text: str) -> Secret | None:
    """What the callback is signed with; None where it is empty. The messages never show it."""
    found = signing_secret(text)
    if found is not None and not found.unset:
        SCHEMES["standard"].key(found.reveal())
    return found


@accepts({"type": "string", "pattern": "@|\\$\\{"})
def mail_address(text: str) -> str:
    """An address of mail, alone."""
    try:
        valid = len(text) <= MAX_ADDRESS and bool(_ADDRESS.fullmatch(text) and Address(addr_spec=text))
    except (ValueError, MessageError):
        valid = False
    if not valid:
        raise ValueError("must be an address such as ops@example.org, alone")
    return str(text)


_NAMES = many(Scalar(str), "the name of a callback, or a list of them", at_least=0)


@accepts({"oneOf": [{"type": "string"}, items({"type": "string"}, 0)]})
def callback_names(value: Any) -> tuple[str, ...]:
    """The names of callbacks: one, or a list, which may be empty: then nobody is told."""
    names = _NAMES([value] if isinstance(value, str) else value)
    wrong = {index: [f"{shown(name)} is given twice"] for index, name in enumerate(names) if name in names[:index]}
    if len(names) > MAX_NAMES:
        raise ValidationError(f"are more than {MAX_NAMES}")
    if wrong:
        raise ValidationError(wrong)
    return tuple(names)


def _words(options: tuple[str, ...]) -> Any:
    one = choice(options)
    read = many(Scalar(one), f"a list of {', '.join(options)}")

    @accepts({**items({"enum": options}), "uniqueItems": True})
    def convert(value: Any) -> tuple[str, ...]:
        return tuple(dict.fromkeys(read(value)))

    return convert


@accepts(lambda: _MAIL)
def mail(value: Any) -> Mail:
    """Whom a mail is sent to, from whom, and by which server."""
    given = _MAIL.load(value)
    return Mail(tuple(given["to"]), given["from"], given["smtp"])


@accepts(lambda: _CALLBACK)
def callback(value: Any) -> dict[str, Any]:
    """An entry of `callbacks`, by the names that a Callback has for its keys."""
    given, wrong = loaded(_CALLBACK.load, value)
    if isinstance(value, Mapping):
        _check(value, given or {}, wrong)
    valid: dict[str, Any] = checked(given, wrong)
    secrets = tuple(one for one in valid.get("secrets", ()) if one is not None)
    return {**valid, "secrets": secrets} if "secrets" in valid else valid


_NOT_PUBLIC = "is not on the internet: say `addresses: any` of the callback if that is what you mean"


def _check(value: Mapping[str, Any], given: Mapping[str, Any], wrong: dict[str, Any]) -> None:
    said = value.get("format", "mail" if "mail" in value else "standard")
    if ("url" in value) == ("mail" in value):
        wrong["_schema"] = ['takes exactly one of url: "https://…" and mail: {to: [...], from: ..., smtp: ...}']
    if "mail" in value and "format" in value:
        wrong.setdefault("format", ["is that of a url: take it away, a mail has its own"])
    if "secrets" in value and said != "standard":
        wrong.setdefault("secrets", [f"have no effect: {said} can't be signed"])
    if "include" in value and said not in ("standard", "mail"):
        wrong.setdefault("include", [f"has no effect: {said} has nothing but a text"])
    if "secrets" in given and "secrets" not in wrong:
        if not any(given["secrets"]):
            wrong["secrets"] = ["are all empty: one must have a value"]
        elif len(given["secrets"]) > MAX_SECRETS:
            wrong["secrets"] = [f"are more than {MAX_SECRETS}: each signs what is sent"]
    if given.get("addresses", "public") == "public":
        url, its_mail = given.get("url"), given.get("mail")
        if isinstance(url, Secret) and "url" not in wrong and is_local(host_of(url)):
            wrong["url"] = [_NOT_PUBLIC]
        if isinstance(its_mail, Mail) and "mail" not in wrong and is_local(host_of(its_mail.smtp)):
            wrong["mail"] = {"smtp": [_NOT_PUBLIC]}


def host_of(url: Secret) -> str:
    """The host of a URL in lower case; empty while that could not be replaced."""
    return "" if url.unset else (urlsplit(url.reveal()).hostname or "")


def goes_to(callback: Callback) -> tuple[str, str, int]:
    """Return the scheme, the host and the port that a callback connects to."""
    url = callback.mail.smtp if callback.mail is not None else callback.url
    parts = urlsplit(url.reveal() if url is not None else "")
    return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or PORTS.get(parts.scheme, 0)


def is_local(host: str) -> bool:
    """Whether a host is known not to be on the internet without asking for its addresses."""
    name = host.rstrip(".")
    try:
        # Also as it is written in other ways that mean an address when it is connected to: 127.1, 0x7f000001.
        name = socket.inet_ntoa(socket.inet_aton(name))
    except OSError:
        pass
    try:
        return not is_public(name) if name else False
    except ValueError:
        return name in LOCAL


def is_loopback(host: str) -> bool:
    """Whether what is sent to a host stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOCAL


def is_short(secret: Secret) -> bool:
    """Whether the key of a secret has fewer bytes than Standard Webhooks asks for."""
    return not secret.unset and len(SCHEMES["standard"].key(secret.reveal())) < MIN_KEY


def guarded(callback: Callback) -> tuple[str, ...]:
    """Return the texts of a callback that must be shown nowhere: its secrets, and the parts of its URLs that may be."""
    found = [one.reveal() for one in callback.secrets]
    for address in (callback.url, callback.mail.smtp if callback.mail else None):
        if address is None:
            continue
        parts = urlsplit(address.reveal())
        found += [address.reveal(), parts.path, parts.query, f"{parts.path}?{parts.query}" if parts.query else ""]
        found += [one for value in (parts.password,) if value for one in (value, unquote(value))]
        if parts.username and not parts.password:
            found.append(unquote(parts.username))
        elif parts.username and parts.password:
            pair = f"{unquote(parts.username)}:{unquote(parts.password)}"
            found.append(base64.b64encode(pair.encode()).decode())
    return tuple(found)


MIN_KEY = 24  # bytes
_MAIL: Strict = Strict.from_dict(
    {
        "to": Value(many(Scalar(mail_address), "a list of addresses, such as [ops@example.org]"), required=True),
        "from": Scalar(mail_address, required=True),
        "smtp": Scalar(smtp, required=True),
    }
)(hints.MAIL)
_CALLBACK: Strict = Strict.from_dict(
    {
        "url": Scalar(url),
        "mail": Value(mail),
        "secrets": Value(many(Scalar(secret), 'a list of secrets, such as ["${CB_SECRET}"]')),
        "format": Scalar(choice(get_args(CallbackFormat)), metadata={"default": "standard"}),
        "on": Value(_words(get_args(End))),
        "include": Value(_words(get_args(Included))),
        "addresses": Scalar(choice(("public", "any")), metadata={"default": "public"}),
    }
)(hints.CALLBACK, {"oneOf": [{"required": ["url"]}, {"required": ["mail"]}]})
NAMES = Value(callback_names)
