"""Commands that act on several executions, wait for them, and choose them by filters (found.md 41)."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.store.conftest import FAILED, SUCCEEDED, Bench, api
from tests.support import CONFIG, ROOT, OwnRedis, eventually
from tests.test_cli import Shell
from trigger import store
from trigger.store import Status
from trigger.store.queueing import Call


@pytest.fixture
def shell(tmp_path: Any, redis: object, redis_server: OwnRedis) -> Shell:
    return Shell(tmp_path, redis_server.url)


def accepted(redis: Redis, count: int, of: str = "shop/test") -> list[str]:
    bench = Bench(redis)
    module, _, method = of.partition("/")
    return [bench.accept(api(module, method), {"name": "Ada"}, debug=True) for _ in range(count)]


def now(redis: Redis, uids: list[str]) -> list[str]:
    return [str(status) for status in store.statuses(redis, uids)]


def test_several_are_cancelled_at_once_and_counted(shell: Shell, redis: Redis) -> None:
    done, first, second = accepted(redis, 3)
    Bench(redis).run(SUCCEEDED)
    said = shell("cancel", first, done, second, first)
    assert said.stdout == f"{first} is cancelled\n{second} is cancelled\n"
    assert said.stderr.splitlines() == [
        f"{done}: The execution has succeeded already: there is nothing to cancel",
        "2 cancelled or told to end, 1 skipped, 0 failed",
    ]
    assert said.returncode == 0
    said = shell("cancel", first, "1" * 25, "nonsense")
    assert said.returncode == 1
    assert "there is no execution 1111" in said.stderr
    assert said.stderr.endswith("1 cancelled or told to end, 0 skipped, 2 failed\n")


def test_uids_come_from_stdin(shell: Shell, redis: Redis) -> None:
    uids = accepted(redis, 3)
    said = shell("cancel", "-", "--json", stdin="\n".join(uids))
    assert [json.loads(line) for line in said.stdout.splitlines()] == [
        {"uid": uid, "status": "cancelled"} for uid in uids
    ]
    assert now(redis, uids) == ["cancelled"] * 3
    assert shell("cancel", "-", stdin="").stderr == "0 cancelled or told to end, 0 skipped, 0 failed\n"


def test_filters_choose_what_has_not_ended_and_scripts_say_yes(shell: Shell, redis: Redis) -> None:
    failed, *theirs = accepted(redis, 3)
    Bench(redis).run(FAILED)
    others = accepted(redis, 2, "shop/draft")
    asked = shell("cancel", "--module", "shop", "--method", "test")
    assert asked.returncode == 2
    assert "Cancel 2 executions? [y/N]" in asked.stderr
    assert "in a script, say --yes" in asked.stderr
    assert now(redis, [failed, *theirs]) == ["failed", "queued", "queued"]
    said = shell("cancel", "--module", "shop", "--method", "test", "--since", "yesterday", "--rate", "50/s", "--yes")
    assert (said.returncode, said.stdout) == (0, "")
    assert said.stderr == "2 cancelled or told to end, 0 skipped, 0 failed\n"
    assert now(redis, [failed, *theirs, *others]) == ["failed", "cancelled", "cancelled", "queued", "queued"]
    assert shell("cancel", "--status", "queued", "--until", "yesterday", "--yes").stderr.startswith("0 cancelled")


@pytest.mark.parametrize(("answer", "becomes"), [("y", "cancelled"), ("n", "queued")])
def test_the_count_is_asked_first(shell: Shell, redis: Redis, answer: str, becomes: str) -> None:
    uids = accepted(redis, 2)
    ours, theirs = pty.openpty()
    asking = subprocess.Popen(
        [sys.executable, "-m", "trigger", "cancel", "--status", "queued"],
        env=shell.environ,
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = ""
    with suppress(OSError):  # of a terminal that nobody holds any more
        while True:
            seen += os.read(ours, 1000).decode()
            if answer and seen.rstrip().endswith("[y/N]:"):
                os.write(ours, f"{answer}\n".encode())
                answer = ""
            if asking.poll() is not None and not seen:
                break
    os.close(ours)
    assert asking.wait(20) == (0 if becomes == "cancelled" else 1)
    assert "Cancel 2 executions? [y/N]" in seen
    assert now(redis, uids) == [becomes] * 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["cancel"],
        ["cancel", "1" * 25, "--status", "queued"],
        ["cancel", "--status", "failed"],
        ["resume", "--status", "queued"],
        ["rerun", "--status", "failed", "--rate", "5"],
        ["rerun", "--status", "failed", "--rate", "0/s"],
        ["wait"],
        ["wait", "1" * 25, "--timeout", "5"],
    ],
    ids=" ".join,
)
def test_what_can_not_be_meant_is_a_mistake_in_the_command(shell: Shell, arguments: list[str]) -> None:
    assert shell(*arguments).returncode == 2


def test_failed_ones_are_run_again_by_filter(shell: Shell, redis: Redis) -> None:
    first, second, other = accepted(redis, 3, "shop/draft")
    for _ in range(2):
        Bench(redis).run(FAILED)
    said = shell("rerun", "--module", "shop", "--yes", "--json")
    assert said.returncode == 0, said.stderr
    new = [json.loads(line) for line in said.stdout.splitlines()]
    assert [one["rerun_of"] for one in new] == [first, second]
    assert now(redis, [one["uid"] for one in new] + [other]) == ["queued"] * 3
    assert said.stderr == "2 started anew, 0 skipped, 0 failed\n"


def test_what_can_not_be_resumed_is_told_and_the_others_go_on(shell: Shell, redis: Redis) -> None:
    uids = accepted(redis, 3)
    for result in (FAILED, SUCCEEDED):
        Bench(redis).run(result)
    said = shell("resume", *uids)
    assert said.returncode == 1
    assert said.stderr.splitlines()[-1] == "0 started anew, 2 skipped, 1 failed"
    assert "has no steps to go on from; rerun the execution" in said.stderr
    assert "only one that has ended can be resumed" in said.stderr


def test_thousands_are_cancelled_in_one_go(shell: Shell, redis: Redis) -> None:
    """found.md 41: 40,000 that were cancelled one by one, with a start of Python each, took 11 hours."""
    bench = Bench(redis)
    of = api("shop", "test")
    submit = bench.submitter.submit
    call = Call(of, {"name": "Ada"}, "ci")
    uids = [submit(call, CONFIG).uid for _ in range(6_000)]
    said = shell("cancel", "--status", "queued", "--yes")
    assert (said.returncode, said.stderr) == (0, "6,000 cancelled or told to end, 0 skipped, 0 failed\n")
    assert set(store.statuses(redis, uids)) == {Status.CANCELLED}


def test_wait_ends_with_the_last_and_says_how_each_has_ended(shell: Shell, redis: Redis, tmp_path: Path) -> None:
    uids = accepted(redis, 2)
    Bench(redis).run(SUCCEEDED)
    with (tmp_path / "said").open("w") as file:
        waiting = subprocess.Popen(
            [sys.executable, "-m", "trigger", "wait", *uids], env=shell.environ, cwd=ROOT, stdout=file
        )
    eventually(lambda: (tmp_path / "said").read_text() == f"{uids[0]} succeeded\n")
    assert waiting.poll() is None
    Bench(redis).run(SUCCEEDED)
    assert waiting.wait(20) == 0
    assert (tmp_path / "said").read_text() == "".join(f"{uid} succeeded\n" for uid in uids)


def test_wait_says_no_when_one_has_failed_or_has_not_ended(shell: Shell, redis: Redis) -> None:
    failed, waits = accepted(redis, 2)
    Bench(redis).run(FAILED)
    said = shell("wait", failed, "--json")
    assert (said.returncode, json.loads(said.stdout)) == (1, {"uid": failed, "status": "failed"})
    said = shell("wait", waits, "--timeout", "1s")
    assert (said.returncode, said.stdout) == (1, f"{waits} queued\n")
    assert said.stderr == "1 has not ended after 1s\n"
    said = shell("wait", "1" * 25)
    assert said.returncode == 1
    assert said.stderr.startswith("there is no execution")


def test_json_has_the_keys_of_http(shell: Shell, redis: Redis) -> None:
    """found.md 43"""
    uids = accepted(redis, 2)
    listed = json.loads(shell("executions", "--json", "--limit", "1").stdout)
    page = store.page(redis, store.Query(limit=1))
    assert listed == page.as_json()
    assert listed["next"]
    record = store.read(redis, uids[0])
    assert record is not None
    assert json.loads(shell("show", uids[0], "--json").stdout) == record.as_json(operator=True)
