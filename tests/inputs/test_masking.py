"""Secret parts of an input, hidden and found."""

from __future__ import annotations

import copy
import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trigger.errors import InvalidParams
from trigger.inputs import mask, secret_values, unmask
from trigger.inputs.masking import hidden

VALUE = {
    "name": "Ada",
    "password": "hunter2!",
    "card": {"number": 4111111111111111, "holder": "Ada"},
    "keys": [{"id": 1, "key": "first-key"}, {"id": 2, "key": None}, {"id": 3}],
    "pins": ["1234", "99"],
}
PATHS = (("password",), ("card", "number"), ("keys", "*", "key"), ("pins", "*"), ("absent", "deeper"))


def test_what_is_at_the_paths_is_replaced_and_null_stays_null() -> None:
    assert mask(VALUE, PATHS) == {
        "name": "Ada",
        "password": "***",
        "card": {"number": "***", "holder": "Ada"},
        "keys": [{"id": 1, "key": "***"}, {"id": 2, "key": None}, {"id": 3}],
        "pins": ["***", "***"],
    }


def test_the_value_itself_is_left_as_it_was() -> None:
    before = copy.deepcopy(VALUE)
    mask(VALUE, PATHS)
    assert before == VALUE


def test_an_object_or_list_that_is_secret_is_hidden_whole() -> None:
    assert mask(VALUE, [("card",), ("pins",)]) | {"keys": 0} == {
        "name": "Ada",
        "password": "hunter2!",
        "card": "***",
        "keys": 0,
        "pins": "***",
    }


def test_what_was_masked_and_left_so_is_what_it_was() -> None:
    assert unmask(mask(VALUE, PATHS), VALUE, PATHS) == VALUE
    edited = {**mask(VALUE, PATHS[:2]), "name": "Bob"}
    assert unmask(edited, VALUE, PATHS[:2]) == {**VALUE, "name": "Bob"}


def test_true_is_not_taken_for_the_1_that_it_was() -> None:
    assert unmask({"a": True}, {"a": 1}, []) == {"a": True}


def test_a_mask_that_may_stand_for_more_than_one_secret_is_refused() -> None:
    edited = {**mask(VALUE, PATHS), "name": "Bob", "absent": {"deeper": "***"}}
    with pytest.raises(InvalidParams) as caught:
        unmask(edited, VALUE, PATHS)
    assert caught.value.details
    assert set(caught.value.details["fields"]) == {"keys.0.key", "pins.0", "pins.1", "absent.deeper"}


@pytest.mark.parametrize("secrets", [["canary", "canary-4711"], ["canary-4711", "canary"]])
def test_nothing_is_left_of_a_secret_that_holds_another(secrets: list[str]) -> None:
    assert hidden("no canary-4711 but a canary", secrets) == "no *** but a ***"


@pytest.mark.parametrize(
    "value", ["hunter2!", ["hunter2!"], {"password": {"x": "hunter2!"}}, {"password": ["hunter2!"]}]
)
def test_a_value_of_another_form_than_declared_is_hidden_whole(value: Any) -> None:
    assert "hunter2!" not in str(mask(value, [("password", "*", "x")]))
    assert secret_values(value, [("password", "*", "x")]) == {"hunter2!"}


def test_the_texts_of_secrets_are_found_when_they_are_long_enough() -> None:
    assert secret_values(VALUE, PATHS) == {"hunter2!", "4111111111111111", "first-key", "1234"}


def test_the_texts_of_secrets_include_how_repr_and_json_write_them() -> None:
    texts = secret_values({"s": 'a\nb"cä'}, [("s",)])
    assert texts >= {'a\nb"cä', 'a\\nb"cä', 'a\\nb\\"c\\u00e4', 'a\\nb\\"cä'}


@given(st.text(min_size=4), st.text())
def test_nothing_is_left_of_a_secret_that_was_quoted_twice(secret: str, beside: str) -> None:
    texts = secret_values([secret], [("*",)])
    for once in (repr, json.dumps, partial(json.dumps, ensure_ascii=False)):
        for twice in (repr, json.dumps, partial(json.dumps, ensure_ascii=False)):
            text = twice([once([secret]), beside])
            assert hidden(text, texts) != text


def test_an_object_that_is_secret_gives_the_texts_within_it_but_no_names_and_booleans() -> None:
    value = {"s": {"key-name": "inner-one", "flags": [True, None, 12345, 0.25]}}
    assert secret_values(value, [("s",)]) == {"inner-one", "12345", "0.25"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("abc*"), inner),
)


@given(JSON, st.lists(st.lists(st.sampled_from("abc*"))))
def test_no_secret_is_left_in_what_was_masked(value: Any, paths: list[list[str]]) -> None:
    assert secret_values(mask(value, paths), paths) == set()
