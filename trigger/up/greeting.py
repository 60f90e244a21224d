"""The greeting of `up` when the service is ready: where it is, how to call it, and the way into the console."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from trigger.config.model import Api, Config, NoAuth, PasswordAuth, TokenAuth, Verb
from trigger.config.settings import Settings
from trigger.up import made_password
from trigger.web import curl


def announcement(settings: Settings, config: Config, seconds: float, *, made: bool) -> tuple[str, dict[str, Any]]:
    """Return the event that says so in a log for machines, and its fields: `greeting` is for people.

    It has no link that signs in: a log is kept, and read by others.
    """
    fields: dict[str, Any] = {"address": _address(settings), "seconds": round(seconds, 1)}
    if config.operators:
        fields["console"] = f"{'' if settings.unix is not None else public_base(settings, config)}/console/"
    if config.operators and made:
        fields["password_file"] = str(settings.data / made_password.FILE)
    return f"Trigger is ready on {_address(settings)}", fields


def _address(settings: Settings) -> str:
    return f"http://{settings.authority}" if settings.unix is None else f"unix:{settings.unix}"


def greeting(settings: Settings, config: Config, seconds: float, console: Sequence[str]) -> str:
    """Return the greeting of a service that is ready after `seconds`, with the lines `console` on the console.

    The rest holds no secret that is not public.
    """
    if settings.unix is not None:
        program = f"curl --unix-socket {curl.quoted(str(settings.unix))}"
        base = "http://localhost"
    else:
        base = f"http://{settings.authority}"
        program = "curl"
    base += config.server.prefix
    calls = [f"  {program} {_call(api, base)}" for api in _samples(config.apis.values())]
    lines = [
        f"Trigger is ready on {_address(settings)} ({seconds:.1f} s)",
        "",
        *calls,
        *([""] if calls else []),
        *console,
        "",
        "Ctrl-C stops it.",
    ]
    return "\n".join(lines)


def _samples(apis: Iterable[Api]) -> list[Api]:
    """The first enabled API of each kind of authentication: none, token, password."""
    enabled = [api for api in apis if api.enabled]
    firsts = (next((api for api in enabled if isinstance(api.auth, kind)), None) for kind in _KINDS)
    return [api for api in firsts if api is not None]


_KINDS = (NoAuth, TokenAuth, PasswordAuth)


def _call(api: Api, base: str) -> str:
    needs_input = api.input is not None and any(field.required for field in api.input.fields)
    verb: Verb = "POST" if "POST" in api.verbs else "GET"
    return curl.arguments(api, verb, base, curl.sample(api) if needs_input else {})


def console_lines(settings: Settings, config: Config, key: str | None, *, made: bool) -> list[str]:
    """The way into the console. `made`: its password was made up; `key` is then that of a link that signs in once."""
    if not config.operators:
        named = f"operators: {{admin: ${{{made_password.VARIABLE}:-}}}}"
        return [f"Console: off; to switch it on, name an operator in {config.path.name}, such as {named}"]
    known = f"user {next(iter(config.operators))}, password in {settings.data / made_password.FILE}" if made else ""
    if settings.unix is not None:
        return [f"Console: /console/, through the proxy in front of the socket{f' ({known})' if known else ''}"]
    base = public_base(settings, config)
    if key is None:
        return [f"Console: {base}/console/{f' ({known})' if known else ''}"]
    return [f"Console: {base}/console/sign-in?key={key}", f"  (signs in once, within an hour; later: {known})"]


def public_base(settings: Settings, config: Config) -> str:
    """Where a browser finds the service: at the first host that is served, if the config says which are."""
    host = config.server.host
    if host is None:
        return f"http://{replace(settings, host=settings.local_host).authority}"
    if config.server.proxies:
        return f"https://{host}"
    return f"http://{host}" if ":" in host else f"http://{host}:{settings.port}"
