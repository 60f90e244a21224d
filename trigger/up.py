"""`python -m trigger up`: what the whole service consists of, when it is ready, and what is said then."""

from __future__ import annotations

import http.client
import json
import logging
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from redis import Redis
from redis.exceptions import RedisError

from trigger import curl
from trigger.config.model import Api, Config, NoAuth, PasswordAuth, TokenAuth, Verb
from trigger.config.settings import Settings
from trigger.data_folder import DataFolder
from trigger.redis_server import RedisServer
from trigger.startup import check_redis, refuse_public_demo, refuse_taken_address
from trigger.supervisor import Program, run

log = logging.getLogger("trigger.up")

Command = Callable[[Sequence[str], Mapping[str, str]], object]

# From SIGTERM to SIGKILL. gunicorn gives requests 10 seconds itself; a worker waits `stop_grace` for what it runs.
WEB_STOP_SECONDS = 15
WORKER_STOP_MARGIN_SECONDS = 5
REDIS_STOP_SECONDS = 30
# A service that is not ready by then says what it waits for.
SLOW_SECONDS = 15.0
ANSWER_SECONDS = 1.0
# For so long our programs wait for the private Redis, which is started at the same time, before they look for it.
REDIS_START_SECONDS = 2.0


def up(settings: Settings, config: Config, command: Command) -> int:
    """Run Redis (unless one is given), the web and the workers in the foreground until told to stop.

    Prints the address, a curl line for each kind of authentication and how to stop as soon as the service is ready.
    `command` runs one of our commands, given by its arguments and environment, in a process that was forked for it.

    Returns: the exit status, 0 after SIGINT, SIGTERM or SIGHUP.

    Raises:
        StartError: the service can't start here; the message says why.
    """
    started = time.monotonic()
    refuse_public_demo(settings, config)
    with DataFolder(settings.data) as folder:
        refuse_taken_address(settings)
        given = settings.redis_url or config.redis
        store = []
        if given is None:
            server = RedisServer(folder.path)
            server.prepare()
            url = server.url
            store = [Program("redis", server.command, 1, REDIS_STOP_SECONDS, folder.lock_fd, server.last_words)]
            command = _once_listening(server, command)
        else:
            url = given.reveal()
        herald = _Herald(settings, config, url, started)
        if given is not None:
            herald.look_at_redis()  # before anything starts: a server that won't do is refused at once
        all_programs = store + programs(settings, config, command)
        return run(all_programs, folder.path, environment=_environment(settings, url), on_look=herald)


def _once_listening(server: RedisServer, command: Command) -> Command:
    """`command`, begun when the server is there: a fork is faster, and would warn of a Redis that isn't missing."""

    def begin(arguments: Sequence[str], environment: Mapping[str, str]) -> object:
        server.await_listening(REDIS_START_SECONDS)
        return command(arguments, environment)

    return begin


_TRIGGER = [sys.executable, "-m", "trigger"]


def programs(settings: Settings, config: Config, command: Command) -> list[Program]:
    """The web, and the workers of each queue that a workflow names; "default" is always served."""
    patience = math.ceil(config.stop_grace) + WORKER_STOP_MARGIN_SECONDS
    queues = sorted({"default"} | {workflow.queue for workflow in config.workflows.values()})

    def ours(name: str, arguments: Sequence[str], rank: int, stop_seconds: int) -> Program:
        return Program(name, [*_TRIGGER, *arguments], rank, stop_seconds, entry=partial(command, arguments))

    workers = [
        ours(f"worker-{queue}-{number}", ["worker", "--queue", queue], 2, patience)
        for queue in queues
        for number in range(1, _workers(settings, config) + 1)
    ]
    return [*workers, ours("web", ["web", "--checked"], 3, WEB_STOP_SECONDS)]


def _workers(settings: Settings, config: Config) -> int:
    """How many workers each queue has."""
    return config.workers if settings.workers is None else settings.workers


def _environment(settings: Settings, url: str) -> dict[str, str]:
    """The settings as our programs read them, made absolute where that is possible."""
    bind = f"unix:{settings.unix}" if settings.unix is not None else _authority(settings)
    return {
        "TRIGGER_CONFIG": str(settings.config),
        "TRIGGER_BIND": bind,
        "TRIGGER_DATA": str(settings.data),
        "TRIGGER_LOG": settings.log,
        "REDIS_URL": url,
    }


def _authority(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.port}"


class _Herald:
    """Looks at the service until it is ready, and then says so, once."""

    def __init__(self, settings: Settings, config: Config, url: str, started: float) -> None:
        self._settings = settings
        self._config = config
        self._redis = Redis.from_url(url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS)
        self._started = started
        self._redis_is_checked = False
        self._ready = False
        self._said_slow = False

    def __call__(self) -> None:
        if self._ready:
            return
        waits_for = self.look_at_redis() or self._look_at_web()
        if waits_for is None:
            self._ready = True
            self._redis.close()
            print(greeting(self._settings, self._config, time.monotonic() - self._started), flush=True)
        elif not self._said_slow and time.monotonic() > self._started + SLOW_SECONDS:
            self._said_slow = True
            log.warning("not ready yet: %s", waits_for)

    def look_at_redis(self) -> str | None:
        """What Redis still lacks; None when it may be used.

        Raises:
            StartError: this Redis will not do, however long we wait.
        """
        if self._redis_is_checked:
            return None
        try:
            self._redis.ping()  # refused while it loads its data
            durability = check_redis(self._redis)
        except RedisError as error:
            return f"Redis can't be used: {error}"
        log.info("%s", durability)
        for warning in durability.warnings:
            log.warning("%s", warning)
        self._redis_is_checked = True
        return None

    def _look_at_web(self) -> str | None:
        connection = _LocalConnection(self._settings)
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            body = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return f"the web does not answer: {error}"
        finally:
            connection.close()
        if response.status != 200:
            return f"/readyz answers {response.status}: {body.strip()}"
        workers = json.loads(body)["response"]["workers"]
        wanted = _workers(self._settings, self._config)
        idle = [queue for queue, living in workers.items() if living < wanted]
        return f"the workers of {', '.join(idle)} have not started" if idle else None


class _LocalConnection(http.client.HTTPConnection):
    """HTTP to our own web, wherever it listens."""

    def __init__(self, settings: Settings) -> None:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(settings.host, settings.host)  # noqa: S104
        super().__init__(host, settings.port, timeout=ANSWER_SECONDS)
        self._unix = settings.unix

    def connect(self) -> None:
        if self._unix is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._unix))


def greeting(settings: Settings, config: Config, seconds: float) -> str:
    """What is said when the service is ready, `seconds` after its start. It holds no secret that is not public."""
    if settings.unix is not None:
        address, program = f"unix:{settings.unix}", f"curl --unix-socket {curl.quoted(str(settings.unix))}"
        base = "http://localhost"
    else:
        address = base = f"http://{_authority(settings)}"
        program = "curl"
    base += config.server.prefix
    calls = [f"  {program} {_call(api, base)}" for api in _samples(config.apis.values())]
    lines = [
        f"Trigger is ready on {address} ({seconds:.1f} s)",
        "",
        *calls,
        *([""] if calls else []),
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
