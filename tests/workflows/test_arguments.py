"""The arguments of a program: none of a caller's becomes an option or a path upwards."""

from __future__ import annotations

from typing import Any

import pytest

from trigger.errors import TemplateError
from trigger.workflows.arguments import arguments


def given(*argv: str, **values: Any) -> list[str]:
    """What the program gets; the input is `values`, and of env only FLAG and BASE are spelled out by the config."""
    env = {"FLAG": "-v", "BASE": "../base", "FROM": values.get("a", "")}
    return arguments(["x", *argv], {"input": values, "env": env, "steps": {}}, frozenset({"FLAG", "BASE"}))[1:]


@pytest.mark.parametrize(
    "template",
    [
        "{{ input.a }}",
        "{{ input.a }}{{ input.b }}",
        "{{ input.b }}{{ input.a }}",
        "{{ input.a ~ 'x' }}",
        "{{ input.a | upper }}",
        "{{ 'x' if false else input.a }}",
        "{% if true %}{{ input.a }}{% endif %}",
        "{{ env.FROM }}",
    ],
)
@pytest.mark.parametrize("value", ["-rf", "--force", "-", -5])
def test_what_a_caller_sends_is_no_option(template: str, value: Any) -> None:
    """found.md 24."""
    with pytest.raises(TemplateError, match="put -- before it"):
        given(template, a=value, b="")


@pytest.mark.parametrize(
    ("argv", "result"),
    [
        (["--", "{{ input.a }}"], ["--", "-x"]),
        (["--name={{ input.a }}"], ["--name=-x"]),
        (["-n{{ input.a }}"], ["-n-x"]),
        (["note: {{ input.a }}"], ["note: -x"]),
        (["{{ '--draft' if input.a else '--final' }}"], ["--draft"]),
        (["{{ env.FLAG }}"], ["-v"]),
        (["{% if input.a %}-q{% endif %}"], ["-q"]),
        (["-x", "--", "x"], ["-x", "--", "x"]),
    ],
)
def test_what_the_config_spells_out_may_be_one(argv: list[str], result: list[str]) -> None:
    assert given(*argv, a="-x") == result


@pytest.mark.parametrize(
    "template",
    ["data/{{ input.a }}", "data/{{ input.a }}.txt", "../data/{{ input.a }}", "data/{{ input.b }}{{ input.b }}/x",
     "data/.{{ input.b }}"],
)  # fmt: skip
def test_a_path_does_not_climb(template: str) -> None:
    with pytest.raises(TemplateError, match="a path must not climb"):
        given(template, a="x/../../y", b=".")


def test_a_path_may_climb_where_the_config_says_so() -> None:
    assert given("../data/{{ input.a }}", "{{ env.BASE }}/{{ input.a }}", a="x/y") == ["../data/x/y", "../base/x/y"]
    assert given("data/{{ input.a }}", a="..x") == ["data/..x"]
    assert given("-", "..", "{{ input.a }}", a="") == ["-", "..", ""]
