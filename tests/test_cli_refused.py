"""`refused`: the last calls that were refused."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from redis import Redis

from tests.support import OwnRedis
from tests.test_cli import Shell
from trigger.store import calls
from trigger.store.refused import Refused


def call(number: int) -> Refused:
    return Refused(
        time=f"2026-01-31T12:00:0{number}.000Z",
        api="shop/order",
        reason="requestError.unauthorized",
        message="Token is invalid \x1b[2J",
        client="192.0.2.7",
        status=401,
        method="POST",
        path=f"/v1/api/shop/order{number}/async",
    )


def test_refused_calls_are_listed_the_newest_first(redis: Redis, redis_server: OwnRedis, tmp_path: Path) -> None:
    shell = Shell(tmp_path, redis_server.url)
    assert shell("refused").stdout == "none\n"
    assert json.loads(shell("refused", "--json").stdout) == []
    kept = [call(number) for number in range(5)]
    calls.add(redis, "web", 1, calls.Batch([], {}, [refused.packed() for refused in kept]))
    assert json.loads(shell("refused", "--json").stdout) == [asdict(refused) for refused in kept[::-1]]
    said = shell("refused", "--limit", "2")
    assert said.returncode == 0
    assert "\x1b" not in said.stdout
    lines = said.stdout.splitlines()
    assert len(lines) == 4  # with the head of the table
    assert all(text in lines[2] for text in ("192.0.2.7", "POST /v1/api/shop/order4/async", "401", "Token is invalid"))
    assert shell("refused", "--limit", "0").returncode == 2
