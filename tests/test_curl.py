"""The curl lines that call an API: right, and without a secret. tests/test_up.py sees those of `up`."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from trigger.config.model import Api, NoAuth, SignatureAuth, TokenAuth, Verb, Workflow
from trigger.config.secret import Secret
from trigger.fields.model import Field, Input
from trigger.signatures import SCHEMES
from trigger.web import curl

BASE = "http://localhost/v1/api"


def api(**options: Any) -> Api:
    return Api("shop", "order", **{"auth": NoAuth(), "workflow": Workflow("w", "x:y"), **options})


def words(verb: Verb, value: Any, **options: Any) -> list[str]:
    """The arguments as a shell splits them."""
    return shlex.split(curl.arguments(api(**options), verb, BASE, value))


def test_by_get_the_input_is_a_query() -> None:
    assert words("GET", {"a": "it's; $(x)", "n": [1, 2]}) == [
        f"{BASE}/shop/order/async?a=it%27s%3B%20%24%28x%29&n=1&n=2"
    ]
    assert words("GET", {}) == words("GET", {"nested": {}}) == [f"{BASE}/shop/order/async"]


@pytest.mark.parametrize("value", [{"a": "it's"}, ["x"], "text"])
def test_by_post_it_is_json_that_is_known_by_its_beginning(value: Any) -> None:
    token = TokenAuth({"ci": Secret("123456")})
    url = f"{BASE}/shop/order/async"
    assert words("POST", value, auth=token) == ["-Htoken:123456", "-d", json.dumps(value), url]


def test_json_that_looks_like_a_form_is_named() -> None:
    assert words("POST", 5)[:3] == ["-HContent-Type: application/json", "-d", "5"]


@pytest.mark.parametrize(
    ("body", "value", "sent"),
    [
        ("json", {"a": 1}, ["-HContent-Type: application/json", "-d", '{"a": 1}']),
        ("text", "@home", ["-HContent-Type: text/plain", "--data-raw", "@home"]),
        ("lines", [1, {"a": 2}], ["-HContent-Type: application/x-ndjson", "-d", '1\n{"a": 2}']),
        ("form", {"a": "b c"}, ["-d", "a=b%20c"]),
        ("form", {"a": {"b": 1}}, ["-d", "payload=%7B%22a%22%3A%20%7B%22b%22%3A%201%7D%7D"]),
        ("xml", {"a": 1}, ["-HContent-Type: application/xml", "--data-binary", "@FILE"]),
        ("raw", {"a": 1}, ["-HContent-Type: application/octet-stream", "--data-binary", "@FILE"]),
    ],
)
def test_a_body_is_what_the_sender_sends(body: str, value: Any, sent: list[str]) -> None:
    url = f"{BASE}/shop/order/async"
    assert words("POST", value, body=body) == [*sent, url]
    assert words("DELETE", value, body=body) == ["-X", "DELETE", *sent, url]


def test_a_token_in_the_path_is_left_out() -> None:
    token = TokenAuth({"ci": Secret("a-token-of-mine")}, "")
    assert words("GET", {}, auth=token) == [f"{BASE}/shop/order/async/YOUR-TOKEN"]


def test_a_signature_is_made_only_where_it_is_asked_for() -> None:
    auth = SignatureAuth(SCHEMES["github"], {"now": Secret("It's a Secret to Everybody")})
    assert words("POST", {}, auth=auth)[0] == "-HX-Hub-Signature-256:YOUR-X-HUB-SIGNATURE-256"
    # docs.github.com, "Validating webhook deliveries": its example.
    line = curl.arguments(api(auth=auth, body="text"), "POST", BASE, "Hello, World!", signed=1.0)
    assert "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17" in line


def test_secrets_of_the_simulated_request_are_masked() -> None:
    declared = Input((Field("card", "string", secret=True),))
    shown = curl.sample(api(input=declared, debug={"a": 1, "card": "4111", "key": "k"}, outside=(("key",),)))
    assert shown == {"a": 1, "card": "***", "key": "***"}
    assert curl.sample(api()) == {}
