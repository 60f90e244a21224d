"""POST or GET <prefix>/<module>/<method>/async: every answer of the contract's table, and the order of the checks."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq.job import Job as RqJob
from rq.queue import Queue as RqQueue
from rq.serializers import JSONSerializer

from tests.support import OwnRedis, eventually
from tests.web.conftest import MakeSite
from tests.web.site import CONFIG, MAX_BODY, OPERATOR, TOKEN, Refusal, Site, accepted, nothing_stored, refusal, stored
from trigger import store
from trigger.errors import StartError
from trigger.web import readiness
from trigger.web.service import Shapes

LARGE = b" " * (MAX_BODY + 1)
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

TOKEN_REQUIRED = Refusal(401, "requestError.invalidParams", "Token is required")
TOKEN_INVALID = Refusal(401, "requestError.unauthorized", "Token is invalid")
NOT_ENABLED = Refusal(403, "requestError.apiNotEnabled", "API is not enabled")
NO_API = Refusal(404, "requestError.apiNotFound", "There is no such API")
NO_PATH = Refusal(404, "requestError.notFound", "There is nothing at this path")
TAKES_BOTH = Refusal(405, "requestError.methodNotAllowed", "The API accepts GET and POST")
UNAVAILABLE = Refusal(503, "serverError.queueUnavailable", "The queue can't take the call now; try again")


def stored_input(redis: Redis, uid: str) -> Any:
    """The input as a worker will find it."""
    return RqJob.fetch(uid, connection=redis, serializer=JSONSerializer).args[1]


# Accepted


def test_the_uid_of_a_202_names_a_queued_job_that_rq_itself_can_read(site: Site, redis: Redis) -> None:
    uid = accepted(site.call("open/any", json={"name": "Ada"}))
    job = RqJob.fetch(uid, connection=redis, serializer=JSONSerializer)
    assert job.get_status() == "queued"
    assert job.args[1] == {"name": "Ada"}
    assert RqQueue("default", connection=redis, serializer=JSONSerializer).job_ids == [uid]


def test_the_location_of_a_202_is_where_its_record_is(site: Site, redis: Redis) -> None:
    response = site.call("open/any", json={"name": "Ada"})
    record = site.call(response.headers["Location"], "GET").get_json()["response"]
    assert record["uid"] == accepted(response)
    assert record["status"] == "queued"
    assert record["input"] == {"name": "Ada"}
    assert store.page(redis, store.Query()).executions[0].uid == record["uid"]


@pytest.mark.parametrize(("api", "method"), [("open/any", "GET"), ("open/get", "GET"), ("open/post", "POST")])
def test_each_declared_verb_starts_the_workflow(site: Site, redis: Redis, api: str, method: str) -> None:
    accepted(site.call(api, method))
    assert redis.llen("rq:queue:default") == 1


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param({"data": b'{"sku":"A1","count":5}', "content_type": JSON}, id="JSON"),
        pytest.param({"data": b'{"sku":"A1","count":5}', "content_type": FORM}, id="JSON that curl labels a form"),
        pytest.param({"data": b'{"sku":"A1","count":5}'}, id="JSON without a label"),
        pytest.param({"data": b"sku=A1&count=5", "content_type": FORM}, id="form"),
        pytest.param({"data": {"sku": "A1", "count": "5"}, "content_type": "multipart/form-data"}, id="multipart"),
        pytest.param({"query_string": "sku=A1&count=5"}, id="query"),
        pytest.param({"query_string": "sku=A1&count=5", "method": "GET"}, id="query of a GET"),
        pytest.param({"query_string": "count=5", "data": b'{"sku":"A1"}', "content_type": JSON}, id="query and JSON"),
        pytest.param({"query_string": "count=5&sku=B2", "data": b"sku=A1", "content_type": FORM}, id="query and form"),
    ],
)
def test_input_arrives_the_same_however_it_is_sent(site: Site, redis: Redis, sent: dict[str, Any]) -> None:
    uid = accepted(site.call("open/order", **sent))
    assert stored_input(redis, uid) == {"sku": "A1", "count": 5}


def test_a_chunked_body_is_read_to_its_end(site: Site, redis: Redis) -> None:
    uid = accepted(chunked(site, "open/order", b'{"sku":"A1"}'))
    assert stored_input(redis, uid) == {"sku": "A1", "count": 1}


def test_a_list_may_come_as_a_repeated_name(site: Site, redis: Redis) -> None:
    uid = accepted(site.call("open/order", "GET", query_string="sku=A1&tags=x&tags=y"))
    assert stored_input(redis, uid) == {"sku": "A1", "count": 1, "tags": ["x", "y"]}


@pytest.mark.parametrize("value", [None, [1], "x", 1.5, False, {}])
def test_without_declared_fields_any_json_is_the_input(site: Site, redis: Redis, value: Any) -> None:
    assert stored_input(redis, accepted(site.call("open/any", data=json.dumps(value)))) == value


def test_an_empty_body_is_an_empty_object(site: Site, redis: Redis) -> None:
    assert stored_input(redis, accepted(site.call("open/any"))) == {}


def test_the_body_of_a_get_is_no_input(site: Site, redis: Redis) -> None:
    uid = accepted(site.call("open/any", "GET", data=b"{broken", query_string="name=Ada"))
    assert stored_input(redis, uid) == {"name": "Ada"}


def test_a_repeated_idempotency_key_is_answered_the_first_uid_and_with_another_input_refused(
    site: Site, redis: Redis
) -> None:
    first = site.call("open/any", json={"n": 1}, headers={"Idempotency-Key": '"k-1"'})
    again = site.call("open/any", json={"n": 1}, headers={"Idempotency-Key": "k-1"})
    assert accepted(again) == accepted(first)
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    other = refusal(site.call("open/any", json={"n": 2}, headers={"Idempotency-Key": "k-1"}))
    assert (other.status, other.code) == (422, "requestError.idempotencyMismatch")
    assert redis.llen("rq:queue:default") == 1


def test_nothing_a_caller_sends_reaches_rqs_own_options(site: Site, redis: Redis) -> None:
    hostile = {"job_id": "x", "timeout": 1, "func": "os.system", "queue": "q", "meta": {}, "on_success": "os.abort"}
    uid = accepted(site.call("open/any", json=hostile))
    job = RqJob.fetch(uid, connection=redis, serializer=JSONSerializer)
    assert (job.id, job.timeout, job.origin) == (uid, 600, "default")
    assert job.func_name == "trigger.worker.run"
    assert job.args[1] == hostile
    assert redis.smembers("rq:queues") == {b"rq:queue:default"}


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "*/*;q=0", "nonsense"])
def test_every_answer_is_json_whatever_accept_says(site: Site, accept: str) -> None:
    accepted(site.call("open/any", headers={"Accept": accept}))
    refusal(site.call("keyed/one", headers={"Accept": accept}))


# Refused


def chunked(site: Site, api: str, body: bytes, **options: Any) -> Any:
    """A POST whose body has no Content-Length, as gunicorn hands it on."""
    overrides = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": "", "wsgi.input_terminated": True}
    return site.call(api, input_stream=io.BytesIO(body), environ_overrides=overrides, **options)


def test_a_body_as_large_as_allowed_is_accepted_and_one_byte_more_is_413(site: Site, redis: Redis) -> None:
    accepted(site.call("open/any", data=b"{}" + LARGE[:-3]))
    redis.flushall()
    too_large = refusal(site.call("open/any", data=b"{}" + LARGE[:-2]))
    assert (too_large.status, too_large.code) == (413, "requestError.bodyTooLarge")
    assert nothing_stored(redis)


def test_a_chunked_body_over_the_limit_is_413(site: Site, redis: Redis) -> None:
    too_large = refusal(chunked(site, "open/any", b"{}" + LARGE))
    assert (too_large.status, too_large.code) == (413, "requestError.bodyTooLarge")
    assert nothing_stored(redis)


@pytest.mark.parametrize("api", ["none/one", "open/none", "open/One", "Open/any", "open/any2", "open/.", "open/%61ny"])
def test_an_unknown_module_or_method_is_404(site: Site, redis: Redis, api: str) -> None:
    assert refusal(site.call(api)) == NO_API
    assert nothing_stored(redis)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/v1",
        "/v1/api/open/any",
        "/v1/api/open/any/",
        "/v1/api/open/any/sync",
        "/v1/api/open/any/async/",
        "/v1/api/open/any/async/more",
        "/v1/api/open/any/async%20",
        "/v1/api/open/any/async;x",
        "/v1/api/open//async",
        "/V1/api/open/any/async",
        "/v1/API/open/any/async",
        "/v2/api/open/any/async",
        "/api/open/any/async",
        "/x/v1/api/open/any/async",
        "/v1//api/open/any/async",
        "/v1/api//open/any/async",
        "/v1/api/./open/any/async",
        "/x/../v1/api/open/any/async",
        "/open/any/async",
        "/favicon.ico",
    ],
)
def test_b13_every_other_path_is_404(site: Site, redis: Redis, target: str) -> None:
    said = refusal(site.call(target))
    assert replace(said, message=said.message.partition(";")[0]) in (NO_PATH, NO_API)
    assert nothing_stored(redis)


@pytest.mark.parametrize(
    "api",
    ["open%2Fany", "open/an%79", "open/any%20", "open/any%00", "open/any%0d%0aX", "open/any;x", "open/%2e%2e/open/any"],
)
def test_b13_b14_what_only_decodes_to_an_api_is_not_that_api(site: Site, redis: Redis, api: str) -> None:
    assert refusal(site.call(api)).status == 404
    assert nothing_stored(redis)


def test_b13_homoglyphs_are_other_names(site: Site, redis: Redis) -> None:
    for api in ("оpen/any", "open/аny", "ｏpen/any"):  # noqa: RUF001 - Cyrillic, and a full-width letter
        assert refusal(site.call(api)) == NO_API
    assert nothing_stored(redis)


@pytest.mark.parametrize(
    ("api", "method", "allow"),
    [
        ("open/get", "POST", "GET"),
        ("open/post", "GET", "POST"),
        *[("open/any", method, "GET, POST") for method in ("PUT", "DELETE", "PATCH", "TRACE", "FOO", "HEAD")],
    ],
)
def test_b9_b10_a_verb_that_is_not_declared_is_405_and_starts_nothing(
    site: Site, redis: Redis, api: str, method: str, allow: str
) -> None:
    response = site.call(api, method)
    assert response.status_code == 405
    assert response.headers["Allow"] == allow
    if method != "HEAD":  # which has no body to look at
        assert refusal(response).code == "requestError.methodNotAllowed"
    assert nothing_stored(redis)


def test_b10_options_tells_the_verbs_and_starts_nothing(site: Site, redis: Redis) -> None:
    response = site.call("keyed/one", "OPTIONS")
    assert response.status_code == 200
    assert response.headers["Allow"] == "GET, POST"
    assert nothing_stored(redis)


@pytest.mark.parametrize(
    "sent",
    [{"headers": {"X-HTTP-Method-Override": "POST"}}, {"query_string": "_method=POST"}, {"data": {"_method": "POST"}}],
)
def test_b11_the_verb_is_the_requests_own(site: Site, redis: Redis, sent: dict[str, Any]) -> None:
    assert refusal(site.call("open/post", "GET", **sent)).status == 405
    assert nothing_stored(redis)


@pytest.mark.parametrize("purpose", ["prefetch", "prefetch;prerender"])
def test_b12_a_prefetch_starts_nothing(site: Site, redis: Redis, purpose: str) -> None:
    assert refusal(site.call("open/any", "GET", headers={"Sec-Purpose": purpose})).status == 400
    assert nothing_stored(redis)


@pytest.mark.parametrize("headers", [{}, {"token": TOKEN}, {"token": "wrong"}])
def test_an_api_that_is_not_enabled_is_403_whoever_calls(site: Site, redis: Redis, headers: dict[str, str]) -> None:
    assert refusal(site.call("keyed/off", headers=headers)) == NOT_ENABLED
    assert refusal(site.call("open/off", headers=headers)) == NOT_ENABLED
    assert nothing_stored(redis)


@pytest.mark.parametrize(
    ("sent", "details"),
    [
        ({"json": {}}, {"fields": {"sku": ["is required"]}}),
        ({"json": {"sku": "A1", "count": "x"}}, {"fields": {"count": ["must be a whole number"]}}),
        ({"query_string": "sku=A1&count=0"}, {"fields": {"count": ["must be at least 1"]}}),
        ({"data": {"sku": ""}}, {"fields": {"sku": ["must not be empty"]}}),
        (
            {"json": {"count": 0, "tags": [1], "skus": "A1"}},
            {
                "fields": {
                    "sku": ["is required"],
                    "count": ["must be at least 1"],
                    "tags.0": ["must be a string"],
                    "skus": ["unknown field; did you mean sku?"],
                }
            },
        ),
    ],
)
def test_invalid_input_is_400_with_every_mistake_by_field(
    site: Site, redis: Redis, sent: dict[str, Any], details: Any
) -> None:
    assert refusal(site.call("open/order", **sent)) == Refusal(
        400, "requestError.invalidParams", "The input is invalid", details
    )
    assert nothing_stored(redis)


@pytest.mark.parametrize("value", [None, [], [{"sku": "A1"}], "A1", 1, True])
def test_where_fields_are_declared_the_input_must_be_an_object(site: Site, redis: Redis, value: Any) -> None:
    assert refusal(site.call("open/order", data=json.dumps(value))) == Refusal(
        400, "requestError.invalidParams", "The input must be an object", {"fields": {"": ["must be an object"]}}
    )
    assert nothing_stored(redis)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param({"data": b"{'a':1}", "content_type": JSON}, id="C5 single quotes"),
        pytest.param({"data": b'{"a":1,}', "content_type": JSON}, id="C5 trailing comma"),
        pytest.param({"data": b"\xff", "content_type": JSON}, id="C6 not UTF-8"),
        pytest.param({"data": b"[" * 1500, "content_type": JSON}, id="C7 too deep"),
        pytest.param({"data": b"1" * 400, "content_type": JSON}, id="C8 too long a number"),
        pytest.param({"data": b'{"a":NaN}', "content_type": JSON}, id="C9 NaN"),
        pytest.param({"data": b'{"a":1,"a":2}', "content_type": JSON}, id="C10 a key twice"),
        pytest.param({"data": b'"\\ud800"', "content_type": JSON}, id="C13 lone surrogate"),
        pytest.param({"data": b"a=%zz", "content_type": FORM}, id="form"),
        pytest.param({"data": b"--b", "content_type": "multipart/form-data; boundary=b"}, id="multipart"),
        pytest.param({"query_string": "a=%zz"}, id="query"),
        pytest.param({"query_string": b"a=%ff".decode(), "method": "GET"}, id="query of a GET"),
        pytest.param({"query_string": "a=1", "json": [1]}, id="query beside a list"),
        pytest.param({"headers": {"Idempotency-Key": "x" * 256}}, id="idempotency key"),
    ],
)
def test_unreadable_input_is_400(site: Site, redis: Redis, sent: dict[str, Any]) -> None:
    refused = refusal(site.call("open/any", **sent))
    assert (refused.status, refused.code) == (400, "requestError.invalidParams")
    assert nothing_stored(redis)


@pytest.mark.parametrize("media_type", ["text/html", "application/xml", "nonsense", "application/json; charset=utf-16"])
def test_an_unsupported_content_type_is_415(site: Site, redis: Redis, media_type: str) -> None:
    refused = refusal(site.call("open/any", data=b"{}", content_type=media_type))
    assert (refused.status, refused.code) == (415, "requestError.unsupportedMediaType")
    assert nothing_stored(redis)


def test_b7_a_body_compressed_by_another_way_than_gzip_is_415(site: Site, redis: Redis) -> None:
    response = site.call("open/any", data=b"\x1f\x8b", content_type=JSON, headers={"Content-Encoding": "br"})
    assert refusal(response).status == 415
    assert response.headers["Accept-Encoding"] == "gzip, identity"
    assert nothing_stored(redis)


def test_a_full_backlog_is_429_and_says_when_to_come_back(make_site: MakeSite, redis: Redis) -> None:
    site = make_site(CONFIG.replace("backlog: 50", "backlog: 1"))
    accepted(site.call("open/any"))
    keys = stored(redis)
    response = site.call("open/any")
    message = "Too many executions are waiting; try again later"
    assert refusal(response) == Refusal(429, "requestError.tooManyRequests", message, {"policy": "backlog"})
    assert int(response.headers["Retry-After"]) > 0
    assert stored(redis) == keys


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    """A Redis that the test may stop."""
    with OwnRedis(tmp_path / "data", fsync="no") as server:
        yield server


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGSTOP])
def test_redis_down_or_hung_is_503_until_it_is_back(make_site: MakeSite, own_redis: OwnRedis, stop: int) -> None:
    site = make_site(redis_url=own_redis.url)
    accepted(site.call("open/any"))
    os.kill(own_redis.process.pid, stop)
    for target in ("open/any", f"/v1/executions/{store.new_uid()}"):
        response = site.call(target, "GET")
        assert refusal(response).status == 503
        assert refusal(response).code == "serverError.queueUnavailable"
        assert int(response.headers["Retry-After"]) > 0
    assert refusal(site.call("keyed/one")) == TOKEN_REQUIRED
    assert site.call("/healthz", "GET").status_code == 200
    if stop == signal.SIGSTOP:
        os.kill(own_redis.process.pid, signal.SIGCONT)
    else:
        own_redis.process.wait()
        own_redis.start()
    eventually(lambda: site.call("open/any").status_code == 202)


def test_our_own_fault_is_500_with_a_reference_that_the_log_has_too(
    site: Site, redis: Redis, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the inner detail")

    monkeypatch.setattr(Shapes, "of", broken)
    response = site.call("open/any")
    assert refusal(response).status == 500
    assert refusal(response).code == "serverError.internal"
    assert b"inner detail" not in response.data
    reference = refusal(response).message.rpartition(" ")[2]
    assert any(reference in line and "the inner detail" in line for line in log)
    assert nothing_stored(redis)


# The order of the checks: whoever could be refused for several reasons is told the first of the table.


@pytest.mark.parametrize(
    ("target", "method", "sent", "status"),
    [
        pytest.param("none/none", "POST", {"data": LARGE}, 413, id="too large before unknown API"),
        pytest.param("/x/none/none/async", "PUT", {"data": LARGE}, 413, id="too large before unknown path"),
        pytest.param("open/get", "POST", {"data": LARGE}, 413, id="too large before verb"),
        pytest.param("keyed/off", "POST", {"data": LARGE}, 413, id="too large before not enabled"),
        pytest.param("keyed/one", "POST", {"data": LARGE}, 413, id="too large before no token"),
        pytest.param("keyed/none", "PUT", {}, 404, id="unknown API before verb"),
        pytest.param("keyed/off", "PUT", {}, 405, id="verb before not enabled"),
        pytest.param("keyed/off", "POST", {"data": b"{"}, 403, id="not enabled before no token"),
        pytest.param("keyed/off", "POST", {"headers": {"token": "wrong"}}, 403, id="not enabled before wrong token"),
        pytest.param("keyed/order", "POST", {"data": b"{"}, 401, id="no token before unreadable input"),
        pytest.param(
            "keyed/order", "POST", {"data": b"x", "content_type": "text/plain"}, 401, id="no token before 415"
        ),
        pytest.param(
            "keyed/order", "POST", {"headers": {"token": "wrong"}}, 401, id="wrong token before invalid input"
        ),
        pytest.param("keyed/order", "POST", {"headers": {"token": TOKEN}}, 400, id="invalid input before queue"),
    ],
)
def test_the_first_reason_in_the_order_of_the_table_is_told(
    site: Site, redis: Redis, target: str, method: str, sent: dict[str, Any], status: int
) -> None:
    refused = refusal(site.call(target, method, **sent))
    assert refused.status == status
    assert nothing_stored(redis)


@pytest.mark.parametrize(
    ("headers", "sent", "status"),
    [
        ({}, {}, 401),
        ({"token": "wrong"}, {}, 401),
        ({"token": TOKEN}, {"json": {}}, 400),
        ({"token": TOKEN}, {"data": b"x", "content_type": "text/plain"}, 415),
        ({"token": TOKEN}, {"json": {"sku": "A1"}}, 503),
    ],
)
def test_a18_the_queue_is_asked_last(
    redisless_site: Site, headers: dict[str, str], sent: dict[str, Any], status: int
) -> None:
    assert refusal(redisless_site.call("keyed/order", headers=headers, **sent)).status == status


@pytest.fixture(scope="module")
def redisless_site(make_site: MakeSite, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The app without a Redis."""
    return make_site(redis_url=f"unix://{tmp_path_factory.mktemp('none')}/redis.sock")


# One shape for all


@pytest.mark.parametrize("target", ["/healthz", "/readyz", "/v1/executions/1234567890123456789012345"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "FOO"])
def test_what_can_only_be_read_is_405_for_other_verbs(site: Site, target: str, method: str) -> None:
    response = site.call(target, method)
    assert refusal(response).code == "requestError.methodNotAllowed"
    assert response.headers["Allow"] == "GET, HEAD"


def test_a23_health_is_told_to_everybody_without_names_or_secrets(site: Site) -> None:
    assert site.call("/healthz", "GET").get_json() == {"response": {"status": "alive"}}
    ready = site.call("/readyz", "GET")
    assert ready.status_code == 200
    assert ready.get_json()["response"]["status"] == "ready"
    assert ready.get_json()["response"]["redis"]["reaped"] == ready.get_json()["response"]["redis"]["poisoned"] == 0
    for word in ("keyed", "order", "ada", TOKEN, "config.yaml", str(site.config.parent)):
        assert word not in ready.text


def test_a_refused_edit_is_told_to_everybody_but_not_what_it_names(make_site: MakeSite) -> None:
    """found.md 35"""
    site = make_site()
    site.config.write_text(CONFIG.replace(OPERATOR, "'${SECRET_OF_OURS}'").replace("hello:greet", "hello:hidden"))
    ready = eventually(lambda: _refused(site)) or {}
    assert ready["config"]["refused"] == "2 mistakes; the log and the console say which"
    assert ready["status"] == "ready"
    for word in ("SECRET_OF_OURS", "hidden", "config.yaml", "keyed", str(site.config.parent)):
        assert word not in json.dumps(ready)


def _refused(site: Site) -> dict[str, Any] | None:
    site.watcher.poll()
    ready: dict[str, Any] = site.call("/readyz", "GET").get_json()["response"]
    return ready if "refused" in ready["config"] else None


def test_a_redis_that_will_not_do_is_told_to_everybody_but_not_the_settings_to_change(
    redisless_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replica(_: object) -> None:
        raise StartError("Redis 7.0.15 is a replica, which takes no writes; REDIS_URL must name its master")

    monkeypatch.setattr(readiness, "check_redis", replica)
    response = redisless_site.call("/readyz", "GET")
    assert response.status_code == 503
    assert "REDIS_URL" not in response.text
    assert response.get_json()["response"]["error"]["message"].startswith("Redis can't be used as it is")


def test_not_ready_is_an_error_too(redisless_site: Site) -> None:
    response = redisless_site.call("/readyz", "GET")
    assert response.status_code == 503
    error = response.get_json()["response"]["error"]
    assert error == {"code": "serverError.notReady", "message": "Redis can't be reached"}
    assert response.get_json()["response"]["redis"] == {"status": "unreachable"}


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_the_first_page_leads_a_browser_to_the_console_and_nobody_else(site: Site, make_site: MakeSite) -> None:
    """found.md 35"""
    there = site.call("/", "GET", headers=BROWSER)
    assert (there.status_code, there.headers["Location"]) == (303, "/console/")
    for accept in ("*/*", "application/json", "text/html;q=0", ""):
        assert refusal(site.call("/", "GET", headers={"Accept": accept})).status == 404
    assert refusal(site.call("/", "POST", headers=BROWSER)).status == 404
    without_console = make_site(CONFIG.replace(f"admin: {OPERATOR}", "admin: ''"))
    assert refusal(without_console.call("/", "GET", headers=BROWSER)).status == 404


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("/v1/api/keyed/one", "; did you mean …/async?"),
        ("/v1/api/no/such", "; did you mean …/async?"),
        ("/v1/api/keyed/one/", "; did you mean …/async?"),
        ("/v1/api/keyed/one/async/", "; did you mean …/async, without a slash at the end?"),
        ("/v1/api/keyed", ""),
        ("/v1/api/keyed/", ""),
        ("/v1/api/a/b/c", ""),
        ("/v2/api/keyed/one", ""),
        ("/keyed/one", ""),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_a_path_that_is_nearly_an_apis_says_what_is_missing(site: Site, target: str, hint: str, method: str) -> None:
    """found.md 35. The hint is the same whether there is such an API or not."""
    said = refusal(site.call(target, method))
    assert (said.status, said.code, said.message) == (
        404,
        "requestError.notFound",
        f"There is nothing at this path{hint}",
    )


def test_b17_a_host_that_is_not_named_is_refused_when_hosts_are(make_site: MakeSite, redis: Redis) -> None:
    hosts = "hosts: [Trigger.example.org, .lan, 'other.example:8080', '[::1]']"
    site = make_site(CONFIG.replace("server:\n", f"server:\n  {hosts}\n"))
    for host in ("evil.example", "trigger.example.org.evil", "xtrigger.example.org", "lan, evil", "", "evillan", "::1"):
        assert refusal(site.call("open/any", environ_overrides={"HTTP_HOST": host})).status == 400
    assert nothing_stored(redis)
    for host in (
        "trigger.example.org",
        "TRIGGER.example.org:8080",
        "x.lan:80",
        "lan",
        "other.example:8080",
        "[::1]:8080",
        "[::1]",
    ):
        accepted(site.call("open/any", environ_overrides={"HTTP_HOST": host}))


def test_b14_b16_one_call_is_one_line_of_the_log_without_headers_and_query(site: Site, log: list[str]) -> None:
    headers = {"token": "hidden-wrong-token", "User-Agent": "hidden\x1b[2J", "X-Forwarded-For": "6.6.6.6"}
    site.call("open/any", headers=headers)  # the first with X-Forwarded-For is warned of, once
    log.clear()
    site.call("/a%0d%0ab%1b[2J status=200 c\u202e", headers=headers, query_string="token=hidden-in-query")
    site.call("keyed/one", headers=headers, query_string="token=hidden-in-query")
    assert len(log) == 2
    assert all(line.isprintable() and line.isascii() and "hidden" not in line and "6.6.6.6" not in line for line in log)
    assert all(line.count("status=") == 1 or "status%3D" in line for line in log)
    assert f"client={site.client}" in log[1]


def test_a_long_path_makes_no_long_line(site: Site, log: list[str]) -> None:
    site.call("/" + "%E2%98%83" * 1000)
    assert len(log[0]) < 600
