"""The command line: `python -m trigger COMMAND`. Exit status 0, 1 (the answer is no) or 2 (usage)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
from redis import Redis
from redis.exceptions import RedisError

from trigger import __version__, logs, store
from trigger.cli import acting, reading
from trigger.cli.backup import backup
from trigger.cli.callbacks import callbacks
from trigger.cli.common import (
    api_of,
    as_json,
    complain,
    config_in_force,
    parts_of,
    split_name,
    to_check,
    to_look_at,
    to_start,
)
from trigger.cli.connecting import connect
from trigger.cli.instance import Instance
from trigger.cli.refused import refused
from trigger.cli.reload import reload
from trigger.cli.signing import sign, verify
from trigger.cli.terminal import show_end, table
from trigger.config import Config, hash_secret, json_schema, set_enabled
from trigger.config.model import Workflow
from trigger.errors import ConfigError, RequestError, StartError, UsageError
from trigger.fields.model import MISSING
from trigger.inforce import FROM_LAST_GOOD, load_checked, redis_url, say_refused, watch
from trigger.inforce.versions import Keeper
from trigger.inputs import parse_json
from trigger.inputs.masking import hidden
from trigger.invocation import ours
from trigger.kept_files import KeptFiles
from trigger.up.made_password import load_with_password

# How long `debug` waits for its execution to end, in seconds.
DEBUG_PATIENCE = 60.0

# How long `enable` and `disable` wait for the running service to take up what they find mistakes in, in seconds.
EDIT_PATIENCE = 3.0


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line, the process's own by default; expected errors are one clear line on stderr."""
    try:
        cli.main(arguments, prog_name=ours(), standalone_mode=False)
    except click.NoSuchOption as error:
        error.show()
        if error.option_name in ("--config", "--data"):
            complain(f"write it before the command: {ours()} {error.option_name} PATH COMMAND")
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(1)
    except UsageError as error:
        complain(error)
        sys.exit(2)
    except (ConfigError, StartError) as error:
        complain(error)
        sys.exit(1)
    except RequestError as error:
        complain(error)
        for field, mistakes in (error.details or {}).get("fields", {}).items():
            complain(f"  {field or 'input'}: {' '.join(mistakes)}")
        sys.exit(1)
    except RedisError as error:
        complain(f"Redis can't be reached: {error}; is the service running?")
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python must not complain about it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(0)


@click.group()
@click.version_option(__version__, message="Trigger %(version)s")
@click.option(
    "--config", type=click.Path(path_type=Path), help="The config of the instance, instead of TRIGGER_CONFIG."
)
@click.option("--data", type=click.Path(path_type=Path), help="Its data folder, instead of TRIGGER_DATA.")
def cli(config: Path | None, data: Path | None) -> None:
    """Trigger: HTTP APIs that start workflows, declared in one YAML file.

    A command is about the instance that --config and --data name, or the environment, or the current folder, or
    /etc/trigger.
    """


@cli.command()
def up() -> None:
    """Run everything: a private Redis if none is given, the web processes, the workers."""
    from trigger import up as service  # the process runner; no other command needs it
    from trigger import worker  # noqa: F401  what the workers need is loaded once, here, before they are forked

    settings = to_start().settings
    logs.configure(settings.log)
    environ = dict(os.environ)
    try:
        config, password = load_with_password(settings, environ)
    except ConfigError as error:
        kept = Keeper(settings).last_good()
        if kept is None:
            raise
        say_refused(settings, error)
        config, password = load_with_password(settings, environ, text=kept.text)
        environ[FROM_LAST_GOOD] = "yes"
    sys.exit(service.up(settings, config, _run_forked, password, environ=environ))


def _run_forked(arguments: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Runs a command in a process that `up` has forked for it."""
    os.environ.clear()
    os.environ.update(environ)
    main(arguments)


@cli.command()
@click.option("--checked", is_flag=True, hidden=True, help="Serve: who starts this has checked the config.")
def web(checked: bool) -> None:
    """Run the web processes (gunicorn). SIGHUP has them take up new code."""
    settings = to_start().settings
    if not checked:
        from trigger.up import web_alone  # the process runner

        logs.configure(settings.log)
        watch(settings, os.environ)  # says now, in one line each, what would stop every gunicorn worker
        sys.exit(web_alone(settings, os.environ))
    root = Path(__file__).resolve().parents[2]
    sys.argv = ["gunicorn", "-c", str(root / "gunicorn.conf.py")]  # which is where gunicorn looks
    from gunicorn.app import wsgiapp

    wsgiapp.run(prog="gunicorn")


@cli.command()
@click.option("--queue", default="default", show_default=True, help="The queue to serve.")
def worker(queue: str) -> None:
    """Run one worker process. SIGHUP has it take up new code, when it has ended what it runs."""
    from trigger import worker as workers  # imports RQ, which takes a while
    from trigger.store.queueing import connect

    settings = to_start().settings
    logs.configure(settings.log)
    watcher = watch(settings, os.environ)
    url = redis_url(settings, watcher.current)

    def client(reply_timeout: float) -> Redis:
        return connect(url, reply_timeout=reply_timeout)

    if workers.run(queue, watcher, client, environ=os.environ, files=KeptFiles(settings.data)):
        os.execv(sys.executable, [sys.executable, "-m", "trigger", "worker", "--queue", queue])


@cli.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def check(file: Path | None) -> None:
    """Check the config, and say everything that is wrong with it."""
    found = to_check(file)
    settings = found.settings
    config = load_checked(settings, found.environ)
    for warning in config.warnings:
        click.echo(f"{warning} (warning)", err=True)
    for name, count in _stranded(found, config).items():
        click.echo(
            f"{settings.config}: {count} executions wait for the workflow {name!r}, which this config lacks: they "
            "run by the version that accepted them if that is still kept, else they fail after 10 minutes (warning)",
            err=True,
        )
    enabled = sum(api.enabled for api in config.apis.values())
    apis = f"{len(config.apis)} {'API' if len(config.apis) == 1 else 'APIs'}"
    click.echo(f"{settings.config}: {apis}, {enabled} of them enabled: no mistakes")
    if config.variables:
        click.echo(f"(with {', '.join(config.variables)} of this shell; a running service has those of its start)")


def _stranded(found: Instance, config: Config) -> Mapping[str, int]:
    """How many executions wait for each workflow that a config lacks; none where Redis can't be asked."""
    try:
        return store.stranded(found.connect(), config.workflows)
    except (ConfigError, StartError, RedisError):
        return {}


@cli.command()
@as_json
def apis(machine: bool) -> None:
    """List the APIs."""
    config = config_in_force(to_look_at())
    table(
        [
            {
                "api": f"{api.module}/{api.method}",
                "enabled": api.enabled,
                "verbs": list(api.verbs),
                "auth": api.auth.mode,
                "workflow": api.workflow.name,
                "url": f"{config.server.prefix}/{api.module}/{api.method}/async",
                "description": api.description,
            }
            for api in config.apis.values()
        ],
        machine,
    )


@cli.command()
@as_json
def workflows(machine: bool) -> None:
    """List the workflows."""
    config = config_in_force(to_look_at())
    table(
        [
            {
                "workflow": workflow.name,
                "python": workflow.python,
                **_steps(workflow, machine),
                "queue": workflow.queue,
                "timeout": workflow.timeout,
                "apis": [f"{a.module}/{a.method}" for a in config.apis.values() if a.workflow.name == workflow.name],
                "description": hidden(workflow.description, config.masked),
            }
            for workflow in config.workflows.values()
        ],
        machine,
    )


def _steps(workflow: Workflow, machine: bool) -> dict[str, Any]:
    """How many steps it has; for machines what each is and what it needs."""
    if not machine:
        return {"steps": len(workflow.steps) or None}
    return {
        key: [{"name": step.name, "kind": step.action.kind, "needs": list(step.needs)} for step in steps]
        for key, steps in (("steps", workflow.steps), ("on_failure", workflow.on_failure))
    }


@cli.command()
@click.argument("api", metavar="MODULE/METHOD")
def enable(api: str) -> None:
    """Enable an API, by editing that one value in the config."""
    _switch(api, enabled=True)


@cli.command()
@click.argument("api", metavar="MODULE/METHOD")
def disable(api: str) -> None:
    """Disable an API, by editing that one value in the config."""
    _switch(api, enabled=False)


def _switch(name: str, *, enabled: bool) -> None:
    module, method = split_name(name)
    found = to_look_at()
    path = found.settings.config
    changed = set_enabled(path, module, method, enabled)
    word = "enabled" if enabled else "disabled"
    try:
        load_checked(found.settings, found.environ)
    except ConfigError as error:
        # Whether an edit is in force, the running service says: it may know variables that this shell does not have.
        if not found.takes_up(EDIT_PATIENCE):
            complain(error)
            complain(f"{path} says that {name} is {word}, but that is not in force: first fix the mistakes above")
            sys.exit(1)
    click.echo(f"{name} is {'now' if changed else 'already'} {word}")


@cli.command()
@click.argument("api", metavar="MODULE/METHOD")
@click.option("--data", metavar="JSON", help="The input, instead of the config's debug data.")
@as_json
def debug(api: str, data: str | None, machine: bool) -> None:
    """Send an API's simulated request, wait, and show the record. Works while the API is disabled."""
    from trigger.store import acts

    parts = parts_of(to_look_at())
    found = api_of(parts.config, api)
    if data is not None:
        value = parse_json(data.encode("utf-8", "surrogateescape"))
    elif found.debug is not MISSING:
        value = found.debug
    else:
        raise UsageError(f"{api} declares no debug data; give the input with --data JSON")
    uid = acts.debug(parts, found, value, {}).uid
    sys.exit(0 if show_end(parts, uid, DEBUG_PATIENCE, machine) else 1)


for _command in (*reading.COMMANDS, *acting.COMMANDS, callbacks, sign, verify, connect, refused, reload, backup):
    cli.add_command(_command)


@cli.command("hash")
def hash_() -> None:
    """Read a secret and print its hash, to be stored in the config instead."""
    secret = click.prompt("Secret", hide_input=True, confirmation_prompt=True) if sys.stdin.isatty() else None
    text = secret if secret is not None else sys.stdin.readline().rstrip("\r\n")
    if not text.strip():
        raise UsageError("an empty secret is no secret; type one, or pipe it into this command")
    click.echo(hash_secret(text))


@cli.command()
def schema() -> None:
    """Print the JSON Schema of config.yaml, for editors."""
    click.echo(json.dumps(json_schema(), indent=2))
