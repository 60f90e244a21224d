"""The page of the service itself: the first one to look at when something is wrong."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

from flask import Response

from trigger import __version__, store
from trigger.console.page import Pages
from trigger.console.seen import Seen
from trigger.store.overview import workers
from trigger.web import readiness
from trigger.web.call import ReceivedCall
from trigger.web.service import Service

# How many of each the page shows: it stays small, whatever there is.
MAX_WORKERS, MAX_MISTAKES, MAX_WARNINGS = 100, 50, 20

_PACKAGES = {"gunicorn": "gunicorn", "RQ": "rq", "redis-py": "redis"}


@dataclass(frozen=True, slots=True)
class SystemPage:
    """GET /console/system"""

    service: Service
    pages: Pages
    versions: Mapping[str, str] = field(
        default_factory=lambda: {
            "Trigger": __version__,
            "Python": platform.python_version(),
            **{name: version(package) for name, package in _PACKAGES.items()},
        }
    )

    def __call__(self, call: ReceivedCall) -> Response:
        service = self.service
        config = call.config
        state = readiness.state(service.redis, service.watcher, service.watermark)
        # A Redis that has just not answered would have to be waited for again.
        away = state.redis["status"] == "unreachable"
        redis = service.redis
        seen = None if away else store.unless_away(lambda: (Seen.of(redis, config, state.found), workers(redis)))
        return self.pages(
            "system.html",
            state=state,
            seen=seen[0] if seen else None,
            workers=seen[1] if seen else [],
            concerns=list(seen[0].concerns(config.queues)) if seen else [],
            free_disk=service.watermark.free_disk(),
            config=config,
            enabled=sum(api.enabled for api in config.apis.values()),
            since=service.watcher.since,
            mistakes=call.refused_edit.mistakes if call.refused_edit else (),
            versions=self.versions,
            most={
                "workers": MAX_WORKERS,
                "mistakes": MAX_MISTAKES,
                "warnings": MAX_WARNINGS,
            },
        )
