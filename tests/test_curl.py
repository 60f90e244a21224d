"""The curl lines that call an API: right, and without a secret. tests/test_up.py sees those of `up`."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from trigger.config.model import Api, NoAuth, TokenAuth, Verb, Workflow
from trigger.config.secret import Secret
from trigger.fields.model import Field, Input
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


def test_secrets_of_the_simulated_request_are_masked() -> None:
    declared = Input((Field("card", "string", secret=True),))
    shown = curl.sample(api(input=declared, debug={"a": 1, "card": "4111", "key": "k"}, outside=(("key",),)))
    assert shown == {"a": 1, "card": "***", "key": "***"}
    assert curl.sample(api()) == {}
