"""The switch of an API: it edits the one value in the file, and waits until what the file says is in force."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from flask import Response, g, request

from trigger.config import set_enabled
from trigger.config.model import Api, Config
from trigger.console.lists import MAX_SEARCH
from trigger.console.page import see_other
from trigger.errors import BadRequest, ConfigError, Conflict, PathNotFound, UsageError
from trigger.service import Service

logger = logging.getLogger("trigger.console")

# For so many seconds an edit is waited for. Most are in force after half of one; that of a file with 10,000 APIs takes
# two.
PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class NotSwitched:
    """A switch that was refused: what was not done, and why."""

    title: str
    reasons: tuple[str, ...]


def find_api(module: str, method: str) -> Api:
    """The API that a path of the console names. Raises PathNotFound."""
    config: Config = g.config
    api = config.apis.get((module, method))
    if api is None:
        raise PathNotFound(f"There is no API {module}/{method}")
    return api


def follow_edit(service: Service) -> None:
    """Has the page that a switch leads to show what the file says: its own process may not have seen the edit yet."""
    if "said" in request.args:
        _settle(service)


@dataclass(frozen=True, slots=True)
class Switch:
    """POST /console/apis/<module>/<method>/switch: `enabled` as the form says, and back to the page it is on.

    `show_list` shows the list for a search and a page's number, `show_api` an API's page, with what was refused.
    """

    service: Service
    show_list: Callable[[str, str, NotSwitched], Response]
    show_api: Callable[[Api, NotSwitched], Response]

    def __call__(self, module: str, method: str) -> Response:
        api = find_api(module, method)
        if g.form.get("enabled") not in ("true", "false"):
            raise BadRequest("A switch is to be enabled or not: true or false")
        enabled = g.form["enabled"] == "true"
        listed = "list" in g.form
        search, number = g.form.get("q", "")[:MAX_SEARCH], g.form.get("page", "")[:MAX_SEARCH]
        try:
            said = _word(enabled) if self._set(api, enabled) else "unchanged"
        except (ConfigError, UsageError) as error:
            refused = NotSwitched(f"{module}/{method} was not {_word(enabled)}", _reasons(error))
            g.refused = Conflict(refused.title)
            if listed:
                return self.show_list(search, number, refused)
            return self.show_api(find_api(module, method), refused)
        logger.info("%s/%s: %s by %s", module, method, said, g.operator)
        query = {"q": search, "page": number} if listed else {}
        path = "/console/apis" if listed else f"/console/apis/{module}/{method}"
        return see_other(f"{path}?{urlencode({**query, 'said': said})}")

    def _set(self, api: Api, enabled: bool) -> bool:
        """Has the file say so; whether it did not.

        While the file has mistakes it is left alone: what is put into it would not come into force. An edit that makes
        it one that can't be in force, as when a credential that everybody knows would open an API on a network, is
        taken back.

        Raises ConfigError and UsageError, which say why not.
        """
        config: Config = g.config
        _settle(self.service)
        if g.refused_edit:
            raise ConfigError(g.refused_edit.mistakes)
        changed = set_enabled(config.path, api.module, api.method, enabled)
        _settle(self.service)
        mistakes = g.refused_edit
        if changed and mistakes:
            set_enabled(config.path, api.module, api.method, not enabled)
            _settle(self.service)
            raise ConfigError(mistakes.mistakes)
        return changed


def _settle(service: Service) -> None:
    """Waits for what the files say, and has the rest of this request work with that."""
    service.watcher.settle(PATIENCE)
    g.config, g.refused_edit = service.watcher.current, service.watcher.refused


def _reasons(error: ConfigError | UsageError) -> tuple[str, ...]:
    return tuple(map(str, error.mistakes)) if isinstance(error, ConfigError) else (str(error),)


def _word(enabled: bool) -> str:
    return "enabled" if enabled else "disabled"
