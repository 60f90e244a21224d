"""The real app with an operator, and a browser in which that operator has signed in."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from redis import Redis

from tests.console.site import Browser, sign_in
from tests.web.conftest import gunicorn, log, make_site, module_site, site
from tests.web.site import Site
from trigger.web import sessions
from trigger.web.sessions import Sessions

__all__ = ["gunicorn", "log", "make_site", "module_site", "site"]


@pytest.fixture
def signed_in(site: Site) -> Browser:
    """A browser of the operator "admin", on the app under tests.web.site.CONFIG with an empty Redis."""
    return sign_in(site)


@pytest.fixture
def keys(redis: Redis) -> Sessions:
    """What signs as the service does: as `up` makes links."""
    return Sessions(redis)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock by which sessions and links are judged forward by so many seconds."""

    def set_forward(seconds: float) -> None:
        monkeypatch.setattr(sessions, "time", SimpleNamespace(time=lambda: time.time() + seconds))

    return set_forward
