"""The config as frozen values: what the rest of the program reads, already checked and converted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal

from trigger.config.code import Code
from trigger.config.files import Stamp
from trigger.config.secret import Secret
from trigger.errors import Mistake
from trigger.fields.model import MISSING, Input
from trigger.signatures import Scheme

Verb = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Audience = Literal["public", "operators", "off"]
# The ends of an execution that a callback may tell of.
End = Literal["succeeded", "failed", "cancelled"]
# What a callback tells of an execution besides what it tells of each.
Included = Literal["input", "output", "steps", "logs"]
CallbackFormat = Literal["standard", "slack", "ntfy", "gotify"]


# Characters of the shortest text that is hidden wherever it appears: shorter ones are too common.
MIN_MASKED = 6


@dataclass(frozen=True, slots=True)
class NoAuth:
    mode: Literal["none"] = "none"


@dataclass(frozen=True, slots=True)
class TokenAuth:
    """Any of the tokens opens the API; their names appear in records as the caller ("token" for the nameless one).

    `header` is the one that the token is in; empty where it is the last part of the path.
    """

    tokens: Mapping[str, Secret]
    header: str = "token"
    mode: Literal["token"] = "token"

    @property
    def in_path(self) -> bool:
        """Whether the token is the last part of the path."""
        return not self.header


@dataclass(frozen=True, slots=True)
class PasswordAuth:
    users: Mapping[str, Secret]
    mode: Literal["password"] = "password"


@dataclass(frozen=True, slots=True)
class SignatureAuth:
    """A request is signed with any of the secrets; their names appear in records as the caller.

    `tolerance` is for how many seconds before and after now a signed time counts, None where no time is signed. `once`
    is for how many seconds the id of a delivery counts as an Idempotency-Key. `name` is the scheme's.
    """

    scheme: Scheme
    secrets: Mapping[str, Secret]
    tolerance: float | None = None
    once: float | None = None
    name: str = "custom"
    mode: Literal["signature"] = "signature"


Auth = NoAuth | TokenAuth | PasswordAuth | SignatureAuth

# How a body is read: as its Content-Type says, or always as one thing, whatever it is labelled.
BodyKind = Literal["auto", "json", "form", "text", "xml", "lines", "raw"]
# How a sender makes sure that the API is there, before it sends what it is for.
Handshake = Literal[
    "asana",
    "cloudevents",
    "dropbox",
    "eventgrid",
    "github",
    "meta",
    "msgraph",
    "slack",
    "sns",
    "twitch",
    "woocommerce",
    "zoom",
]


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call is answered. `head` is the status of a HEAD, None where that is not accepted; `verify` is what the
    handshake of Meta compares."""

    status: int = 202
    body: Literal["uid", "none"] = "uid"
    head: int | None = None
    handshake: Handshake | None = None
    verify: Secret | None = None

    @property
    def has_own(self) -> bool:
        """Whether there are calls that are answered without an execution."""
        return self.head is not None or self.handshake is not None

    @property
    def has_body(self) -> bool:
        return self.body == "uid" and self.status != 204


@dataclass(frozen=True, slots=True)
class Files:
    """What becomes of the files of a form: so many are kept, none larger than so many bytes; none at all where `max` is
    0, and then they are passed over."""

    max: int = 0
    size: int = 0


# What a limit counts together: all calls of an API, those of a caller, or those from an address.
Together = Literal["api", "caller", "address"]
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` calls are let through in so many `seconds`, `burst` of them at once. `per` is one of Together, or
    an expression: calls for which it gives the same count together."""

    limit: int
    seconds: float
    burst: int
    per: str = "api"


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most `limit` executions are queued or run at once. `full` is what becomes of a further call: it waits, one of
    at most `waiting`; it is refused; or it takes the place of those that wait. `per` is as that of Rate."""

    limit: int
    per: str = "api"
    full: Literal["queue", "reject", "newest"] = "queue"
    waiting: int = 100


@dataclass(frozen=True, slots=True)
class Debounce:
    """Calls become one execution, with the input of the last or the first, which starts when none has come for `quiet`
    seconds, or `at_most` seconds after the first. `per` is as that of Rate; calls of different callers count together
    only where it is `api` or `address`."""

    quiet: float
    at_most: float
    per: str = "caller"
    run: Literal["last", "first"] = "last"


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a failing workflow is tried in all, and the seconds before each further attempt (the last one repeats).

    No worker is held in between. An execution whose worker died is another matter: it runs again at once.
    """

    attempts: int
    backoff: tuple[float, ...] = (1.0,)

    def pause(self, failures: int) -> float | None:
        """Seconds to the next attempt after so many have failed; None when there is none."""
        if failures >= self.attempts:
            return None
        return self.backoff[min(failures, len(self.backoff)) - 1]


@dataclass(frozen=True, slots=True)
class StepRetry:
    """How often a failing step is tried in all, and the seconds before each further attempt.

    `jitter` is the share by which a pause is made longer or shorter at random, from 0 to 1. `on` is what is tried
    again: names of exceptions, exit codes and HTTP statuses as text; anything when empty.
    """

    attempts: int
    backoff: tuple[float, ...] = (1.0,)
    jitter: float = 0.0
    on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PythonAction:
    """Calls "package.module:callable" with the input, or with keyword arguments where `arguments` is not None."""

    python: str
    arguments: Mapping[str, Any] | None = field(default=None, repr=False)  # values may hold templates
    kind: Literal["python"] = "python"


@dataclass(frozen=True, slots=True)
class RunAction:
    """Runs a program, without a shell. `cwd` and a program with a "/" in it are relative to the config's folder. Its
    stdin has the input as JSON, or the bytes of the request's body."""

    argv: tuple[str, ...] = field(repr=False)  # may hold templates, but for the program itself
    cwd: str | None = None
    stdin: Literal["input", "body"] = "input"
    kind: Literal["run"] = "run"


@dataclass(frozen=True, slots=True)
class HttpAction:
    """Sends an HTTP request. Of `json`, `form` and `body` at most one is not MISSING. `max_size` is in bytes."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, Any] = field(default_factory=dict, repr=False)  # to a text or a list of texts, as in `form`
    json: Any = field(default=MISSING, repr=False)
    form: Any = field(default=MISSING, repr=False)
    body: Any = field(default=MISSING, repr=False)
    expect: tuple[int, int] = (200, 299)  # the statuses that are a success, both ends included
    redirects: int = 0  # how many are followed
    max_size: int = 1024 * 1024
    kind: Literal["http"] = "http"


@dataclass(frozen=True, slots=True)
class CallbackAction:
    """Sends what the worker hands over. No step of the config has it."""

    kind: Literal["callback"] = "callback"


Action = PythonAction | RunAction | HttpAction | CallbackAction


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a workflow. `timeout` is in seconds, None for what is left of the workflow's."""

    name: str
    action: Action
    needs: tuple[str, ...] = ()  # the steps that must be done before
    when: str | None = None  # one template expression: the step is skipped unless it is true
    timeout: float | None = None
    retry: StepRetry | None = None
    continue_on_error: bool = False
    env: Mapping[str, str] = field(
        default_factory=dict, repr=False
    )  # the workflow's and its own; values may hold templates
    digest: str = ""  # changes when the step's declaration does
    calls: str = field(default="", compare=False)  # what it calls, for people: with `${NAME}` for what that gave
    line: int = field(default=0, compare=False)  # of its name in the file, counted from 1
    # The variables of `env` that the config spells out: no caller has a say in them.
    fixed: frozenset[str] = field(default=frozenset(), repr=False, compare=False)


@lru_cache
def _function(python: str) -> Step:
    return Step("", PythonAction(python))


@dataclass(frozen=True, slots=True)
class Workflow:
    """The work an API starts: one Python callable, or steps. `timeout` is in seconds, of one run of it; `queue` is the
    RQ queue its executions wait in; at most `parallel` steps run at once. `about` and `calls` are the description and
    the callable for people, with `${NAME}` for what that gave: it may be secret."""

    name: str  # its key under `workflows:`, or "package.module:callable" itself where an API names one directly
    python: str | None  # "package.module:callable"; None where it has steps
    description: str = ""
    timeout: float = 600.0
    queue: str = "default"
    retry: Retry | None = None
    steps: tuple[Step, ...] = ()
    on_failure: tuple[Step, ...] = ()  # run in order at the end when it failed
    parallel: int = 4
    callback: tuple[str, ...] | None = None  # for executions of APIs that have none of their own
    about: str = field(default="", compare=False)
    calls: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)  # of its key in the file, counted from 1

    @property
    def function(self) -> Step:
        """The only step of a workflow that is one callable. It has no name."""
        return _function(self.python or "")

    @property
    def by_name(self) -> dict[str, Step]:
        """All its steps."""
        steps = (*self.steps, *self.on_failure) or (self.function,)
        return {step.name: step for step in steps}

    @property
    def needs_body(self) -> bool:
        """Whether a program of it gets the request's body as it came, so that this is kept with the execution."""
        steps = (*self.steps, *self.on_failure)
        return any(isinstance(step.action, RunAction) and step.action.stdin == "body" for step in steps)

    @property
    def references(self) -> tuple[str, ...]:
        """Every "package.module:callable" that it calls."""
        steps = (step.action for step in (*self.steps, *self.on_failure))
        called = tuple(action.python for action in steps if isinstance(action, PythonAction))
        return called if self.python is None else (self.python, *called)


# What an execution that calls back runs: the queue, and seconds for one attempt, are those of store.keys.
CALLBACK = Workflow(name="@callback", python=None, steps=(Step("", CallbackAction()),), queue="callbacks")


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail for each address of `to`. `smtp` is the URL of the server, with user and password where it needs them."""

    to: tuple[str, ...]
    sender: str
    smtp: Secret


@dataclass(frozen=True, slots=True)
class Callback:
    """Who is told of the end of executions: `url`, or else `mail`. Both URLs may hold a secret.

    `secrets` sign what is sent, all of them; `on` are the ends that are told, None for those that are usual where the
    callback is named. Addresses that are not public are only connected to where `addresses` is "any".
    """

    name: str
    url: Secret | None = None
    mail: Mail | None = None
    secrets: tuple[Secret, ...] = ()
    format: CallbackFormat = "standard"
    on: tuple[End, ...] | None = None
    include: tuple[Included, ...] = ()
    addresses: Literal["public", "any"] = "public"


@dataclass(frozen=True, slots=True)
class Api:
    module: str
    method: str
    auth: Auth
    workflow: Workflow
    description: str = ""
    enabled: bool = False
    verbs: tuple[Verb, ...] = ("GET", "POST")
    input: Input | None = None
    headers: Mapping[str, str] = field(default_factory=dict)  # the names of those that count, by what they are called
    when: str | None = None  # one template expression: nothing is started unless it is true
    answer: Answer = Answer()
    sync: float | None = None  # how many seconds a call may wait for the end; None where it may not
    body: BodyKind = "auto"
    files: Files | None = None  # None where files are refused
    rate: Rate | None = None
    concurrency: Concurrency | None = None
    debounce: Debounce | None = None
    networks: tuple[Network, ...] = ()  # from which it may be called; from anywhere if none is named
    callbacks: Mapping[str, tuple[End, ...]] = field(default_factory=dict)  # the ends that each is told of, by its name
    debug: Any = MISSING  # a simulated request's input
    # The paths in `debug` to what came from outside the file, "*" standing for each item of a list: it may be secret.
    outside: tuple[tuple[str, ...], ...] = ()
    line: int = 0  # of its key in the file, counted from 1

    @property
    def token_in_path(self) -> bool:
        return isinstance(self.auth, TokenAuth) and self.auth.in_path

    @property
    def is_limited(self) -> bool:
        """Whether how often, how many at once, or in which bursts it is called makes a difference."""
        return not (self.rate is None and self.concurrency is None and self.debounce is None)

    @property
    def has_refusing_limit(self) -> bool:
        """Whether its rate or its slots may refuse a call."""
        return self.rate is not None or self.refuses_when_full

    @property
    def refuses_when_full(self) -> bool:
        """Whether a call may be refused for want of a slot. A burst needs its slot only when it is over."""
        return self.concurrency is not None and self.concurrency.full != "newest" and self.debounce is None

    @property
    def cancels_older(self) -> bool:
        """Whether a call cancels executions that wait for a slot."""
        return self.concurrency is not None and self.concurrency.full == "newest" and self.debounce is None


@dataclass(frozen=True, slots=True)
class Module:
    name: str
    description: str = ""
    methods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Sizes in bytes, times in seconds.

    `proxies` is how many reverse proxies in front of us may be believed about the client's address.
    `hosts` are the Host headers answered, all when empty. `backlog` is how many executions may wait in one queue.
    `auth_failures` is how many wrong credentials one client address may send to one API in a minute.
    `networks` are where APIs may be called from that name none themselves.
    """

    prefix: str = "/v1/api"
    max_body: int = 1024 * 1024
    proxies: int = 0
    hosts: tuple[str, ...] = ()
    backlog: int = 100_000
    auth_failures: int = 30
    networks: tuple[Network, ...] = ()
    callback: tuple[str, ...] = ()  # for APIs that have none, and whose workflows have none

    @property
    def host(self) -> str | None:
        """One of the hosts that are answered; None when all are."""
        return self.hosts[0].removeprefix(".") if self.hosts else None

    def networks_of(self, api: Api) -> tuple[Network, ...]:
        """Return where an API may be called from; from anywhere if that is empty."""
        return api.networks or self.networks


@dataclass(frozen=True, slots=True)
class Config:
    """One version of the config file, whole and valid.

    `apis` is the route table. `workflows` holds every workflow that may run, also those an API names directly.
    `files` are all the files it was read from, which an edit may touch, the config itself first; `stamps` is the state
    each was read in. `code` are the project's modules that its workflows are made of, whose files are among them.
    `digest` tells versions apart, those of the code too.
    `workers` is how many worker processes `up` starts for each queue.
    `idempotency` is how long a call with an Idempotency-Key is remembered; `crashes` how often the worker of an
    execution may die before it fails; `stop_grace` how long a worker that is told to stop waits for the running one.
    `logs` is how much of an execution's log is kept, its newest part; `keep` how many records of ended executions each
    API keeps at most, None for all that `retention` allows; `cancel_grace` how long a cancelled step may take to end.
    `docs` and `metrics` say who may see the description of the APIs, and the figures for Prometheus.
    `variables` are the names of the environment's variables that `${…}` took a value from.
    `masked` are the values in workflows that came from `${…}`: they are never shown. `unset` are the references that
    could not be replaced, where the config was loaded all the same.
    `redis` is the URL of the Redis to use, kept as a Secret because it may hold a password; None for our private one.
    """

    path: Path
    server: ServerConfig
    retention: float  # seconds
    operators: Mapping[str, Secret]
    workflows: Mapping[str, Workflow]
    modules: Mapping[str, Module]
    apis: Mapping[tuple[str, str], Api]
    files: tuple[Path, ...]
    digest: str
    redis: Secret | None = None
    workers: int = 2
    idempotency: float = 86_400.0  # seconds
    crashes: int = 5
    logs: int = 1024 * 1024  # bytes
    keep: int | None = None
    cancel_grace: float = 10.0  # seconds
    stop_grace: float = 25.0  # seconds
    docs: Audience = "operators"
    metrics: Audience = "operators"
    callbacks: Mapping[str, Callback] = field(default_factory=dict)
    content: bytes = field(default=b"", repr=False)  # of the file itself
    warnings: tuple[Mistake, ...] = field(default=())
    variables: tuple[str, ...] = ()
    masked: tuple[str, ...] = field(default=(), repr=False)
    unset: tuple[str, ...] = ()
    stamps: Mapping[Path, Stamp | None] = field(default_factory=dict, repr=False, compare=False)
    code: Code = field(default_factory=Code, repr=False)

    @property
    def references(self) -> frozenset[str]:
        """All callables that its workflows name, as "package.module:callable"."""
        return frozenset(called for workflow in self.workflows.values() for called in workflow.references)

    @property
    def version(self) -> str:
        """The beginning of the digest, which tells versions apart well enough: it is what people see."""
        return self.digest[:12]

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that workers serve: those that a workflow names, "default" always, and that of callbacks if there
        are any."""
        own = {CALLBACK.queue} if self.callbacks else set()
        return tuple(sorted({"default"} | own | {workflow.queue for workflow in self.workflows.values()}))
