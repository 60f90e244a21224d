"""gunicorn's settings: processes and listening sockets, what we have beside what we could have.

    python -m bench.web_settings --rounds 5

At 16 connections, with a Redis that keeps nothing and with one that syncs each write.
The first setting is that of gunicorn.conf.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import product

from bench import tables
from bench.session import Session, run
from bench.stacks import BY_NAME
from bench.stage import Durability, Stage, cpu_seconds
from bench.venvs import BENCH
from bench.wrk import load

STACKS = ("ours",)
CONNECTIONS = 16
WARM_UP = 1  # seconds
SETTINGS: dict[str, dict[str, object]] = {
    # A socket for each process, as `web` and `up` hold them for gunicorn, which is started without them here.
    "2 processes": {"reuse_port": True},
    "1 process": {"reuse_port": True, "workers": 1},
    "4 processes": {"reuse_port": True, "workers": 4},
    "2 processes, one socket": {},
}


@contextmanager
def _web(stage: Stage, settings: dict[str, object]) -> Iterator[int]:
    """Our web processes with some of gunicorn's settings replaced; answers their master's process id."""
    file = stage.folder / "gunicorn.conf.py"
    ours = (BENCH.parent / "gunicorn.conf.py").read_text()
    file.write_text(ours + "".join(f"\n{name} = {value!r}" for name, value in settings.items()) + "\n")
    stage.stack = replace(stage.stack, web=("{python}", "-m", "gunicorn", "-c", str(file)))
    with stage.web() as web:
        load(stage.port, stage.stack.path, CONNECTIONS, WARM_UP, stage.folder)
        yield web.pid


def main() -> None:
    session = Session("web_settings", __doc__ or "", STACKS, rounds=5, seconds=1, program="wrk")
    durabilities: tuple[Durability, ...] = ("none", "always")
    with ExitStack() as exits:
        running = {}
        for durability, (name, settings) in product(durabilities, SETTINGS.items()):
            stage = exits.enter_context(Stage(BY_NAME["ours"], durability))
            running[durability, name] = stage, exits.enter_context(_web(stage, settings))
        for (durability, name), (stage, pid) in session.turns(running.items()):
            stage.clear()
            used = cpu_seconds(pid)
            result = load(stage.port, stage.stack.path, CONNECTIONS, session.seconds, stage.folder)
            cpu = (cpu_seconds(pid) - used) / result.requests * 1e6
            session.add("ours", f"{durability} {name}", rps=result.rps, p50=result.p50, p99=result.p99, cpu=cpu)
            stage.clear()
    session.finish(tables.web_settings)


if __name__ == "__main__":
    run(main)
