"""The request of an http step: its method, URL, headers and body, ready for the wire."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlencode, urljoin

from trigger.config.model import MIN_MASKED, HttpAction
from trigger.errors import HttpError
from trigger.fields.model import MISSING
from trigger.templates import as_text

if TYPE_CHECKING:  # a process that sends nothing does without urllib3
    from urllib3.util import Url

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# What another host may be told after a redirect. Any other header may be a credential, whatever its name.
_HARMLESS = frozenset({"accept", "accept-language", "content-type", "user-agent"})


@dataclass(frozen=True, slots=True)
class Message:
    """One request. `headers` are by name as it is sent; `secrets` are texts that no error may show."""

    method: str
    url: Url = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    shows_path: bool = True  # in errors: False where the path may be a credential, too

    @property
    def origin(self) -> tuple[str | None, str | None, int]:
        """Scheme, host and port: who is spoken to."""
        return self.url.scheme, self.url.host, self.url.port or (443 if self.url.scheme == "https" else 80)

    def __str__(self) -> str:
        """The message as errors show it: without what may be a credential in its URL."""
        path = self.url.path if self.shows_path else None
        return f"{self.method} {self.url._replace(auth=None, path=path, query=None, fragment=None)}"


def message_of(action: HttpAction) -> Message:
    """The message that a rendered action stands for. Raises HttpError where its values don't make one."""
    url = _parsed(as_text(action.url))
    pairs = urlencode(list(_pairs("query", action.query)))
    if pairs:
        url = url._replace(query=f"{url.query}&{pairs}" if url.query else pairs)
    headers = dict(_headers(action.headers))
    given = {name.lower() for name in headers}
    secrets = [value for name, value in headers.items() if name.lower() not in _HARMLESS]
    if url.auth is not None and "authorization" not in given:
        user, _, password = url.auth.partition(":")
        secrets += [unquote(password)]
        pair = f"{unquote(user)}:{unquote(password)}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    body, kind = _body(action)
    if kind and "content-type" not in given:
        headers["Content-Type"] = kind
    if "user-agent" not in given:
        headers["User-Agent"] = "Trigger"
    return Message(
        method=action.method,
        url=url._replace(auth=None, fragment=None),
        headers=headers,
        body=body,
        secrets=tuple(value for value in secrets if len(value) >= MIN_MASKED),
    )


def redirected(message: Message, status: int, location: str) -> Message:
    """Where a redirect leads: as browsers have it, only 307 and 308 repeat a POST.

    Raises HttpError where it may not go.
    """
    try:
        url = _parsed(urljoin(message.url.url, location))._replace(auth=None, fragment=None)
    except ValueError:
        raise HttpError(f"{message}: redirected to what is no URL") from None
    except HttpError as error:
        raise HttpError(f"{message}: redirected, and {error}") from None
    if message.url.scheme == "https" and url.scheme != "https":
        raise HttpError(f"{message}: redirected from https to http, which is not followed")
    following = replace(message, url=url)
    dropped: set[str] = set()
    if (status == 303 and message.method != "HEAD") or (status in {301, 302} and message.method == "POST"):
        following = replace(following, method="GET", body=None)
        dropped = {"content-type", "content-encoding", "content-language"}
    same = following.origin == message.origin
    headers = {
        name: value
        for name, value in message.headers.items()
        if name.lower() not in dropped and (same or name.lower() in _HARMLESS)
    }
    return replace(following, headers=headers)


def _parsed(text: str) -> Url:
    from urllib3.exceptions import LocationParseError
    from urllib3.util import parse_url

    try:
        url = parse_url(text.strip())
    except LocationParseError:
        url = None
    if url is None or url.scheme not in {"http", "https"} or not url.host or url.port == 0:
        raise HttpError("the URL must look like https://host/path; what the step's url gives does not")
    return url


def _pairs(what: str, values: Any) -> Iterator[tuple[str, str]]:
    """Each name with each of its values; null is none."""
    if not isinstance(values, Mapping):
        raise HttpError(f"{what} must be an object, not a {type(values).__name__}")
    for name, value in values.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            if one is not None:
                yield name, as_text(one)


def _headers(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if value is None:
            continue
        text = as_text(value).strip(" \t")
        try:
            text.encode("latin-1")
            wrong = bool(_CONTROL.search(text))
        except UnicodeEncodeError:
            wrong = True
        if wrong:  # not shown: it may be a credential
            raise HttpError(
                f"the header {name} has a value with a line end or another character that no header may have"
            )
        yield name, text


def _body(action: HttpAction) -> tuple[bytes | None, str | None]:
    """The body, and the type it is of."""
    if action.json is not MISSING:
        return json.dumps(action.json, ensure_ascii=False, allow_nan=False).encode(
            "utf-8", "replace"
        ), "application/json"
    if action.form is not MISSING:
        return urlencode(list(_pairs("form", action.form))).encode(), "application/x-www-form-urlencoded"
    if action.body is not MISSING:
        return as_text(action.body).encode("utf-8", "replace"), "text/plain; charset=utf-8"
    return None, None
