"""The URL of an http step: what a caller sends is one segment, or one value, and never more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.config.test_step_mistakes import only
from trigger.errors import TemplateError
from trigger.workflows.http_url import shown, url_of


def url(text: str, **values: Any) -> str:
    """The URL for the input `values`; of env, API is spelled out by the config and FROM is not."""
    env = {"API": "https://user:p%40ss@api.example/v1", "FROM": values.get("a")}
    return url_of(text, {"input": values, "env": env, "steps": {}}, frozenset({"API"}))


@pytest.mark.parametrize(
    ("text", "value", "result"),
    [
        ("{{ env.API }}/pages/{{ input.a }}", "../../admin/users/7", "/pages/..%2F..%2Fadmin%2Fusers%2F7"),
        ("{{ env.API }}/pages/{{ input.a }}", "a b?c=1#d%2e", "/pages/a%20b%3Fc%3D1%23d%252e"),
        ("{{ env.API }}/pages/{{ input.a }}.json", "größe", "/pages/gr%C3%B6%C3%9Fe.json"),
        ("{{ env.API }}/pages/{{ input.a }}", 7, "/pages/7"),
        ("{{ env.API }}/pages/{{ input.a | urlencode }}", "a b/c", "/pages/a%20b/c"),
        ("{{ env.API }}/pages?q={{ input.a }}&x=1", "a&x=2#", "/pages?q=a%26x%3D2%23&x=1"),
        ("{{ env.API }}/pages?q={{ input.a | urlencode }}", "a&b", "/pages?q=a%26b"),
        ("{{ env.API }}{{ '/draft' if input.a else '/live' }}", "x", "/draft"),
        ("{{ env.API }}/a/../{{ input.a }}//", "b", "/a/../b//"),
    ],
)
def test_a_value_is_quoted_once(text: str, value: Any, result: str) -> None:
    """found.md 25."""
    assert url(text, a=value) == f"https://user:p%40ss@api.example/v1{result}"


@pytest.mark.parametrize("value", ["..", ".", ""])
@pytest.mark.parametrize(
    "text", ["/{{ input.a }}", "/{{ input.a }}/x", "/{{ input.a | urlencode }}", "/x/{{ env.FROM }}"]
)
def test_no_segment_climbs_or_vanishes(text: str, value: str) -> None:
    with pytest.raises(TemplateError, match="must not be empty"):
        url("{{ env.API }}" + text, a=value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("/{{ input.a | urlencode }}", "a/../../b"),
        ("/{{ input.a | urlencode }}", "a//b"),
        ("/.{{ input.a }}", "."),
        ("/%2e{{ input.a }}", "."),
        ("/{{ input.a }}{{ input.a }}", "."),
    ],
)
def test_nor_do_parts_of_it(text: str, value: str) -> None:
    with pytest.raises(TemplateError, match="must not be empty"):
        url("{{ env.API }}" + text, a=value)


def test_a_value_in_the_host_is_one_name() -> None:
    assert url("https://{{ input.a }}.example:{{ input.n }}/", a="shop-1", n=8080) == "https://shop-1.example:8080/"
    for value in ("evil.test/", "evil.test", "x@evil", "a:b", "a?", "a#", "a\\", "[::1]", "ä"):
        with pytest.raises(TemplateError, match="in a URL's host"):
            url("https://{{ input.a }}.example/", a=value)


def test_a_url_may_be_all_of_somebody_elses_choice() -> None:
    assert url("{{ input.a }}", a="https://a.test/x?y=1") == "https://a.test/x?y=1"
    assert url("{{ input.a }}/{{ input.b }}", a="https://a.test", b="x/y") == "https://a.test/x%2Fy"


def test_a_url_with_statements_is_a_mistake(tmp_path: Path) -> None:
    step = "{name: a, http: {url: 'https://h/{% if input.a %}{{ input.a }}{% endif %}'}}"
    *_, key, message = only(tmp_path, step)
    assert key == "steps.0.http.url"
    assert "{{ 'one' if input.a else 'other' }}" in message


def test_a_url_is_shown_without_credentials() -> None:
    """found.md 26."""
    assert shown("https://user:hunter2@h.test:1/x?token=hunter2#hunter2") == "https://***@h.test:1/x?***"
    assert shown("http://h.test/x") == "http://h.test/x"
    assert shown("http://[x?hunter2") == "***"
