"""What the valid steps of a workflow become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trigger.config import Config, Workflow
from trigger.config.model import HttpAction, PythonAction, RunAction, Step, StepRetry
from trigger.config.retrying import EXPONENTIAL
from trigger.config.secret import written_forms
from trigger.fields.model import MISSING
from trigger.templates import render

from .writing import loaded

API = "modules: {m: {methods: {n: {auth: {mode: none}, workflow: w}}}}\n"

EVERY_KEY = (
    API
    + """\
logs: 2 MiB
keep: 500
cancel_grace: 3s
workflows:
  w:
    description: All that can be said
    timeout: 1h
    queue: slow
    parallel: 2
    retry: {attempts: 2, backoff: [1s]}
    env:
      SHOP: https://shop.example
      STAGE: test
    steps:
      - name: quote
        python: yard.shop:quote
        with:
          sku: "{{ input.sku }}"
          count: 3
          options: {express: true, note: "for {{ input.who }}", tags: ["{{ input.tag }}", x]}
        timeout: 30s
        retry: {attempts: 5, backoff: exponential, jitter: 20%, on: [ConnectionError, yard.shop.Busy]}
      - name: whole
        python: yard.shop:whole
      - name: tell
        run: [sh, -c, 'cat > told', "{{ steps.quote.output.total }}", 5]
        cwd: .
        env: {STAGE: "{{ input.stage }}", SECRET: "${SECRET}"}
        needs: [quote, whole]
        when: "{{ steps.quote.output.total > 0 }}"
        continue_on_error: true
        retry: {attempts: 2, backoff: 5s, on: [75, "3"]}
      - name: order
        needs: [tell]
        http:
          method: POST
          url: "{{ env.SHOP }}/orders"
          headers: {Authorization: "Bearer ${SECRET}", X-Uid: "{{ execution.uid }}"}
          query: {dry: true, tag: [a, "{{ input.tag }}"]}
          json: {sku: "{{ input.sku }}", count: 3, none: null}
          expect: [200, 201]
          redirects: 3
          max_size: 64 KiB
        retry: {attempts: 3, backoff: [1s, 10s, 1m], jitter: 0.5, on: [503, ConnectionError]}
    on_failure:
      - name: alarm
        run: [sh, -c, "true", "{{ error.step }}: {{ error.message }}"]
"""
)
SECRET = "the-shop's-secret"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return loaded(tmp_path, EVERY_KEY, {"SECRET": SECRET})


@pytest.fixture
def steps(config: Config) -> dict[str, Step]:
    workflow = config.workflows["w"]
    return {step.name: step for step in (*workflow.steps, *workflow.on_failure)}


def workflow(folder: Path, steps: str, more: str = "") -> Workflow:
    """The workflow with these steps, each a line."""
    text = f"{API}workflows:\n  w:\n{more}    steps:\n" + "".join(f"      - {line}\n" for line in steps.splitlines())
    return loaded(folder, text).workflows["w"]


def test_the_limits_of_logs_and_records(config: Config) -> None:
    assert (config.logs, config.keep, config.cancel_grace) == (2 * 1024 * 1024, 500, 3.0)


def test_the_workflow_itself(config: Config) -> None:
    whole = config.workflows["w"]
    assert (whole.name, whole.python, whole.description) == ("w", None, "All that can be said")
    assert (whole.timeout, whole.queue, whole.parallel) == (3600.0, "slow", 2)
    assert whole.retry is not None
    assert whole.retry.attempts == 2
    assert [step.name for step in whole.steps] == ["quote", "whole", "tell", "order"]
    assert [step.name for step in whole.on_failure] == ["alarm"]
    assert whole.references == ("yard.shop:quote", "yard.shop:whole")
    assert config.apis["m", "n"].workflow is whole


def test_a_python_step(steps: dict[str, Step]) -> None:
    assert steps["quote"].action == PythonAction(
        "yard.shop:quote",
        {
            "sku": "{{ input.sku }}",
            "count": 3,
            "options": {"express": True, "note": "for {{ input.who }}", "tags": ["{{ input.tag }}", "x"]},
        },
    )
    assert steps["quote"].timeout == 30.0
    assert steps["quote"].retry == StepRetry(5, EXPONENTIAL, 0.2, ("ConnectionError", "yard.shop.Busy"))
    assert steps["whole"].action == PythonAction("yard.shop:whole", None)
    assert (steps["whole"].timeout, steps["whole"].retry, steps["whole"].when) == (None, None, None)


def test_a_run_step(steps: dict[str, Step]) -> None:
    tell = steps["tell"]
    assert tell.action == RunAction(("sh", "-c", "cat > told", "{{ steps.quote.output.total }}", "5"), ".")
    assert tell.when == "{{ steps.quote.output.total > 0 }}"
    assert tell.continue_on_error
    assert tell.retry == StepRetry(2, (5.0,), 0.0, ("75", "3"))


def test_the_environment_of_a_step_is_the_workflows_and_its_own(steps: dict[str, Step]) -> None:
    assert steps["tell"].env == {"SHOP": "https://shop.example", "STAGE": "{{ input.stage }}", "SECRET": SECRET}
    assert steps["quote"].env == {"SHOP": "https://shop.example", "STAGE": "test"}
    assert steps["alarm"].env == {"SHOP": "https://shop.example", "STAGE": "test"}


def test_an_http_step(steps: dict[str, Step]) -> None:
    assert steps["order"].action == HttpAction(
        method="POST",
        url="{{ env.SHOP }}/orders",
        headers={"Authorization": f"Bearer {SECRET}", "X-Uid": "{{ execution.uid }}"},
        query={"dry": "true", "tag": ["a", "{{ input.tag }}"]},
        json={"sku": "{{ input.sku }}", "count": 3, "none": None},
        expect=(200, 201),
        redirects=3,
        max_size=64 * 1024,
    )
    assert steps["order"].retry == StepRetry(3, (1.0, 10.0, 60.0), 0.5, ("503", "ConnectionError"))


@pytest.mark.parametrize(
    ("written", "key", "value"),
    [
        ("form: {a: [1, 2], b: x}", "form", {"a": ["1", "2"], "b": "x"}),
        ("body: 17", "body", "17"),
        ("json: [1, {a: null}]", "json", [1, {"a": None}]),
        ("json:", "json", None),
        ('json: "{{ input }}"', "json", "{{ input }}"),
    ],
)
def test_the_body_of_a_request(tmp_path: Path, written: str, key: str, value: Any) -> None:
    step = f"{{name: a, http: {{method: PUT, url: 'http://x', {written} }}}}"
    action = workflow(tmp_path, step).steps[0].action
    assert isinstance(action, HttpAction)
    assert {name: getattr(action, name) for name in ("json", "form", "body")} == {
        **dict.fromkeys(("json", "form", "body"), MISSING),
        key: value,
    }


def test_a_request_says_little_by_default(tmp_path: Path) -> None:
    assert workflow(tmp_path, "{name: a, http: {url: 'HTTPS://x'}}").steps[0].action == HttpAction("GET", "HTTPS://x")


def test_a_plain_list_runs_in_order(tmp_path: Path) -> None:
    found = workflow(tmp_path, "{name: a, run: ['true']}\n{name: b, run: ['true']}\n{name: c, run: ['true']}")
    assert [step.needs for step in found.steps] == [(), ("a",), ("b",)]


def test_where_one_says_needs_the_others_need_nothing(tmp_path: Path) -> None:
    found = workflow(
        tmp_path,
        "{name: a, run: ['true']}\n{name: b, run: ['true']}\n{name: c, needs: [a, b], run: ['true']}\n"
        "{name: d, run: ['true'], needs: []}",
    )
    assert [step.needs for step in found.steps] == [(), (), ("a", "b"), ()]
    assert found.parallel == 4


def test_a_step_may_stand_before_those_it_needs(tmp_path: Path) -> None:
    found = workflow(tmp_path, "{name: b, run: [echo, '{{ steps.a.output }}'], needs: [a]}\n{name: a, run: ['true']}")
    assert found.steps[0].needs == ("a",)


def test_steps_see_all_that_is_done_before_them(tmp_path: Path) -> None:
    lines = "{name: a, run: ['true']}\n{name: b, run: ['true']}\n{name: c, run: [echo, '{{ steps.a.output }}']}"
    assert len(workflow(tmp_path, lines).steps) == 3


def test_the_steps_of_on_failure_see_all_steps(steps: dict[str, Step], tmp_path: Path) -> None:
    text = (
        f"{API}workflows:\n  w:\n    steps:\n      - {{name: a, run: ['true']}}\n    on_failure:\n"
        "      - {name: b, run: [echo, '{{ steps.a.status }} {{ steps.a.error }} {{ error.class }}']}\n"
        "      - {name: c, run: [echo, '{{ steps.b.output }}']}\n"
    )
    assert [step.needs for step in loaded(tmp_path, text).workflows["w"].on_failure] == [(), ()]


def test_lines_are_those_of_the_names(steps: dict[str, Step]) -> None:
    lines = EVERY_KEY.splitlines()
    for step in steps.values():
        assert lines[step.line - 1].strip() == f"- name: {step.name}"


def test_what_came_from_outside_is_masked(config: Config, tmp_path: Path) -> None:
    assert set(config.masked) == written_forms(SECRET)
    key = "-----BEGIN-----\nfirst-line\nsecond-line\n-----END-----"
    text = (
        f"{API}workflows: {{w: {{env: {{KEY: '${{KEY}}', S: '${{SHORT}}'}}, steps: [{{name: a, run: ['true']}}]}}}}\n"
    )
    masked = loaded(tmp_path, text, {"KEY": key, "SHORT": "abc"}).masked
    assert set(masked) == {*written_forms(key), "-----BEGIN-----", "first-line", "second-line", "-----END-----"}
    assert masked[0].startswith("-----BEGIN-----")


def test_no_repr_shows_a_secret(config: Config) -> None:
    assert SECRET not in repr(config)
    assert SECRET not in repr(config.workflows)


def test_what_comes_from_outside_is_never_read_as_a_template(tmp_path: Path) -> None:
    text = f"{API}workflows: {{w: {{steps: [{{name: a, run: [echo, 'x${{X}}', '${{X}}{{{{ input }}}}']}}]}}}}\n"
    for value in ("{{ input.secret }}", "{% for %}", "{", "{{", "}}{{", "{#"):
        action = loaded(tmp_path, text, {"X": value}).workflows["w"].steps[0].action
        assert isinstance(action, RunAction)
        assert render(action.argv, {"input": "in"}) == ["echo", f"x{value}", f"{value}in"]


def digests(folder: Path, steps: str, more: str = "", environ: dict[str, str] | None = None) -> list[str]:
    text = f"{API}workflows:\n  w:\n{more}    steps:\n" + "".join(f"      - {line}\n" for line in steps.splitlines())
    return [step.digest for step in loaded(folder, text, environ or {}).workflows["w"].steps]


BEFORE = "{name: a, run: [echo, x]}\n{name: b, python: 'x.y:z', with: {c: '{{ env.C }}'}}"


@pytest.mark.parametrize(
    ("after", "more", "changed"),
    [
        (BEFORE, "", [False, False]),
        (BEFORE.replace("echo, x", "echo, y"), "", [True, False]),
        (BEFORE.replace("x.y:z", "x.y:zz"), "", [False, True]),
        (BEFORE.replace("{name: a,", "{name: a, when: '{{ input }}',"), "", [True, False]),
        (BEFORE.replace("{name: a,", "{name: a, timeout: 5s, retry: {attempts: 2},"), "", [False, False]),
        (BEFORE.replace("{name: a,", "{name: a, continue_on_error: true,"), "", [False, False]),
        (BEFORE, "    description: other\n    parallel: 3\n    timeout: 5m\n", [False, False]),
    ],
)
def test_the_digest_of_a_step_tells_whether_it_still_does_the_same(
    tmp_path: Path, after: str, more: str, changed: list[bool]
) -> None:
    env = "    env: {C: c}\n"
    before = digests(tmp_path, BEFORE, env)
    assert [old != new for old, new in zip(before, digests(tmp_path, after, env + more), strict=True)] == changed


def test_a_program_is_given_all_of_env_another_step_only_what_it_uses(tmp_path: Path) -> None:
    before = digests(tmp_path, BEFORE, "    env: {C: c, D: d}\n")
    assert [
        old != new for old, new in zip(before, digests(tmp_path, BEFORE, "    env: {C: c, D: e}\n"), strict=True)
    ] == [True, False]
    assert [
        old != new for old, new in zip(before, digests(tmp_path, BEFORE, "    env: {C: k, D: d}\n"), strict=True)
    ] == [True, True]


def test_what_a_step_calls_is_told_without_what_references_gave(tmp_path: Path) -> None:
    text = """\
workflows:
  hello: {python: "examples.hello:${GREETING}", description: "To ${WHOM}, for $${5}"}
  plain: examples.hello:${GREETING}
  steps:
    steps:
      - {name: bare, python: "examples.shop:${GREETING}"}
      - {name: args, python: examples.shop:quote, with: {sku: "${KEY}", count: "{{ input.count }}"}}
      - {name: run, run: [sh, -c, "echo '${KEY:-no key}' $1", "${file:key}", "{{ input.sku }}"]}
      - {name: http, http: {method: POST, url: "https://ada:${KEY}@${HOST}/{{ input.sku }}?n=1@2"}}
    on_failure:
      - {name: late, run: [sh, "${KEY}"]}
      - {name: long, run: [sh, -c, "%s"]}
modules: {}
"""
    (tmp_path / "key").write_text("hunter2-from-a-file")
    config = loaded(
        tmp_path,
        text % ("x" * 1000),
        {"GREETING": "greet", "WHOM": "Ada", "KEY": "pin", "HOST": "api.example.net"},
    )
    hello, plain, steps = (config.workflows[name] for name in ("hello", "plain", "steps"))
    assert (hello.python, hello.calls) == ("examples.hello:greet", "examples.hello:${GREETING}")
    assert (hello.description, hello.about) == ("To Ada, for ${5}", "To ${WHOM}, for ${5}")
    assert (plain.python, plain.calls, plain.about) == ("examples.hello:greet", "examples.hello:${GREETING}", "")
    assert {step.name: step.calls for step in steps.steps} == {
        "bare": "examples.shop:${GREETING}",
        "args": "examples.shop:quote(sku, count)",
        "run": "sh -c 'echo '\"'\"'${KEY}'\"'\"' $1' '${file:key}' '{{ input.sku }}'",
        "http": "POST https://***@${HOST}/{{ input.sku }}?n=1@2",
    }
    late, long = steps.on_failure
    assert late.calls == "sh '${KEY}'"
    assert long.calls == f"sh -c {'x' * 294}…"
