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
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from redis import Redis
from redis.exceptions import RedisError

from trigger import made_password
from trigger.config.model import Config
from trigger.config.secret import Secret
from trigger.config.settings import Settings
from trigger.data_folder import DataFolder
from trigger.greeting import announcement, console_lines, greeting
from trigger.redis_server import RedisServer
from trigger.sessions import Sessions
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


def up(settings: Settings, config: Config, command: Command, password: Secret | None = None) -> int:
    """Run Redis (unless one is given), the web and the workers in the foreground until told to stop.

    Prints the address, a curl line for each kind of authentication, the way into the console and how to stop as soon as
    the service is ready. `command` runs one of our commands, given by its arguments and environment, in a process that
    was forked for it. `password` is that of the console if it was made up.

    Returns: the exit status, 0 after SIGINT, SIGTERM or SIGHUP.

    Raises:
        StartError: the service can't start here; the message says why.
    """
    started = time.monotonic()
    refuse_public_demo(settings, config)
    with DataFolder(settings.data) as folder:
        refuse_taken_address(settings)
        if password is not None:
            made_password.keep(folder.path, password)
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
        herald = _Herald(settings, config, url, started, made=password is not None)
        if given is not None:
            herald.look_at_redis()  # before anything starts: a server that won't do is refused at once
        all_programs = store + programs(settings, config, command)
        return run(all_programs, folder.path, environment=_environment(settings, url, password), on_look=herald)


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

    def ours(name: str, arguments: Sequence[str], rank: int, stop_seconds: int) -> Program:
        return Program(name, [*_TRIGGER, *arguments], rank, stop_seconds, entry=partial(command, arguments))

    workers = [
        ours(f"worker-{queue}-{number}", ["worker", "--queue", queue], 2, patience)
        for queue in config.queues
        for number in range(1, _workers(settings, config) + 1)
    ]
    # Not forked: gevent has to patch the web before it imports anything, and must leave the workers alone.
    return [*workers, Program("web", [*_TRIGGER, "web", "--checked"], 3, WEB_STOP_SECONDS)]


def _workers(settings: Settings, config: Config) -> int:
    """How many workers each queue has."""
    return config.workers if settings.workers is None else settings.workers


def _environment(settings: Settings, url: str, password: Secret | None) -> dict[str, str]:
    """The settings as our programs read them, made absolute where that is possible."""
    bind = f"unix:{settings.unix}" if settings.unix is not None else settings.authority
    return {
        "TRIGGER_CONFIG": str(settings.config),
        "TRIGGER_BIND": bind,
        "TRIGGER_DATA": str(settings.data),
        "TRIGGER_LOG": settings.log,
        "REDIS_URL": url,
        **({} if password is None else {made_password.VARIABLE: password.reveal()}),
    }


class _Herald:
    """Looks at the service until it is ready, and then says so, once."""

    def __init__(self, settings: Settings, config: Config, url: str, started: float, *, made: bool) -> None:
        self._settings = settings
        self._config = config
        self._redis = Redis.from_url(url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS)
        self._started = started
        self._made = made
        self._redis_is_checked = False
        self._ready = False
        self._said_slow = False

    def __call__(self) -> None:
        if self._ready:
            return
        waits_for = self.look_at_redis() or self._look_at_web()
        if waits_for is None:
            self._ready = True
            self._say_ready(time.monotonic() - self._started)
            self._redis.close()
        elif not self._said_slow and time.monotonic() > self._started + SLOW_SECONDS:
            self._said_slow = True
            log.warning("not ready yet: %s", waits_for)

    def _say_ready(self, seconds: float) -> None:
        if self._settings.log == "json":
            event, fields = announcement(self._settings, self._config, seconds, made=self._made)
            log.info("%s", event, extra={"fields": fields})
            return
        console = console_lines(self._settings, self._config, self._link_key(), made=self._made)
        print(greeting(self._settings, self._config, seconds, console), flush=True)

    def _link_key(self) -> str | None:
        """What signs in once, where the password was made up and nobody knows it."""
        if not self._made:
            return None
        operator, secret = next(iter(self._config.operators.items()))
        try:
            return Sessions(self._redis).link_key(operator, secret)
        except RedisError as error:
            log.warning("no link to sign in with can be made: %s", error)
            return None

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
            host = self._config.server.host
            connection.request("GET", "/readyz", headers={} if host is None else {"Host": host})
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
        super().__init__(settings.local_host, settings.port, timeout=ANSWER_SECONDS)
        self._unix = settings.unix

    def connect(self) -> None:
        if self._unix is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._unix))
