"""Trigger's own filters: from_json, b64decode, path, regex_search, also with what a hostile sender sends."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest

from trigger.errors import TemplateError
from trigger.templates import check, render


def rendered(template: str, value: Any) -> Any:
    return render(template, {"input": value})


def refused(template: str, value: Any) -> str:
    with pytest.raises(TemplateError) as caught:
        rendered(template, value)
    return str(caught.value)


def test_json_in_a_text_becomes_its_value() -> None:
    text = ' {"a": [1, 2.5, null, true, "\\u00e9\\ud83d\\ude00"], "b": {}}\n'
    assert rendered("{{ input | from_json }}", text) == {"a": [1, 2.5, None, True, "é😀"], "b": {}}


def test_json_is_read_within_base64_as_pubsub_sends_it() -> None:
    data = base64.b64encode(b'{"order": {"id": 7}}').decode()
    assert rendered("{{ (input.message.data | b64decode | from_json).order.id }}", {"message": {"data": data}}) == 7


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "NaN",
        "[-Infinity]",
        '{"a": 1, "a": 2}',
        "1e999",
        "9" * 5000,
        "[" * 100_000,
        "[" * 34 + "]" * 34,
        '"\\ud800"',
        "'a'",
        "\ufeff{}",
        "1 2",
    ],
    ids=lambda text: text[:12],
)
def test_what_is_no_strict_json_is_an_error_that_does_not_repeat_it(text: str) -> None:
    said = refused("{{ input | from_json }}", text)
    assert "JSON" in said
    assert len(said) < 200


def test_json_may_be_as_deep_as_a_body() -> None:
    assert rendered("{{ input | from_json | tojson }}", "[" * 32 + "]" * 32) == "[" * 32 + "]" * 32


@pytest.mark.parametrize("name", ["from_json", "b64decode"])
@pytest.mark.parametrize("value", [None, 5, ["{}"], {"a": 1}])
def test_what_is_no_text_is_an_error(name: str, value: Any) -> None:
    assert f"{name} takes a text" in refused(f"{{{{ input | {name} }}}}", value)
    assert "undefined" in refused(f"{{{{ input.nothing | {name} }}}}", {})


def test_large_texts_are_read_up_to_1_mib() -> None:
    text = json.dumps(["x" * 1000] * 1000)
    assert rendered("{{ input | from_json | length }}", text) == 1000
    assert "1 MiB" in refused("{{ input | from_json | length }}", text + " " * 1024 * 1024)
    assert "1 MiB" in refused("{{ input | b64decode }}", "QUFB" * 300_000)


@pytest.mark.parametrize("text", ["aGFsbMO2", "aGFs\nbMO2\n", "aGE=", "aGE", "Pz8_", "Pz8/", ""])
def test_base64_of_either_alphabet_becomes_its_text(text: str) -> None:
    wanted = {"aGFs": "hallö", "aGE=": "ha", "aGE": "ha", "Pz8_": "???", "Pz8/": "???", "": ""}
    assert rendered("{{ input | b64decode }}", text) == wanted.get(text, wanted["aGFs"])


@pytest.mark.parametrize("text", ["a", "aGE!", "aG=E", "hallö", "aGFsb"])
def test_what_is_not_base64_is_an_error(text: str) -> None:
    assert "not base64" in refused("{{ input | b64decode }}", text)


def test_base64_of_what_is_no_text_is_an_error() -> None:
    assert "UTF-8" in refused("{{ input | b64decode }}", base64.b64encode(b"\xff\xfe").decode())


DATA = {"a": [{"b": 1}, [5, 6]], "": {"": 2}, "n": None, "text": "abc", "0": "zero"}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.0.b", 1),
        ("a.1.1", 6),
        ("a", DATA["a"]),
        ("0", "zero"),
        (".", 2),
        ("n", None),
        ("n.a", None),
        ("a.2.b", None),
        ("a.-1", None),
        ("a.\u0660", None),
        ("a.999999999999999999999", None),
        ("a.b", None),
        ("text.0", None),
        ("text.upper", None),
        ("__class__", None),
        ("a.__class__.__mro__", None),
        ("a.0.items", None),
        ("a..b", None),
    ],
)
def test_a_path_leads_to_data_or_to_nothing(path: str, found: Any) -> None:
    assert rendered(f"{{{{ input | path('{path}') }}}}", DATA) == found
    assert rendered("{{ input.data | path(input.path) }}", {"data": DATA, "path": path}) == found


def test_a_path_of_1_mib_leads_to_nothing() -> None:
    assert rendered("{{ input.data | path(input.path) }}", {"data": DATA, "path": "a." * 500_000}) is None
    assert "path takes a text" in refused("{{ input | path(0) }}", [1])


def test_a_search_gives_the_first_group_or_the_match_or_null() -> None:
    assert rendered("{{ input | regex_search('^refs/tags/(.+)') }}", "refs/tags/v1.2") == "v1.2"
    assert rendered("{{ input | regex_search('[0-9]+') }}", "order 17 of 20") == "17"
    assert rendered("{{ input | regex_search('(a)|b') }}", "b") is None
    assert rendered("{{ input | regex_search('x') }}", "b") is None
    assert rendered("{{ input | regex_search('^4') }}", 42) == "4"


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' | regex_search(input) }}",
        "{{ 'a' | regex_search('a' ~ input) }}",
        "{{ 'a' | regex_search(pattern=input) }}",
        "{{ 'a' | regex_search(*input) }}",
        "{{ 'a' | regex_search(**input) }}",
        "{{ 'a' | regex_search }}",
        "{{ 'a' | regex_search(1) }}",
        "{% set p = input %}{{ 'a' | regex_search(p) }}",
        "{{ input | regex_search('(') }}",
        "{{ input | regex_search('a{2,1}') }}",
    ],
)
def test_only_a_pattern_that_is_written_out_is_valid(template: str) -> None:
    (mistake,) = check(template)
    assert "regex_search takes one pattern" in mistake or "not a regular expression" in mistake


@pytest.mark.parametrize("name", ["'regex_search'", "input.name"])
def test_no_pattern_comes_in_by_map(name: str) -> None:
    value = {"name": "regex_search", "pattern": "(a+)+$"}
    assert "can't use regex_search" in refused(f"{{{{ ['a'] | map({name}, input.pattern) | list }}}}", value)


def test_a_search_that_would_never_end_is_given_up() -> None:
    began = time.process_time()
    assert "takes longer" in refused("{{ input | regex_search('^(a|aa)+$') }}", "a" * 1000 + "b" * 10)
    assert time.process_time() - began < 1
