"""GET /v1/executions/<uid>: who may read a record, and what it shows to whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from redis import Redis
from werkzeug.test import TestResponse

from tests.support import OwnRedis, environment, eventually, process
from tests.web.conftest import MakeSite
from tests.web.site import (
    FAILURES,
    HASHED,
    OPERATOR,
    OTHER_TOKEN,
    PASSWORD,
    TOKEN,
    Refusal,
    Site,
    accepted,
    basic,
    refusal,
)
from trigger import store
from trigger.config.model import PasswordAuth
from trigger.config.secret import Secret
from trigger.web.auth import Credentials, Guard
from trigger.web.failures import Failures
from trigger.web.passwords import Hashes

NOT_FOUND = Refusal(404, "requestError.executionNotFound", "There is no such execution, or it is not yours to read")
ADMIN = basic("admin", OPERATOR)
FIELDS = [
    "uid",
    "module",
    "method",
    "workflow",
    "status",
    "created_at",
    "started_at",
    "ended_at",
    "attempt",
    "caller",
    "config_version",
    "request_id",
    "input",
    "output",
    "error",
    "steps",
    "timeline",
]


def read(site: Site, uid: str, headers: dict[str, str] | None = None, method: str = "GET") -> TestResponse:
    return site.call(f"/v1/executions/{uid}", method, headers=headers)


def record(response: TestResponse) -> dict[str, Any]:
    assert response.status_code == 200, response.data
    assert response.headers["Cache-Control"] == "no-store"
    content: dict[str, Any] = response.get_json()["response"]
    return content


def test_a_record_has_the_fields_of_the_contract(site: Site, redis: Redis) -> None:
    uid = accepted(site.call("keyed/two", headers={"token": TOKEN}, json={"name": "Ada"}))
    content = record(read(site, uid, {"token": TOKEN}))
    assert list(content) == FIELDS
    created = content.pop("created_at")
    assert created.endswith("Z")
    assert len(created) == len("2026-01-31T12:00:00.000Z")
    assert content == {
        "uid": uid,
        "module": "keyed",
        "method": "two",
        "workflow": "hello",
        "status": "queued",
        "started_at": None,
        "ended_at": None,
        "attempt": content["attempt"],
        "caller": "ci",
        "config_version": site.watcher.current.version,
        "request_id": uid,
        "input": {"name": "Ada"},
        "output": None,
        "error": None,
        "steps": [],
        "timeline": [{"what": "queued", "from": created, "to": None, "ms": None, "steps": []}],
    }


@pytest.mark.parametrize(
    ("api", "call", "readers"),
    [
        ("open/any", {}, [{}, {"token": "wrong"}, basic("eve", "wrong"), ADMIN]),
        ("keyed/one", {"token": TOKEN}, [{"token": TOKEN}, {"Authorization": f"Bearer {TOKEN}"}, ADMIN]),
        ("keyed/two", {"token": TOKEN}, [{"token": OTHER_TOKEN}, ADMIN, {"token": "wrong", **ADMIN}]),
        ("keyed/hashed", {"token": HASHED}, [{"token": HASHED}, ADMIN]),
        ("named/one", basic("ada", PASSWORD), [basic("ada", PASSWORD), basic("bob", OTHER_TOKEN), ADMIN]),
        ("named/hashed", basic("ada", HASHED), [basic("ada", HASHED), ADMIN]),
        ("keyed/one", {"token": TOKEN}, [{"user": "admin", "password": OPERATOR}]),
    ],
)
def test_whoever_could_have_made_the_call_may_read_it_and_so_may_an_operator(
    site: Site, redis: Redis, api: str, call: dict[str, str], readers: list[dict[str, str]]
) -> None:
    uid = accepted(site.call(api, headers=call))
    for headers in readers:
        assert record(read(site, uid, headers))["uid"] == uid


@pytest.mark.parametrize(
    ("api", "call", "strangers"),
    [
        ("keyed/one", {"token": TOKEN}, [{}, {"token": "wrong"}, {"token": OTHER_TOKEN}, {"token": TOKEN[:-1]}]),
        ("named/one", basic("ada", PASSWORD), [{}, basic("ada", "wrong"), basic("eve", PASSWORD), {"user": "ada"}]),
        ("keyed/one", {"token": TOKEN}, [basic("admin", "wrong"), basic("ADMIN", OPERATOR), basic("ada", PASSWORD)]),
        ("keyed/one", {"token": TOKEN}, [{"token": OPERATOR}, {"Authorization": f"Bearer {OPERATOR}"}]),
    ],
)
def test_a21_what_is_not_yours_looks_like_what_is_not_there(
    site: Site, redis: Redis, api: str, call: dict[str, str], strangers: list[dict[str, str]]
) -> None:
    uid = accepted(site.call(api, headers=call))
    for headers in strangers:
        theirs = read(site, uid, headers)
        nobodys = read(site, store.new_uid(), headers)
        assert refusal(theirs) == NOT_FOUND
        assert len(theirs.headers.pop("X-Request-Id")) == len(nobodys.headers.pop("X-Request-Id"))
        assert (theirs.status, theirs.data, list(theirs.headers)) == (
            nobodys.status,
            nobodys.data,
            list(nobodys.headers),
        )


@pytest.mark.parametrize(
    "uid",
    [
        "1" * 24,
        "1" * 26,
        "1" * 1000,
        "a:b",
        "x" * 25,
        "1" * 24 + "x",
        "1" * 25 + "%0a",
        " " + "1" * 25,
        "-" + "1" * 24,
        "\N{ARABIC-INDIC DIGIT ONE}" * 25,
        "*",
        "%00",
    ],
)
def test_a21_what_is_no_uid_is_not_found(site: Site, redis: Redis, uid: str) -> None:
    assert refusal(read(site, uid, ADMIN)) == NOT_FOUND


@pytest.mark.parametrize(
    "target", ["/v1/executions/", "/v1/executions/../x", "/v1/executions/1/2", "/v1/executions/1/logs/"]
)
def test_a21_around_the_records_there_is_nothing(site: Site, target: str) -> None:
    assert refusal(site.call(target, "GET", headers=ADMIN)).status == 404


def test_jobs_that_are_not_executions_of_ours_are_not_found(site: Site, redis: Redis) -> None:
    uid = store.new_uid()
    redis.hset(f"rq:job:{uid}", mapping={"data": b"junk", "status": "queued"})
    assert refusal(read(site, uid, ADMIN)) == NOT_FOUND


def test_head_answers_like_get_without_the_body(site: Site, redis: Redis) -> None:
    uid = accepted(site.call("open/any"))
    assert read(site, uid, method="HEAD").status_code == 200
    assert read(site, uid, method="HEAD").data == b""
    assert read(site, store.new_uid(), method="HEAD").status_code == 404


def test_secret_fields_are_masked_for_callers_and_operators(site: Site, redis: Redis) -> None:
    uid = accepted(site.call("open/order", json={"sku": "A1", "card": "4111-1111"}))
    for headers in ({}, ADMIN):
        response = read(site, uid, headers)
        assert record(response)["input"] == {"sku": "A1", "count": 1, "card": "***"}
        assert b"4111" not in response.data


def test_an_ended_execution_shows_its_output_or_error_and_the_traceback_to_operators_only(
    site: Site, redis: Redis, redis_server: OwnRedis
) -> None:
    good = accepted(site.call("keyed/one", headers={"token": TOKEN}, json={"name": "Ada"}))
    bad = accepted(site.call("keyed/one", headers={"token": TOKEN}, json=["no object"]))
    folder = site.config.parent
    with process(["worker"], environment(folder, redis_server.url), folder / "worker.log"):
        for uid in (good, bad):
            eventually(lambda uid=uid: record(read(site, uid, ADMIN))["ended_at"])  # type: ignore[misc]

    succeeded = record(read(site, good, {"token": TOKEN}))
    assert succeeded["status"] == "succeeded"
    assert succeeded["output"] == {"greeting": "Hello, Ada"}
    assert succeeded["error"] is None
    assert succeeded["created_at"] <= succeeded["started_at"] <= succeeded["ended_at"]

    failed = record(read(site, bad, {"token": TOKEN}))
    assert failed["status"] == "failed"
    assert failed["output"] is None
    assert failed["error"].keys() == {"class", "message"}
    assert failed["error"]["class"] == "AttributeError"
    shown = record(read(site, bad, ADMIN))
    assert "in greet" in shown["error"].pop("traceback")
    assert shown == failed


def test_records_of_an_api_that_was_disabled_can_be_read_and_of_one_that_is_gone_by_operators_only(
    make_site: MakeSite, redis: Redis
) -> None:
    site = make_site()
    uid = accepted(site.call("keyed/one", headers={"token": TOKEN}))
    site.edit("one: {enabled: true, auth: {mode: token,", "one: {enabled: false, auth: {mode: token,")
    assert record(read(site, uid, {"token": TOKEN}))["uid"] == uid
    site.edit("one: {enabled: false, auth: {mode: token,", "another: {enabled: false, auth: {mode: token,")
    assert refusal(read(site, uid, {"token": TOKEN})) == NOT_FOUND
    assert record(read(site, uid, ADMIN))["uid"] == uid


@pytest.mark.parametrize(
    ("api", "headers"),
    [
        ("named/one", basic("ada", PASSWORD)),
        ("named/hashed", basic("ada", HASHED)),
        ("keyed/one", {"token": TOKEN}),
        ("named/one", ADMIN),
        ("keyed/one", ADMIN),
    ],
)
def test_polling_a_record_with_right_credentials_never_counts_as_failing(
    site: Site, redis: Redis, api: str, headers: dict[str, str]
) -> None:
    rights = {"keyed/one": {"token": TOKEN}, "named/hashed": basic("ada", HASHED)}.get(api, basic("ada", PASSWORD))
    uid = accepted(site.call(api, headers=rights))
    for _ in range(2 * FAILURES + 2):
        assert record(read(site, uid, headers))["uid"] == uid
    accepted(site.call(api, headers=rights))
    assert record(read(site, uid, ADMIN))["uid"] == uid


@pytest.mark.parametrize(
    ("api", "wrong", "right", "refused"),
    [
        ("keyed/one", {"token": "wrong"}, {"token": TOKEN}, 429),
        ("named/one", basic("ada", "wrong"), basic("ada", PASSWORD), 429),
        ("keyed/one", basic("admin", "wrong"), ADMIN, 401),  # a token is asked for
        ("open/any", basic("eve", "wrong"), ADMIN, 202),
    ],
)
def test_a15_guessing_at_records_counts_like_guessing_at_apis(
    site: Site, redis: Redis, api: str, wrong: dict[str, str], right: dict[str, str], refused: int
) -> None:
    sent = {"open/any": {}, "named/one": basic("ada", PASSWORD)}.get(api, {"token": TOKEN})
    uid = accepted(site.call(api, headers=sent))
    for _ in range(FAILURES):
        read(site, uid, wrong)
    assert site.call(api, headers=wrong).status_code == refused
    guess = site.call("/v1/executions", "GET", headers=wrong)
    assert refusal(guess).status == (401 if "token" in wrong else 429)
    assert record(read(site, uid, right))["uid"] == uid


def test_an_operator_without_a_password_is_nobody(make_site: MakeSite, redis: Redis) -> None:
    site = make_site()
    site.edit(f"admin: {OPERATOR}", "admin: ''")
    uid = accepted(site.call("keyed/one", headers={"token": TOKEN}))
    for headers in (ADMIN, basic("admin", ""), {"user": "admin"}):
        assert refusal(read(site, uid, headers)) == NOT_FOUND


def test_whoever_is_an_operator_and_a_caller_by_one_password_reads_as_operator(site: Site, redis: Redis) -> None:
    config = site.watcher.current
    users = {"admin": config.operators["admin"], "ada": Secret(OTHER_TOKEN)}
    api = replace(config.apis["named", "one"], auth=PasswordAuth(users))
    guard = Guard(Failures(lambda: FAILURES, redis), Hashes())
    admin = Credentials(user=b"admin", password=OPERATOR.encode())
    assert guard.reads_as(api, config.operators, admin, site.client) == "operator"
    ada = Credentials(user=b"ada", password=OTHER_TOKEN.encode())
    assert guard.reads_as(api, config.operators, ada, site.client) == "caller"
