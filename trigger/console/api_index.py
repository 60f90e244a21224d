"""The APIs in the order of their names, and a search among them: 10,000 are looked through in a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trigger.config.model import Api, Config
from trigger.console.lists import found


@dataclass(frozen=True, slots=True)
class ApiIndex:
    """The APIs of one version of the config, by name. `texts` are what is searched of each."""

    config: Config
    apis: tuple[Api, ...]
    texts: tuple[str, ...]
    enabled: int

    def find(self, search: str) -> Sequence[Api]:
        """The APIs in which each word of `search` occurs, whatever its case: all of them for no word."""
        return found(self.apis, self.texts, search)


def listed(config: Config) -> ApiIndex:
    """The APIs of a config, as a page lists them."""
    apis = tuple(sorted(config.apis.values(), key=lambda api: (api.module.casefold(), api.module, *_method(api))))
    texts = tuple(
        "\n".join(
            (
                f"{api.module}/{api.method}",
                config.modules[api.module].description,
                api.description,
                api.workflow.name,
            )
        ).casefold()
        for api in apis
    )
    return ApiIndex(config, apis, texts, sum(api.enabled for api in apis))


def _method(api: Api) -> tuple[str, str]:
    return api.method.casefold(), api.method
