"""The id of a request: on every answer, in the line of the log, and in the record of what it has started."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from werkzeug.test import TestResponse

from tests.support import OwnRedis
from tests.web.conftest import MakeSite
from tests.web.site import CONFIG, OPERATOR, TOKEN, Site, accepted, address, basic, refusal
from trigger import store
from trigger.web.service import Shapes

ADMIN = basic("admin", OPERATOR)
GIVEN = "6f1dcb2a03e94ac1b7a1d1f0c2b3a495"  # as nginx makes them
MADE = re.compile("[0-9a-f]{16}")


@pytest.fixture(scope="module")
def module_proxied(make_site: MakeSite) -> Site:
    return make_site(CONFIG.replace("server:\n", "server:\n  proxies: 1\n"))


@pytest.fixture
def proxied(module_proxied: Site, redis: Redis) -> Site:
    """The app behind one trusted proxy, with an empty Redis."""
    module_proxied.client = address()
    return module_proxied


def call(site: Site, target: str, method: str = "POST", given: str = GIVEN, **options: Any) -> TestResponse:
    """A call to which the proxy has given this id, as it stands in the environ: a test client would refuse some."""
    return site.call(target, method, environ_overrides={"HTTP_X_REQUEST_ID": given}, **options)


def id_of(response: TestResponse) -> str:
    (number,) = response.headers.getlist("X-Request-Id")
    return number


def record(site: Site, uid: str) -> dict[str, Any]:
    content: dict[str, Any] = site.call(f"/v1/executions/{uid}", "GET", headers=ADMIN).get_json()["response"]
    return content


def test_an_accepted_call_without_an_id_has_that_of_its_execution(site: Site, redis: Redis, log: list[str]) -> None:
    response = site.call("keyed/two", headers={"token": TOKEN})
    uid = accepted(response)
    assert id_of(response) == uid
    assert log[-1].endswith(f" caller=ci uid={uid} request={uid}")
    assert record(site, uid)["request_id"] == uid
    meta = redis.hget(store.JOB + uid, "meta")
    assert b"request" not in (meta or b"")


def test_the_proxys_id_is_taken_answered_logged_and_kept(proxied: Site, redis: Redis, log: list[str]) -> None:
    response = call(proxied, "open/any")
    uid = accepted(response)
    assert id_of(response) == GIVEN
    assert log[-1].endswith(f" uid={uid} request={GIVEN}")
    assert record(proxied, uid)["request_id"] == GIVEN
    (row,) = proxied.call("/v1/executions", "GET", headers=ADMIN).get_json()["response"]["executions"]
    assert row["request_id"] == GIVEN


def test_each_call_behind_the_proxy_has_its_own(proxied: Site, redis: Redis) -> None:
    uids = {f"id-{number}": accepted(call(proxied, "open/any", given=f"id-{number}")) for number in range(3)}
    last = accepted(proxied.call("open/any"))
    uids[last] = last
    assert {record(proxied, uid)["request_id"]: uid for uid in uids.values()} == uids


def test_without_a_trusted_proxy_nobody_chooses_an_id(site: Site, redis: Redis, log: list[str]) -> None:
    response = call(site, "open/any")
    assert id_of(response) == accepted(response)
    assert MADE.fullmatch(id_of(call(site, "open/off")))
    assert GIVEN not in "".join(log)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(given, id=repr(given[:20]))
        for given in (
            "",
            " ",
            "a b",
            "a,b",
            "a=b",
            "-rf",
            "..",
            "_x",
            "a/b",
            "a\r\nSet-Cookie: x=1",
            "a\n",
            "\x1b[31mred",
            "a\0",
            "$(id)",
            '"',
            "<script>",
            "ä",
            "٣",
            "\ud800",
            "x" * 65,
            "x" * 1_000_000,
        )
    ],
)
def test_x3_an_id_that_is_none_is_replaced_and_nowhere_seen(
    proxied: Site, redis: Redis, log: list[str], given: str
) -> None:
    response = call(proxied, "open/any", given=given)
    uid = accepted(response)
    assert id_of(response) == uid == record(proxied, uid)["request_id"]
    refused = call(proxied, "open/off", given=given)
    assert MADE.fullmatch(id_of(refused))
    (first, _, last) = log
    assert first.endswith(f" client={proxied.client} uid={uid} request={uid}")
    assert last.endswith(f" request={id_of(refused)}")
    assert all(line.isprintable() and line.isascii() and len(line) < 400 for line in log)


@pytest.mark.parametrize("given", ["a", "0", "A.b_c-d", "x" * 64, GIVEN, "9d4b1c1e-6f0d-4b53-93c1-0f7a3c6b2e11"])
def test_what_proxies_make_is_taken(proxied: Site, redis: Redis, given: str) -> None:
    assert id_of(call(proxied, "open/any", given=given)) == given


@pytest.mark.parametrize(
    ("target", "method", "sent", "status"),
    [
        ("open/any", "POST", {"data": b" " * 5000}, 413),
        ("no/such", "POST", {}, 404),
        ("/nothing", "GET", {}, 404),
        ("//nothing", "GET", {}, 404),
        ("open/get", "POST", {}, 405),
        ("open/get", "OPTIONS", {}, 200),
        ("open/get", "HEAD", {}, 405),
        ("open/off", "POST", {}, 403),
        ("keyed/one", "POST", {}, 401),
        ("keyed/one", "POST", {"headers": {"token": "wrong"}}, 401),
        ("open/order", "POST", {"json": {}}, 400),
        ("open/any", "POST", {"data": b"x", "content_type": "text/xml"}, 415),
        ("/v1/executions", "GET", {"headers": ADMIN}, 200),
        ("/v1/executions/1", "GET", {}, 404),
        ("/v1/executions/1/cancel", "POST", {"headers": ADMIN}, 404),
        ("/healthz", "GET", {}, 200),
        ("/healthz", "POST", {}, 405),
        ("/readyz", "GET", {}, 200),
    ],
)
def test_every_answer_has_an_id_and_so_has_its_line(
    site: Site, proxied: Site, log: list[str], target: str, method: str, sent: dict[str, Any], status: int
) -> None:
    made = [site.call(target, method, **sent) for _ in range(2)]
    assert [response.status_code for response in made] == [status, status]
    ids = [id_of(response) for response in made]
    assert ids[0] != ids[1]
    assert all(map(MADE.fullmatch, ids))
    given = call(proxied, target, method, **sent)
    assert (given.status_code, id_of(given)) == (status, GIVEN)
    if status != 200 or target not in ("/healthz", "/readyz"):  # which are asked for too often to be worth a line
        assert [line.rpartition(" request=")[2] for line in log] == [*ids, GIVEN]


def test_when_redis_is_away_too(make_site: MakeSite, tmp_path: Path, log: list[str]) -> None:
    with OwnRedis(tmp_path / "redis") as away:
        site = make_site(redis_url=away.url)
    response = site.call("open/any")
    assert refusal(response).status == 503
    assert log[-1].endswith(f" request={id_of(response)}")


def test_a_replayed_call_has_its_own_id_and_the_execution_keeps_the_firsts(
    site: Site, proxied: Site, redis: Redis, log: list[str]
) -> None:
    key = {"Idempotency-Key": "once"}
    uid = accepted(site.call("open/any", headers=key))
    again = site.call("open/any", headers=key)
    assert accepted(again) == uid
    assert MADE.fullmatch(id_of(again))
    assert log[-1].endswith(f" uid={uid} request={id_of(again)}")
    behind = call(proxied, "open/any", headers=key)
    assert (accepted(behind), id_of(behind)) == (uid, GIVEN)
    assert record(site, uid)["request_id"] == uid


@pytest.mark.parametrize("given", ["", GIVEN])
def test_what_an_operator_starts_has_the_id_of_the_operators_request(
    proxied: Site, redis: Redis, log: list[str], given: str
) -> None:
    old = accepted(call(proxied, "open/any", given="the-callers"))
    response = call(proxied, f"/v1/executions/{old}/rerun", given=given, headers=ADMIN)
    new = accepted(response)
    assert id_of(response) == record(proxied, new)["request_id"] == (given or new)
    assert f" uid={new} request={given or new}" in log[1]
    assert record(proxied, old)["request_id"] == "the-callers"


def test_who_cancels_an_execution_does_not_get_its_id(site: Site, redis: Redis, log: list[str]) -> None:
    uid = accepted(site.call("open/any"))
    response = site.call(f"/v1/executions/{uid}/cancel", headers=ADMIN)
    assert response.status_code == 202
    assert MADE.fullmatch(id_of(response))
    assert log[-1].endswith(f" uid={uid} request={id_of(response)}")


@pytest.mark.parametrize("given", ["", GIVEN])
def test_the_reference_of_our_own_fault_is_the_requests_id(
    proxied: Site, redis: Redis, log: list[str], monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the inner detail")

    monkeypatch.setattr(Shapes, "of", broken)
    response = call(proxied, "open/any", given=given)
    assert refusal(response).message.rpartition(" ")[2] == id_of(response)
    assert (id_of(response) == GIVEN) is bool(given)
    (fault, line) = log
    assert f"internal error at /v1/api/open/any/async request={id_of(response)}\n  | Traceback" in fault
    assert line.endswith(f" request={id_of(response)}")
