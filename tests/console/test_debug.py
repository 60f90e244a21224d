"""Debug on the page of an API: what it sends, and what it refuses."""

from __future__ import annotations

import json

import pytest
from redis import Redis

from tests.console.api_site import (
    CARD,
    CONFIG,
    KEY,
    ORDER,
    XSS,
    editor,
    send,
    wrong,
)
from tests.console.site import Browser, sign_in
from tests.support import eventually
from tests.web.conftest import MakeSite
from tests.web.site import Site, accepted
from trigger import store


@pytest.fixture(scope="module")
def module_site(make_site: MakeSite) -> Site:
    return make_site(CONFIG, KEY=KEY)


def test_the_editor_has_the_declared_data_without_its_secrets(signed_in: Browser) -> None:
    page = signed_in.get(ORDER)
    assert json.loads(editor(page).form()["input"]) == {"sku": "A1", "card": "***", "key": "***"}
    assert "where you leave it, that secret is sent" in editor(page).text
    assert [button["value"] for button in editor(page).all("button")] == ["POST", "GET"]
    page = signed_in.get("/console/apis/shop/get")
    assert editor(page).form() == {"input": "{}"}
    assert "No debug data is declared" in editor(page).text
    assert [button["value"] for button in editor(page).all("button")] == ["GET"]


@pytest.mark.parametrize("verb", ["POST", "GET"])
def test_debug_starts_an_execution_with_the_declared_data(signed_in: Browser, redis: Redis, verb: str) -> None:
    uid = send(signed_in, verb)
    origin = store.origin(redis, uid)
    assert origin
    assert origin.input == {"sku": "A1", "card": CARD, "key": KEY, "count": 1, "pin": CARD}
    assert (origin.caller, origin.debug, origin.module, origin.method) == ("debug", True, "shop", "order")
    record = store.read(redis, uid)
    assert record
    assert record.input == {"sku": "A1", "card": "***", "key": "***", "count": 1, "pin": "***"}


def test_what_is_edited_is_sent_beside_the_secrets_that_are_left(signed_in: Browser, redis: Redis) -> None:
    uid = send(signed_in, "POST", '{"sku": "B2",\r\n "card": "***", "key": "own"}')
    origin = store.origin(redis, uid)
    assert origin
    assert origin.input == {"sku": "B2", "card": CARD, "key": "own", "count": 1, "pin": CARD}


def test_by_get_values_are_read_as_those_of_a_query(signed_in: Browser, redis: Redis) -> None:
    text = '{"sku": "A&1=é", "count": 5, "ready": true, "tags": ["a"], "colour": null}'
    origin = store.origin(redis, send(signed_in, "GET", text))
    assert origin
    assert origin.input == {"sku": "A&1=é", "count": 5, "ready": True, "tags": ["a"], "pin": CARD}
    origin = store.origin(redis, send(signed_in, "GET", '{"n": 5, "b": false}', "/console/apis/shop/get"))
    assert origin
    assert origin.input == {"n": "5", "b": "false"}  # nothing says what they are


def test_debug_works_while_the_api_is_disabled(signed_in: Browser, redis: Redis) -> None:
    uid = send(signed_in, "POST", path="/console/apis/shop/off")
    origin = store.origin(redis, uid)
    assert origin
    assert origin.input == {"name": "Ada"}
    recent = signed_in.get("/console/apis/shop/off").main.one(id="activity").rows()
    assert [row["Caller"] for row in recent] == ["debug"]


def test_an_empty_editor_is_an_empty_input(signed_in: Browser, redis: Redis) -> None:
    origin = store.origin(redis, send(signed_in, "POST", " \n", "/console/apis/shop/off"))
    assert origin
    assert origin.input == {}


@pytest.mark.parametrize(
    ("verb", "text", "said"),
    [
        ("POST", '{"sku": 5, "nmae": 1}', ["sku: must be a string", "nmae: unknown field"]),
        ("POST", '{"sku": ', ["not valid JSON: line 1"]),
        ("POST", '{"sku": "A1", "sku": "A2"}', ["a key that its object has already"]),
        ("POST", "[1]", ["must be an object"]),
        ("POST", f'{{"sku": "{XSS.replace(chr(34), "")}"}}', ["at most 20 characters long"]),
        ("POST", '{"sku": "A1", "pin": "***"}', ["pin: stands for a secret that is not known"]),
        ("GET", '{"sku": "A1", "count": "x"}', ["count: must be a whole number"]),
        ("GET", '{"sku": "A1", "address": {"city": "B"}}', ["can't be sent by GET", "address"]),
        ("GET", "[1]", ["must be an object"]),
        ("PUT", '{"sku": "A1"}', ["called by GET or POST"]),
        ("", "", ["called by GET or POST"]),
    ],
)
def test_mistakes_are_shown_and_what_was_typed_is_kept(
    signed_in: Browser, redis: Redis, verb: str, text: str, said: list[str]
) -> None:
    page, mistakes = wrong(signed_in, verb, text)
    for word in said:
        assert word in mistakes
    assert page.heading == "shop/order"
    assert redis.keys("rq:*") == []


def test_an_input_larger_than_a_call_may_have_is_refused(signed_in: Browser, redis: Redis) -> None:
    _, mistakes = wrong(signed_in, "POST", json.dumps({"sku": "x" * 4096}), 413)
    assert "at most 4,096 bytes" in mistakes
    assert redis.keys("rq:*") == []


def test_a_full_queue_refuses_debug_as_it_does_calls(signed_in: Browser) -> None:
    for _ in range(3):
        accepted(signed_in.site.call("shop/get", "GET"))
    page, mistakes = wrong(signed_in, "POST", '{"sku": "A1"}', 429)
    assert "Too many executions are waiting" in mistakes
    assert page.headers["retry-after"] == "10"


def test_debug_is_refused_while_calls_are(make_site: MakeSite, redis: Redis) -> None:
    browser = sign_in(make_site(CONFIG, KEY=KEY))
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 100_000)
    try:
        eventually(lambda: browser.site.call("shop/get", "GET").status_code == 503)
        _, mistakes = wrong(browser, "POST", '{"sku": "A1"}', 503)
    finally:
        redis.config_set("maxmemory", 0)
    assert "takes no calls now" in mistakes
