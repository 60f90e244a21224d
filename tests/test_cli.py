"""The commands, run as an operator runs them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests import forks
from tests.support import OwnRedis, environment, eventually, process
from trigger.config import load
from trigger.store.queueing import Call, Submitter

CONFIG = """\
workflows:
  hello: greetings:greet
  bad: greetings:fail
modules:
  shop:
    methods:
      test:  # the one
        enabled: true
        auth: {mode: none}
        workflow: hello
        input:
          fields:
            name: {type: string}
        debug: {name: Ada}
      draft:
        enabled: false  # not yet
        auth: {mode: token, token: aaaabbbbccccdddd}
        workflow: bad
        debug: {}
"""

GREETINGS = """\
def greet(value):
    return "Hello, " + value.get("name", "world")

def fail(value):
    raise ValueError("no\\x1b[31m way")
"""


class Shell:
    """Runs `python -m trigger` in a folder with the config above."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.environ = environment(folder, url)
        (folder / "config.yaml").write_text(CONFIG)
        (folder / "config.yaml").chmod(0o600)
        (folder / "greetings.py").write_text(GREETINGS)

    def __call__(self, *arguments: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        said = forks.run(arguments, self.environ | environ, stdin=stdin)
        # Where it comes from the environment, each command says first which instance it is about: tests/cli has that.
        said.stderr = re.sub(r"\Athe instance of .*\n", "", said.stderr)
        return said

    @property
    def config(self) -> str:
        return (self.folder / "config.yaml").read_text()


@pytest.fixture
def shell(tmp_path: Path, redis: object, redis_server: OwnRedis) -> Shell:
    return Shell(tmp_path, redis_server.url)


@pytest.fixture
def worker(shell: Shell) -> Iterator[None]:
    with process(["worker"], shell.environ, shell.folder / "log"):
        eventually(lambda: "serves queue default" in (shell.folder / "log").read_text())
        yield


def test_check_says_that_a_good_config_is_good(shell: Shell) -> None:
    said = shell("check")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout == f"{shell.folder}/config.yaml: 2 APIs, 1 of them enabled: no mistakes\n"


def test_check_says_what_it_took_from_the_shell_which_the_service_may_lack(shell: Shell) -> None:
    """found.md 36"""
    (shell.folder / "config.yaml").write_text(CONFIG.replace("aaaabbbbccccdddd", '"${SHOP_TOKEN}"'))
    said = shell("check", SHOP_TOKEN="a-token-of-some-length")
    assert "(with SHOP_TOKEN of this shell; a running service has those of its start)" in said.stdout
    without = shell("check")
    assert without.returncode == 1
    assert "SHOP_TOKEN is not set: start the service with it, take the value from a file as ${file:" in without.stderr


def test_check_names_every_mistake_and_exits_1(shell: Shell) -> None:
    broken = shell.folder / "broken.yaml"
    broken.write_text(CONFIG.replace("enabled: true", "enabeld: true").replace("greetings:fail", "greetings:nothing"))
    said = shell("check", str(broken))
    assert said.returncode == 1
    assert said.stderr.splitlines() == [
        f"{broken}:3:3: workflows.bad: 'greetings' has no such callable: module 'greetings' has no attribute 'nothing'",
        f"{broken}:8:9: modules.shop.methods.test.enabeld: is not a key that is known here; did you mean 'enabled'?",
    ]


def test_check_says_how_many_executions_wait_for_a_workflow_that_is_gone(shell: Shell, redis: Redis) -> None:
    config = load(shell.folder / "config.yaml", {})
    for _ in range(3):
        Submitter(redis).submit(Call(config.apis["shop", "test"], {}, None), config)
    assert "wait for" not in shell("check").stderr
    (shell.folder / "config.yaml").write_text(CONFIG.replace("hello", "hallo"))
    done = shell("check")
    assert done.returncode == 0
    assert "3 executions wait for the workflow 'hello', which this config lacks" in done.stderr
    done = shell("check", REDIS_URL="redis://127.0.0.1:1/0")
    assert (done.returncode, "no mistakes" in done.stdout, "wait for" in done.stderr) == (0, True, False)


def test_check_warns_of_short_secrets_and_passes(shell: Shell) -> None:
    (shell.folder / "config.yaml").write_text(CONFIG.replace("aaaabbbbccccdddd", "tiny"))
    said = shell("check")
    assert said.returncode == 0
    assert "shorter than 16 characters" in said.stderr
    assert "tiny" not in said.stderr


def test_a_wrong_default_of_an_input_field_is_a_mistake(shell: Shell) -> None:
    (shell.folder / "config.yaml").write_text(
        CONFIG.replace("name: {type: string}", "at: {type: datetime, default: '2026-01-31T12:30'}")
    )
    said = shell("check")
    assert said.returncode == 1
    assert "modules.shop.methods.test.input" in said.stderr


def test_apis_are_listed_as_a_table_and_as_json(shell: Shell) -> None:
    table = shell("apis").stdout
    assert "shop/test" in table
    assert "yes" in table
    listed = json.loads(shell("apis", "--json").stdout)
    assert [(api["api"], api["enabled"], api["auth"]) for api in listed] == [
        ("shop/test", True, "none"),
        ("shop/draft", False, "token"),
    ]
    assert "aaaabbbbccccdddd" not in shell("apis", "--json").stdout


def test_workflows_are_listed_with_the_apis_that_start_them(shell: Shell) -> None:
    listed = json.loads(shell("workflows", "--json").stdout)
    assert [(workflow["workflow"], workflow["apis"]) for workflow in listed] == [
        ("hello", ["shop/test"]),
        ("bad", ["shop/draft"]),
    ]


def test_workflows_are_listed_with_their_steps(shell: Shell) -> None:
    steps = """\
  stepped:
    steps:
      - {name: ask, needs: [], python: "greetings:greet"}
      - {name: tell, needs: [ask], run: [echo, told]}
    on_failure:
      - {name: complain, http: {url: "https://example.net/"}}
modules:
"""
    (shell.folder / "config.yaml").write_text(CONFIG.replace("modules:\n", steps))
    listed = json.loads(shell("workflows", "--json").stdout)
    assert (listed[0]["steps"], listed[0]["on_failure"]) == ([], [])
    assert listed[2]["steps"] == [
        {"name": "ask", "kind": "python", "needs": []},
        {"name": "tell", "kind": "run", "needs": ["ask"]},
    ]
    assert listed[2]["on_failure"] == [{"name": "complain", "kind": "http", "needs": []}]
    assert re.search(r"^stepped +2 +default", shell("workflows").stdout, re.MULTILINE)


def test_enable_and_disable_edit_that_one_value(shell: Shell) -> None:
    said = shell("enable", "shop/draft")
    assert (said.returncode, said.stdout) == (0, "shop/draft is now enabled\n")
    assert shell.config == CONFIG.replace("enabled: false  # not yet", "enabled: true  # not yet")
    assert shell("enable", "shop/draft").stdout == "shop/draft is already enabled\n"
    assert shell("disable", "shop/draft").returncode == 0
    assert shell.config == CONFIG


def test_an_unknown_api_is_a_mistake_with_a_suggestion(shell: Shell) -> None:
    said = shell("enable", "shop/tset")
    assert said.returncode in (1, 2)
    assert "test" in said.stderr
    assert shell("debug", "nonsense").returncode == 2


@pytest.mark.usefixtures("worker")
def test_debug_sends_the_simulated_request_and_shows_the_record(shell: Shell) -> None:
    said = shell("debug", "shop/test", "--json")
    assert said.returncode == 0
    record = json.loads(said.stdout)
    assert (record["status"], record["output"], record["debug"]) == ("succeeded", "Hello, Ada", True)
    other = json.loads(shell("debug", "shop/test", "--data", '{"name":"Bob"}', "--json").stdout)
    assert other["output"] == "Hello, Bob"
    assert json.loads(shell("show", record["uid"], "--json").stdout) == record
    listed = json.loads(shell("executions", "--json").stdout)["executions"]
    assert [row["uid"] for row in listed] == [other["uid"], record["uid"]]


@pytest.mark.usefixtures("worker")
def test_debug_works_while_the_api_is_disabled_and_exits_1_when_it_fails(shell: Shell) -> None:
    said = shell("debug", "shop/draft")
    assert said.returncode == 1
    assert "failed" in said.stdout
    assert "Traceback" in said.stdout
    assert "\x1b" not in said.stdout  # what a workflow says can't steer the terminal


def test_debug_refuses_an_input_that_the_api_would_refuse(shell: Shell) -> None:
    said = shell("debug", "shop/test", "--data", '{"nmae":"Bob"}')
    assert said.returncode == 1
    assert "The input is invalid" in said.stderr
    assert "nmae" in said.stderr


def test_an_unknown_uid_is_said_to_be_unknown(shell: Shell) -> None:
    for uid in ("1" * 25, "nonsense", "../x"):
        said = shell("show", uid)
        assert said.returncode == 1
        assert "there is no execution" in said.stderr


def test_hash_makes_a_secret_that_the_config_takes(shell: Shell) -> None:
    said = shell("hash", stdin="correct horse battery staple\n")
    assert said.returncode == 0
    hashed = said.stdout.strip()
    assert "horse" not in hashed
    (shell.folder / "config.yaml").write_text(CONFIG.replace("token: aaaabbbbccccdddd", f'token: "{hashed}"'))
    assert shell("check").returncode == 0
    assert shell("hash", stdin="\n").returncode == 2


def test_schema_is_json(shell: Shell) -> None:
    assert json.loads(shell("schema").stdout)["$schema"].startswith("https://json-schema.org/")


def test_a_redis_that_is_not_there_is_one_line(shell: Shell) -> None:
    said = shell("executions", REDIS_URL="unix:///nowhere/redis.sock")
    assert said.returncode == 1
    assert said.stderr.count("\n") == 1
    assert "is the service running?" in said.stderr


def test_a_wrong_variable_and_a_wrong_command_are_usage_errors(shell: Shell) -> None:
    assert shell("check", TRIGGER_BIND="nonsense").returncode == 2
    assert shell("no-such-command").returncode == 2
    assert shell("apis", "--no-such-option").returncode == 2


def test_rerun_starts_a_new_execution_with_the_same_input(shell: Shell, redis: Redis) -> None:
    """Also when no worker runs for longer than the failed record is kept: the new one does not depend on it (F43)."""
    with process(["worker"], shell.environ, shell.folder / "log"):
        assert shell("debug", "shop/draft", "--data", '{"sku": "A1"}').returncode == 1
    (failed,) = json.loads(shell("executions", "--json").stdout)["executions"]
    new = shell("rerun", failed["uid"]).stdout.strip()
    assert new != failed["uid"]
    redis.expire(f"rq:job:{failed['uid']}", 0)
    assert shell("show", failed["uid"]).returncode == 1
    (shell.folder / "greetings.py").write_text(GREETINGS.replace("raise ValueError", "return str"))
    with process(["worker"], shell.environ, shell.folder / "log"):
        record = eventually(lambda: ended(shell, new))
    assert record is not None
    assert (record["status"], record["input"], record["rerun_of"]) == ("succeeded", {"sku": "A1"}, failed["uid"])


def ended(shell: Shell, uid: str) -> dict[str, Any] | None:
    record: dict[str, Any] = json.loads(shell("show", uid, "--json").stdout)
    return record if record["ended_at"] else None


def test_rerun_of_an_unknown_uid_is_said_to_be_unknown(shell: Shell) -> None:
    said = shell("rerun", "1" * 25)
    assert said.returncode == 1
    assert "there is no execution" in said.stderr
