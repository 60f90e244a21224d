"""The commands that list executions and act on them."""

from __future__ import annotations

import base64
import json
import pickle
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.store.conftest import FAILED, SUCCEEDED, Bench, api
from tests.support import ROOT, OwnRedis, awaited, eventually
from tests.test_cli import Shell
from tests.test_record import Planted
from trigger import store


@pytest.fixture
def shell(tmp_path: Any, redis: object, redis_server: OwnRedis) -> Shell:
    return Shell(tmp_path, redis_server.url)


def queued(shell: Shell, redis: Redis, *apis: str) -> list[str]:
    """Executions that wait, as `debug` starts them."""
    bench = Bench(redis)
    named = [name.partition("/") for name in apis]
    return [bench.accept(api(module, method), {"name": "Ada"}, debug=True) for module, _, method in named]


def test_executions_are_listed_by_filters_and_the_list_goes_on(shell: Shell, redis: Redis) -> None:
    uids = queued(shell, redis, "shop/test", "shop/draft", "shop/test")

    def listed(*options: str) -> list[str]:
        said = shell("executions", "--json", *options)
        assert said.returncode == 0, said.stderr
        return [row["uid"] for row in json.loads(said.stdout)["executions"]]

    assert listed() == uids[::-1]
    assert listed("--module", "shop", "--method", "test", "--since", "1h") == [uids[2], uids[0]]
    assert listed("--status", "failed") == listed("--caller", "nobody") == []
    first = shell("executions", "--limit", "2")
    assert uids[1] in first.stdout
    assert uids[0] not in first.stdout
    assert listed("--cursor", first.stderr.split()[-1]) == [uids[0]]
    assert listed("--since", "yesterday") == uids[::-1]
    assert listed("--until", "yesterday") == listed("--until", "2026-01-31") == []
    wrong = shell("executions", "--since", "tomorrow")
    assert wrong.returncode == 1
    assert "since: must be a time such as" in wrong.stderr
    assert shell("executions", "--status", "done").returncode == 2


def test_cancel_says_what_the_execution_is_now(shell: Shell, redis: Redis) -> None:
    (uid,) = queued(shell, redis, "shop/test")
    for _ in range(2):
        said = shell("cancel", uid)
        assert (said.returncode, said.stdout) == (0, f"{uid} is cancelled\n")
    assert json.loads(shell("cancel", uid, "--json").stdout) == {"uid": uid, "status": "cancelled"}
    assert json.loads(shell("show", uid, "--json").stdout)["error"]["message"] == "Cancelled by the command line"


def test_rerun_takes_another_input(shell: Shell, redis: Redis) -> None:
    (uid,) = queued(shell, redis, "shop/test")
    new = json.loads(shell("rerun", uid, "--data", '{"name": "Bob"}', "--json").stdout)
    assert new["rerun_of"] == uid
    assert json.loads(shell("show", new["uid"], "--json").stdout)["input"] == {"name": "Bob"}
    wrong = shell("rerun", uid, "--data", '{"nmae": "Bob"}')
    assert wrong.returncode == 1
    assert "nmae" in wrong.stderr


def test_resume_of_a_workflow_without_steps_says_what_to_do(shell: Shell, redis: Redis) -> None:
    (uid,) = queued(shell, redis, "shop/test")
    shell("cancel", uid)
    said = shell("resume", uid)
    assert said.returncode == 1
    assert "rerun" in said.stderr


def test_the_commands_for_the_night_run_as_the_page_has_them(shell: Shell, redis: Redis) -> None:
    page = (ROOT / "docs" / "operations.md").read_text().partition("## Woken at night")[2]
    lines = re.findall(r"\.venv/bin/python -m trigger ((?:[a-z]+)[^`#\n]*)", page)
    assert len(lines) == 14
    exits = {}
    for line in lines:
        redis.flushall()
        (uid,) = queued(shell, redis, "shop/draft")
        Bench(redis).run(FAILED)
        exits[line.strip()] = shell(*shlex.split(line.replace("UID…", uid).replace("UID", uid))).returncode
    assert exits.pop("resume UID") == 1  # it has no steps
    assert exits.pop("cancel UID") == 1  # it has ended
    assert exits.pop("resume --status failed --since 24h --rate 5/s --yes") == 1
    assert exits.pop("wait UID…") == 1  # it has failed
    assert exits.pop("verify MODULE/METHOD --headers FILE --body FILE") != 0  # there are no such files
    assert set(exits.values()) == {0}


@pytest.mark.parametrize("command", ["cancel", "rerun", "resume"])
@pytest.mark.parametrize("uid", ["1" * 25, "nonsense"])
def test_an_unknown_uid_is_said_to_be_unknown(shell: Shell, command: str, uid: str) -> None:
    said = shell(command, uid)
    assert said.returncode == 1
    assert said.stderr.startswith("there is no execution")


def test_x11_what_is_pickled_is_run_by_no_command(shell: Shell, redis: Redis, tmp_path: Path) -> None:
    evidence = tmp_path / "ran"
    planted = pickle.dumps(Planted(evidence))
    (uid,) = queued(shell, redis, "shop/draft")
    redis.xadd(store.RESULTS + uid, {"return_value": base64.b64encode(planted), "exc_string": planted})
    redis.hset(store.STEPS + uid, "", planted)
    redis.hset(store.STEPS + uid, "quote", planted)
    for name in ("status", "error", "runs", "meta", "data"):
        redis.hset(store.JOB + uid, name, b"finished" if name == "status" else planted)
        for command in (["executions"], ["show", uid], ["logs", uid], ["rerun", uid], ["resume", uid], ["cancel", uid]):
            done = shell(*command, "--json") if command[0] in ("executions", "show", "logs") else shell(*command)
            assert done.returncode in (0, 1), done.stderr
            assert "Traceback" not in done.stderr
    assert not evidence.exists()


def test_call_accepts_as_over_http(shell: Shell, redis: Redis) -> None:
    said = shell("call", "shop/test", "--data", '{"name": "Ada"}', "--key", "k")
    assert (said.returncode, said.stderr) == (0, "")
    uid = said.stdout.strip()
    record = store.read(redis, uid)
    assert record is not None
    assert (record.caller, record.input, record.debug) == ("the command line", {"name": "Ada"}, False)
    again = shell("call", "shop/test", "--data", '{"name": "Ada"}', "--key", "k", "--json")
    assert json.loads(again.stdout) == {"uid": uid, "replayed": True}
    said = shell("call", "shop/test", "--data", '{"nam": 1}')
    assert (said.returncode, said.stdout) == (1, "")
    assert "nam: unknown field; did you mean name?" in said.stderr
    said = shell("call", "shop/draft", "--wait")
    assert (said.returncode, said.stderr) == (1, "API is not enabled\n")
    assert shell("call", "shop/test", "--key", "").returncode == 2
    assert redis.llen("rq:queue:default") == 1


def test_call_waits_for_the_end(shell: Shell, redis: Redis, tmp_path: Any) -> None:
    said = shell("call", "shop/test", "--wait", "0.1", "--json")
    assert (said.returncode, json.loads(said.stdout)["status"]) == (1, "queued")
    assert said.stderr == "it is still queued after 0.1 s; is a worker running?\n"
    redis.flushall()
    with (tmp_path / "said").open("w") as file:
        command = [sys.executable, "-m", "trigger", "call", "shop/test", "--json", "--wait"]
        calling = subprocess.Popen(command, env=shell.environ, cwd=ROOT, stdout=file)
    (uid,) = eventually(lambda: awaited(redis))
    assert Bench(redis).run(SUCCEEDED) == uid
    assert calling.wait(20) == 0
    assert json.loads((tmp_path / "said").read_text())["output"] == {"ok": True}
