"""The composition root of the web process: makes its parts and puts them together."""

from __future__ import annotations

import os
from collections.abc import Mapping

from trigger import console, logs
from trigger.config import Settings
from trigger.inforce import private_data, redis_url, watch
from trigger.kept_files import KeptFiles
from trigger.store import Breaker
from trigger.store.queueing import Submitter, connect
from trigger.store.telling import News
from trigger.store.watermark import Watermark
from trigger.web import routes, waiting
from trigger.web.attendance import Attendance
from trigger.web.auth import Guard
from trigger.web.failures import REPLY_TIMEOUT, Failures
from trigger.web.flask_app import App
from trigger.web.passwords import Hashes
from trigger.web.service import Service, Shapes
from trigger.web.sessions import Sessions
from trigger.web.tally import Tally


def create_app(environ: Mapping[str, str] | None = None) -> App:
    """The app for the config that `environ` (the process's own by default) names.

    Raises ConfigError when the config can't be used and no earlier version of it is known to be good.
    """
    environ = os.environ if environ is None else environ
    settings = Settings.from_environ(environ)
    logs.configure(settings.log)
    watcher = watch(settings, environ)
    watcher.start()
    url = redis_url(settings, watcher.current)
    redis = connect(url)
    watermark = Watermark(redis, private_data(settings, watcher.current))
    watermark.start()
    attendance = Attendance(redis, watcher)
    attendance.start()
    sessions = Sessions(redis)
    sessions.get_ready()
    tally = Tally(redis, watcher)
    tally.start()
    failures = Failures(lambda: watcher.current.server.auth_failures, connect(url, reply_timeout=REPLY_TIMEOUT))
    service = Service(
        watcher=watcher,
        redis=redis,
        breaker=Breaker(),
        submitter=Submitter(redis),
        guard=Guard(failures, Hashes()),
        shapes=Shapes(),
        sessions=sessions,
        watermark=watermark,
        tally=tally,
        files=KeptFiles(settings.data),
        news=News(redis, places=waiting.places()),
    )
    app = App("trigger")
    app.stopping += [service.news.stop]
    app.closing += [service.news.stop, tally.flush, attendance.stop]
    app.register_blueprint(routes.blueprint(service))
    app.register_blueprint(console.blueprint(service))
    routes.register_errors(app)
    return app
