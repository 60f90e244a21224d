"""The curl lines that call an API, as they may be shown: with no secret but those that are public anyway."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from trigger.config.model import Api, Auth, BodyKind, NoAuth, PasswordAuth, SignatureAuth, TokenAuth, Verb
from trigger.config.secret import Secret
from trigger.errors import InvalidParams
from trigger.fields.model import MISSING
from trigger.inputs import as_query, mask, secrets_of_debug
from trigger.signatures import sign

_TYPES: Mapping[BodyKind, str] = {
    "auto": "application/json",
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "text": "text/plain",
    "xml": "application/xml",
    "lines": "application/x-ndjson",
    "raw": "application/octet-stream",
}


def sample(api: Api) -> Any:
    """An API's simulated request as it may be shown; an empty object where none is declared."""
    return {} if api.debug is MISSING else mask(api.debug, secrets_of_debug(api))


def arguments(api: Api, verb: Verb, base: str, value: Any, *, signed: float | None = None, waits: bool = False) -> str:
    """The arguments for curl that call an API with the input `value`. `base` is the URL up to the module.

    By GET, a value that no query can hold is left out. `signed` is when the call is signed, in seconds since 1970, with
    the first secret of a signed API; None for words that stand for a signature. `waits`: the call waits for the end.
    """
    headers = _headers(api.auth)
    body = b"" if verb == "GET" else payload(api, value)
    if isinstance(api.auth, SignatureAuth) and signed is not None and body is not None:
        name = next(iter(api.auth.secrets))
        headers = [f"{header}: {text}" for header, text in signature(api.auth, name, body, now=signed, hidden=True)]
    url = url_of(api, base, waits=waits)
    words = [f"-H{quoted(header)}" for header in headers]
    if verb != "GET":
        words += with_body(api, verb, body, as_json=isinstance(value, dict | list | str))
    elif query := _query(value):
        url = quoted(f"{url}?{query}")
    return " ".join([*words, url])


def url_of(api: Api, base: str, *, waits: bool = False) -> str:
    """Where an API is called, also where such a call `waits`. `base` is the URL up to the module."""
    url = f"{base}/{api.module}/{api.method}/{'sync' if waits else 'async'}"
    if isinstance(api.auth, TokenAuth) and api.auth.in_path:
        return f"{url}/{_shown(next(iter(api.auth.tokens.values())), 'YOUR-TOKEN')}"
    return url


def content_type(api: Api) -> str:
    """The Content-Type of what an API's sender sends."""
    return _TYPES[api.body]


def payload(api: Api, value: Any) -> bytes | None:
    """The body that stands for an input; None where none can be made of it: of XML, and of bytes."""
    if api.body == "text" and isinstance(value, str):
        return value.encode()
    if api.body == "lines" and isinstance(value, list):
        return "\n".join(json.dumps(line, ensure_ascii=False) for line in value).encode()
    if api.body == "form":
        return (_query(value) or f"payload={quote(json.dumps(value, ensure_ascii=False))}").encode()
    return None if api.body in ("xml", "raw") else json.dumps(value, ensure_ascii=False).encode()


def with_body(api: Api, verb: Verb, body: bytes | None, *, file: str = "FILE", as_json: bool = True) -> list[str]:
    """The arguments for curl that send a body, or where that is None, what is in the `file`.

    `as_json`: JSON is told from a form by how it begins, if it has to be.
    """
    words = [] if verb == "POST" else [f"-X {verb}"]
    if api.body not in ("auto", "form") or not as_json:
        words.append(f"-H{quoted(f'Content-Type: {content_type(api)}')}")
    if body is None:
        return [*words, f"--data-binary {quoted(f'@{file}')}"]
    text = body.decode()
    # curl takes what begins with @ for the name of a file.
    return [*words, f"{'--data-raw' if text.startswith('@') else '-d'} {quoted(text)}"]


def signature(
    auth: SignatureAuth, name: str, body: bytes, *, now: float, hidden: bool = False
) -> Iterable[tuple[str, str]]:
    """The headers with which a sender signs a body, with the secret of that name.

    `now` is in seconds since 1970. `hidden`: a header that is the secret itself has words that stand for it.
    """
    made = sign(auth.scheme, auth.secrets[name].reveal(), body, now=now, delivery=secrets.token_hex(8))
    is_secret = hidden and auth.scheme.layout == "plain"
    for header, text in made.items():
        yield header, placeholder(header) if is_secret and header == auth.scheme.header else text


def quoted(text: str) -> str:
    """A text as one word for a shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def _query(value: Any) -> str:
    try:
        return as_query(value)
    except InvalidParams:
        return ""


def _headers(auth: Auth) -> list[str]:
    match auth:
        case TokenAuth(tokens, header):
            token = _shown(next(iter(tokens.values())), "YOUR-TOKEN")
            return [f"{header}:{token}"] if header else []
        case PasswordAuth(users):
            user, secret = next(iter(users.items()))
            return [f"user:{user}", f"password:{_shown(secret, 'YOUR-PASSWORD')}"]
        case SignatureAuth(scheme):
            return [f"{header}:{placeholder(header)}" for header in scheme.headers]
        case NoAuth():
            return []


def placeholder(header: str) -> str:
    """The words that stand for a header's value, to be replaced."""
    return f"YOUR-{header.upper()}"


def _shown(secret: Secret, placeholder: str) -> str:
    return secret.reveal() if not secret.hashed and secret.demo else placeholder
