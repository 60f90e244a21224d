"""Whatever a template computes, it ends within its bounds, with a value or a TemplateError that names the place."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trigger.errors import TemplateError
from trigger.templates import MAX_TEXT, check, render
from trigger.templates.sandbox import COUNTED, ENVIRONMENT

CONTEXT: dict[str, Any] = {
    "input": {
        "long": "y" * 200_000,
        "words": "a " * 100_000,
        "digits": "9" * 20_000,
        "hex": "f" * 20_000,
        "numbers": list(range(100_000)),
        "texts": ["ab"] * 100_000,
        "deep": json.loads("[" * 150 + "]" * 150),
        "objects": [{"a": n, "b": str(n)} for n in range(1_000)],
        "huge": 10**15,
        "minus": -1,
        "zero": 0,
        "none": None,
        "percent": "%999d" * 1_000,
        "nul": "\0\ud800",
        "object": {"a": 1, "": []},
        "yes": True,
        "float": 1e308,
    },
    "steps": {},
    "env": {},
}
VALUES = [f"input.{name}" for name in CONTEXT["input"]]
ARGUMENTS = [
    *VALUES,
    "'upper'",
    "'list'",
    "'map'",
    "'in'",
    "'a'",
    "''",
    "attribute='a'",
    "start=[]",
    "2",
    "-1",
    "1e300",
    "[]",
]
FILTERS = sorted(set(ENVIRONMENT.filters) - {COUNTED})


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ 'abc' | truncate(2) }}", "a length of at least"),
        ("{{ 1e400 }}", "a number in it is too large"),
        ("{{ 1e308 + 1e308 }}", "not a finite number"),
        ("x{{ 1e308 + 1e308 }}", "not a finite number"),
        ("{{ input.hex | int(base=16) }}", "too long for a number"),
        ("x{{ ('f' * 4000) | int(base=16) }}", "too large a number"),
        ("{{ input.words | wordwrap(3) }}", "no filter 'wordwrap'"),
        ("{{ ([input.long] * 10000) | map('list') | list }}", "larger than 1 MiB"),
        ("{{ input.texts | map('list') | sum(start=[]) }}", "sum adds numbers"),
        ("{{ ([range(99999)] * 99999) | map('sum') | list }}", "more than 2 s"),
        ("{{ input.numbers | select('in', input.numbers) | list }}", "more than 2 s"),
        ("{% for a in range(99999) %}{{ range(99999) | sum }}{% endfor %}", "more than 2 s"),
        ("{% set a = input.long + input.long %}{{ (a + a + a) | length }}", "larger than 1 MiB"),
    ],
)
def test_what_would_take_long_or_fail_elsewhere_is_an_error_of_the_template(template: str, message: str) -> None:
    """found.md 28."""
    handler = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(TemplateError, match=message):
        render(template, CONTEXT)
    assert signal.getsignal(signal.SIGVTALRM) is handler
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_a_template_that_is_slow_in_a_variable_is_within_the_same_bound() -> None:
    class Env(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            return render("{{ range(99999) | sum }}", CONTEXT)

    with pytest.raises(TemplateError, match="more than 2 s"):
        render("{% for a in range(99999) %}{{ env.A }}{% endfor %}", {**CONTEXT, "env": Env()})


def ends_well(template: str) -> None:
    try:
        result = render(template, CONTEXT)
    except TemplateError as error:
        said = str(error)
    else:
        said = "{"
        assert len(json.dumps(result)) <= 7 * MAX_TEXT  # of characters that JSON escapes
    assert said.startswith("{")


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(VALUES),
    st.lists(
        st.tuples(st.sampled_from(FILTERS), st.lists(st.sampled_from(ARGUMENTS), max_size=3)), min_size=1, max_size=3
    ),
    st.sampled_from(["{{%s}}", "x{{%s}}", "{%% if %s %%}x{%% endif %%}", "{%% for a in %s %%}{{ a }}{%% endfor %%}"]),
)
def test_all_filters_end_with_a_value_or_an_error(value: str, calls: list[tuple[str, list[str]]], form: str) -> None:
    filters = "".join(f" | {name}({', '.join(sorted(given, key=lambda one: '=' in one))})" for name, given in calls)
    template = form % f" {value}{filters} "
    if check(template):  # such as a keyword that is given twice
        return
    ends_well(template)


OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "in", "not in", "and", "or"]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(VALUES),
    st.sampled_from(OPERATORS),
    st.sampled_from(VALUES),
    st.sampled_from(["", ".split()", ".count('y')", "[0]"]),
)
def test_all_operators_end_with_a_value_or_an_error(left: str, operator: str, right: str, more: str) -> None:
    ends_well(f"{{{{ ({left}{more} {operator} {right}) {operator} {left} }}}}")
