"""The page of the service itself: what the one who is woken at night looks at first."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Response

from trigger import readiness
from trigger.console.page import Pages
from trigger.service import Service


@dataclass(frozen=True, slots=True)
class SystemPage:
    """GET /console/system"""

    service: Service
    pages: Pages

    def __call__(self) -> Response:
        service = self.service
        state = readiness.state(service.redis, service.watcher, service.watermark)
        return self.pages("system.html", state=state)
