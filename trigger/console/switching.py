"""The switch of an API: it edits the one value in the file, and waits until what the file says is in force.

An API that was called within the last hour is disabled only after a question. The page that follows names the API, says
what is in force, and has a button that undoes it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from flask import Response

from trigger import store
from trigger.config import set_enabled
from trigger.config.model import Api
from trigger.console.lists import MAX_SEARCH
from trigger.console.page import Pages, see_other
from trigger.errors import BadRequest, ConfigError, Conflict, PathNotFound, UsageError
from trigger.web.call import ReceivedCall
from trigger.web.service import Service

logger = logging.getLogger("trigger.console")

# For so many seconds an edit is waited for. Most are in force after half of one; that of a file with 10,000 APIs takes
# two.
PATIENCE = 5.0

HOUR = 3600  # seconds in which a call makes an API one that is in use


@dataclass(frozen=True, slots=True)
class NotSwitched:
    """A switch that was refused: what was not done, and why."""

    title: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Switched:
    """The result of a switch, for the page after it: `enabled` as it was asked for; `unchanged` where the file said
    so before; whether that is in force."""

    api: Api
    enabled: bool
    unchanged: bool
    in_force: bool


def switched(call: ReceivedCall) -> Switched | None:
    """Return the switch that the query tells of, as far as it is so; None for another page."""
    word, _, was = call.args.get("switched", "").partition("-")
    module, _, method = call.args.get("api", "").partition("/")
    api = call.config.apis.get((module, method))
    if api is None or word not in _WORDS.values():
        return None
    enabled = word == _WORDS[True]
    return Switched(api, enabled, was == "already", api.enabled is enabled)


def find_api(call: ReceivedCall, module: str, method: str) -> Api:
    """The API that a path of the console names. Raises PathNotFound."""
    api = call.config.apis.get((module, method))
    if api is None:
        raise PathNotFound(f"There is no API {module}/{method}")
    return api


def follow_edit(call: ReceivedCall) -> None:
    """Have the page that a switch leads to show what the file says: its own process may not have seen the edit yet."""
    if "switched" in call.args:
        _settle(call)


@dataclass(frozen=True, slots=True)
class Switch:
    """POST /console/apis/<module>/<method>/switch: `enabled` as the form says, and back to the page it is on.

    `show_list` shows the list for a search and a page's number, `show_api` an API's page, with what was refused.
    """

    service: Service
    pages: Pages
    show_list: Callable[[ReceivedCall, str, str, NotSwitched], Response]
    show_api: Callable[[ReceivedCall, Api, NotSwitched], Response]

    def __call__(self, call: ReceivedCall, module: str, method: str) -> Response:
        api = find_api(call, module, method)
        if call.posted.get("enabled") not in ("true", "false"):
            raise BadRequest("A switch is to be enabled or not: true or false")
        enabled = call.posted["enabled"] == "true"
        place = _Place.of_form(call, api)
        if not enabled and api.enabled and "sure" not in call.posted and (calls := self._calls(api)):
            return self.pages("switch_question.html", api=api, calls=calls, place=place)
        try:
            changed = self._set(call, api, enabled)
        except (ConfigError, UsageError) as error:
            refused = NotSwitched(f"{module}/{method} was not {_WORDS[enabled]}", _reasons(error))
            call.refused = Conflict(refused.title)
            if place.is_list:
                return self.show_list(call, place.search, place.number, refused)
            return self.show_api(call, find_api(call, module, method), refused)
        logger.info("%s/%s: %s by %s", module, method, _WORDS[enabled] if changed else "unchanged", call.operator)
        return see_other(place.after(f"{_WORDS[enabled]}{'' if changed else '-already'}"))

    def _calls(self, api: Api) -> int | None:
        """How often it was called within the last hour; None while Redis can't say, and nobody can call it."""
        since = int((time.time() - HOUR) * 1000)
        return store.unless_away(lambda: store.accepted_since(self.service.redis, api.module, api.method, since))

    def _set(self, call: ReceivedCall, api: Api, enabled: bool) -> bool:
        """Has the file say so; whether it did not.

        While the file has mistakes it is left alone: what is put into it would not come into force. An edit that makes
        it one that can't be in force, as when a credential that everybody knows would open an API on a network, is
        taken back.

        Raises ConfigError and UsageError, which say why not.
        """
        _settle(call)
        path = call.config.path
        if call.refused_edit:
            raise ConfigError(call.refused_edit.mistakes)
        changed = set_enabled(path, api.module, api.method, enabled)
        _settle(call)
        mistakes = call.refused_edit
        if changed and mistakes:
            set_enabled(path, api.module, api.method, not enabled)
            _settle(call)
            raise ConfigError(mistakes.mistakes)
        return changed


def _settle(call: ReceivedCall) -> None:
    """Wait for what the files say, and have the rest of this call work with that."""
    watcher = call.service.watcher
    watcher.settle(PATIENCE)
    call.config, call.refused_edit = watcher.current, watcher.refused


def _reasons(error: ConfigError | UsageError) -> tuple[str, ...]:
    return tuple(map(str, error.mistakes)) if isinstance(error, ConfigError) else (str(error),)


_WORDS = {True: "enabled", False: "disabled"}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a switch was used: on the API's page, or on a page of a list."""

    api: Api
    is_list: bool
    search: str
    number: str

    @classmethod
    def of_form(cls, call: ReceivedCall, api: Api) -> _Place:
        return cls(
            api, "list" in call.posted, call.posted.get("q", "")[:MAX_SEARCH], call.posted.get("page", "")[:MAX_SEARCH]
        )

    def after(self, switched: str) -> str:
        """The page that says what was switched, at the row of the API."""
        return self._path({"switched": switched, "api": self._name})

    @property
    def path(self) -> str:
        """The same, with nothing switched."""
        return self._path({})

    @property
    def _name(self) -> str:
        return f"{self.api.module}/{self.api.method}"

    def _path(self, said: Mapping[str, str]) -> str:
        path = "/console/apis" if self.is_list else f"/console/apis/{self._name}"
        query = urlencode({**({"q": self.search, "page": self.number} if self.is_list else {}), **said}, safe="/")
        return f"{path}{'?' if query else ''}{query}{f'#{self._name}' if self.is_list else ''}"
