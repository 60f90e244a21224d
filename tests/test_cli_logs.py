"""`python -m trigger logs`, run as an operator runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests import forks
from tests.support import OwnRedis, environment, eventually, process
from trigger.store import JOB
from trigger.store.log import Log

CONFIG = """\
workflows:
  talk: talking:talk
modules:
  shop:
    methods:
      talk: {enabled: true, auth: {mode: none}, workflow: talk, debug: {}}
"""

TALKING = """\
import logging, sys

def talk(value):
    print("\\x1b[31mred\\x1b[0m \\tgrüße")
    print("trouble", file=sys.stderr)
    logging.warning("careful")
    for number in range(2500):
        print(number)
"""


class Shell:
    """Runs `python -m trigger` in a folder with the config above."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.environ = environment(folder, url)
        (folder / "config.yaml").write_text(CONFIG)
        (folder / "talking.py").write_text(TALKING)

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return forks.run(arguments, self.environ)


@pytest.fixture
def shell(tmp_path: Path, redis: Redis, redis_server: OwnRedis) -> Iterator[Shell]:
    shell = Shell(tmp_path, redis_server.url)
    with process(["worker"], shell.environ, tmp_path / "worker.log"):
        eventually(lambda: redis.scard("rq:workers:default"))
        yield shell


def started(shell: Shell) -> str:
    shown = shell("debug", "shop/talk", "--json")
    assert shown.returncode == 0, shown.stderr
    return str(json.loads(shown.stdout)["uid"])


def test_logs_shows_every_line_safe_for_a_terminal(shell: Shell) -> None:
    shown = shell("logs", started(shell))
    assert shown.returncode == 0
    (line,) = shown.stderr.splitlines()
    assert line.startswith("the instance of ")
    lines = [line.split(" ", 3) for line in shown.stdout.splitlines()]
    assert [line[1:] for line in lines[:3]] == [
        ["stdout", "-", "\\x1b[31mred\\x1b[0m \tgrüße"],
        ["stderr", "-", "trouble"],
        ["log/WARNING", "-", "careful"],
    ]
    assert [line[3] for line in lines[3:]] == [f"{number}" for number in range(2500)]


def test_logs_json_is_an_object_a_line(shell: Shell) -> None:
    shown = shell("logs", "--json", started(shell))
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    assert len(lines) == 2503
    assert lines[2].keys() == {"id", "time", "stream", "level", "step", "attempt", "text"}
    assert (lines[2]["level"], lines[2]["text"]) == ("WARNING", "careful")
    assert "\x1b" not in shown.stdout


def test_logs_f_follows_to_the_end(shell: Shell, redis: Redis, tmp_path: Path) -> None:
    uid = started(shell)
    redis.hset(JOB + uid, mapping={"status": "started", "execution": "again"})  # as if it was resumed
    log = Log(redis, uid, "again", limit=1024 * 1024)
    output = tmp_path / "followed"
    with process(["logs", "-f", uid], shell.environ, output) as following:
        eventually(lambda: "2499" in output.read_text())
        log.write("stdout", "more")
        log.flush()
        eventually(lambda: "stdout - more" in output.read_text())
        assert following.poll() is None
        redis.hset(JOB + uid, "status", "finished")
        assert following.wait(20) == 0


def test_logs_of_an_execution_that_goes_on_ends_without_f(shell: Shell, redis: Redis) -> None:
    uid = started(shell)
    redis.hset(JOB + uid, "status", "started")
    assert shell("logs", uid).returncode == 0


@pytest.mark.parametrize("uid", ["1764072000123456789012345", "nonsense", "*"])
def test_logs_of_nothing_says_so(shell: Shell, uid: str) -> None:
    shown = shell("logs", uid)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert f"there is no execution {uid}" in shown.stderr
