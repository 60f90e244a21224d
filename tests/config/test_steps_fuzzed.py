"""Whatever stands under `workflows`, loading ends with a config or with mistakes that have a place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trigger.config import load
from trigger.config.requests import _HTTP
from trigger.config.steps import _RETRY, _STEP
from trigger.config.workflows import _WORKFLOW
from trigger.errors import ConfigError

from .editors import errors
from .writing import write

SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 600),
    st.floats(allow_nan=True),
    st.text(max_size=8),
    st.sampled_from(["a", "b", "true", "x.y:z", "http://x/", "GET", "5s", "1 MiB", "20%", "${X:-y}", "${X}", "{{"]),
    st.sampled_from(["exponential", "{{ input.a }}", "{{ steps.a.output }}", "{{ env.A }}", "{{ nope }}", "{{ 1 }}"]),
    st.just("{% if 1 %}x{% endif %}"),
)
ANY = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def mapping(keys: Any, **known: Any) -> st.SearchStrategy[Any]:
    """A mapping of some of the keys, each with what may stand there or with anything."""
    return st.fixed_dictionaries({}, optional={key: st.one_of(known.get(key, ANY), ANY) for key in sorted(keys)}) | ANY


NAMES = st.sampled_from(["a", "b", "c"])
TEXTS = st.sampled_from(
    ["x", "{{ input.a }}", "{{ steps.a.output }}", "{{ steps.b.output.x }}", "{{ error.step }}", "5"]
)
RETRY = mapping(_RETRY.fields, attempts=st.integers(2, 9), backoff=st.just("5s"), on=st.just(["X", 5]))
HTTP = mapping(_HTTP.fields, url=st.just("http://x/{{ input.a }}"), method=st.just("POST"), json=TEXTS)
STEP = mapping(
    _STEP.fields,
    name=NAMES,
    run=st.lists(TEXTS, min_size=1, max_size=3),
    needs=st.lists(NAMES, max_size=3),
    http=HTTP,
    retry=RETRY,
    when=TEXTS,
    env=st.dictionaries(st.sampled_from(["A", "B"]), TEXTS, max_size=2),
)
WORKFLOW = mapping(
    _WORKFLOW.fields, steps=st.lists(STEP, max_size=4), on_failure=st.lists(STEP, max_size=2), retry=RETRY
)
GOOD = st.fixed_dictionaries(
    {
        "steps": st.lists(
            st.fixed_dictionaries({"run": st.just(["true", "x"])}, optional={"needs": st.lists(NAMES, max_size=2)}),
            min_size=1,
            max_size=3,
        )
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


def check(folder: Path, workflow: Any) -> None:
    text = yaml.safe_dump({"workflows": {"w": workflow}, "modules": None}, allow_unicode=True, sort_keys=False)
    path = write(folder, text)
    lines = len(text.splitlines())  # as YAML counts them: U+0085 ends a line too
    try:
        load(path, {"PATH": "/bin"}, lambda *_: {})
    except ConfigError as error:
        for mistake in error.mistakes:
            assert 1 <= mistake.line <= lines
            assert mistake.message
    else:
        assert errors(text) == [], text


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(WORKFLOW)
def test_anything_is_a_workflow_or_has_mistakes(folder: Path, workflow: Any) -> None:
    check(folder, workflow)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(GOOD)
def test_any_needs_make_an_order_or_are_told(folder: Path, workflow: Any) -> None:
    for name, step in zip("abc", workflow["steps"], strict=False):
        step["name"] = name
    check(folder, workflow)
