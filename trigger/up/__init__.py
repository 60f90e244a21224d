"""`python -m trigger up`: what the whole service consists of, when it is ready, and what is said then."""

from __future__ import annotations

import http.client
import json
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from redis import Redis
from redis.exceptions import RedisError

from trigger.config.model import CALLBACK, Config
from trigger.config.secret import Secret
from trigger.config.settings import Settings
from trigger.data_folder import DataFolder
from trigger.inforce import FROM_LAST_GOOD, InForce
from trigger.redis_server import RedisServer, private_redis_url
from trigger.startup import check_redis, refuse_public_demo
from trigger.up import made_password
from trigger.up.greeting import announcement, console_lines, greeting
from trigger.up.reloading import COMMAND, Reloader, Web
from trigger.up.supervisor import Fleet, Program, run
from trigger.web.listening import Listeners
from trigger.web.sessions import Sessions

log = logging.getLogger("trigger.up")

Command = Callable[[Sequence[str], Mapping[str, str]], object]

# The order of the stop, from the highest: the web accepts calls until the workers are gone.
WORKERS, WEB, REDIS = 3, 2, 1
# From SIGTERM to SIGKILL; a worker waits `stop_grace` for what it runs.
WORKER_STOP_MARGIN_SECONDS = 5
REDIS_STOP_SECONDS = 30
# A service that is not ready by then says what it waits for.
SLOW_SECONDS = 15.0
ANSWER_SECONDS = 1.0
# For so long our programs wait for the private Redis, which is started at the same time, before they look for it.
REDIS_START_SECONDS = 2.0
# How often it is looked whether an edit has brought new queues.
LOOK_SECONDS = 1.0


def up(
    settings: Settings,
    config: Config,
    command: Command,
    password: Secret | None = None,
    *,
    environ: Mapping[str, str],
) -> int:
    """Run Redis (unless one is given), the web and the workers in the foreground until told to stop.

    Prints the address, a curl line for each kind of authentication, the way into the console and how to stop as soon as
    the service is ready. SIGHUP has it take up new code. `command` runs one of our commands, given by its arguments and
    environment, in a process that was forked for it. `password` is that of the console if it was made up. `environ` is
    this process's environment.

    Returns: the exit status, 0 after SIGINT or SIGTERM.

    Raises:
        StartError: the service can't start here; the message says why.
    """
    started = time.monotonic()
    refuse_public_demo(settings, config)
    with DataFolder(settings.data) as folder, Listeners(settings, environ) as listeners:
        if password is not None:
            made_password.keep(folder.path, password)
        given = settings.redis_url or config.redis
        server = RedisServer(folder.path) if given is None else None
        store: list[Program] = []
        if server is not None:
            server.prepare()
            words = server.last_words
            store = [Program("redis", server.command, REDIS, REDIS_STOP_SECONDS, folder.lock_fd, last_words=words)]
            command = _once_listening(server, command)
        url = given.reveal() if given is not None else private_redis_url(folder.path)
        ours = _environment(settings, url, password)
        if FROM_LAST_GOOD in environ:
            ours[FROM_LAST_GOOD] = environ[FROM_LAST_GOOD]
        web = Web(1, WEB, listeners)
        crew = Crew(settings, command, InForce(settings), {**environ, **ours})
        reloader = Reloader(web, crew.names, folder.report)
        herald = _Herald(settings, config, url, started, web, made=password is not None)
        if given is not None:
            herald.look_at_redis()  # before anything starts: a server that won't do is refused at once

        def look(fleet: Fleet) -> None:
            herald()
            crew.look(fleet)
            reloader.look(fleet)
            if server is not None:
                server.put_log_aside()

        return run(
            # The web is started first: callers wait for it.
            [*store, web.program, *crew.programs(config)],
            environment=ours,
            on_look=look,
            on_hangup=reloader.ask,
            on_stopping=listeners.close,
        )


def web_alone(settings: Settings, environ: Mapping[str, str]) -> int:
    """Run the web processes in the foreground until told to stop. SIGHUP has them take up new code.

    Returns: the exit status, 0 after SIGINT or SIGTERM.

    Raises:
        StartError: the address is taken.
    """
    with Listeners(settings, environ) as listeners:
        web = Web(1, WEB, listeners)
        reloader = Reloader(web)
        return run([web.program], on_look=reloader.look, on_hangup=reloader.ask, on_stopping=listeners.close)


def _once_listening(server: RedisServer, command: Command) -> Command:
    """`command`, begun when the server is there: a fork is faster, and would warn of a Redis that isn't missing."""

    def begin(arguments: Sequence[str], environment: Mapping[str, str]) -> object:
        server.await_listening(REDIS_START_SECONDS)
        return command(arguments, environment)

    return begin


class Crew:
    """The workers of each queue that a workflow names; "default" is always served.

    Args:
        settings: they may say how many workers a queue has.
        command: runs one of our commands in a forked process.
        last_good: knows the config in force later.
        environ: what that config is read with.
    """

    def __init__(self, settings: Settings, command: Command, last_good: InForce, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._command = command
        self._last_good = last_good
        self._environ = environ
        self._known: dict[str, Program] = {}
        self._next_look = 0.0

    def names(self) -> list[str]:
        """Return the names of the workers' programs."""
        return list(self._known)

    def programs(self, config: Config) -> list[Program]:
        """Return those that a config needs and that are not there yet; from now on they count as there."""
        patience = _patience(config)
        new = {}
        for queue in config.queues:
            for number in range(1, _workers(self._settings, config, queue) + 1):
                name, arguments = f"worker-{queue}-{number}", ["worker", "--queue", queue]
                if name not in self._known:
                    entry = partial(self._command, arguments)
                    new[name] = Program(name, [*COMMAND, *arguments], WORKERS, patience, entry=entry)
        self._known.update(new)
        return list(new.values())

    def look(self, fleet: Fleet) -> None:
        """Have what an edit of the config brings: workers for new queues, and more for each, time to stop.

        Workers of a queue that is not named any more stay until the next start: something may wait in it.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        config = self._last_good.changed(self._environ)
        if config is None:
            return
        for program in self.programs(config):
            log.info("starting %s", program.name)
            fleet.add(program)
        for name in self._known:
            fleet.give_time(name, _patience(config))


def _patience(config: Config) -> int:
    """How many seconds a worker may take to stop."""
    return math.ceil(config.stop_grace) + WORKER_STOP_MARGIN_SECONDS


def _workers(settings: Settings, config: Config, queue: str) -> int:
    """How many workers a queue has; that of callbacks has one, as they mostly wait."""
    if queue == CALLBACK.queue:
        return 1
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

    def __init__(self, settings: Settings, config: Config, url: str, started: float, web: Web, *, made: bool) -> None:
        self._web = web
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
        """Return the key that signs in once, where the password was made up and nobody knows it."""
        if not self._made:
            return None
        operator, secret = next(iter(self._config.operators.items()))
        try:
            return Sessions(self._redis).link_key(operator, secret)
        except RedisError as error:
            log.warning("no link to sign in with can be made: %s", error)
            return None

    def look_at_redis(self) -> str | None:
        """Return why Redis can't be used yet; None when it can.

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
        if not self._web.accepts():  # or we would wait for its answer
            return "the web processes have not started"
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
        idle = [queue for queue, living in workers.items() if living < _workers(self._settings, self._config, queue)]
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
