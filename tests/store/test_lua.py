"""How the Lua scripts are put together."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from trigger.store import lua
from trigger.store.lua import load
from trigger.store.script import Script


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lua, "FOLDER", tmp_path)
    return tmp_path


def test_arguments_and_keys_have_names(folder: Path, redis: Redis) -> None:
    (folder / "one.lua").write_text(
        "-- KEYS: job\n-- ARGV: a,b\n-- ARGV: c, …\nreturn {job, a, b, c, ARGV[first_more]}\n"
    )
    call = load("one").on(redis)
    assert call(job="k", a=1, c=3, b=2, more=["rest"]) == [b"k", b"1", b"2", b"3", b"rest"]
    with pytest.raises(TypeError):
        call(job="k", a=1, b=2)
    with pytest.raises(TypeError):
        call(job="k", a=1, b=2, c=3, d=4)


def test_a_file_that_two_use_is_there_once(folder: Path, redis: Redis) -> None:
    (folder / "base.lua").write_text("local made = {}\n")
    (folder / "left.lua").write_text("-- USES: base\nmade[#made + 1] = 'left'\n")
    (folder / "right.lua").write_text("-- USES: base\nmade[#made + 1] = 'right'\n")
    (folder / "both.lua").write_text("-- USES: left, right\nreturn made\n")
    assert load("both").on(redis)() == [b"left", b"right"]


def test_constants_are_python_s(folder: Path, redis: Redis) -> None:
    (folder / "one.lua").write_text("-- NOT this\nreturn {JOB, NUMBERS[2], FINAL.failed and 1 or 0, 'ZADD'}\n")
    assert load("one", NUMBERS=(1, 2)).on(redis)() == [b"rq:job:", 2, 1, b"ZADD"]
    with pytest.raises(ValueError, match=r"one\.lua: NUMBERS"):
        load("one")


def test_a_packed_call_must_know_the_arguments(redis: Redis) -> None:
    accept = load("accept")
    Script(redis, accept, accept.arguments)
    with pytest.raises(ValueError, match="uid_ms"):
        Script(redis, accept, accept.arguments[::-1])


@pytest.mark.parametrize("path", sorted(lua.FOLDER.glob("*.lua")), ids=lambda path: path.stem)
def test_each_file_can_be_loaded_by_redis(redis: Redis, path: Path) -> None:
    numbers = ("ENTRY", "REMEMBERED", "KEPT", "KEPT_FOR", "USED_FOR", "REPEATED_FOR", "MAX_NAMES")
    constants = {"FIELDS": ("a",), **dict.fromkeys(numbers, 1)}
    redis.script_load(load(path.stem, **constants).text)
    assert max(map(len, path.read_text().splitlines())) <= 120
