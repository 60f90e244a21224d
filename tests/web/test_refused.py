"""What is counted of the calls, and what operators see of those that were refused."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support import OwnRedis, eventually
from tests.web.conftest import MakeSite
from tests.web.site import CONFIG, OPERATOR, TOKEN, Gunicorn, Site, accepted, basic, path
from trigger import store
from trigger.store import calls, counters
from trigger.store.refused import Refused, recent_refusals


@pytest.fixture
def fresh(site: Site, redis: Redis) -> Site:
    """The site, with nothing left to be counted from before."""
    site.flask.close()
    redis.flushall()
    return site


def refusals(site: Site, redis: Redis, limit: int = 1000) -> list[Refused]:
    site.flask.close()
    return recent_refusals(redis, limit)


def outcomes(site: Site, redis: Redis) -> dict[str, dict[str, int]]:
    """How often calls of each API had each outcome."""
    site.flask.close()
    return {f"{of.module}/{of.method}": dict(of.calls) for of in counters.api_totals(redis) if of.calls}


def test_calls_are_counted_by_api_and_outcome(fresh: Site, redis: Redis) -> None:
    for _ in range(3):
        accepted(fresh.call("open/any"))
    for _ in range(2):
        fresh.call("open/order", json={"sku": "A1"}, headers={"Idempotency-Key": "k"})
    fresh.call("open/order", json={})
    fresh.call("open/get", "POST")
    fresh.call("open/get", "OPTIONS")  # neither accepted nor refused
    fresh.call("open/off")
    fresh.call("keyed/one")
    fresh.call("keyed/one", headers={"token": "wrong"})
    fresh.call("no/such")
    fresh.call("/v1/api/nowhere")
    fresh.call("/elsewhere")
    fresh.call("/v1/executions", "GET")
    fresh.call("/readyz", "GET")
    assert outcomes(fresh, redis) == {
        "open/any": {"accepted": 3},
        "open/order": {"accepted": 1, "replayed": 1, "requestError.invalidParams": 1},
        "open/get": {"requestError.methodNotAllowed": 1},
        "open/off": {"requestError.apiNotEnabled": 1},
        "keyed/one": {"requestError.invalidParams": 1, "requestError.unauthorized": 1},
        "/": {"requestError.apiNotFound": 1, "requestError.notFound": 1},
    }
    totals = calls.totals(redis)
    assert {of: up_to[-1] for of, up_to in totals.up_to.items()} == {
        "accepted": (float("inf"), 5),
        "refused": (float("inf"), 7),
        "failed": (float("inf"), 0),
    }
    assert totals.seconds["accepted"] > 0


def test_a_refused_call_is_kept_with_who_and_why(fresh: Site, redis: Redis) -> None:
    before = time.time()
    fresh.call("keyed/one", headers={"token": "wrong-t0ken"})
    (refused,) = refusals(fresh, redis)
    assert refused == Refused(
        time=refused.time,
        api="keyed/one",
        reason="requestError.unauthorized",
        message="Token is invalid",
        client=fresh.client,
        status=401,
        method="POST",
        path=path("keyed/one"),
    )
    assert store.times.shown_ms(int(before * 1000)) <= refused.time
    assert refused.time <= store.times.shown_ms(int(time.time() * 1000))


def test_what_a_caller_has_sent_is_not_in_it(fresh: Site, redis: Redis) -> None:
    secret = "s3cret-that-was-put-in-the-wrong-place"
    headers = {"token": secret, "user": secret, "password": secret, "Cookie": secret, "Referer": secret}
    fresh.call(f"/v1/api/keyed/one/async?token={secret}", headers=headers, json={secret: secret})
    fresh.call(f"/v1/api/keyed/one/async?{secret}", headers={"Authorization": f"Bearer {secret}"})
    fresh.call("open/order", headers=headers, json={secret: 1, "sku": secret, "count": secret, "tags": [{secret: 1}]})
    fresh.call("open/order", data=f'{{"{secret}": 1, "{secret}": 2}}', headers=headers)
    fresh.call("open/order", data=secret, content_type=secret)
    fresh.call("/v1/executions", "GET", headers=basic("admin", secret))
    found = refusals(fresh, redis)
    assert len(found) == 6
    assert secret not in repr(found)
    stored = b"".join(redis.dump(key) or b"" for key in redis.scan_iter())
    assert secret.encode() not in stored
    assert "The input is invalid: sku, count, tags, 1 unknown" in [refused.message for refused in found]


@pytest.mark.parametrize("more", ["/{}", "%3Ftoken={}", "&token={}", ";token={}"])
def test_what_comes_after_an_apis_path_is_neither_kept_nor_logged(
    fresh: Site, redis: Redis, log: list[str], more: str
) -> None:
    fresh.call(f"{path('keyed/one')}{more.format('canary-4711')}")
    (kept,) = refusals(fresh, redis)
    assert kept.path == f"{path('keyed/one')}…"
    assert "canary-4711" not in "\n".join(log)
    assert f"path={path('keyed/one')}… " in log[-1]


@pytest.mark.parametrize(
    ("end", "shown"),
    [
        ("asyn/canary-4711", "…"),
        ("canary-4711", "…"),
        ("/async/canary-4711", "…"),
        ("async/canary-4711/async", "async…"),
        ("", ""),
    ],
)
def test_a_token_in_a_path_with_a_slip_in_it_is_neither_kept_nor_logged(
    fresh: Site, redis: Redis, log: list[str], end: str, shown: str
) -> None:
    fresh.call(f"/v1/api/keyed/one/{end}")
    (kept,) = refusals(fresh, redis)
    assert kept.path == f"/v1/api/keyed/one/{shown}"
    assert f"path={kept.path} " in log[-1]
    assert "canary-4711" not in "\n".join(log)


def test_the_newest_come_first_and_a_thousand_are_kept(fresh: Site, redis: Redis) -> None:
    for number in range(1010):
        fresh.call(f"/v1/api/no/such{number}/async")
    found = refusals(fresh, redis)
    assert len(found) == 1000
    assert found[0].path == "/v1/api/no/such1009/async"
    assert [refused.time for refused in found] == sorted((refused.time for refused in found), reverse=True)
    assert [refused.path for refused in refusals(fresh, redis, 2)] == [refused.path for refused in found[:2]]
    assert refusals(fresh, redis, 0) == []
    assert 0 < redis.ttl("trigger:refused") <= 30 * 86_400


def test_hostile_texts_are_cut_and_inert(fresh: Site, redis: Redis) -> None:
    hostile = "<script>alert(1)</script>\x1b[2J" + "x" * 5000
    fresh.call(f"/v1/api/{hostile}/y/async")
    (refused,) = refusals(fresh, redis)
    assert len(refused.path) == 200
    assert refused.api == ""
    assert not set("<>\x1b") & set(refused.path)


def test_of_operators_wrong_credentials_are_kept_and_missing_ones_are_not(fresh: Site, redis: Redis) -> None:
    fresh.call("/v1/executions", "GET")
    fresh.call("/v1/executions", "GET", headers=basic("admin", "wrong"))
    fresh.call("/v1/executions", "GET", headers=basic("admin", OPERATOR))
    fresh.call("/elsewhere", "GET")
    (refused,) = refusals(fresh, redis)
    assert (refused.api, refused.status, refused.path) == ("", 401, "/v1/executions")


def test_failed_sign_ins_are_kept_without_what_was_typed(fresh: Site, redis: Redis) -> None:
    page = "/console/sign-in"
    fresh.call(page, "GET")
    same = {"Sec-Fetch-Site": "same-origin"}
    for password in ("s3cret-but-wrong", OPERATOR):
        fresh.call(page, data={"user": "admin", "password": password}, headers=same)
    fresh.call(f"{page}?key=s3cret-of-a-link", "GET")
    found = refusals(fresh, redis)
    assert [(refused.status, refused.method, refused.path) for refused in found] == [
        (401, "GET", page),
        (401, "POST", page),
    ]
    assert "s3cret" not in repr(found)


def test_a_line_of_another_version_is_left_out(redis: Redis) -> None:
    redis.lpush("trigger:refused", "{}", "[]", "x", json.dumps({"time": "t", "more": 1}))
    assert recent_refusals(redis, 10) == []


def test_edits_of_the_config_are_counted(make_site: MakeSite, redis: Redis) -> None:
    site = make_site()
    site.flask.close()
    redis.flushall()
    site.edit("backlog: 50", "backlog: 51")
    site.config.write_text("modules: [")
    eventually(lambda: site.watcher.poll() or site.watcher.refused)
    site.flask.close()
    assert calls.totals(redis).edits == {"taken": 1, "refused": 1}


def test_while_redis_is_away_sums_are_kept_and_the_last_refused_calls(
    make_site: MakeSite, tmp_path: Path, caplog: Any
) -> None:
    with OwnRedis(tmp_path / "data", fsync="no") as server:
        site = make_site(redis_url=server.url)
        accepted(site.call("open/any"))
        server.kill()
        for number in range(1200):
            site.call(f"/v1/api/no/such{number}/async")
            if number % 400 == 0:
                site.flask.close()  # which can't write
        server.start()
        redis = Redis.from_url(server.url)
        assert [refused.path for refused in refusals(site, redis)][:1] == ["/v1/api/no/such1199/async"]
        assert len(recent_refusals(redis, 1000)) == 1000
        assert outcomes(site, redis) == {"open/any": {"accepted": 1}, "/": {"requestError.apiNotFound": 1200}}
        assert caplog.text.count("can't be written now") == 1


def test_a_batch_whose_reply_got_lost_is_added_once(redis: Redis) -> None:
    batch = calls.Batch([("shop/order", "accepted", 3)], {"accepted:1": 3}, ['{"time": "t"}'])
    for number in (1, 1, 2, 2, 2):
        calls.add(redis, "sender", number, batch)
    calls.add(redis, "other", 1, batch)
    (totals,) = counters.api_totals(redis)
    assert totals.calls == {"accepted": 9}
    assert calls.totals(redis).up_to["accepted"][-1][1] == 9
    assert redis.llen("trigger:refused") == 3


def test_all_processes_are_counted_together_and_nothing_is_lost_at_a_stop(
    redis: Redis, redis_server: OwnRedis, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    with Gunicorn(tmp_path, redis_server.url) as web:
        for _ in range(40):
            accepted(web.call("open/any", body=b"{}"))
            web.call("keyed/one", headers={"token": TOKEN[:-1]})
    (opened,) = [of for of in counters.api_totals(redis) if of.method == "any"]
    assert opened.calls == {"accepted": 40}
    assert len(recent_refusals(redis, 1000)) == 40
    senders = list(redis.scan_iter("trigger:figures:sender:*"))
    assert len(senders) == 2
