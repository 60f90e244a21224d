"""The stacks that the benches compare: ours and its peers, each with its own pinned packages, as a table.

Commands are argument lists; {python}, {port}, {hooks} and {count} stand for what a run fills in. Every Flask peer has
as many processes as ours, each with threads and a listening socket of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

PATH = "/v1/api/bench/noop/async"
WEB_PROCESSES = 2
WEB_THREADS = 8

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """One stack: how its web and its worker start, and what it does less than ours.

    A `worker` without {count} is started so many times. `venv` names the requirements it is installed from, in
    `peers/requirements`; empty: our own environment, or none. `front` is the module that queues its jobs. `pace` is
    about how many jobs a second its worker does, from which the number of jobs of the first round is made.
    """

    name: str
    title: str
    venv: str
    web: Command = ()
    worker: Command = ()
    front: str = ""
    pace: int = 0
    path: str = PATH
    queue: str = ""  # its title where only its worker counts
    timed_path: str = PATH  # where a call starts a job that tells when it began
    less: str = ""
    program: str = ""  # to be installed by hand
    is_before: bool = False  # ours, in the checkout that BENCH_BEFORE names: of an earlier commit, with its .venv
    lingers: bool = False  # works on what it has answered already, so it is started anew for each measurement


def _gunicorn(module: str, kind: str = "gthread") -> Command:
    return (
        *("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--reuse-port", "--worker-class", kind),
        *("--workers", str(WEB_PROCESSES), "--threads", str(WEB_THREADS), "--worker-tmp-dir", "/dev/shm"),
        *("--log-level", "warning", "--no-control-socket", f"{module}:app"),
    )


_TRIGGER = ("{python}", "-m", "trigger")
_RQ_LESS = (
    "two round trips, the first outside the transaction; no limit, no index, no ledger: an execution whose worker is "
    "killed ends as failed"
)

STACKS = (
    Stack(
        "ours",
        "Trigger",
        "",
        (*_TRIGGER, "web"),
        (*_TRIGGER, "worker"),
        "ours",
        3000,
    ),
    Stack(
        "before",
        "Trigger, an earlier commit",
        "",
        (*_TRIGGER, "web"),
        (*_TRIGGER, "worker"),
        "ours",
        3000,
        is_before=True,
    ),
    Stack(
        "flask-const",
        "Flask, a constant",
        "flask",
        _gunicorn("flask_const"),
        less="checks nothing, reads no body, stores nothing",
    ),
    Stack(
        "flask-pipe",
        "Flask + one pipeline",
        "flask",
        _gunicorn("flask_pipe"),
        less="HSET and RPUSH in one MULTI, and nothing else: nobody takes the job out",
    ),
    Stack(
        "flask-pipe-gevent",
        "Flask + one pipeline, gevent",
        "flask",
        _gunicorn("flask_pipe", "gevent"),
        less="the same, with gunicorn's gevent worker as it comes",
    ),
    Stack(
        "rq",
        "Flask + RQ",
        "rq",
        _gunicorn("flask_rq"),
        ("{python}", "-m", "flask_rq", "worker"),
        "flask_rq",
        90,
        queue="RQ Worker",
        less=_RQ_LESS,
    ),
    Stack(
        "rq-simple",
        "Flask + RQ, simple",
        "rq",
        _gunicorn("flask_rq"),
        ("{python}", "-m", "flask_rq", "worker", "simple"),
        "flask_rq",
        400,
        queue="RQ SimpleWorker",
        less="the same; jobs run in the worker itself, which a crash or a hang takes with it",
    ),
    Stack(
        "celery",
        "Flask + Celery",
        "celery",
        _gunicorn("flask_celery"),
        (
            *("{python}", "-m", "celery", "-A", "flask_celery:celery", "worker", "--pool", "prefork"),
            *("--concurrency", "{count}", "--loglevel", "WARNING", "--without-gossip", "--without-mingle"),
        ),
        "flask_celery",
        1200,
        queue="Celery prefork",
        less="no record until the result; a killed worker's jobs wait for the visibility timeout of an hour",
    ),
    Stack(
        "dramatiq",
        "Flask + dramatiq",
        "dramatiq",
        _gunicorn("flask_dramatiq"),
        ("{python}", "-m", "dramatiq", "flask_dramatiq", "--processes", "{count}", "--threads", "8"),
        "flask_dramatiq",
        2000,
        queue="dramatiq",
        less="no record and no result; eight threads in a process, none of which can be killed",
    ),
    Stack(
        "huey",
        "Flask + huey",
        "huey",
        _gunicorn("flask_huey"),
        ("{python}", "-m", "huey.bin.huey_consumer", "flask_huey.huey", "-w", "{count}", "-k", "process", "-q"),
        "flask_huey",
        3000,
        queue="huey",
        less="no record until the result; a job whose worker is killed is lost",
    ),
    Stack(
        "saq",
        "Starlette + saq",
        "saq",
        _gunicorn("starlette_saq", "uvicorn_worker.UvicornWorker"),
        ("{python}", "-m", "saq", "starlette_saq.settings"),
        "starlette_saq",
        2500,
        queue="saq",
        less="asynchronous functions only, ten at a time in one process, none of which can be killed",
    ),
    Stack(
        "webhook",
        "adnanh/webhook",
        "",
        ("webhook", "-hooks", "{hooks}", "-ip", "127.0.0.1", "-port", "{port}", "-urlprefix", "v1/api/bench"),
        timed_path="/v1/api/bench/timed/async",
        less="neither queues nor records: it starts a program for each call, without a limit; its answer has no id",
        program="webhook",
        lingers=True,
    ),
)

BY_NAME = {stack.name: stack for stack in STACKS}
