"""What counts of a signed call, and when a delivery is one that came before."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from redis import Redis

from tests.config.writing import mistakes
from tests.web.conftest import MakeSite
from tests.web.site import FAILURES, Site, accepted, nothing_stored, refusal
from trigger import store

OLD, NEW = "the-old-secret-of-the-sender", "the-new-secret-of-the-sender"
CONFIG = f"""
server: {{auth_failures: {FAILURES}}}
modules:
  hooks:
    methods:
      event:
        enabled: true
        auth:
          mode: signature
          scheme: custom
          header: X-Sign
          id: "body:id"
          secrets: {{old: {OLD}, new: {NEW}}}
          once: 24h
        headers: {{topic: X-Topic}}
        workflow: examples.hello:greet
      secret:
        enabled: true
        auth: {{mode: none}}
        input: {{fields: {{s: {{type: string, secret: true}}}}}}
        when: "{{{{ {{'a': 1}}[input.s] == 1 }}}}"
        workflow: examples.hello:greet
      meta:
        enabled: true
        auth: {{mode: signature, scheme: github, secrets: {{a: {OLD}}}, once: "off"}}
        answer: {{handshake: meta, verify: a-word}}
        workflow: examples.hello:greet
"""


@pytest.fixture(scope="module")
def signed_site(make_site: MakeSite) -> Site:
    return make_site(CONFIG)


@pytest.fixture
def site(signed_site: Site, redis: Redis) -> Site:
    return signed_site


def send(site: Site, body: Any, *, secret: str = NEW, target: str = "hooks/event", **headers: str) -> Any:
    data = json.dumps(body).encode()
    sign = hmac.new(secret.encode(), data, hashlib.sha256).hexdigest()
    return site.call(target, data=data, headers={"X-Sign": sign, **headers}, content_type="application/json")


def test_a_query_is_no_part_of_a_signed_input(site: Site, redis: Redis) -> None:
    uid = accepted(send(site, {"id": 1}, target="/v1/api/hooks/event/async?deploy_to=evil"))
    record = store.read(redis, uid)
    assert record is not None
    assert record.input == {"id": 1}


def test_a_signed_api_takes_post_if_nothing_else_is_said(site: Site, redis: Redis) -> None:
    sign = hmac.new(NEW.encode(), b"", hashlib.sha256).hexdigest()
    answer = site.call("hooks/event", "GET", headers={"X-Sign": sign})
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "POST"
    assert nothing_stored(redis)


def test_the_same_delivery_is_one_execution_whatever_else_has_changed(site: Site) -> None:
    uid = accepted(send(site, {"id": 7, "pending": 2}))
    for again in (
        send(site, {"id": 7, "pending": 1}),
        send(site, {"id": 7, "pending": 2}, secret=OLD),
        send(site, {"id": 7, "pending": 2}, **{"Idempotency-Key": "another"}),
    ):
        assert accepted(again) == uid
        assert again.headers["Idempotency-Replayed"] == "true"
    assert accepted(send(site, {"id": 8, "pending": 2})) != uid


def test_what_differs_in_a_declared_header_is_another_event(site: Site) -> None:
    created = accepted(send(site, {"id": 9}, **{"X-Topic": "orders/create"}))
    assert accepted(send(site, {"id": 9}, **{"X-Topic": "orders/paid"})) != created
    assert accepted(send(site, {"id": 9}, **{"X-Topic": "orders/create"})) == created


def test_a_condition_that_fails_tells_nothing_of_a_secret_field(site: Site, log: list[str]) -> None:
    assert refusal(site.call("hooks/secret", json={"s": "VERYSECRETVALUE1"})).status == 400
    assert any("why may quote a secret field" in line for line in log)
    assert not any("VERYSECRET" in line for line in log)


def test_guesses_of_metas_word_are_counted(site: Site) -> None:
    path = "/v1/api/hooks/meta/async?hub.mode=subscribe&hub.challenge=1&hub.verify_token="
    answers = [site.call(path + word, "GET").status_code for word in ["guess"] * (FAILURES + 1)]
    assert answers == [403] * FAILURES + [429]


@pytest.mark.parametrize("secret", ["whsec_", "whsec_AAAA", "AAAA"])
def test_a_key_that_anybody_could_guess_is_a_mistake(tmp_path: Any, secret: str) -> None:
    text = CONFIG.replace(f"scheme: github, secrets: {{a: {OLD}}}", f"scheme: standard, secrets: {{a: {secret}}}")
    (found,) = mistakes(tmp_path, text)
    assert "at least 16 bytes" in found.message


def test_who_has_a_token_in_a_header_of_its_own_reads_the_record(make_site: MakeSite, redis: Redis) -> None:
    site = make_site(
        CONFIG.replace(
            f'{{mode: signature, scheme: github, secrets: {{a: {OLD}}}, once: "off"}}',
            f"{{mode: token, header: X-Api-Key, token: {OLD}}}",
        )
    )
    own = {"X-Api-Key": OLD}
    uid = accepted(site.call("hooks/meta", json={}, headers=own))
    assert site.call(f"/v1/executions/{uid}", "GET", headers=own).status_code == 200
    assert site.call(f"/v1/executions/{uid}", "GET", headers={"X-Api-Key": "wrong"}).status_code == 404
