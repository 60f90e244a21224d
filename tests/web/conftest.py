"""The real app on a real Redis: called in this process, or over sockets behind gunicorn and nginx."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

import app as composition
import trigger.inforce
from tests.support import OwnRedis, environment
from tests.web.site import CONFIG, Gunicorn, Site, address
from trigger.config import Watcher
from trigger.logs import TextFormatter
from trigger.web.attendance import Attendance
from trigger.web.flask_app import App

MakeSite = Callable[..., Site]


@pytest.fixture(scope="module")
def make_site(redis_server: OwnRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeSite]:
    """Makes the app for a config's text, with its Redis at `redis_url` (that of all tests, if not said)."""
    watchers: list[Watcher] = []
    apps: list[App] = []
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def watch(*arguments: object) -> Watcher:
        watchers.append(real(*arguments))  # type: ignore[arg-type]
        return watchers[-1]

    def make(config: str = CONFIG, *, redis_url: str = redis_server.url, **environ: str) -> Site:
        folder = tmp_path_factory.mktemp("site")
        path = folder / "config.yaml"
        path.write_text(config)
        flask = composition.create_app(environment(folder, redis_url, **environ))
        apps.append(flask)
        root.handlers[:] = handlers  # pytest's, instead of ours on a stderr that is gone after a test
        return Site(flask, watchers[-1], path)

    real = trigger.inforce.watch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composition, "watch", watch)
        # Nobody warns of queues without workers, which all of these are, in the middle of another test.
        patch.setattr(Attendance, "start", lambda _: None)
        yield make
    for each in apps:
        each.close()  # what it has counted is not to come while the next tests look
    for watcher in watchers:
        watcher.stop()
    root.setLevel(level)


@pytest.fixture(scope="module")
def module_site(make_site: MakeSite) -> Site:
    return make_site()


@pytest.fixture
def site(module_site: Site, redis: Redis) -> Site:
    """The app under CONFIG, with an empty Redis, called from an address that no other test has."""
    module_site.client = address()
    return module_site


@pytest.fixture
def log() -> Iterator[list[str]]:
    """The lines that the service logs during the test, as text."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    keep = Keep()
    keep.setFormatter(TextFormatter())
    logger = logging.getLogger("trigger")
    logger.addHandler(keep)
    yield lines
    logger.removeHandler(keep)


@pytest.fixture(scope="module")
def gunicorn(redis_server: OwnRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """The web processes as they run in service, under CONFIG."""
    folder: Path = tmp_path_factory.mktemp("web")
    (folder / "config.yaml").write_text(CONFIG)
    with Gunicorn(folder, redis_server.url) as web:
        yield web
