"""GET /v1/executions and the acts cancel, rerun and resume: for operators only, and what each answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis
from werkzeug.test import TestResponse

from tests.support import OwnRedis
from tests.web.conftest import MakeSite
from tests.web.site import (
    CONFIG,
    FAILURES,
    MAX_BODY,
    OPERATOR,
    PASSWORD,
    TOKEN,
    Gunicorn,
    Refusal,
    Site,
    accepted,
    basic,
    nothing_stored,
    refusal,
    stored,
)
from trigger import store

ADMIN = basic("admin", OPERATOR)
ACTS = ["cancel", "rerun", "resume"]
STEPS = """\
  stepped:
    steps:
      - {name: quote, python: 'examples.hello:greet'}
      - {name: order, python: 'examples.hello:greet'}
"""


@pytest.fixture(scope="module")
def stepped(redis_server: OwnRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """The web processes with an API whose workflow has steps."""
    folder = tmp_path_factory.mktemp("stepped")
    (folder / "config.yaml").write_text(
        f"operators: {{admin: {OPERATOR}}}\n"
        f"workflows:\n{STEPS}"
        "modules: {shop: {methods: {order: {enabled: true, auth: {mode: none}, workflow: stepped}}}}\n"
    )
    with Gunicorn(folder, redis_server.url) as web:
        yield web


def listed(site: Site, query: str = "", **options: Any) -> dict[str, Any]:
    response = site.call(f"/v1/executions{query}", "GET", **{"headers": ADMIN, **options})
    assert response.status_code == 200, response.data
    assert response.headers["Cache-Control"] == "no-store"
    content: dict[str, Any] = response.get_json()["response"]
    return content


def act(site: Site, uid: str, name: str, **options: Any) -> TestResponse:
    return site.call(f"/v1/executions/{uid}/{name}", **{"headers": ADMIN, **options})


def record(site: Site, uid: str) -> dict[str, Any]:
    response = site.call(f"/v1/executions/{uid}", "GET", headers=ADMIN)
    assert response.status_code == 200, response.data
    content: dict[str, Any] = response.get_json()["response"]
    return content


# --- the list ---


def test_an_operator_lists_the_newest_executions_page_by_page(site: Site, redis: Redis) -> None:
    uids = sorted((accepted(site.call("keyed/two", headers={"token": TOKEN})) for _ in range(5)), reverse=True)
    first = listed(site, "?limit=3")
    assert [row["uid"] for row in first["executions"]] == uids[:3]
    second = listed(site, f"?limit=3&cursor={first['next']}")
    assert [row["uid"] for row in second["executions"]] == uids[3:]
    assert second["next"] is None
    shown = record(site, uids[0])
    for name in ("input", "output", "steps", "timeline"):
        del shown[name]
    absent = {"debug": False, "rerun_of": None, "resumed_from": None, "waits_for": None, "merged": 0}
    assert first["executions"][0] == {**shown, **absent}


def test_filters_narrow_the_list(site: Site, redis: Redis) -> None:
    ci = accepted(site.call("keyed/two", headers={"token": TOKEN}))
    ada = accepted(site.call("named/one", headers=basic("ada", PASSWORD)))
    act(site, ada, "cancel")

    def found(query: str) -> list[str]:
        return [row["uid"] for row in listed(site, query)["executions"]]

    assert found("?module=keyed") == found("?module=keyed&method=two") == found("?caller=ci") == [ci]
    assert found("?status=cancelled") == found("?status=cancelled&caller=ada&since=1h") == [ada]
    assert found("?status=queued&until=2001-01-01T00:00:00Z") == []
    everything = "?module=&method=&status=&since=&until=&caller=&limit=&cursor="
    assert found(everything) == sorted([ada, ci], reverse=True)  # of one millisecond the greater uid counts as newer


def test_mistakes_in_the_query_are_named(site: Site) -> None:
    response = site.call("/v1/executions?stauts=failed&limit=0&since=2026-01-31T12:00:00+01:00", "GET", headers=ADMIN)
    refused = refusal(response)
    assert (refused.status, refused.code) == (400, "requestError.invalidParams")
    assert refused.details["fields"].keys() == {"stauts", "limit", "since"}
    assert refusal(site.call("/v1/executions?limit=1&limit=2", "GET", headers=ADMIN)).details["fields"] == {
        "limit": ["must be given once"]
    }


# --- who ---

MISSING = Refusal(401, "requestError.invalidParams", "User/Password is required")
WRONG = Refusal(401, "requestError.unauthorized", "User/Password is invalid")


@pytest.mark.parametrize("name", ["list", *ACTS])
@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({}, MISSING),
        ({"token": TOKEN}, MISSING),
        ({"user": "admin"}, MISSING),
        (basic("admin", ""), MISSING),
        (basic("admin", "wrong"), WRONG),
        (basic("ada", PASSWORD), WRONG),
        ({"user": "admin", "password": PASSWORD}, WRONG),
    ],
)
def test_nobody_but_operators_may(
    site: Site, redis: Redis, name: str, headers: dict[str, str], answer: Refusal
) -> None:
    uid = accepted(site.call("named/one", headers=basic("ada", PASSWORD)))
    keys = stored(redis)
    call = {"list": lambda: site.call("/v1/executions", "GET", headers=headers)}
    response = call.get(name, lambda: act(site, uid, name, headers=headers))()
    assert refusal(response) == answer
    assert response.headers["WWW-Authenticate"].startswith("Basic ")
    assert stored(redis) == keys
    assert record(site, uid)["status"] == "queued"


def test_an_operator_may_use_the_headers_user_and_password(site: Site, redis: Redis) -> None:
    uid = accepted(site.call("open/any"))
    operator = {"user": "admin", "password": OPERATOR}
    assert [row["uid"] for row in listed(site, headers=operator)["executions"]] == [uid]
    assert act(site, uid, "cancel", headers=operator).status_code == 202


def test_guessing_is_limited(site: Site, redis: Redis) -> None:
    for _ in range(FAILURES):
        assert refusal(site.call("/v1/executions", "GET", headers=basic("admin", "wrong"))).status == 401
    refused = site.call("/v1/executions", "GET", headers=basic("admin", "wrong"))
    assert refusal(refused).code == "requestError.tooManyRequests"
    assert refused.headers["Retry-After"]
    assert site.call("/v1/executions", "GET", headers=ADMIN).status_code == 200


@pytest.mark.parametrize("name", ACTS)
@pytest.mark.parametrize("verb", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_acts_are_posts(site: Site, redis: Redis, name: str, verb: str) -> None:
    uid = accepted(site.call("open/any"))
    response = site.call(f"/v1/executions/{uid}/{name}", verb, headers=ADMIN)
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    assert record(site, uid)["status"] == "queued"
    assert redis.llen("rq:queue:default") == 1


@pytest.mark.parametrize("verb", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_the_list_is_a_get(site: Site, verb: str) -> None:
    response = site.call("/v1/executions", verb, headers=ADMIN)
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD")


def test_a_head_has_no_body(site: Site, redis: Redis) -> None:
    accepted(site.call("open/any"))
    response = site.call("/v1/executions", "HEAD", headers=ADMIN)
    assert (response.status_code, response.data) == (200, b"")


@pytest.mark.parametrize(
    "query",
    [
        "cursor=x",
        "cursor=" + "A" * 5000,
        "since=tomorrow",
        "until=2026-02-30T00:00:00Z",
        "status=FAILED",
        "limit=1e2",
        "limit=99999999999999999999",
        "caller=%ff",
        "caller=%",
        "&" * 1500,
        "x" * 3000,
    ],
)
def test_a_query_that_can_not_be_meant_is_400(site: Site, query: str) -> None:
    assert refusal(site.call(f"/v1/executions?{query}", "GET", headers=ADMIN)).status == 400


def test_names_that_no_api_or_caller_can_have_find_nothing(site: Site, redis: Redis) -> None:
    accepted(site.call("open/any"))
    for value in ("%2A", "..", "%00", "%27%20or%201", "x" * 3000, "%F0%9F%A6%8A", "open%2Fany"):
        for name in ("module", "method", "caller"):
            assert listed(site, f"?{name}={value}") == {"executions": [], "next": None}


# --- secrets ---


def test_secrets_are_masked_wherever_an_execution_is_shown(site: Site, redis: Redis, log: list[str]) -> None:
    card = "4111222233334444"
    uid = accepted(site.call("open/order", json={"sku": "A1", "card": card}))
    new = accepted(act(site, uid, "rerun", json={"input": {"sku": "B2", "card": "5" * 16}}))
    state = {"status": "succeeded", "attempts": 1, "output": {"paid with": [card, f"x{card}"]}}
    redis.hset(store.STEPS + uid, mapping={"": json.dumps({"steps": ["pay"]}), "pay": json.dumps(state)})
    act(site, uid, "cancel")
    texts = [
        site.call(f"/v1/executions{path}", "GET", headers=ADMIN).text
        for path in ("", f"/{uid}", f"/{new}", f"/{uid}/logs")
    ]
    assert json.loads(texts[1])["response"]["steps"][0]["output"] == {"paid with": ["***", "x***"]}
    for text in [*texts, *log]:
        assert card not in text
        assert "5" * 16 not in text
        assert OPERATOR not in text
        assert ADMIN["Authorization"].removeprefix("Basic ") not in text


def test_a_refused_input_of_a_rerun_does_not_repeat_a_secret(site: Site, redis: Redis, log: list[str]) -> None:
    uid = accepted(site.call("open/order", json={"sku": "A1"}))
    refused = act(
        site, uid, "rerun", json={"input": {"sku": "", "card": "4111222233334444", "crad": "9999888877776666"}}
    )
    assert refused.status_code == 400
    for text in [refused.text, *log]:
        assert "4111222233334444" not in text
        assert "9999888877776666" not in text


def test_who_acted_on_what_is_in_the_log(site: Site, redis: Redis, log: list[str]) -> None:
    uid = accepted(site.call("open/any"))
    act(site, uid, "cancel")
    assert f"path=/v1/executions/{uid}/cancel" in log[-1]
    assert "caller=admin" in log[-1]
    assert f"uid={uid}" in log[-1]


@pytest.mark.parametrize("name", ACTS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://["},
    ],
)
def test_a_page_of_another_site_can_not_act_with_a_remembered_password(
    site: Site, redis: Redis, name: str, headers: dict[str, str]
) -> None:
    uid = accepted(site.call("open/any"))
    assert refusal(act(site, uid, name, headers={**ADMIN, **headers})).status == 403
    assert record(site, uid)["status"] == "queued"
    assert redis.llen("rq:queue:default") == 1


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost:8080"}])
def test_a_page_of_our_own_can(site: Site, redis: Redis, headers: dict[str, str]) -> None:
    uid = accepted(site.call("open/any"))
    assert act(site, uid, "cancel", headers={**ADMIN, **headers}).status_code == 202


@pytest.mark.parametrize("name", ACTS)
@pytest.mark.parametrize("uid", ["x", "1" * 25, "1" * 26, "%31" * 25, "..", "1" * 24 + "%0a"])
def test_what_is_not_there_is_404(site: Site, redis: Redis, name: str, uid: str) -> None:
    assert refusal(act(site, uid, name)).status == 404
    assert nothing_stored(redis)


# --- cancel ---


def test_cancelling_is_answered_with_what_the_execution_is_now_and_so_again(site: Site, redis: Redis) -> None:
    uid = accepted(site.call("open/any"))
    for _ in range(2):
        response = act(site, uid, "cancel")
        assert response.status_code == 202
        assert response.get_json() == {"response": {"uid": uid, "status": "cancelled"}}
    shown = record(site, uid)
    assert (shown["status"], shown["error"]) == (
        "cancelled",
        {"class": "Cancelled", "message": "Cancelled by admin"},
    )


def test_what_has_ended_is_409(site: Site, redis: Redis) -> None:
    uid = accepted(site.call("open/any"))
    redis.hset(f"rq:job:{uid}", "status", "finished")
    refused = refusal(act(site, uid, "cancel"))
    assert (refused.status, refused.code) == (409, "requestError.executionEnded")
    assert refusal(act(site, uid, "resume")).code == "requestError.executionEnded"


# --- rerun ---


def test_a_rerun_is_answered_like_a_call(site: Site, redis: Redis) -> None:
    uid = accepted(site.call("open/order", json={"sku": "A1", "card": "4111"}))
    new = accepted(act(site, uid, "rerun"))
    shown = record(site, new)
    assert (shown["rerun_of"], shown["input"]) == (uid, {"sku": "A1", "count": 1, "card": "***"})
    assert shown["operator"] == "admin"
    assert "operator" not in record(site, uid)
    assert "operator" not in site.call(f"/v1/executions/{new}", "GET").get_json()["response"]  # who calls the API
    edited = accepted(act(site, uid, "rerun", json={"input": {"sku": "B2", "count": "5", "card": "***"}}))
    assert record(site, edited)["input"] == {"sku": "B2", "count": 5, "card": "***"}
    origin = store.origin(redis, edited)
    assert origin
    assert origin.input["card"] == "4111"


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"json": {"input": {"sku": ""}}}, 400),
        ({"json": {"input": {"skuu": "A1"}}}, 400),
        ({"json": {"inputs": {}}}, 400),
        ({"json": []}, 400),
        ({"json": "text"}, 400),
        ({"json": None, "data": b"{"}, 400),
        ({"data": {"input": "text"}}, 400),
        ({"data": b"x" * (MAX_BODY + 1)}, 413),
        ({"data": b"{}", "content_type": "text/xml"}, 415),
    ],
)
def test_a_body_that_makes_no_sense_starts_nothing(
    site: Site, redis: Redis, options: dict[str, Any], status: int
) -> None:
    uid = accepted(site.call("open/order", json={"sku": "A1"}))
    keys = stored(redis)
    assert refusal(act(site, uid, "rerun", **options)).status == status
    assert stored(redis) == keys


def test_a_rerun_with_an_idempotency_key_can_be_repeated(site: Site, redis: Redis) -> None:
    uid = accepted(site.call("open/any", headers={"Idempotency-Key": "k"}))
    first = act(site, uid, "rerun", headers={**ADMIN, "Idempotency-Key": "k"})
    again = act(site, uid, "rerun", headers={**ADMIN, "Idempotency-Key": "k"})
    assert accepted(first) == accepted(again) != uid
    assert again.headers["Idempotency-Replayed"] == "true"


def test_a_key_that_was_used_with_another_input_is_422(site: Site, redis: Redis) -> None:
    uid = accepted(site.call("open/any"))
    keyed = {**ADMIN, "Idempotency-Key": "k"}
    accepted(act(site, uid, "rerun", headers=keyed))
    refused = refusal(act(site, uid, "rerun", headers=keyed, json={"input": {"other": 1}}))
    assert (refused.status, refused.code) == (422, "requestError.idempotencyMismatch")
    assert refusal(act(site, uid, "rerun", headers={**ADMIN, "Idempotency-Key": ""})).status == 400


@pytest.mark.parametrize("name", ["rerun", "resume"])
def test_two_processes_start_one_execution_for_the_same_key(stepped: Gunicorn, redis: Redis, name: str) -> None:
    uid = accepted(stepped.call("shop/order"))
    assert stepped.call(f"/v1/executions/{uid}/cancel", headers=ADMIN).status == 202
    before = redis.zcard(store.INDEX)
    headers = {**ADMIN, "Idempotency-Key": f"once-{name}"}
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: stepped.call(f"/v1/executions/{uid}/{name}", headers=headers), range(24)))
    assert len({accepted(answer) for answer in answers}) == 1
    assert redis.zcard(store.INDEX) == before + 1
    assert [answer.headers.get("idempotency-replayed") for answer in answers].count(None) == 1


def test_cancelled_by_many_at_once_it_is_cancelled_once(gunicorn: Gunicorn, redis: Redis) -> None:
    uids = [accepted(gunicorn.call("open/any")) for _ in range(10)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda uid: gunicorn.call(f"/v1/executions/{uid}/cancel", headers=ADMIN), uids * 4))
    assert {(answer.status, answer.json["response"]["status"]) for answer in answers} == {(202, "cancelled")}
    assert redis.zcard("rq:canceled:default") == 10
    assert redis.llen("rq:queue:default") == 0


def test_an_api_that_is_not_enabled_any_more_is_409(make_site: MakeSite, redis: Redis) -> None:
    site = make_site()
    uid = accepted(site.call("open/post"))
    site.edit("post: {enabled: true", "post: {enabled: false")
    refused = refusal(act(site, uid, "rerun"))
    assert (refused.status, refused.code) == (409, "requestError.apiNotAvailable")
    assert "not enabled" in refused.message
    site.edit("post: {enabled: false", "posts: {enabled: true")
    assert "no API open/post any more" in refusal(act(site, uid, "rerun")).message


# --- resume ---


def test_a_plain_workflow_is_not_resumed(site: Site, redis: Redis) -> None:
    uid = accepted(site.call("open/any"))
    assert refusal(act(site, uid, "resume")).code == "requestError.executionNotEnded"
    act(site, uid, "cancel")
    refused = refusal(act(site, uid, "resume"))
    assert (refused.status, refused.code) == (409, "requestError.notResumable")


def test_a_workflow_with_steps_goes_on_after_those_that_are_done(make_site: MakeSite, redis: Redis) -> None:
    config = CONFIG.replace("workflows:\n", "workflows:\n" + STEPS).replace(
        "any: {enabled: true, auth: {mode: none}, workflow: hello}",
        "any: {enabled: true, auth: {mode: none}, workflow: stepped}",
    )
    site = make_site(config)
    uid = accepted(site.call("open/any", json={"name": "Ada"}))
    digest = site.watcher.current.workflows["stepped"].steps[0].digest
    done = {"status": "succeeded", "digest": digest, "attempts": 1, "output": 3}
    redis.hset(store.STEPS + uid, "quote", json.dumps(done))
    act(site, uid, "cancel")
    new = accepted(act(site, uid, "resume"))
    shown = record(site, new)
    assert (shown["resumed_from"], shown["input"]) == (uid, {"name": "Ada"})
    assert [(step["name"], step["status"], step["output"]) for step in shown["steps"]] == [
        ("quote", "succeeded", 3),
        ("order", "waiting", None),
    ]
    redis.hset(store.STEPS + uid, "quote", json.dumps({**done, "digest": "another"}))
    refused = refusal(act(site, uid, "resume"))
    assert (refused.status, refused.code, refused.details) == (
        409,
        "requestError.workflowChanged",
        {"step": "quote"},
    )


# --- Redis ---


@pytest.mark.parametrize("name", ["list", *ACTS])
def test_without_redis_it_is_503(make_site: MakeSite, tmp_path: Any, name: str) -> None:
    site = make_site(redis_url=f"unix://{tmp_path}/nowhere.sock")
    call = {"list": lambda: site.call("/v1/executions", "GET", headers=ADMIN)}
    response = call.get(name, lambda: act(site, "1" * 25, name))()
    assert refusal(response).code == "serverError.queueUnavailable"
    assert response.headers["Retry-After"]


def test_over_sockets_the_list_and_the_acts_work_on_one_connection(gunicorn: Gunicorn, redis: Redis) -> None:
    uid = accepted(gunicorn.call("open/any"))
    answer = gunicorn.call(f"/v1/executions/{uid}/cancel", headers=ADMIN)
    assert answer.json["response"]["status"] == "cancelled"
