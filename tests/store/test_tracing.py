"""What log lines carry about an execution, whatever stands in Redis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.store.conftest import Bench, api
from tests.support import OwnRedis
from trigger import store
from trigger.store.stored import NAMED, Stored, abouts

JOB = store.JOB


def test_each_is_found_with_its_names_in_one_look(bench: Bench, redis: Redis) -> None:
    first, second = bench.accept(), bench.accept(api(method="order"), request="id-of-nginx")
    nobody = store.new_uid()
    redis.set(JOB + "string", "of another type")
    assert abouts(redis, [first, nobody, "string", second]) == [
        {"uid": first, "request": first, "module": "shop", "method": "restock", "workflow": "plain"},
        {"uid": nobody},
        {"uid": "string"},
        {"uid": second, "request": "id-of-nginx", "module": "shop", "method": "order", "workflow": "plain"},
    ]
    assert abouts(redis, []) == []


def test_without_redis_there_are_the_uids(tmp_path: Path) -> None:
    with OwnRedis(tmp_path / "redis") as away:
        client = Redis.from_url(away.url)
    assert abouts(client, ["1", "2"]) == [{"uid": "1"}, {"uid": "2"}]


@pytest.mark.parametrize("given", ["", "a b", "-x", "x\n", "x" * 65, 7, None, ["x"], {}])
def test_what_is_no_id_in_redis_is_none_anywhere(bench: Bench, redis: Redis, given: Any) -> None:
    uid = bench.accept()
    meta = {"caller": "ci", "workflow": "plain", "request": given}
    redis.hset(JOB + uid, "meta", json.dumps(meta))
    (about,) = abouts(redis, [uid])
    assert about["request"] == uid == bench.record(uid).request_id
    (summary,) = store.page(redis, store.Query.parse({}, now=0)).executions
    assert summary.request_id == uid


@pytest.mark.parametrize(
    ("meta", "description"),
    [
        (b"", b"shop/restock"),
        (b"[]", b"shop/restock"),
        (b"{}", b"shop/restock"),
        (b"\xff", b"shop/restock"),
        (b'{"workflow": "plain"}', b"shop"),
        (b'{"workflow": "plain"}', b"a/b/c"),
        (b'{"workflow": "plain"}', b"\xff/b"),
        (None, None),
    ],
)
def test_of_what_is_not_ours_there_is_the_uid(meta: bytes | None, description: bytes | None) -> None:
    assert Stored.from_hash("1", NAMED, [description, meta]).about == {"uid": "1"}
