"""Handshakes, tokens in the path and verbs as an attacker has them; storms of a delivery; a secret that is changed."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from werkzeug.test import TestResponse

from tests.support import OwnRedis
from tests.web.conftest import MakeSite
from tests.web.site import OPERATOR, Gunicorn, Site, accepted, address, basic, nothing_stored, refusal, request
from trigger.store.refused import recent_refusals

SECRET, NEXT = "the-current-secret-of-the-tests", "the-next-secret-of-the-tests-0"
TOKEN = "A-t0ken_in~the.path-of-an-API"
AFTER = ("eventgrid", "slack", "sns", "twitch")
BEFORE = ("asana", "cloudevents", "dropbox", "msgraph", "woocommerce")
SIGNED = f"mode: signature, scheme: github, once: 24h, secrets: {{current: {SECRET}}}"
OPEN = "".join(
    f"      {name}: {{enabled: true, auth: {{mode: none}}, workflow: any, answer: {{handshake: {name}}}}}\n"
    for name in (*AFTER, *BEFORE)
)
CONFIG = f"""\
operators: {{admin: {OPERATOR}}}
workflows: {{any: examples.hello:greet}}
modules:
  hooks:
    methods:
{OPEN}\
      meta: {{enabled: true, auth: {{mode: none}}, workflow: any, answer: {{handshake: meta, verify: {SECRET}}}}}
      zoom: {{enabled: true, auth: {{{SIGNED}}}, workflow: any, answer: {{handshake: zoom}}}}
      signed: {{enabled: true, verbs: [POST], auth: {{{SIGNED}}}, workflow: any}}
      in_path: {{enabled: true, verbs: [POST], auth: {{mode: token, in: path, token: "{TOKEN}"}}, workflow: any}}
      open: {{enabled: true, verbs: [GET, PUT, PATCH, DELETE], auth: {{mode: none}}, workflow: any}}
      head: {{enabled: true, verbs: [POST], auth: {{mode: none}}, workflow: any, answer: {{head: 204}}}}
      closed: {{verbs: [POST], auth: {{mode: none}}, workflow: any, answer: {{head: 200, handshake: dropbox}}}}
"""
WOOCOMMERCE = CONFIG.replace(
    "woocommerce: {enabled: true, auth: {mode: none}", f"woocommerce: {{auth: {{{SIGNED}}}, enabled: true"
)
URL = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription"


@pytest.fixture(scope="module")
def module_hooks(make_site: MakeSite) -> Site:
    return make_site(CONFIG)


@pytest.fixture
def hooks(module_hooks: Site, redis: Redis) -> Site:
    module_hooks.client = address()
    return module_hooks


def signature(body: bytes, secret: str = SECRET) -> dict[str, str]:
    return {"X-Hub-Signature-256": f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"}


def ask(site: Site, handshake: str, challenge: Any) -> TestResponse:
    """A handshake whose challenge is this, as far as its sender can say it."""
    api = f"hooks/{handshake}"
    match handshake:
        case "slack":
            return site.call(api, json={"type": "url_verification", "challenge": challenge})
        case "twitch":
            headers = {"Twitch-Eventsub-Message-Type": "webhook_callback_verification"}
            return site.call(api, json={"challenge": challenge}, headers=headers)
        case "eventgrid":
            kind = "Microsoft.EventGrid.SubscriptionValidationEvent"
            return site.call(api, json=[{"eventType": kind, "data": {"validationCode": challenge}}])
        case "zoom":
            value = {"event": "endpoint.url_validation", "payload": {"plainToken": challenge}}
            body = json.dumps(value).encode()
            headers = {"Content-Type": "application/json", **signature(body)}
            return site.call(api, data=body, headers=headers)
        case "sns":
            headers = {"x-amz-sns-message-type": "SubscriptionConfirmation"}
            return site.call(api, json={"SubscribeURL": challenge}, headers=headers)
        case "dropbox":
            return site.call(api, "GET", query_string={"challenge": challenge})
        case "msgraph":
            return site.call(api, query_string={"validationToken": challenge})
        case _:
            query = {"hub.mode": "subscribe", "hub.verify_token": SECRET, "hub.challenge": challenge}
            return site.call("hooks/meta", "GET", query_string=query)


IN_JSON = ("eventgrid", "slack", "sns", "twitch", "zoom")
IN_QUERY = ("dropbox", "meta", "msgraph")


@pytest.mark.parametrize(
    "challenge",
    [
        None,
        True,
        7,
        {},
        {"a": {"b": "c"}},
        ["a"],
        "",
        "a\r\nSet-Cookie: a=b",
        "a\nb",
        "a\x00b",
        "a\u2028b",
        "\u202ea",
        "x" * 2049,
        "x" * 1_000_000,
    ],
    ids=lambda challenge: repr(challenge)[:20],
)
@pytest.mark.parametrize("handshake", IN_JSON)
def test_what_is_no_challenge_is_refused(hooks: Site, redis: Redis, handshake: str, challenge: Any) -> None:
    assert refusal(ask(hooks, handshake, challenge)).status == 400
    assert nothing_stored(redis)


@pytest.mark.parametrize(
    "challenge", ["", "a\r\nSet-Cookie: a=b", "a\x00b", "\u202ea", "x" * 2049], ids=lambda text: repr(text)[:20]
)
@pytest.mark.parametrize("handshake", IN_QUERY)
def test_what_is_no_challenge_in_a_query_is_refused(hooks: Site, redis: Redis, handshake: str, challenge: str) -> None:
    assert refusal(ask(hooks, handshake, challenge)).status == 400
    assert nothing_stored(redis)


@pytest.mark.parametrize("handshake", ["dropbox", "meta", "msgraph", "slack", "twitch"])
@pytest.mark.parametrize(
    "challenge", ["<script>alert(1)</script>", "{{ 7 * 7 }}", "é", "x" * 2048], ids=lambda x: x[:9]
)
def test_a_challenge_is_echoed_as_inert_text(hooks: Site, redis: Redis, handshake: str, challenge: str) -> None:
    answer = ask(hooks, handshake, challenge)
    assert (answer.status_code, answer.data.decode()) == (200, challenge)
    assert answer.content_type == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert nothing_stored(redis)


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription",
        "https://sns.eu-west-1.amazonaws.com.example.org/?Action=ConfirmSubscription",
        "https://sns.eu-west-1.amazonaws.com@example.org/?Action=ConfirmSubscription",
        "https://sns.eu-west-1.amazonaws.com:8443/?Action=ConfirmSubscription",
        "https://sns.eu-west-1.amazonaws.com\\@example.org/?Action=ConfirmSubscription",
        "https://user@sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription",
        "https://sns.evil.example.org/.amazonaws.com/?a",
        "https://s3.eu-west-1.amazonaws.com/?Action=ConfirmSubscription",
        f"{URL}&a=b client=forged",
        f"{URL}\nWARNING forged",
        f"{URL}#a",
        "javascript:alert(1)",
    ],
)
def test_no_other_url_than_amazons_is_shown_to_operators(hooks: Site, log: list[str], url: str) -> None:
    assert refusal(ask(hooks, "sns", url)).status == 400
    assert not any("open this" in line or "forged" in line for line in log)


@pytest.mark.parametrize("kind", ["SubscriptionConfirmation", "UnsubscribeConfirmation"])
def test_amazons_url_is_shown_and_not_opened(hooks: Site, redis: Redis, log: list[str], kind: str) -> None:
    answer = hooks.call("hooks/sns", json={"SubscribeURL": URL}, headers={"x-amz-sns-message-type": kind})
    assert (answer.status_code, answer.data) == (200, b"")
    assert sum(URL in line for line in log) == 1
    assert nothing_stored(redis)


@pytest.mark.parametrize("secret", ["", "short", "x" * 257, "with a blank in the middle", "ünprintable-in-a-header"])
def test_a_strange_hook_secret_is_not_echoed(hooks: Site, secret: str) -> None:
    answer = hooks.call("hooks/asana", headers={"X-Hook-Secret": secret})
    assert refusal(answer).status == 400
    assert "X-Hook-Secret" not in answer.headers


@pytest.mark.parametrize("body", ["webhook_id=", "webhook_id=7&a=b", "webhook_id=a", f"webhook_id={'7' * 60}", "a=b"])
def test_only_the_first_message_of_woocommerce_needs_no_signature(make_site: MakeSite, body: str) -> None:
    site = make_site(WOOCOMMERCE)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert site.call("hooks/woocommerce", data="webhook_id=7", headers=headers).status_code == 200
    assert refusal(site.call("hooks/woocommerce", data=body, headers=headers)).status == 401


def test_the_word_of_meta_must_be_right(hooks: Site) -> None:
    for word in ("", "wrong", SECRET[:-1], "é"):
        query = {"hub.mode": "subscribe", "hub.verify_token": word, "hub.challenge": "1"}
        assert refusal(hooks.call("hooks/meta", "GET", query_string=query)).status == 403


def test_an_api_that_is_not_enabled_answers_no_handshake(hooks: Site) -> None:
    assert refusal(hooks.call("hooks/closed", "GET", query_string="challenge=a")).status == 405
    assert hooks.call("hooks/closed", "HEAD").status_code == 405
    assert refusal(hooks.call("hooks/closed")).status == 403


def test_a_token_in_the_path(hooks: Site, redis: Redis, log: list[str]) -> None:
    at = "/v1/api/hooks/in_path/async"
    accepted(hooks.call(f"{at}/{TOKEN}"))
    for path, status in {
        at: 401,
        f"{at}/": 404,
        f"{at}/n0t-the-token": 401,
        f"{at}/{TOKEN}x": 401,
        f"{at}/{TOKEN[:-1]}": 401,
        f"{at}/{TOKEN}/": 404,
        f"{at}/{TOKEN}/more": 404,
        f"{at}//{TOKEN}": 404,
        "/v1/api/hooks/open/async/anything": 404,
    }.items():
        assert refusal(hooks.call(path)).status == status, path
    encoded = TOKEN.replace("A", "%41", 1)
    raw = {"RAW_URI": f"{at}/{encoded}"}  # the server's own, before it is decoded
    assert refusal(hooks.call(f"{at}/{encoded}", environ_overrides=raw)).status == 404
    # In no other place than the path
    for headers in ({"token": TOKEN}, {"Authorization": f"Bearer {TOKEN}"}, basic("a", TOKEN)):
        assert refusal(hooks.call(at, headers=headers)).status == 401
    assert len(log) >= 10
    hooks.flask.close()  # which writes what was refused
    log += [f"{refused}" for refused in recent_refusals(redis, 100)]
    assert not any(TOKEN[:-1] in line or "n0t-the-token" in line for line in log)


def test_over_a_socket_no_line_end_and_no_escape_gets_through(
    redis_server: OwnRedis, redis: Redis, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(WOOCOMMERCE)
    at = "/v1/api/hooks"
    with Gunicorn(tmp_path, redis_server.url) as web:
        split = web.call(f"{at}/dropbox/async?challenge=a%0d%0aSet-Cookie:%20a=b", "GET")
        assert (split.status, "set-cookie" in split.headers) == (400, False)
        asked = {"WebHook-Request-Origin": "a.example.org\r\n b: c"}
        folded = web.call("hooks/cloudevents", "OPTIONS", headers=asked)
        assert (folded.status, "webhook-allowed-origin" in folded.headers) == (400, False)
        assert web.call(f"{at}/in_path/async/{TOKEN}").status == 202
        for encoded in (
            TOKEN.replace("A", "%41", 1),
            f"{TOKEN}%00",
            f"{TOKEN}%2F",
            f"%2e%2e/async/{TOKEN}",
            f"./{TOKEN}",
        ):
            assert web.call(f"{at}/in_path/async/{encoded}").status == 404, encoded
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        assert web.call("hooks/woocommerce", body=b"webhook_id=7", headers=headers).status == 200
        lines = {"Host": "a", "Connection": "close", **headers, "Transfer-Encoding": "chunked"}
        chunked = request("POST", f"{at}/woocommerce/async", lines) + b"c\r\nwebhook_id=7\r\n0\r\n\r\n"
        assert web.send(chunked).status == 401
        assert TOKEN[:-1] not in web.log


@pytest.mark.parametrize("verb", ["PUT", "PATCH", "DELETE"])
def test_verbs_that_are_declared_bring_a_body(hooks: Site, verb: str) -> None:
    uid = accepted(hooks.call("hooks/open", verb, json={"name": "Ada"}))
    answer = hooks.call(f"/v1/executions/{uid}", "GET", headers=basic("admin", OPERATOR))
    assert json.loads(answer.data)["response"]["input"] == {"name": "Ada"}


@pytest.mark.parametrize("verb", ["POST", "HEAD", "TRACE", "CONNECT", "BREW", "put"])
def test_other_verbs_are_refused(hooks: Site, redis: Redis, verb: str) -> None:
    answer = hooks.call("hooks/open", verb)
    assert answer.status_code in (405, 501)
    if answer.status_code == 405:
        assert answer.headers["Allow"] == "GET, PUT, PATCH, DELETE"
    assert nothing_stored(redis)


def test_a_head_that_is_declared_is_answered_and_starts_nothing(hooks: Site, redis: Redis) -> None:
    answer = hooks.call("hooks/head", "HEAD")
    assert (answer.status_code, answer.data) == (204, b"")
    assert nothing_stored(redis)


def test_a_storm_of_one_delivery_is_one_execution(hooks: Site, redis: Redis) -> None:
    body = b'{"ref": "refs/heads/main"}'
    headers = {"Content-Type": "application/json", "X-GitHub-Delivery": "72d3162e-cc78", **signature(body)}
    together = threading.Barrier(50)

    def send(_: int) -> TestResponse:
        together.wait()
        return hooks.call("hooks/signed", data=body, headers=headers)

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(send, range(50)))
    assert len({accepted(answer) for answer in answers}) == 1
    assert Counter("Idempotency-Replayed" in answer.headers for answer in answers) == {True: 49, False: 1}
    listed = hooks.call("/v1/executions?limit=200", "GET", headers=basic("admin", OPERATOR))
    assert len(json.loads(listed.data)["response"]["executions"]) == 1


def test_a_secret_is_changed_while_calls_come_and_none_is_refused(make_site: MakeSite, redis: Redis) -> None:
    site = make_site(CONFIG)
    secrets, stop = [SECRET], threading.Event()
    answers: Counter[int] = Counter()
    numbers = itertools.count()

    def send() -> None:
        while not stop.is_set():
            number = next(numbers)
            body = json.dumps({"number": number}).encode()
            known = tuple(secrets)
            made = signature(body, known[number % len(known)])
            headers = {"Content-Type": "application/json", "X-GitHub-Delivery": f"{number}", **made}
            answers[site.call("hooks/signed", data=body, headers=headers).status_code] += 1

    def in_time() -> Iterator[None]:
        yield
        seen = sum(answers.values())
        while sum(answers.values()) < seen + 50:
            stop.wait(0.01)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in in_time():
            site.edit(f"current: {SECRET}", f"current: {SECRET}, next: {NEXT}")
        for _ in in_time():
            secrets[:] = [SECRET, NEXT]  # the sender begins to use the new one
        for _ in in_time():
            site.edit(f"current: {SECRET}, next: {NEXT}", f"next: {NEXT}, current: {SECRET}")
        for _ in in_time():
            secrets[:] = [NEXT]  # and to use no other
        for _ in in_time():
            site.edit(f"next: {NEXT}, current: {SECRET}", f"current: {NEXT}")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(answers) == {202}
    assert answers[202] >= 250
