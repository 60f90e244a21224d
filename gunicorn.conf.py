"""gunicorn's settings for `python -m trigger web` (https://docs.gunicorn.org/en/stable/settings.html)."""

# ruff: noqa: E402
# Everything that is imported from here on has to find gevent's sockets, locks and threads: this comes first. Processes
# are started by threads of gevent's pool, where its own subprocess can't work.
# isort: off
from gevent import monkey

monkey.patch_all(subprocess=False)
# isort: on

import gc
import logging
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import app  # noqa: F401  what the web processes share is loaded once, here, before they are forked
from trigger import logs
from trigger.config import Settings
from trigger.lifeline import die_with
from trigger.web.flask_app import App
from trigger.web.listening import READY_FD, WEB_PROCESSES, connections
from trigger.web.server import ErrorLog, Worker

_settings = Settings.from_environ(os.environ)
logs.configure(_settings.log)

wsgi_app = "wsgi:app"
proc_name = "trigger"
if _settings.unix is not None:
    bind = f"unix:{_settings.unix}"
    umask = 0o007  # of the socket: for this user and its group, which a proxy can be in
elif ":" in _settings.host:
    bind = f"[{_settings.host}]:{_settings.port}"
else:
    bind = f"{_settings.host}:{_settings.port}"

worker_class = Worker
workers = WEB_PROCESSES
worker_connections = connections()
preload_app = False  # each process has its own config watcher and Redis connections

timeout = 30
graceful_timeout = 10
keepalive = 5
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # a heartbeat on a slow disk kills
control_socket_disable = True

limit_request_line = 4094
limit_request_fields = 100
limit_request_field_size = 8190
# No header may change the scheme, the path or what the app is mounted on; `server.proxies` in the config, read by
# the app, is the one way to believe a proxy.
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
header_map = "drop"

logger_class = ErrorLog
loglevel = "warning"
accesslog = None  # the app logs each call

_log = logging.getLogger("trigger.web")


# Who has started us waits for a byte from each process that accepts connections.
_ready_fd = int(os.environ.pop(READY_FD, "-1"))


def when_ready(server: Any) -> None:
    _log.info("listening on %s", bind)


def pre_fork(server: Any, worker: Any) -> None:
    """Have each process accept at the listening socket that the fewest others have."""
    if not server.LISTENERS:  # with `reuse_port` each process makes its own
        return
    taken = Counter(listener for other in server.WORKERS.values() for listener in other.sockets)
    worker.sockets = [min(server.LISTENERS, key=lambda listener: taken[listener])]


def post_fork(server: Any, worker: Any) -> None:
    die_with(server.pid)
    for listener in server.LISTENERS:
        if listener not in worker.sockets:
            listener.close()


def on_starting(server: Any) -> None:
    gc.collect()
    gc.freeze()  # left alone by the collector, the pages of what is loaded stay shared


def post_worker_init(worker: Any) -> None:
    # What the app is made of stays: the collector need not look through 10,000 APIs again and again. A call leaves no
    # circles behind, so it may look ten times less often for those of others.
    gc.collect()
    gc.freeze()
    gc.set_threshold(7_000, 10, 10)
    if _ready_fd >= 0:
        with suppress(OSError):  # nobody listens any more
            os.write(_ready_fd, b"+")


def worker_exit(server: Any, worker: Any) -> None:
    served = getattr(worker, "wsgi", None)  # there is none where the app could not be made
    if isinstance(served, App):
        served.close()
