"""The curl lines that call an API, as they may be shown: with no secret but those that are public anyway."""

from __future__ import annotations

import json
from typing import Any

from trigger.config.model import Api, Auth, NoAuth, PasswordAuth, SignatureAuth, TokenAuth, Verb
from trigger.config.secret import Secret
from trigger.errors import InvalidParams
from trigger.fields.model import MISSING
from trigger.inputs import as_query, mask, secrets_of_debug


def sample(api: Api) -> Any:
    """An API's simulated request as it may be shown; an empty object where none is declared."""
    return {} if api.debug is MISSING else mask(api.debug, secrets_of_debug(api))


def arguments(api: Api, verb: Verb, base: str, value: Any) -> str:
    """The arguments for curl that call an API with the input `value`. `base` is the URL up to the module.

    By GET, a value that no query can hold is left out.
    """
    url = f"{base}/{api.module}/{api.method}/async"
    words = [f"-H{quoted(header)}" for header in _headers(api.auth)]
    if verb == "POST":
        if not isinstance(value, dict | list | str):  # which alone is told from a form by how it begins
            words.append(f"-H{quoted('Content-Type: application/json')}")
        words.append(f"-d {quoted(json.dumps(value, ensure_ascii=False))}")
    elif query := _query(value):
        url = quoted(f"{url}?{query}")
    return " ".join([*words, url])


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
            return [f"{header}:YOUR-{header.upper()}" for header in scheme.headers]
        case NoAuth():
            return []


def _shown(secret: Secret, placeholder: str) -> str:
    return secret.reveal() if not secret.hashed and secret.demo else placeholder
