"""What templates become: values keep their type, texts join, and what is not there is an error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trigger.errors import TemplateError
from trigger.templates import as_text, check, is_expression, is_template, literal, names, render

CONTEXT: dict[str, Any] = {
    "input": {
        "sku": "A1",
        "count": 3,
        "price": 2.5,
        "ok": True,
        "none": None,
        "tags": ["x", "y"],
        "deep": {"a": [{"b": 1}]},
        "items": [1, 2],
        "order-id": 7,
        "text": "{{ input.sku }}",
        "upper": "a key",
    },
    "steps": {"quote": {"output": {"total": 7, "lines": [{"n": 1}, {"n": 2}]}, "status": "succeeded", "error": None}},
    "env": {"SHOP": "https://shop.example"},
    "execution": {"uid": "1764072000123456789012345", "module": "m", "method": "n", "attempt": 1},
}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ input.sku }}", "A1"),
        ("{{ input.count }}", 3),
        ("{{input.price}}", 2.5),
        ("{{ input.ok }}", True),
        ("{{ input.none }}", None),
        ("{{ input.tags }}", ["x", "y"]),
        ("{{ input.deep }}", {"a": [{"b": 1}]}),
        ("{{ input }}", CONTEXT["input"]),
        ("{{ input.count }}\n", 3),
        ("{{- input.count -}}", 3),
        ("{{ input.count > 2 and input.ok }}", True),
        ("{{ input.count * 2 + 1 }}", 7),
        ("{{ input.count / 2 }}", 1.5),
        ("{{ input['order-id'] }}", 7),
        ("{{ input.items }}", [1, 2]),
        ("{{ input.upper }}", "a key"),
        ("{{ input.deep.a[0].b }}", 1),
        ("{{ input.tags[-1] }}", "y"),
        ("{{ input.tags | length }}", 2),
        ("{{ input.missing | default('x') }}", "x"),
        ("{{ input.missing is defined }}", False),
        ("{{ 'missing' in input }}", False),
        ("{{ steps.quote.output.total }}", 7),
        ("{{ steps.quote.output.lines | map(attribute='n') | sum }}", 3),
        ("{{ steps.quote.output.lines | selectattr('n', 'gt', 1) }}", [{"n": 2}]),
        ("{{ range(3) }}", [0, 1, 2]),
        ("{{ {'a': input.count, 'b': [input.ok]} }}", {"a": 3, "b": [True]}),
        ("{{ dict(a=1) }}", {"a": 1}),
        ("{{ input.sku.lower() }}", "a1"),
        ("{{ input.sku | replace('A', 'B') }}", "B1"),
        ("{{ input.tags | join(', ') }}", "x, y"),
        ("{{ '%05d' % input.count }}", "00003"),
        ("{{ 'a' if input.ok else 'b' }}", "a"),
        ("{{ input.text }}", "{{ input.sku }}"),
        ("{{ input.deep | tojson }}", '{"a": [{"b": 1}]}'),
        ("{{ input.sku ~ input.none ~ input.ok ~ input.tags }}", 'A1true["x","y"]'),
        ("{{ input.price | round }}", 2.0),
        ("{{ input | items | list | length }}", 11),
    ],
)
def test_a_text_that_is_one_expression_keeps_its_type(template: str, value: Any) -> None:
    result = render(template, CONTEXT)
    assert result == value
    assert type(result) is type(value)
    json.dumps(result)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("a {single} brace and 100%", "a {single} brace and 100%"),
        ("{# a comment is text, as no template is in it #}", "{# a comment is text, as no template is in it #}"),
        ("{{ input.sku }}!", "A1!"),
        (" {{ input.count }}", " 3"),
        ("{{ input.sku }}{{ input.count }}", "A13"),
        ("n={{ input.none }}.", "n=."),
        ("{{ input.ok }} {{ input.price }}", "true 2.5"),
        ("{{ input.tags }};", '["x","y"];'),
        ("{{ input.deep }};", '{"a":[{"b":1}]};'),
        ("{% if input.ok %}yes{% else %}no{% endif %}", "yes"),
        ("{% for tag in input.tags %}{{ loop.index }}{{ tag }} {% endfor %}", "1x 2y "),
        ("{% set n = input.count + 1 %}{{ n }}", "4"),
        ("a\n{{ input.sku }}\n", "a\nA1\n"),
        ("<{{ input.text }}>", "<{{ input.sku }}>"),
        ("größer {{ 'ß' }} & <b>", "größer ß & <b>"),
    ],
)
def test_any_other_text_is_text(template: str, text: str) -> None:
    assert render(template, CONTEXT) == text


def test_templates_stand_anywhere_in_a_value_but_not_in_keys() -> None:
    value: dict[str, Any] = {"{{ input.sku }}": ["{{ input.count }}", {"a": "x{{ input.sku }}"}], "n": 5, "none": None}
    assert render(value, CONTEXT) == {"{{ input.sku }}": [3, {"a": "xA1"}], "n": 5, "none": None}


def test_what_is_rendered_is_a_copy() -> None:
    result = render("{{ input.deep }}", CONTEXT)
    result["a"].append("more")
    assert CONTEXT["input"]["deep"] == {"a": [{"b": 1}]}


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ input.skuu }}", "{{ input.skuu }}: 'skuu' is undefined"),
        ("a {{ input.skuu }} b", "{{ input.skuu }}: 'skuu' is undefined"),
        ("{{ input.none.x }}", "{{ input.none.x }}: 'x' is undefined"),
        ("{{ input.skuu.x }}", "{{ input.skuu.x }}: 'skuu' is undefined"),
        ("{{ input.tags[5] }}", "{{ input.tags[5] }}: 5 is undefined"),
        ("{{ nothing }}", "{{ nothing }}: 'nothing' is undefined"),
        ("{{ input.deep.keys() }}", "an object has its keys only: there are the filters items, list and default"),
        ("{{ input.skuu > 1 }}", "'skuu' is undefined"),
        ("{{ not input.skuu }}", "'skuu' is undefined"),
        ("{% if input.skuu %}x{% endif %}", "'skuu' is undefined"),
        ("{% for x in input.skuu %}x{% endfor %}", "'skuu' is undefined"),
        ("{{ input.count + input.sku }}", "unsupported operand"),
        ("{{ input.count / 0 }}", "division by zero"),
        ("{{ input.sku | int(default='x') + 1 }}", "{{ input.sku"),
        ("{{ input.sku() }}", "not callable"),
        ("{{ 10 ** 400 * 1.0 }}", "{{ 10 ** 400 * 1.0 }}: "),
        ("{{ 1e308 * 10 }}", "not a finite number"),
        ("{{ {1: 2} }}", "a key that is no text"),
        ("{{ input.sku.upper }}", "which is no JSON data"),
        ("{{ range }}", "which is no JSON data"),
        ("{{ input.tags | groupby('x') }}", "{{ input.tags | groupby('x') }}: "),
    ],
)
def test_what_fails_names_the_expression_and_why(template: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(template, CONTEXT)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 500
    assert str(caught.value).startswith("{")


def test_a_long_expression_is_shortened_in_the_error() -> None:
    with pytest.raises(TemplateError) as caught:
        render("{{ input.missing + '" + "x" * 5000 + "' }}", CONTEXT)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "text", ["", "{{", "{{ input }}", "{% if %}", "{#", "#}", "}}{", "{", "{{{", "a{{b", '{{ "{{" }}']
)
def test_literal_makes_a_template_of_any_text(text: str) -> None:
    assert render(literal(text), CONTEXT) == text
    assert render(literal(text) + "{{ input.sku }}", CONTEXT) == f"{text}A1"
    assert check(literal(text)) == []


def test_what_is_a_template_and_what_is_one_expression() -> None:
    assert [is_template(text) for text in ("{{ x }}", "{% if %}", "{# x #}", "x", "{x}")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert is_expression("{{ input.a }}")
    assert is_expression("{{ input.a }}\n")
    assert not [
        text for text in ("x", "{{ a }}{{ b }}", "{{ a }} ", "{% if a %}{% endif %}", "{{ a", "") if is_expression(text)
    ]


def test_names_tells_what_templates_use() -> None:
    found = names(
        [
            "{{ steps.quote.output.total + steps['other'].output }} {{ env.SHOP }}",
            {"a": "{% for x in input.tags %}{{ x.y }}{{ loop.index }}{% endfor %}{% set z = 1 %}{{ z }}"},
        ]
    )
    assert found.steps == {"quote", "other"}
    assert found.env == {"SHOP"}
    assert found.roots == {"steps", "env", "input"}
    assert ("input", "tags") in found.paths
    assert found.whole == frozenset()
    assert names("{{ env }} {{ input[input.key] }}").whole == {"env", "input"}


def test_as_text_is_what_stands_in_a_text() -> None:
    values: list[Any] = ["x", None, True, 1.5, [1, "é"], {}]
    assert [as_text(value) for value in values] == ["x", "", "true", "1.5", '[1,"é"]', "{}"]
