"""Limits of an API as its callers meet them: headers, answers, records, and from where they may call."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from werkzeug.test import TestResponse

from tests.web.conftest import MakeSite
from tests.web.site import Site, nothing_stored, refusal

CONFIG = """
server: {proxies: 1, from: [198.18.0.0/15, "2001:db8::/32"]}
operators: {admin: 0perator-of-the-tests}
modules:
  shop:
    methods:
      order:
        enabled: true
        auth: {mode: none}
        from: [0.0.0.0/0]
        workflow: examples.hello:greet
        rate: {limit: 2/1h, per: "{{ input.host }}"}
      restart:
        enabled: true
        auth: {mode: none}
        from: [0.0.0.0/0]
        workflow: examples.hello:greet
        concurrency: {limit: 1, waiting: 1}
      push:
        enabled: true
        auth: {mode: none}
        from: [0.0.0.0/0]
        workflow: examples.hello:greet
        debounce: 5s
      each:
        enabled: true
        auth: {mode: none}
        from: [0.0.0.0/0, "::/0"]
        workflow: examples.hello:greet
        rate: {limit: 1/1h, per: address}
      inside: {enabled: true, auth: {mode: none}, workflow: examples.hello:greet}
      office:
        enabled: true
        auth: {mode: token, token: t0ken-of-the-office}
        from: [192.0.2.7]
        workflow: examples.hello:greet
"""


@pytest.fixture(scope="module")
def limited(make_site: MakeSite) -> Site:
    return make_site(CONFIG)


@pytest.fixture
def site(limited: Site, redis: Redis) -> Site:
    """The app under CONFIG, with an empty Redis."""
    return limited


def call(site: Site, api: str, value: Any = None, client: str = "192.0.2.7", **headers: str) -> TestResponse:
    return site.call(api, json={} if value is None else value, headers={"X-Forwarded-For": client, **headers})


def test_a_rate_tells_what_it_leaves_and_when_to_come_again(site: Site) -> None:
    first, second, third = (call(site, "shop/order", {"host": "a"}) for _ in range(3))
    assert first.headers["RateLimit"] == '"order";r=1;t=1800'
    assert second.headers["RateLimit"] == '"order";r=0;t=3600'
    refused = refusal(third)
    assert (refused.status, refused.code) == (429, "requestError.tooManyRequests")
    assert third.get_json()["response"]["error"]["details"] == {"policy": "rate"}
    assert 1790 <= int(third.headers["Retry-After"]) <= 1800
    assert third.headers["RateLimit"] == f'"order";r=0;t={third.headers["Retry-After"]}'
    assert {answer.headers["RateLimit-Policy"] for answer in (first, third)} == {'"order";q=2;w=3600'}
    assert call(site, "shop/order", {"host": "b"}).status_code == 202


@pytest.mark.parametrize("others", [("2001:db8::2", "2001:DB8:0::1", "2001:db8:0:0:ffff::"), ("::ffff:192.0.2.9",)])
def test_an_address_counts_however_it_is_written_and_of_ipv6_its_network(site: Site, others: tuple[str, ...]) -> None:
    first = "2001:db8::1" if len(others) > 1 else "192.0.2.9"
    assert call(site, "shop/each", client=first).status_code == 202
    for client in others:
        assert call(site, "shop/each", client=client).status_code == 429
    assert call(site, "shop/each", client="2001:db8:0:1::1").status_code == 202


def test_a_call_for_which_it_can_not_be_told_is_refused_and_operators_see_why(site: Site, log: list[str]) -> None:
    refused = refusal(call(site, "shop/order", {}))
    assert (refused.status, refused.code) == (400, "requestError.invalidParams")
    assert any("input.host" in line for line in log)
    assert not any("input.host" in text for text in (refused.message,))


def test_what_waits_for_a_slot_says_so_and_one_too_many_is_refused(site: Site) -> None:
    uids = [call(site, "shop/restart").get_json()["response"]["uid"] for _ in range(2)]
    refused = call(site, "shop/restart")
    assert refused.status_code == 429
    assert refused.get_json()["response"]["error"]["details"] == {"policy": "concurrency"}
    assert refused.headers["Retry-After"]
    records = [record(site, uid) for uid in uids]
    assert [found.get("waits_for") for found in records] == [None, "concurrency"]
    assert [found["status"] for found in records] == ["queued", "queued"]


def record(site: Site, uid: str, client: str = "192.0.2.7") -> dict[str, Any]:
    answer = site.call(f"/v1/executions/{uid}", headers={"X-Forwarded-For": client}, method="GET")
    found: dict[str, Any] = answer.get_json()["response"]
    return found


def test_a_burst_is_one_execution_of_which_each_call_gets_the_uid(site: Site) -> None:
    answers = [call(site, "shop/push", {"n": n}) for n in range(3)]
    assert {answer.status_code for answer in answers} == {202}
    assert [answer.headers.get("Execution-Merged") for answer in answers] == [None, "true", "true"]
    (uid,) = {answer.get_json()["response"]["uid"] for answer in answers}
    assert {answer.headers["Location"] for answer in answers} == {f"/v1/executions/{uid}"}
    found = record(site, uid)
    assert (found["input"], found["merged"], found["waits_for"]) == ({"n": 2}, 2, "debounce")


@pytest.mark.parametrize(
    ("api", "client", "is_let_in"),
    [
        ("shop/inside", "198.18.3.4", True),
        ("shop/inside", "::ffff:198.18.3.4", True),
        ("shop/inside", "2001:db8::1", True),
        ("shop/inside", "192.0.2.7", False),
        ("shop/inside", "2001:db9::1", False),
        ("shop/office", "192.0.2.7", True),
        ("shop/office", "198.18.3.4", False),
    ],
)
def test_only_those_addresses_are_let_in_and_before_their_credentials_are_looked_at(
    site: Site, redis: Redis, api: str, client: str, is_let_in: bool
) -> None:
    answer = call(site, api, client=client, token="t0ken-of-the-office")
    if is_let_in:
        assert answer.status_code == 202
        return
    for each in (answer, call(site, api, client=client, token="wrong")):
        refused = refusal(each)
        assert (refused.status, refused.code) == (403, "requestError.forbidden")
        assert refused.message == "This API is not open to your address"
    assert nothing_stored(redis)


def test_a_record_is_for_callers_from_these_addresses_and_for_operators_from_all(site: Site) -> None:
    uid = call(site, "shop/inside", client="198.18.3.4").get_json()["response"]["uid"]
    path = f"/v1/executions/{uid}"
    assert record(site, uid, "198.18.3.4")["uid"] == uid
    assert (
        refusal(site.call(path, "GET", headers={"X-Forwarded-For": "192.0.2.7"})).code
        == "requestError.executionNotFound"
    )
    operator = {"user": "admin", "password": "0perator-of-the-tests", "X-Forwarded-For": "192.0.2.7"}
    assert site.call(path, "GET", headers=operator).status_code == 200
