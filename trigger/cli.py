"""The command line: `python -m trigger COMMAND`. Exit status 0, 1 (the answer is no) or 2 (usage)."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
from redis import Redis
from redis.exceptions import RedisError
from tabulate import tabulate

from trigger import __version__, executions, logs
from trigger.config import Api, Config, Settings, hash_secret, json_schema, load, set_enabled
from trigger.config.model import MISSING
from trigger.errors import ConfigError, ExecutionNotFound, RequestError, StartError, UsageError
from trigger.executions import log_reading
from trigger.inforce import load_checked, redis_url, watch
from trigger.inputs import Shape, parse_json

if TYPE_CHECKING:
    from trigger import acts

T = TypeVar("T")

# How long `debug` waits for its execution to end, in seconds.
DEBUG_PATIENCE = 60.0

# How long one question of `logs -f` waits for more, in seconds; then it asks again.
FOLLOW_PATIENCE = 10.0

as_json = click.option("--json", "machine", is_flag=True, help="Print JSON, for machines.")


def main() -> NoReturn:
    """Runs the command line; expected errors are one clear line on stderr."""
    try:
        cli.main(prog_name="python -m trigger", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(1)
    except UsageError as error:
        _complain(error)
        sys.exit(2)
    except (ConfigError, StartError) as error:
        _complain(error)
        sys.exit(1)
    except RequestError as error:
        _complain(error)
        for field, mistakes in (error.details or {}).get("fields", {}).items():
            _complain(f"  {field or 'input'}: {' '.join(mistakes)}")
        sys.exit(1)
    except RedisError as error:
        _complain(f"Redis can't be reached: {error}; is the service running?")
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python must not complain about it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(0)


def _complain(what: object) -> None:
    click.echo(f"{what}", err=True)


@click.group()
@click.version_option(__version__, message="Trigger %(version)s")
def cli() -> None:
    """Trigger: HTTP APIs that start workflows, declared in one YAML file."""


@cli.command()
def up() -> None:
    """Run everything: a private Redis if none is given, the web processes, the workers."""
    from trigger import up as service  # the process runner; no other command needs it

    settings = _settings()
    logs.configure(settings.log)
    sys.exit(service.up(settings, load_checked(settings, os.environ)))


@cli.command()
@click.option("--checked", is_flag=True, hidden=True, help="The config has been checked by who starts this.")
def web(checked: bool) -> None:
    """Run the web processes (gunicorn)."""
    settings = _settings()
    if not checked:
        watch(settings, os.environ)  # says now, in one line each, what would stop every gunicorn worker
    root = Path(__file__).resolve().parents[1]
    argv = [sys.executable, "-m", "gunicorn", "-c", str(root / "gunicorn.conf.py")]
    os.execve(sys.executable, argv, os.environ)


@cli.command()
@click.option("--queue", default="default", show_default=True, help="The queue to serve.")
def worker(queue: str) -> None:
    """Run one worker process."""
    from trigger import worker as workers  # imports RQ, which takes a while
    from trigger.queueing import connect

    settings = _settings()
    logs.configure(settings.log)
    watcher = watch(settings, os.environ)
    url = redis_url(settings, watcher.current)

    def client(reply_timeout: float) -> Redis:
        return connect(url, reply_timeout=reply_timeout)

    workers.run(queue, watcher, client, environ=os.environ)


@cli.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def check(file: Path | None) -> None:
    """Check the config, and say everything that is wrong with it."""
    settings = _settings(file)
    config = load_checked(settings, os.environ)
    for warning in config.warnings:
        click.echo(f"{warning} (warning)", err=True)
    enabled = sum(api.enabled for api in config.apis.values())
    click.echo(f"{settings.config}: {len(config.apis)} APIs, {enabled} of them enabled: no mistakes")


@cli.command()
@as_json
def apis(machine: bool) -> None:
    """List the APIs."""
    config = _config()
    _table(
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
    config = _config()
    _table(
        [
            {
                "workflow": workflow.name,
                "python": workflow.python,
                "queue": workflow.queue,
                "timeout": workflow.timeout,
                "apis": [f"{a.module}/{a.method}" for a in config.apis.values() if a.workflow.name == workflow.name],
                "description": workflow.description,
            }
            for workflow in config.workflows.values()
        ],
        machine,
    )


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
    module, method = _split(name)
    changed = set_enabled(_settings().config, module, method, enabled)
    word = "enabled" if enabled else "disabled"
    click.echo(f"{name} is {'now' if changed else 'already'} {word}")


@cli.command()
@click.argument("api", metavar="MODULE/METHOD")
@click.option("--data", metavar="JSON", help="The input, instead of the config's debug data.")
@as_json
def debug(api: str, data: str | None, machine: bool) -> None:
    """Send an API's simulated request, wait, and show the record. Works while the API is disabled."""
    from trigger.queueing import Call, Submitter

    config = _config()
    found = _api(config, api)
    if data is not None:
        value = parse_json(data.encode("utf-8", "surrogateescape"))
    elif found.debug is not MISSING:
        value = found.debug
    else:
        raise UsageError(f"{api} declares no debug data; give the input with --data JSON")
    redis = _redis(config)
    shape = Shape(found.input)
    call = Call(found, shape.apply(value, {}), "debug", shape.secrets, debug=True)
    uid = Submitter(redis).submit(call, config).uid
    deadline = time.monotonic() + DEBUG_PATIENCE
    while True:
        record = executions.read(redis, uid)
        if record is None:
            raise StartError(f"the record of execution {uid} is gone")
        if record.status in executions.FINAL or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    _show(record, machine)
    if record.status not in executions.FINAL:
        _complain(f"it is still {record.status} after {DEBUG_PATIENCE:.0f} s; is a worker running?")
    sys.exit(0 if record.status is executions.Status.SUCCEEDED else 1)


@cli.command("executions")
@click.option("--module", metavar="MODULE", help="Only those of a module.")
@click.option("--method", metavar="METHOD", help="Only those of a method.")
@click.option(
    "--status", type=click.Choice([str(status) for status in executions.Status]), help="Only those that are this now."
)
@click.option("--since", metavar="TIME", help="Only those accepted since 2026-01-31T12:00:00Z, or in the last 24h.")
@click.option("--until", metavar="TIME", help="Only those accepted before; as --since.")
@click.option("--caller", metavar="NAME", help="Only those of a caller.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many, newest first.")
@click.option("--cursor", metavar="CURSOR", help="Where to go on, as said at the end of an earlier list.")
@as_json
def list_executions(limit: int, machine: bool, **filters: str | None) -> None:
    """List executions, the newest first."""
    given = {name: text for name, text in filters.items() if text}
    query = executions.Query.parse(given, now=time.time())
    page = executions.collect(_redis(_config()), query, limit)
    _table(
        [
            {
                "uid": summary.uid,
                "api": f"{summary.module}/{summary.method}",
                "status": str(summary.status),
                "created": summary.created_at,
                "started": summary.started_at,
                "ended": summary.ended_at,
                "attempt": summary.attempt,
                "caller": summary.caller,
                "error": (summary.error or {}).get("message"),
            }
            for summary in page.executions
        ],
        machine,
    )
    if page.next:
        _complain(f"there may be more: --cursor {page.next}")


@cli.command()
@click.argument("uid")
@as_json
def show(uid: str, machine: bool) -> None:
    """Show the record of an execution."""
    config = _config()
    record = executions.read(_redis(config), uid, config.masked) if executions.is_uid(uid) else None
    if record is None:
        raise StartError(f"there is no execution {uid}; its record may have been kept long enough")
    _show(record, machine)


@cli.command("logs")
@click.argument("uid")
@click.option("-f", "--follow", "until_end", is_flag=True, help="Go on until the execution has ended.")
@as_json
def logs_(uid: str, until_end: bool, machine: bool) -> None:
    """Show the log of an execution, as text or as a JSON object a line."""
    redis = _redis(_config())
    if not executions.is_uid(uid) or executions.read(redis, uid) is None:
        raise StartError(f"there is no execution {uid}; its record may have been kept long enough")
    page, position = None, log_reading.START
    while page is None or (not page.ended and (until_end or len(page.lines) == log_reading.MAX_LINES)):
        wait = FOLLOW_PATIENCE if until_end else 0.0
        page = log_reading.follow(redis, uid, position, log_reading.MAX_LINES, wait)
        position = page.next
        for line in map(json.dumps, page.as_json()) if machine else page.as_text():
            click.echo(_safe(line, keep="\t"))


@cli.command()
@click.argument("uid")
@as_json
def cancel(uid: str, machine: bool) -> None:
    """Cancel an execution: it never starts, or its run is told to end."""
    from trigger import acts

    redis = _redis(_config())
    status = _acted(lambda uid: acts.cancel(redis, uid, "the command line"), uid)
    said = "is cancelled" if status is executions.Status.CANCELLED else f"is {status} and told to end"
    click.echo(json.dumps({"uid": uid, "status": status}) if machine else f"{uid} {said}")


@cli.command()
@click.argument("uid")
@click.option("--data", metavar="JSON", help="The input, instead of the same one.")
@as_json
def rerun(uid: str, data: str | None, machine: bool) -> None:
    """Start an execution again: a new one, with the same input."""
    from trigger import acts

    edited = MISSING if data is None else parse_json(data.encode("utf-8", "surrogateescape"))
    parts = _parts()
    new = _acted(lambda uid: acts.rerun(parts, uid, edited=edited), uid).uid
    click.echo(json.dumps({"uid": new, "rerun_of": uid}) if machine else new)


@cli.command()
@click.argument("uid")
@as_json
def resume(uid: str, machine: bool) -> None:
    """Go on with a failed or cancelled execution of a workflow with steps: a new one, which does the rest."""
    from trigger import acts

    parts = _parts()
    new = _acted(lambda uid: acts.resume(parts, uid), uid).uid
    click.echo(json.dumps({"uid": new, "resumed_from": uid}) if machine else new)


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


def _settings(file: Path | None = None) -> Settings:
    environ = dict(os.environ)
    if file is not None:
        environ["TRIGGER_CONFIG"] = str(file)
    return Settings.from_environ(environ)


def _config() -> Config:
    return load(_settings().config, os.environ)


def _redis(config: Config) -> Redis:
    from trigger.queueing import connect

    return connect(redis_url(_settings(), config), reply_timeout=5.0)


def _parts() -> acts.Parts:
    from trigger import acts
    from trigger.queueing import Submitter

    config = _config()
    redis = _redis(config)
    return acts.Parts(redis, Submitter(redis), config, lambda api: Shape(api.input))


def _acted(act: Callable[[str], T], uid: str) -> T:
    """What an act on an execution answers, if there is that execution."""
    try:
        if executions.is_uid(uid):
            return act(uid)
    except ExecutionNotFound:
        pass
    raise StartError(f"there is no execution {uid}; its record may have been kept long enough")


def _split(name: str) -> tuple[str, str]:
    module, slash, method = name.partition("/")
    if not (module and slash and method) or "/" in method:
        raise UsageError(f"{name!r} is not an API's name; write MODULE/METHOD, as `python -m trigger apis` lists them")
    return module, method


def _api(config: Config, name: str) -> Api:
    found = config.apis.get(_split(name))
    if found is None:
        raise UsageError(f"there is no API {name}; `python -m trigger apis` lists them")
    return found


def _table(rows: Sequence[Mapping[str, Any]], machine: bool) -> None:
    """Rows as a table for people, or as a JSON list."""
    if machine:
        click.echo(json.dumps(rows, ensure_ascii=False))
    elif rows:
        click.echo(tabulate([{key: _cell(value) for key, value in row.items()} for row in rows], headers="keys"))
    else:
        click.echo("none")


def _show(record: executions.Record, machine: bool) -> None:
    content = record.as_json(operator=True)
    if machine:
        click.echo(json.dumps(content, ensure_ascii=False))
        return
    trace = (content["error"] or {}).pop("traceback", None)
    click.echo(tabulate([(key, _cell(value)) for key, value in content.items()], tablefmt="plain"))
    if trace:
        click.echo("\n" + _safe(trace, keep="\n"))


def _cell(value: Any) -> str:
    """A value in a table: what a caller sent can't steer the terminal."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return _safe(" ".join(value))
    return _safe(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _safe(text: str, keep: Iterable[str] = "") -> str:
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)
