"""`python -m trigger show`: what the one who is woken at night has to see."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from tests.store.conftest import FAILED, STEPPED, SUCCEEDED, Bench, api
from tests.support import OwnRedis
from tests.test_cli import Shell
from trigger.config.model import Api, Concurrency, Debounce
from trigger.store.conditions import limits_of
from trigger.store.log import Log

PLAN = {
    "steps": ["quote", "order", "close"],
    "on_failure": ["alert"],
    "kinds": {"quote": "python", "order": "http", "close": "run", "alert": "run"},
}


@pytest.fixture
def shell(tmp_path: Any, redis: object, redis_server: OwnRedis) -> Shell:
    return Shell(tmp_path, redis_server.url)


@pytest.fixture
def failed(redis: Redis) -> str:
    """An execution that has failed in its second step, of what a caller and a step have tried to steer terminals."""
    bench = Bench(redis)
    given = {"sku": "A1\x1b[31m", "card": "4111111111111111"}
    uid = bench.accept(api(workflow=STEPPED), given, secrets=[["card"]])
    taken = bench.take()
    assert taken
    log = Log(redis, uid, taken[1], limit=100_000)
    log.write("stdout", "not of this step", step="quote")
    for number in range(15):
        log.write("stderr", f"line {number}\x1b]0;", step="order", attempt=2)
    assert log.flush()
    begin = datetime.fromisoformat(bench.record(uid).started_at or "")

    def at(ms: int) -> str:
        return (begin + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    bad = {"status": "failed", "attempts": 2, "started_at": at(3), "ended_at": at(5003), "traceback": "Trace\n  of it"}
    error = {"class": "ValueError", "message": "no stock of \x1b[2J 4111111111111111"}
    done = {"status": "succeeded", "attempts": 1, "started_at": at(0), "ended_at": at(3), "output": {"total": "x" * 90}}
    bench.steps(uid, PLAN, {"quote": done, "order": {**bad, "error": error}})
    bench.end(*taken, FAILED)
    return uid


def test_it_says_which_step_failed_why_with_what_input_and_how_to_go_on(shell: Shell, failed: str) -> None:
    said = shell("show", failed)
    assert (said.returncode, said.stderr) == (0, "")
    lines = [line.rstrip() for line in said.stdout.splitlines()]
    words = [line.split() for line in lines]
    assert ["status", "failed"] in words
    assert ["api", "shop/restock"] in words
    assert 'input      {"sku": "A1\\u001b[31m", "card": "***"}' in lines
    assert "error      in step order: ValueError: no stock" in lines
    assert [
        "order",
        "http",
        "FAILED",
        "2",
        "5.0",
        "s",
        *[r"ValueError:", r"no", r"stock", r"of", r"\x1b[2J", r"***"],
    ] in words
    assert ["close", "run", "skipped", "order", "failed"] in words
    assert words[lines.index("step                kind    status     attempts    took") + 2][:5] == [
        "quote",
        "python",
        "succeeded",
        "1",
        "3",
    ]
    assert "  of it" in lines
    tail = lines[lines.index("the last lines of order") + 1 :]
    assert [line.split(" ", 5)[-1] for line in tail[:10]] == [f"line {n}\\x1b]0;" for n in range(5, 15)]
    assert [line.split("  ")[0] for line in lines[-3:]] == [
        f"{sys.executable} -m trigger logs {failed}",
        f"{sys.executable} -m trigger resume {failed}",
        f"{sys.executable} -m trigger rerun {failed}",
    ]
    assert "4111111111111111" not in said.stdout
    assert "\x1b" not in said.stdout
    assert "xxx… (--json shows all)" in said.stdout


def test_it_shows_the_headers_that_the_api_declares_masked_and_unable_to_steer(shell: Shell, redis: Redis) -> None:
    sent = {"event": "push\x1b[2J", "card": "is 4111111111111111", "none": None}
    uid = Bench(redis).accept(api(), {"card": "4111111111111111"}, secrets=[["card"]], headers=sent)
    lines = [line.strip() for line in shell("show", uid).stdout.splitlines()]
    at = next(number for number, line in enumerate(lines) if line.startswith("headers"))
    assert lines[at].split(maxsplit=1)[1] == r"event: push\x1b[2J"
    assert lines[at + 1 : at + 3] == ["card: is ***", "none: -"]
    assert json.loads(shell("show", uid, "--json").stdout)["headers"]["card"] == "is ***"


def test_as_json_it_is_the_record_with_all_of_it(shell: Shell, failed: str) -> None:
    record = json.loads(shell("show", failed, "--json").stdout)
    assert [step["status"] for step in record["steps"]] == ["succeeded", "failed", "skipped", "skipped"]
    assert record["steps"][0]["output"] == {"total": "x" * 90}
    assert record["steps"][1]["error"]["traceback"] == "Trace\n  of it"
    assert record["input"]["card"] == "***"


def test_what_goes_on_can_be_followed_and_cancelled(shell: Shell, redis: Redis) -> None:
    bench = Bench(redis)
    uid = bench.accept()
    ways = shell("show", uid).stdout.splitlines()[-2:]
    assert [way.split("  ")[0] for way in ways] == [
        f"{sys.executable} -m trigger logs -f {uid}",
        f"{sys.executable} -m trigger cancel {uid}",
    ]
    bench.run(SUCCEEDED)
    said = shell("show", uid).stdout
    assert "resume" not in said
    assert "cancel" not in said
    assert said.splitlines()[-1].startswith(f"{sys.executable} -m trigger rerun {uid}")


def test_one_that_a_limit_holds_back_says_so(shell: Shell, redis: Redis) -> None:
    def send(of: Api) -> str:
        return Bench(redis).accept(of, limits=limits_of(of, {}, {}, "ci", "192.0.2.1"))

    def facts(uid: str) -> dict[str, str]:
        lines = shell("show", uid).stdout.partition("\n\n")[0].splitlines()
        return {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}

    alone, burst = api(method="deploy", concurrency=Concurrency(1)), api(debounce=Debounce(60, 600))
    assert facts(send(alone))["status"] == "queued"
    waiting = "queued: it waits until other executions of its API have ended (concurrency)"
    assert facts(send(alone))["status"] == waiting
    uid = send(burst)
    assert "merged" not in facts(uid)
    assert send(burst) == uid
    assert (facts(uid)["status"], facts(uid)["merged"]) == (
        "queued: it waits until no further call comes (debounce)",
        "1 further call",
    )
    send(burst)
    assert facts(uid)["merged"] == "2 further calls"


def test_a_long_timeline_is_shortened_in_the_middle(shell: Shell, redis: Redis) -> None:
    bench = Bench(redis)
    uid = bench.accept()
    taken = bench.take()
    assert taken
    begin = datetime.fromisoformat(bench.record(uid).started_at or "")
    names = [f"s{n}" for n in range(100)]
    states = {}
    for n, name in enumerate(names):
        times = [(begin + timedelta(milliseconds=ms)).isoformat().replace("+00:00", "Z") for ms in (10 * n, 10 * n + 5)]
        states[name] = {"status": "succeeded", "attempts": 1, "started_at": times[0], "ended_at": times[1]}
    bench.steps(uid, {"steps": names}, states)
    said = shell("show", uid).stdout
    assert "more, which --json shows" in said
    assert len(said.splitlines()) < 170
    assert len(json.loads(shell("show", uid, "--json").stdout)["timeline"]) > 190
