"""What the commands share: the settings, the config, Redis, and how they complain."""

from __future__ import annotations

import os
from pathlib import Path

import click
from redis import Redis

from trigger.config import Config, Settings, load
from trigger.inforce import redis_url

as_json = click.option("--json", "machine", is_flag=True, help="Print JSON, for machines.")


def complain(what: object) -> None:
    """One line on stderr."""
    click.echo(f"{what}", err=True)


def settings_of(file: Path | None = None) -> Settings:
    """The settings of the environment; `file` is a config to look at instead of theirs."""
    environ = dict(os.environ)
    if file is not None:
        environ["TRIGGER_CONFIG"] = str(file)
    return Settings.from_environ(environ)


def config_in_force() -> Config:
    """The config as it is now. Raises ConfigError."""
    return load(settings_of().config, os.environ)


def connected(config: Config) -> Redis:
    """A client of the service's Redis."""
    from trigger.queueing import connect  # imports RQ, which takes a while

    return connect(redis_url(settings_of(), config), reply_timeout=5.0)
