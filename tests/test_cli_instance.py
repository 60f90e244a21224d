"""Which instance a command finds, and what it needs: where Redis is, and nothing else (found.md 22 and 37)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests import forks
from tests.store.conftest import Bench, api
from tests.support import ROOT, OwnRedis, eventually, process
from tests.test_cli import CONFIG, GREETINGS
from trigger.config import Settings, load
from trigger.inforce.versions import Keeper

BROKEN = CONFIG.replace("auth: {mode: none}", "auth: {mode: nobody}")
WITH_SECRET = CONFIG.replace("aaaabbbbccccdddd", '"${SHOP_TOKEN}"')


def keep_last_good(folder: Path) -> None:
    """As a service does that runs by the config of a folder."""
    config = folder / "config.yaml"
    config.write_text(CONFIG)
    Keeper(Settings(config=config, data=folder / "data")).keep(load(config, {}))


class Operator:
    """Types commands in a folder, with nothing of ours in the environment."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.system = home / "etc-trigger"
        self.system_data = home / "var-lib-trigger"

    def __call__(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return forks.run(
            [str(self.system), str(self.system_data), *arguments],
            {**kept, "PYTHONPATH": str(ROOT), **environ},
            module="tests.moved",
            cwd=self.folder,
        )


def made(folder: Path, config: str = CONFIG) -> Path:
    """A config in a folder, with the workflows that it names."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(config)
    (folder / "config.yaml").chmod(0o600)
    (folder / "greetings.py").write_text(GREETINGS)
    return folder / "config.yaml"


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    made(tmp_path / "here")
    return Operator(tmp_path / "here", tmp_path)


@pytest.fixture
def uid(operator: Operator) -> Iterator[str]:
    """An execution that waits, in the private Redis of the current folder."""
    with OwnRedis(operator.folder / "data", fsync="no") as server, Redis.from_url(server.url) as redis:
        yield Bench(redis).accept(api("shop", "test"), {"name": "Ada"})


def test_the_instance_of_the_current_folder_needs_no_word(operator: Operator, uid: str) -> None:
    said = operator("executions")
    assert (said.returncode, said.stderr) == (0, "")
    assert uid in said.stdout


def test_reading_and_acting_need_no_good_config(operator: Operator, uid: str) -> None:
    keep_last_good(operator.folder)
    (operator.folder / "config.yaml").write_text(BROKEN)
    for command in (["executions"], ["show", uid], ["logs", uid], ["refused"], ["apis"], ["workflows"]):
        said = operator(*command)
        assert said.returncode == 0, (command, said.stderr)
    new = operator("rerun", uid)
    assert new.returncode == 0, new.stderr
    assert operator("cancel", uid, new.stdout.strip()).returncode == 0
    assert operator("executions", "--status", "cancelled").stdout.count("shop/test") == 2


@pytest.mark.parametrize(
    "config", ["modules: [\n", WITH_SECRET, "redis: ${NOWHERE}\n" + CONFIG], ids=["no YAML", "secret", "redis"]
)
def test_nothing_in_the_config_keeps_from_reading(operator: Operator, uid: str, config: str) -> None:
    (operator.folder / "config.yaml").write_text(config)
    for command in (["executions"], ["show", uid], ["cancel", uid]):
        said = operator(*command)
        assert said.returncode == 0, (command, said.stderr)


def test_a_command_says_when_it_works_with_the_last_good_version(operator: Operator, uid: str) -> None:
    keep_last_good(operator.folder)
    (operator.folder / "config.yaml").write_text(BROKEN)
    said = operator("apis")
    assert "shop/draft" in said.stdout
    assert "config.yaml has a mistake, which `.venv/bin/python -m trigger check` tells" in said.stderr


def test_a_variable_that_this_shell_does_not_have_is_named(operator: Operator, uid: str) -> None:
    (operator.folder / "config.yaml").write_text(WITH_SECRET)
    said = operator("apis")
    assert said.returncode == 0
    assert said.stderr == "not set in this shell, and left as it is written: ${SHOP_TOKEN}\n"
    assert operator("check").returncode == 1


@pytest.mark.parametrize("flags", [["--config", "../other/config.yaml", "--data", "../other/data"], []])
def test_another_instance_is_named_by_options_or_by_the_environment(
    operator: Operator, tmp_path: Path, flags: list[str]
) -> None:
    made(tmp_path / "other")
    environ = {} if flags else {"TRIGGER_CONFIG": "../other/config.yaml", "TRIGGER_DATA": "../other/data"}
    with OwnRedis(tmp_path / "other" / "data", fsync="no") as server, Redis.from_url(server.url) as redis:
        uid = Bench(redis).accept(api("shop", "test"))
        said = operator(*flags, "executions", **environ)
    assert uid in said.stdout
    assert said.stderr == "the instance of ../other/config.yaml, with its data in ../other/data\n"
    late = operator("executions", *flags[:2], **environ)
    assert not flags or "write it before the command" in late.stderr


def test_the_instance_of_the_system_is_found_where_none_runs_in_the_folder(operator: Operator, tmp_path: Path) -> None:
    """The folder of the code has a config.yaml of its own, and what a first `make run` has left."""
    config = made(operator.system, WITH_SECRET)
    moved = config.rename(operator.system / "trigger.yaml")
    (operator.system / "environment").write_text(
        f"# secrets\nTRIGGER_CONFIG={moved}\nSHOP_TOKEN='a secret of some length'\n\n"
    )
    with OwnRedis(operator.folder / "data", fsync="no") as leftover:
        leftover.kill()
    with OwnRedis(operator.system_data, fsync="no") as server, Redis.from_url(server.url) as redis:
        uid = Bench(redis).accept(api("shop", "test"))
        for command in (["executions"], ["show", uid], ["logs", uid], ["cancel", uid]):
            said = operator(*command)
            assert (said.returncode, said.stderr) == (
                0,
                f"the instance of {moved}, with its data in {operator.system_data}\n",
            )
    assert operator("check").stdout.startswith(f"{moved}: 2 APIs")


def test_a_service_that_runs_in_the_folder_is_nearer_than_that_of_the_system(operator: Operator, uid: str) -> None:
    made(operator.system)
    said = operator("executions")
    assert uid in said.stdout
    assert said.stderr == ""


def test_the_redis_that_the_systems_environment_names_is_used(operator: Operator, tmp_path: Path) -> None:
    made(operator.system)
    with OwnRedis(tmp_path / "redis", fsync="no") as server, Redis.from_url(server.url) as redis:
        (operator.system / "environment").write_text(f'REDIS_URL="{server.url}"\n')
        uid = Bench(redis).accept(api("shop", "test"))
        assert uid in operator("executions").stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_rights_is_told_whose_the_socket_is(operator: Operator, tmp_path: Path, uid: str) -> None:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    said = operator("show", uid, NOBODY="1")
    assert said.returncode == 1
    assert "may not use Redis' socket" in said.stderr
    assert f"{operator.folder}/data" in said.stderr
    assert "sudo -u root " in said.stderr
    assert said.stderr.count("\n") == 1


def test_a_redis_that_does_not_run_is_told_with_its_place(operator: Operator) -> None:
    said = operator("executions")
    assert said.returncode == 1
    assert said.stderr == (
        f"Redis can't be reached: there is no socket {operator.folder}/data/redis.sock; is the service running?\n"
    )


# --- the running service ---


@pytest.fixture
def running(operator: Operator) -> Iterator[Path]:
    """`up`, started by somebody whose shell has SHOP_TOKEN, which the operator's has not; the data folder."""
    (operator.folder / "config.yaml").write_text(WITH_SECRET)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    data = operator.folder / "data"
    environ = {
        **kept,
        "PYTHONPATH": str(ROOT),
        "TRIGGER_CONFIG": str(operator.folder / "config.yaml"),
        "TRIGGER_DATA": str(data),
        "TRIGGER_BIND": f"unix:{operator.folder}/web.sock",
        "TRIGGER_WORKERS": "1",
        "SHOP_TOKEN": "a secret of some length",
    }
    log = operator.folder / "log"
    with process(["up"], environ, log):
        eventually(lambda: "Ctrl-C stops it" in log.read_text(), within=60)
        yield data


@pytest.mark.usefixtures("running")
def test_a_switch_says_when_it_is_not_in_force(operator: Operator) -> None:
    said = operator("disable", "shop/test")
    assert (said.returncode, said.stdout, said.stderr) == (0, "shop/test is now disabled\n", "")
    config = operator.folder / "config.yaml"
    config.write_text(config.read_text() + "keep: many\n")
    for _ in range(2):  # also when there is nothing left to write
        said = operator("enable", "shop/test")
        assert (said.returncode, said.stdout) == (1, "")
        *mistakes, last = said.stderr.splitlines()
        assert "keep: must be a whole number" in mistakes[-1]
        assert (
            last == "config.yaml says that shop/test is enabled, but that is not in force: first fix the mistakes above"
        )
    config.write_text(config.read_text().replace("keep: many\n", ""))
    assert operator("enable", "shop/test").stdout == "shop/test is already enabled\n"


def test_a_mistake_is_told_where_no_service_runs(operator: Operator) -> None:
    (operator.folder / "config.yaml").write_text(BROKEN)
    said = operator("disable", "shop/test")
    assert said.returncode == 1
    assert "is disabled, but that is not in force" in said.stderr
    assert "enabled: false\n        auth" in (operator.folder / "config.yaml").read_text()
