"""`connect`: what to paste into a sender's form, what to add to the config, and whether its first call arrives."""

from __future__ import annotations

import base64
import re
import secrets
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import click
from redis import Redis
from tabulate import tabulate

from trigger import store
from trigger.cli.common import complain, config_in_force, split_name, to_look_at
from trigger.cli.signing import base_of, with_url
from trigger.cli.terminal import show_record
from trigger.config import Api, Config
from trigger.config.model import SignatureAuth, TokenAuth
from trigger.config.names import name as name_of
from trigger.config.scalars import DAY, duration
from trigger.config.secret import Secret
from trigger.config.senders import CUSTOM
from trigger.errors import UsageError
from trigger.logs import escaped
from trigger.store import Query, calls
from trigger.store.counters import calls_of
from trigger.store.refused import KEPT, Refused, recent_refusals
from trigger.store.times import shown_ms
from trigger.web.curl import content_type, quoted

# The outcomes of right calls that start nothing, and why they do not.
_STARTS_NOTHING = {
    "ignored": "`when` of the API is not true for the call",
    "replayed": "its execution was started by an earlier call with this id",
    "merged": "it has become part of an execution that waits for the end of its burst",
}
LOOK_SECONDS = 0.5  # between two looks for the first call
_RANDOM_BYTES = 32  # of a secret that is made here


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a sender's form calls the URL and the secret (`box`), and the keys that it needs in the config.

    `made_there`: the secret is shown by the sender, which lets nobody choose it. `once` is for how long the sender
    repeats a delivery; `keys` are written below `auth`. What goes into the config is as docs/senders.md has it.
    """

    url: str = "URL"
    box: str = "Secret"
    type: str = "application/json"
    made_there: bool = False
    auth: str = ""
    once: str = "24h"
    keys: tuple[str, ...] = ("body: json",)


_RECIPES: Mapping[str, Recipe] = {
    "bitbucket": Recipe(keys=("headers: {event: X-Event-Key}", "body: json")),
    CUSTOM: Recipe(auth="header: X-Signature\nid: X-Delivery"),
    "gitea": Recipe(url="Target URL", keys=("headers: {event: X-Gitea-Event}", "body: json")),
    "github": Recipe(
        url="Payload URL", keys=("headers: {event: X-GitHub-Event}", "answer: {handshake: github}", "body: json")
    ),
    "gitlab": Recipe(box="Secret token", keys=("headers: {event: X-Gitlab-Event}", "body: json")),
    "shopify": Recipe(
        made_there=True,
        once="7d",
        keys=("headers: {topic: X-Shopify-Topic, shop: X-Shopify-Shop-Domain}", "body: json"),
    ),
    "slack": Recipe(
        url="Request URL",
        box="Signing Secret",
        made_there=True,
        keys=("answer: {handshake: slack}", "body: json"),
    ),
    "standard": Recipe(url="Endpoint URL", box="Signing secret", once="7d"),
    "stripe": Recipe(url="Endpoint URL", box="Signing secret", made_there=True, once="7d"),
    # What signs nothing, and can send a header, or can only be given a URL.
    "token": Recipe(box="Header X-Api-Key", auth="header: X-Api-Key", once="", keys=()),
    "path": Recipe(box="TOKEN", type="", auth="in: path", once="", keys=()),
}


@click.command()
@click.argument("scheme", type=click.Choice(sorted(_RECIPES)))
@click.argument("api", metavar="MODULE/METHOD")
@with_url
@click.option("--wait/--no-wait", default=None, help="Wait for the first call; without it: where this is a terminal.")
@click.option("--timeout", metavar="TIME", default="1h", show_default=True, help="How long to wait, such as 10m.")
def connect(scheme: str, api: str, url: str | None, wait: bool | None, timeout: str) -> None:
    """Connect a sender: what to paste into its form, and what to add to the config.

    Then wait for its first call, and show it, and why those before it were refused. SCHEME says how the sender signs;
    "token" is a secret in a header, "path" one in the URL.
    """
    module, method = split_name(api)
    try:
        patience = duration(0, 365 * DAY)(timeout)
    except ValueError as error:
        raise UsageError(f"--timeout {error}") from None
    if wrong := name_of("module")(module) or name_of("method")(method):
        raise UsageError(wrong)
    found = to_look_at()
    config = config_in_force(found)
    declared = config.apis.get((module, method))
    if declared is not None and _scheme(declared) != scheme:
        click.echo(f"{_state(declared, config)}, which is not {scheme}.")
        click.echo("Change its auth, or connect this sender to a new API: `connect` prints what that needs.")
        sys.exit(1)
    base = base_of(found, config, url)
    path = f"{base}/{module}/{method}/async"
    if url is None and config.server.host is None:
        complain("a sender elsewhere can't reach this URL: say --url, or the service's name as `hosts` under `server`")
    for line in _told(scheme, module, method, path, config, declared):
        click.echo(line)
    if wait or (wait is None and sys.stdout.isatty()):
        redis = found.connect()
        click.echo(f"\nwaiting for the first call of {api}; Ctrl-C stops")
        sys.exit(0 if _arrives(redis, config, module, method, patience) else 1)


def _told(scheme: str, module: str, method: str, url: str, config: Config, declared: Api | None) -> Iterator[str]:
    recipe = _RECIPES[scheme]
    file = config.path.absolute().parent / f"{module}-{method}.secret"
    box, content = recipe.box, recipe.type
    if declared is not None:
        secret = _kept(declared)
        content = content and content_type(declared)
        if isinstance(declared.auth, TokenAuth) and declared.auth.header:
            box = f"Header {declared.auth.header}"
    elif recipe.made_there:
        secret = f"is made there: it goes into {file}, see below"
    else:
        secret = _random(scheme)
    if scheme == "path":
        url = f"{url}/{'TOKEN' if declared is not None else secret}"
    rows = [(recipe.url, url), ("Content type", content), (box, secret)]
    yield f"Paste into the form of the sender ({scheme}):\n"
    yield textwrap.indent(tabulate([row for row in rows if row[1]], tablefmt="plain", disable_numparse=True), "  ")
    if declared is not None:
        yield f"\n{_state(declared, config)}"
        return
    yield f"\n{module}/{method} is not in {config.path.name} yet. Keep its secret in a file that only the service may"
    yield "read: this (in bash or zsh) waits for you to paste it, and neither shows it nor puts it into the history:\n"
    yield f'  (umask 077; IFS= read -rs SECRET && printf %s "$SECRET" > {quoted(str(file))})'
    yield f"\nand add to {config.path.name}; an edit is in force within two seconds:\n"
    yield textwrap.indent(
        yaml_for(scheme, module, method, next(iter(config.workflows), "package.module:callable")), "  "
    )


def yaml_for(scheme: str, module: str, method: str, workflow: str) -> str:
    """Return what is to be added to the config, so that a sender can call an API."""
    recipe = _RECIPES[scheme]
    reference = f'"${{file:{module}-{method}.secret}}"'
    if scheme in ("token", "path"):
        auth = f"mode: token\ntoken: {reference}"
    else:
        auth = f"mode: signature\nscheme: {scheme}\nsecrets: {{current: {reference}}}"
    keys = [auth, *filter(None, (recipe.auth, recipe.once and f"once: {recipe.once}"))]
    lines = [
        "enabled: true",
        "verbs: [POST]",
        "auth:",
        textwrap.indent("\n".join(keys), "  "),
        *recipe.keys,
        f"workflow: {workflow}",
    ]
    body = textwrap.indent("\n".join(lines), " " * 8)
    return f"modules:\n  {module}:\n    methods:\n      {method}:\n{body}"


def _random(scheme: str) -> str:
    made = secrets.token_bytes(_RANDOM_BYTES)
    return f"whsec_{base64.b64encode(made).decode()}" if scheme == "standard" else made.hex()


def _kept(api: Api) -> str:
    """Where the secret of an API is, by the names of what holds it."""
    match api.auth:
        case SignatureAuth(_, named) | TokenAuth(named):
            return ", or ".join(f"the one that {name!r} names{_from(secret)}" for name, secret in named.items())
        case _:
            return ""


def _from(secret: Secret) -> str:
    return f", {secret.reference}" if secret.reference else ""


def _scheme(api: Api) -> str:
    """Return how `connect` calls what an API asks for; empty for what it does not know."""
    match api.auth:
        case SignatureAuth(name=name):
            return name
        case TokenAuth():
            return "path" if api.token_in_path else "token"
        case _:
            return ""


def _state(api: Api, config: Config) -> str:
    match api.auth:
        case SignatureAuth(name=name):
            more = f", scheme: {name}"
        case TokenAuth(header=header):
            more = f", header: {header}" if header else ", in: path"
        case _:
            more = ""
    return (
        f"{api.module}/{api.method} is in {config.path.name}, line {api.line}, and "
        f"{'enabled' if api.enabled else 'NOT enabled'}; its auth says mode: {api.auth.mode}{more}"
    )


def _arrives(redis: Redis, config: Config, module: str, method: str, patience: float) -> bool:
    """Wait for a call that starts an execution, and tell what becomes of those before it; False when none comes."""
    begin = time.time()
    since = int(begin * 1000)
    query = Query(module=module, method=method, since=since, limit=10)
    told = _Told(redis, module, method, since)
    while True:
        came = [summary for summary in store.page(redis, query).executions if not summary.debug]
        told.look(has_started=bool(came))
        for summary in reversed(came):
            if (record := store.read(redis, summary.uid, config.masked)) is not None:
                click.echo(f"accepted{f' from {record.caller}' if record.caller else ''}:\n")
                show_record(record, machine=False)
                return True
        left = begin + patience - time.time()
        if left <= 0:
            complain("no call came that starts an execution")
            return False
        time.sleep(min(LOOK_SECONDS, left))


class _Told:
    """Tells of calls that start nothing: refused ones, those that `when` lets pass, repeated ones, and handshakes."""

    def __init__(self, redis: Redis, module: str, method: str, since: int) -> None:
        self._redis = redis
        self._api = module, method
        self._since = shown_ms(since)
        self._refused: set[Refused] = set()
        self._counts = calls_of(redis, module, method)
        self._used = calls.last_used(redis, module, method)

    def look(self, *, has_started: bool) -> None:
        """Tell of those that came since the last look. `has_started`: one has come that starts an execution."""
        used, counts = calls.last_used(self._redis, *self._api), calls_of(self._redis, *self._api)
        told = [*self._refusals()]
        for outcome, why in _STARTS_NOTHING.items():
            if counts.get(outcome, 0) > self._counts.get(outcome, 0):
                told.append(f"{outcome}: {why}")
        callers = [name for name, at in used.items() if at > self._used.get(name, 0)]
        if callers and not told and not has_started:
            told.append(f"answered: a handshake of {', '.join(callers)}, which starts nothing")
        self._used, self._counts = used, counts
        for line in told:
            click.echo(escaped(line))

    def _refusals(self) -> Iterator[str]:
        name = "/".join(self._api)
        path = re.compile(rf".*/{re.escape(name)}/(?:a?sync)?…?")
        for call in reversed(recent_refusals(self._redis, KEPT)):
            is_it = call.api == name or (not call.api and path.fullmatch(call.path))
            if is_it and call.time >= self._since and call not in self._refused:
                self._refused.add(call)
                yield f"refused: {call.status} {call.message} ({call.method} from {call.client})"
