"""Shared by the commands: the instance they are about, its config and Redis, and how they complain."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trigger.cli import instance
from trigger.cli.instance import Instance
from trigger.config import Api, Config
from trigger.errors import ConfigError, UsageError
from trigger.inputs import Shape
from trigger.invocation import ours

if TYPE_CHECKING:
    from trigger.store import acts

as_json = click.option("--json", "machine", is_flag=True, help="Print JSON, for machines.")


def complain(what: object) -> None:
    """One line on stderr."""
    click.echo(f"{what}", err=True)


def to_start() -> Instance:
    """The instance that this command starts a part of; where it is, is put into the environment for what is started."""
    config, data = _options()
    found = instance.find(os.environ, config=config, data=data, starting=True)
    os.environ.update(TRIGGER_CONFIG=str(found.settings.config), TRIGGER_DATA=str(found.settings.data))
    return found


def to_look_at() -> Instance:
    """The instance that this command looks at or acts on, said on stderr where it is not that of the current folder."""
    found = to_check(None)
    if found.about:
        complain(found.about)
    return found


def to_check(file: Path | None) -> Instance:
    """The instance whose config is to be checked, which each mistake names; `file` is a config instead of its own."""
    config, data = _options()
    return instance.find(os.environ, config=file or config, data=data)


def config_in_force(found: Instance) -> Config:
    """The config of an instance, the last good version where its file has mistakes. Raises ConfigError."""
    config, warning = found.config()
    if warning:
        complain(warning)
    if config.unset:
        complain(
            f"not set in this shell, and left as it is written: {', '.join(f'${{{name}}}' for name in config.unset)}"
        )
    return config


def masked_in(found: Instance) -> tuple[str, ...]:
    """Return the texts of the config that a record must not show: none where the config can't be read."""
    try:
        return config_in_force(found).masked
    except ConfigError:
        complain(f"{found.settings.config} can't be used: secrets that it gives to workflows are not masked here")
        return ()


def parts_of(found: Instance) -> acts.Parts:
    """Return what is needed to start an execution, with the config as it is now."""
    from trigger.store import acts
    from trigger.store.queueing import Submitter

    redis = found.connect()
    return acts.Parts(redis, Submitter(redis), config_in_force(found), lambda api: Shape(api.input))


def split_name(name: str) -> tuple[str, str]:
    """Return the module and the method that an API's name has. Raises UsageError."""
    module, slash, method = name.partition("/")
    if not (module and slash and method) or "/" in method:
        raise UsageError(f"{name!r} is not an API's name; write MODULE/METHOD, as `{ours()} apis` lists them")
    return module, method


def api_of(config: Config, name: str) -> Api:
    """Return the API of that name. Raises UsageError."""
    found = config.apis.get(split_name(name))
    if found is None:
        raise UsageError(f"there is no API {name}; `{ours()} apis` lists them")
    return found


def _options() -> tuple[Path | None, Path | None]:
    """The config and the data folder that stand before the command's name."""
    given = click.get_current_context().find_root().params
    return given.get("config"), given.get("data")
