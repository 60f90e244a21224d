"""Templates read data and nothing else: no way into Python, and no way to fill the memory or hold the processor."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from trigger.errors import TemplateError
from trigger.templates import MAX_TEXT, check, names, render

CONTEXT: dict[str, Any] = {
    "input": {
        "text": "x",
        "list": [1, 2],
        "object": {"__class__": "a key like any other", "a": 1},
        "many": 1_000_000_000,
        "format": "{0.__class__.__mro__}",
        "long": "y" * 600_000,
    },
    "steps": {},
    "env": {},
}


ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''['__class__'] }}",
    "{{ input.__class__ }}",
    "{{ input.list.__class__.__mro__ }}",
    "{{ input.list['__class__'] }}",
    "{{ input.list | attr('__class__') }}",
    "{{ (1).__class__ }}",
    "{{ (1).real }}",
    "{{ true.__class__ }}",
    "{{ none.__class__ }}",
    "{{ range.__globals__ }}",
    "{{ range.__call__ }}",
    "{{ dict.__subclasses__() }}",
    "{{ dict.mro() }}",
    "{{ dict.fromkeys('ab') }}",
    "{{ input.text.format }}",
    "{{ input.format.format(input) }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ '%s'.format_map({}) }}",
    "{{ input.text.encode() }}",
    "{{ input.text.translate({}) }}",
    "{{ input.text.maketrans('a', 'b') }}",
    "{{ input.text.upper.__self__ }}",
    "{{ input.text.replace.func }}",
    "{{ input.list.append(3) }}",
    "{{ input.list.pop() }}",
    "{{ input.list.sort() }}",
    "{{ input.object.update({'b': 1}) }}",
    "{{ input.object.pop('a') }}",
    "{{ loop.__class__ }}",
    "{{ self }}",
    "{{ self._TemplateReference__context }}",
    "{{ lipsum.__globals__ }}",
    "{{ cycler }}",
    "{{ joiner }}",
    "{{ namespace() }}",
    "{{ __builtins__ }}",
    "{{ os }}",
    "{{ input.list | map(attribute='__class__') | list }}",
    "{{ input.list | groupby('__class__') }}",
    "{{ [input.list] | map('attr', '__class__') | list }}",
    "{{ (input.list | map('upper')).gi_frame }}",
    "{{ input.list | pprint }}",
    "{{ input.list | xmlattr }}",
    "{{ input.list | random }}",
    "{{ input.list | debug }}",
]


@pytest.mark.parametrize("template", ESCAPES)
def test_no_expression_reaches_into_python(template: str) -> None:
    with pytest.raises(TemplateError):
        render(template, CONTEXT)
    assert CONTEXT["input"]["list"] == [1, 2]
    assert CONTEXT["input"]["object"].keys() == {"__class__", "a"}


def test_a_loops_own_names_lead_nowhere() -> None:
    for inner in ("loop.__class__", "loop._iterator.__class__", "loop.cycle.__globals__", "x.__class__"):
        with pytest.raises(TemplateError):
            render(f"{{% for x in input.list %}}{{{{ {inner} }}}}{{% endfor %}}", CONTEXT)


def test_an_objects_keys_are_data_whatever_they_are_called() -> None:
    assert render("{{ input.object.__class__ }}", CONTEXT) == "a key like any other"
    assert render("{{ input.object['__class__'] }}", CONTEXT) == "a key like any other"


@pytest.mark.parametrize(
    "template",
    [
        "{% include 'x' %}",
        "{% extends 'x' %}",
        "{% import 'x' as y %}",
        "{% from 'x' import y %}",
        "{% macro f() %}{% endmacro %}",
        "{% call f() %}{% endcall %}",
        "{% block a %}{% endblock %}",
        "{% filter upper %}x{% endfilter %}",
        "{% set a %}x{% endset %}",
        "{% with a = 1 %}{% endwith %}",
        "{% autoescape true %}{% endautoescape %}",
        "{% do input.list.append(1) %}",
        "{% for x in [] recursive %}{{ loop([]) }}{% endfor %}",
        "{% set n.a = 1 %}",
        "{% set input = 1 %}",
        "{% for steps in [1] %}{% endfor %}",
    ],
)
def test_of_statements_there_are_few(template: str) -> None:
    assert check(template)
    with pytest.raises(TemplateError, match="is not a valid template"):
        render(template, CONTEXT)


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' * input.many }}",
        "{{ input.many * 'x' }}",
        "{{ [0] * input.many }}",
        "{{ (0,) * input.many }}",
        "{{ range(input.many) | list }}",
        "{{ range(input.many) }}",
        "{{ range(99999) | map('string') | join('y' * 1000) }}",
        "{{ 2 ** input.many }}",
        "{{ 10 ** (10 ** 10) }}",
        "{{ (2 ** 4000) * (2 ** 4000) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (input.many, 1) }}",
        "{{ '%.*f' % (input.many, 1.0) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ input.text | center(input.many) }}",
        "{{ input.text.center(input.many) }}",
        "{{ input.text.ljust(input.many) }}",
        "{{ input.text.zfill(input.many) }}",
        "{{ input.text.expandtabs(input.many) }}",
        "{{ input.text | indent(input.many) }}",
        "{{ input.list | batch(input.many, 0) | list }}",
        "{{ input.list | slice(input.many) | list }}",
        "{{ input.long.replace('y', 'zzzzzzzzzz') }}",
        "{{ input.long | replace('y', 'zzzzzzzzzz') }}",
        "{{ input.long.replace('', 'zzzzzzzzzz') }}",
        "{{ input.long.join(['a', 'b', 'c']) }}",
        "{{ ['a', 'b', 'c'] | join(input.long) }}",
        "{{ [input.long, input.long] }}",
        "{{ input.long ~ input.long }}",
        "{{ input.long + input.long }}",
        "{{ input.long }}{{ input.long }}",
        "{% for x in range(99999) %}{{ input.long }}{% endfor %}",
        "{% for x in range(99999) %}yyyyyyyyyyyyyyyyyyyy{% endfor %}",
        "{% for x in range(99999) %}{% for y in range(99999) %}{% endfor %}{% endfor %}",
        "{% for x in range(400) %}{% for y in range(400) %}{{ loop.length }}{% endfor %}{% endfor %}",
        "{% for x in range(99999) if x < 0 %}{% endfor %}{% for x in input.long %}{% endfor %}",
        "{{ 1.5 | round(input.many) }}",
        "{{ 7 | round(-input.many) }}",
        "{{ input.list | tojson(input.many) }}",
        "{{ [[0] * 90000] * 90000 }}",
        "{{ input.list * 50001 }}",
    ],
)
def test_no_expression_makes_much_of_little(template: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(TemplateError):
            render(template, CONTEXT)
        assert tracemalloc.get_traced_memory()[1] < 64 * MAX_TEXT
    finally:
        tracemalloc.stop()


def test_what_is_within_the_bounds_is_made() -> None:
    assert render("{{ 'x' * 1000 }}", CONTEXT) == "x" * 1000
    assert render("{{ input.long }}", CONTEXT) == "y" * 600_000
    assert len(render("{{ range(50000) }}", CONTEXT)) == 50_000
    assert render("{{ 2 ** 64 }}", CONTEXT) == 2**64
    assert render("{{ '%8.2f' % 1.5 }}", CONTEXT) == "    1.50"


@pytest.mark.parametrize(
    "template",
    [
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ " + "[" * 5000 + "]" * 5000 + " }}",
        "{{ " + "not " * 5000 + "1 }}",
        "{{ " + "-" * 5000 + "1 }}",
        "{{ 1" + " + 1" * 5000 + " }}",
        "{{ input" + ".a" * 5000 + " }}",
        "{{ input" + "['a']" * 5000 + " }}",
        "{{ 'x'" + " | upper" * 5000 + " }}",
        "{% if 1 %}" * 500 + "{% endif %}" * 500,
        "{% for a in [] %}" * 500 + "{% endfor %}" * 500,
    ],
    ids=["parentheses", "lists", "not", "minus", "sum", "attributes", "items", "filters", "ifs", "fors"],
)
def test_what_is_nested_too_deeply_is_refused(template: str) -> None:
    assert check(template)
    with pytest.raises(TemplateError):
        render(template, CONTEXT)
    with pytest.raises(TemplateError):
        names(template)


def test_data_is_never_a_template() -> None:
    data = {"input": {"evil": "{{ ''.__class__ }}", "nested": ["{% for %}"]}, "steps": {}, "env": {}}
    assert render("{{ input.evil }}", data) == "{{ ''.__class__ }}"
    assert render("x {{ input.nested }}", data) == 'x ["{% for %}"]'
    assert render({"a": "{{ input }}"}, data) == {"a": data["input"]}
