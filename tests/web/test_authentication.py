"""Who may call: each way to say who one is, and what is answered to everybody else."""

from __future__ import annotations

import hmac
import json
import subprocess
import sys
import time
from typing import Any

import pytest
from redis import Redis
from werkzeug.test import TestResponse

from tests.support import ROOT
from tests.web.conftest import MakeSite
from tests.web.site import (
    CONFIG,
    FAILURES,
    HASHED,
    OTHER_TOKEN,
    PASSWORD,
    TOKEN,
    Refusal,
    Site,
    accepted,
    address,
    basic,
    nothing_stored,
    refusal,
)
from trigger import store
from trigger.web import failures

TOKEN_REQUIRED = Refusal(401, "requestError.invalidParams", "Token is required")
TOKEN_INVALID = Refusal(401, "requestError.unauthorized", "Token is invalid")
PASSWORD_REQUIRED = Refusal(401, "requestError.invalidParams", "User/Password is required")
PASSWORD_INVALID = Refusal(401, "requestError.unauthorized", "User/Password is invalid")
TOO_MANY = Refusal(429, "requestError.tooManyRequests", "Too many wrong credentials from this address; try again later")


def caller(redis: Redis, uid: str) -> str | None:
    """Who the record says has called."""
    record = store.read(redis, uid)
    assert record is not None
    return record.caller


def on_the_wire(text: bytes) -> str:
    """Bytes of a header as a WSGI server hands them on (PEP 3333)."""
    return text.decode("latin-1")


# A token


@pytest.mark.parametrize(
    "headers",
    [
        {"token": TOKEN},
        {"Token": TOKEN},
        {"TOKEN": TOKEN},
        {"Authorization": f"Bearer {TOKEN}"},
        {"Authorization": f"bearer  {TOKEN} "},
        {"token": TOKEN, "Authorization": f"Bearer {TOKEN}"},
        {"token": TOKEN, "Authorization": "Bearer"},
        {"token": TOKEN, "Authorization": "Digest wrong"},
        {"token": TOKEN, **basic("ada", "wrong")},
        {"token": "", "Authorization": f"Bearer {TOKEN}"},
    ],
)
def test_a8_the_token_opens_the_api_in_either_header(site: Site, redis: Redis, headers: dict[str, str]) -> None:
    assert caller(redis, accepted(site.call("keyed/one", headers=headers))) == "token"


@pytest.mark.parametrize("token", ["Geheimnis-voilà", "Geheimnis-Å", "à-Geheimnis", "Geheimnis x"])
def test_a_token_in_utf_8_opens_the_api_in_either_header(make_site: MakeSite, redis: Redis, token: str) -> None:
    """found.md 32: the bytes A0 and 85, white space in latin-1, are part of what they end."""
    site = make_site(
        CONFIG.replace(f"one: {{enabled: true, auth: {{mode: token, token: {TOKEN}}}", ONE % json.dumps(token))
    )
    for headers in ({"token": token}, {"authorization": f"Bearer {token}"}):
        sent = {name: on_the_wire(value.encode()) for name, value in headers.items()}
        accepted(site.call("keyed/one", environ_overrides=wire(sent)))


ONE = "one: {enabled: true, auth: {mode: token, token: %s}"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"token": TOKEN, "authorization": "Bearer wrong"}, ("token", "Bearer")),
        ({"token": "wrong", "authorization": f"Bearer {TOKEN}"}, ("token", "Bearer")),
        (
            {"user": "ada", "password": "wrong", "authorization": basic("ada", "x")["Authorization"]},
            ("password", "Basic"),
        ),
        ({"user": "eve", "authorization": basic("ada", "x")["Authorization"]}, ("user", "Basic")),
    ],
)
@pytest.mark.parametrize(
    "target", ["keyed/one", "named/one", "/v1/executions", "/v1/executions/1764072000123456789012345"]
)
def test_two_credentials_that_differ_are_refused_and_neither_is_tried(
    site: Site, redis: Redis, headers: dict[str, str], said: tuple[str, str], target: str
) -> None:
    """found.md 33"""
    for _ in range(FAILURES + 1):  # it counts as no wrong credential either
        message = f"The header {said[0]} and Authorization: {said[1]} say different things; send one of them"
        refused = refusal(site.call(target, "GET", environ_overrides=wire(headers)))
        assert refused == Refusal(400, "requestError.badRequest", message)
    assert nothing_stored(redis)


def test_any_of_several_tokens_opens_the_api_and_its_name_is_recorded(site: Site, redis: Redis) -> None:
    assert caller(redis, accepted(site.call("keyed/two", headers={"token": TOKEN}))) == "ci"
    assert caller(redis, accepted(site.call("keyed/two", headers={"token": OTHER_TOKEN}))) == "backup"


@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_a1_without_a_token_the_answer_is_the_contracts(site: Site, redis: Redis, verb: str) -> None:
    response = site.call("keyed/one", verb)
    assert response.get_json() == {
        "response": {"error": {"code": "requestError.invalidParams", "message": "Token is required"}}
    }
    assert refusal(response) == TOKEN_REQUIRED
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="trigger"'
    assert nothing_stored(redis)


@pytest.mark.parametrize("user", ["token", "", "api"])
def test_a_token_may_come_as_the_password_of_basic_which_no_foreign_page_may_use(
    site: Site, redis: Redis, user: str
) -> None:
    """Some senders can send nothing else; a browser adds it by itself."""
    accepted(site.call("keyed/one", headers=basic(user, TOKEN)))
    refused = site.call("keyed/one", headers={**basic(user, TOKEN), "Sec-Fetch-Site": "cross-site"})
    assert refused.status_code == 403
    assert refusal(site.call("keyed/one", headers=basic(user, "wrong"))).message == "Token is invalid"


@pytest.mark.parametrize(
    "headers",
    [
        {"token": ""},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Token {TOKEN}"},
        {"Authorization": TOKEN},
        {"user": "token", "password": TOKEN},
        {"to-ken": TOKEN},
        {"HTTP-TOKEN": TOKEN},
        {"X-Token": TOKEN},
        {"Proxy-Authorization": f"Bearer {TOKEN}"},
        {"Cookie": f"token={TOKEN}"},
    ],
)
def test_a2_a10_a13_a_token_elsewhere_is_none(site: Site, redis: Redis, headers: dict[str, str]) -> None:
    assert refusal(site.call("keyed/one", headers=headers)) == TOKEN_REQUIRED
    assert nothing_stored(redis)


@pytest.mark.parametrize(
    "sent",
    [{"query_string": f"token={TOKEN}"}, {"json": {"token": TOKEN}}, {"data": {"token": TOKEN}}],
)
def test_a10_a_token_in_the_query_or_the_body_is_none_and_is_not_logged(
    site: Site, redis: Redis, log: list[str], sent: dict[str, Any]
) -> None:
    assert refusal(site.call("keyed/one", **sent)) == TOKEN_REQUIRED
    assert nothing_stored(redis)
    assert log
    assert TOKEN not in "".join(log)


@pytest.mark.parametrize(
    "token",
    [
        "wrong",
        TOKEN[:-1],
        TOKEN[1:],
        TOKEN + "x",
        TOKEN.upper(),
        f"{TOKEN}\0",
        OTHER_TOKEN,
        "x" * 8000,
        "***",
        "None",
        "scrypt:32768:8:1$x$0",
        on_the_wire("tökén".encode()),
        on_the_wire("tökén".encode("latin-1")),
        on_the_wire(bytes(range(0x80, 0x100))),
        f"{TOKEN},wrong",
        f"wrong,{TOKEN}",
        f"{TOKEN},{TOKEN}",
    ],
)
def test_a2_a3_a7_a_wrong_token_is_refused_without_saying_how(site: Site, redis: Redis, token: str) -> None:
    for headers in ({"token": token}, {"Authorization": f"Bearer {token}"}):
        response = site.call("keyed/one", environ_overrides=wire(headers))
        assert refusal(response) == TOKEN_INVALID
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="trigger"'
    assert nothing_stored(redis)


def wire(headers: dict[str, str]) -> dict[str, str]:
    """Headers as a WSGI server hands them on, which werkzeug's client would not send."""
    return {f"HTTP_{name.upper()}": value for name, value in headers.items()}


# User and password


@pytest.mark.parametrize(
    "headers",
    [
        {"user": "ada", "password": on_the_wire(PASSWORD.encode())},
        {"User": "ada", "PASSWORD": on_the_wire(PASSWORD.encode())},
        {"token": "wrong", "user": "ada", "password": on_the_wire(PASSWORD.encode())},
        {"user": "ada", "password": on_the_wire(PASSWORD.encode()), **basic("ada", PASSWORD)},
        {"user": "ada", "password": on_the_wire(PASSWORD.encode()), "Authorization": "Bearer wrong"},
        {"user": "ada", **basic("ada", PASSWORD)},
        basic("ada", PASSWORD),
        {"Authorization": basic("ada", PASSWORD)["Authorization"].replace("Basic", "bAsIc ")},
    ],
)
def test_user_and_password_open_the_api_in_either_form(site: Site, redis: Redis, headers: dict[str, str]) -> None:
    assert caller(redis, accepted(site.call("named/one", environ_overrides=wire(headers)))) == "ada"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"user": "ada"},
        {"password": PASSWORD},
        {"user": "", "password": OTHER_TOKEN},
        {"user": "bob", "password": ""},
        {"token": OTHER_TOKEN},
        {"Authorization": f"Bearer {OTHER_TOKEN}"},
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic Ym9i"},  # "bob", without a colon
        basic("bob", ""),
        basic("", OTHER_TOKEN),
    ],
)
def test_a13_without_both_user_and_password_it_is_told_that_they_are_required(
    site: Site, redis: Redis, headers: dict[str, str]
) -> None:
    response = site.call("named/one", environ_overrides=wire(headers))
    assert refusal(response) == PASSWORD_REQUIRED
    assert response.headers["WWW-Authenticate"] == 'Basic realm="trigger", charset="UTF-8"'
    assert nothing_stored(redis)


@pytest.mark.parametrize(
    ("user", "password"),
    [
        pytest.param(b"ada", b"wrong", id="wrong password"),
        pytest.param(b"eve", PASSWORD.encode(), id="unknown user"),
        pytest.param(b"ADA", PASSWORD.encode(), id="other case"),
        pytest.param(b"bob", PASSWORD.encode(), id="another user's password"),
        pytest.param(b"ada", PASSWORD.encode("latin-1"), id="A12 latin-1"),
        pytest.param(b"ada", PASSWORD.replace("ä", "a\u0308").encode(), id="A12 decomposed"),
        pytest.param(b"ada", b"\xff\xfe", id="no UTF-8 at all"),
        pytest.param(b"\xff", PASSWORD.encode(), id="user no UTF-8"),
    ],
)
@pytest.mark.parametrize("api", ["named/one", "named/hashed"])
def test_a11_a12_a_wrong_user_and_a_wrong_password_are_answered_alike(
    site: Site, redis: Redis, api: str, user: bytes, password: bytes
) -> None:
    headers = {"user": on_the_wire(user), "password": on_the_wire(password)}
    response = site.call(api, environ_overrides=wire(headers))
    assert refusal(response) == PASSWORD_INVALID
    assert response.headers["WWW-Authenticate"] == 'Basic realm="trigger", charset="UTF-8"'
    assert nothing_stored(redis)


def test_a13_a_credential_opens_its_own_api_only(site: Site, redis: Redis) -> None:
    assert refusal(site.call("keyed/other", headers={"token": TOKEN})) == TOKEN_INVALID
    assert refusal(site.call("named/hashed", headers=basic("ada", PASSWORD))) == PASSWORD_INVALID
    assert nothing_stored(redis)


def test_where_no_authentication_is_asked_for_credentials_are_not_looked_at(site: Site, redis: Redis) -> None:
    assert caller(redis, accepted(site.call("open/any", headers={"token": "wrong", **basic("ada", "x")}))) is None


# Hashed secrets


def test_a_secret_that_is_stored_as_its_hash_opens_the_api(site: Site, redis: Redis) -> None:
    for _ in range(2):  # the second time from memory
        assert caller(redis, accepted(site.call("keyed/hashed", headers={"token": HASHED}))) == "token"
        assert caller(redis, accepted(site.call("named/hashed", headers=basic("ada", HASHED)))) == "ada"
        assert refusal(site.call("keyed/hashed", headers={"token": HASHED + "x"})) == TOKEN_INVALID


def test_the_hash_itself_opens_nothing(site: Site, redis: Redis) -> None:
    stored = site.watcher.current.apis["keyed", "hashed"].auth.tokens["token"].reveal()  # type: ignore[union-attr]
    assert refusal(site.call("keyed/hashed", headers={"token": stored})) == TOKEN_INVALID
    assert nothing_stored(redis)


def test_the_hash_that_the_command_prints_works_in_the_config(make_site: MakeSite, redis: Redis) -> None:
    command = [sys.executable, "-m", "trigger", "hash"]
    printed = subprocess.run(command, input=PASSWORD + "\n", capture_output=True, text=True, cwd=ROOT, check=True)
    site = make_site(CONFIG.replace(f"ada: {PASSWORD}", f'ada: "{printed.stdout.strip()}"'))
    accepted(site.call("named/one", headers=basic("ada", PASSWORD)))
    assert refusal(site.call("named/one", headers=basic("ada", HASHED))) == PASSWORD_INVALID


def test_a14_secrets_are_compared_in_constant_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert refusal(site.call("keyed/two", headers={"token": TOKEN[:-1]})) == TOKEN_INVALID
    assert refusal(site.call("named/one", headers=basic("eve", TOKEN))) == PASSWORD_INVALID
    assert len(compared) == 3  # both tokens, whichever fits, and for an unknown user one password too
    assert {len(value) for pair in compared for value in pair} == {32}  # digests: their length tells nothing


# Brute force


def shut_out(site: Site, api: str = "keyed/one", **options: Any) -> TestResponse:
    """The answer to one more wrong credential, from where too many have come."""
    response = site.call(api, headers={"token": "wrong", **basic("ada", "wrong")}, **options)
    assert refusal(response) == TOO_MANY
    return response


def fail(site: Site, api: str = "keyed/one", *, times: int = FAILURES, **options: Any) -> None:
    for _ in range(times):
        assert refusal(site.call(api, headers={"token": "wrong", **basic("ada", "wrong")}, **options)).status == 401


@pytest.mark.parametrize(("api", "right"), [("keyed/one", {"token": TOKEN}), ("named/one", basic("ada", PASSWORD))])
def test_a15_after_too_many_wrong_credentials_wrong_ones_wait_and_right_ones_pass(
    site: Site, redis: Redis, api: str, right: dict[str, str]
) -> None:
    fail(site, api)
    for _ in range(60):
        response = shut_out(site, api)
        assert 0 < int(response.headers["Retry-After"]) <= 60
    assert nothing_stored(redis)
    accepted(site.call(api, headers=right))
    site.client = address()
    fail(site, api, times=1)


def test_right_credentials_from_a_shut_out_address_pass_once_their_hash_was_computed(
    make_site: MakeSite, redis: Redis
) -> None:
    site = make_site()
    attacked, site.client = site.client, address()
    accepted(site.call("keyed/hashed", headers={"token": HASHED}))
    site.client = attacked
    fail(site, "keyed/hashed")
    fail(site, "named/hashed")
    accepted(site.call("keyed/hashed", headers={"token": HASHED}))
    unseen = site.call("named/hashed", headers=basic("ada", HASHED))  # to tell that it is right costs a computation
    assert refusal(unseen) == TOO_MANY
    site.client = address()
    accepted(site.call("named/hashed", headers=basic("ada", HASHED)))
    site.client = attacked
    accepted(site.call("named/hashed", headers=basic("ada", HASHED)))


def test_a16_who_fails_at_one_api_may_still_call_another(site: Site, redis: Redis) -> None:
    fail(site, "keyed/one")
    accepted(site.call("keyed/two", headers={"token": TOKEN}))
    accepted(site.call("named/one", headers=basic("ada", PASSWORD)))


def test_right_credentials_and_missing_ones_are_no_failures(site: Site, redis: Redis) -> None:
    fail(site, times=FAILURES - 1)
    for _ in range(FAILURES + 1):
        assert refusal(site.call("keyed/one")) == TOKEN_REQUIRED
        accepted(site.call("keyed/one", headers={"token": TOKEN}))


def test_failures_are_forgotten_after_a_while(site: Site, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "WINDOW", 0.5)
    fail(site)
    shut_out(site)
    time.sleep(0.5)
    fail(site)


def test_an_ipv6_client_does_not_get_more_tries_by_its_many_addresses(site: Site, redis: Redis) -> None:
    site.client = "2001:db8:0:7::1"
    fail(site, times=FAILURES - 1)
    site.client = "2001:db8:0:7:ffff:ffff:ffff:ffff"
    fail(site, times=1)
    shut_out(site)
    site.client = "2001:db8:0:8::1"
    fail(site, times=1)


# Behind a proxy


@pytest.fixture(scope="module")
def proxied(make_site: MakeSite) -> Site:
    """The app behind one trusted proxy."""
    return make_site(CONFIG.replace("server:\n", "server:\n  proxies: 1\n"))


def from_proxy(client: str) -> dict[str, str]:
    return {"HTTP_X_FORWARDED_FOR": client}


def test_a17_without_a_trusted_proxy_x_forwarded_for_is_ignored(site: Site, log: list[str]) -> None:
    for last in range(FAILURES):
        fail(site, times=1, environ_overrides=from_proxy(f"203.0.113.{last}"))
    shut_out(site, environ_overrides=from_proxy("203.0.113.200"))
    assert all(f"client={site.client} " in line for line in log)


def test_behind_a_trusted_proxy_each_client_is_counted_for_itself(proxied: Site, redis: Redis, log: list[str]) -> None:
    bad, good = address(), address()
    fail(proxied, environ_overrides=from_proxy(bad))
    shut_out(proxied, environ_overrides=from_proxy(bad))
    fail(proxied, times=1, environ_overrides=from_proxy(good))
    assert f"client={bad} " in log[0]
    assert f"client={good} " in log[-1]


def test_a17_only_what_the_trusted_proxy_has_added_is_believed(proxied: Site, log: list[str]) -> None:
    proxied.call("open/any", environ_overrides=from_proxy("6.6.6.6, 203.0.113.1"))
    assert "client=203.0.113.1 " in log[-1]


def test_a_proxy_that_the_config_does_not_mention_is_warned_of_once(make_site: MakeSite, log: list[str]) -> None:
    site = make_site()
    site.call("open/any")
    assert not [line for line in log if "server.proxies" in line]
    for _ in range(3):
        site.call("open/any", environ_overrides=from_proxy("203.0.113.1"))
    (warning,) = [line for line in log if "server.proxies" in line]
    assert "WARNING" in warning
    assert f"client={site.client} " in warning


def test_a_proxy_that_the_config_mentions_is_not_warned_of(proxied: Site, log: list[str]) -> None:
    proxied.call("open/any", environ_overrides=from_proxy("203.0.113.1"))
    assert not [line for line in log if "server.proxies" in line]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "unknown",
        "1.2.3",
        "6.6.6.6 uid=1",
        "fe80::1%x uid=1",
        "1.2.3.4,",
        "x" * 5000,
        "\xa01.2.3.4",
        "6.6.6.6,1.2.3.4\x85",
    ],
)
def test_what_is_no_address_is_not_taken_for_one(proxied: Site, log: list[str], header: str) -> None:
    proxied.call("open/any", environ_overrides=from_proxy(header))
    assert f"client={proxied.client} " in log[-1]


# Edits of the config


def test_a20_a_rotated_token_counts_as_soon_as_the_edit_is_in_force(make_site: MakeSite, redis: Redis) -> None:
    site = make_site()
    accepted(site.call("keyed/one", headers={"token": TOKEN}))
    one, both = "one: {enabled: true, auth: {mode: token,", f"tokens: {{old: {TOKEN}, new: {HASHED}}}"
    site.edit(f"{one} token: {TOKEN}", f"{one} {both}")
    accepted(site.call("keyed/one", headers={"token": TOKEN}))
    accepted(site.call("keyed/one", headers={"token": HASHED}))
    site.edit(both, f"token: {HASHED}")
    assert refusal(site.call("keyed/one", headers={"token": TOKEN})) == TOKEN_INVALID
    accepted(site.call("keyed/one", headers={"token": HASHED}))


def test_an_edit_switches_an_api_on_and_off_and_declares_its_input_anew(make_site: MakeSite, redis: Redis) -> None:
    site = make_site()
    site.edit("off: {auth: {mode: none}", "off: {enabled: true, auth: {mode: none}")
    accepted(site.call("open/off"))
    accepted(site.call("open/order", json={"sku": "A1"}))
    site.edit("sku: {type: string, required: true, max_length: 20}", "sku: {type: integer}")
    assert refusal(site.call("open/order", json={"sku": "A1"})).details == {
        "fields": {"sku": ["must be a whole number"]}
    }
