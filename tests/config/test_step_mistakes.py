"""Steps that say something wrong: every mistake, its line and column, its key, and what would be right."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from trigger.config import load
from trigger.config.code import Code
from trigger.errors import ConfigError, Mistake

from .writing import mistakes, write

# `workflows` begins at line 1, the workflow at 2, its steps at 4, each on a line of its own at column 7.
HEAD = "workflows:\n  w:\n    steps:\n"
TAIL = "modules: {m: {methods: {n: {auth: {mode: none}, workflow: w}}}}\n"
DECLARED = TAIL.replace("workflow: w", "workflow: w, input: {fields: {sku: {type: string}, count: {type: integer}}}")


def of_steps(*steps: str, tail: str = TAIL) -> str:
    return HEAD + "".join(f"    - {step}\n" for step in steps) + tail


def found(folder: Path, *steps: str, tail: str = TAIL) -> list[tuple[int, int, str, str]]:
    """Line, column, key after the workflow's, and message of each mistake."""
    return [
        (one.line, one.column, one.key.removeprefix("workflows.w").lstrip("."), one.message)
        for one in mistakes(folder, of_steps(*steps, tail=tail))
    ]


def only(folder: Path, *steps: str, tail: str = TAIL) -> tuple[int, int, str, str]:
    (one,) = found(folder, *steps, tail=tail)
    return one


A = "{name: a, run: ['true']}"

# What is wrong in one step; its key; a piece of the message. Each step stands at line 4, its name at column 14.
ONE_STEP = [
    ("just text", "steps.0", "must be a mapping such as {name: quote, python: 'package.module:callable'}"),
    ("{run: ['true']}", "steps.0.name", "is missing"),
    ("{name: a}", "steps.0", "must have exactly one of python, run and http"),
    ("{name: a, run: ['true'], python: 'x.y:z'}", "steps.0", "not python and run"),
    ("{name: a-b, run: ['true']}", "steps.0.name", "letters, digits and '_'"),
    ("{name: 1a, run: ['true']}", "steps.0.name", "begins with a letter"),
    ("{name: " + "a" * 65 + ", run: ['true']}", "steps.0.name", "at most 64"),
    ("{name: a, runs: ['true'], run: ['true']}", "steps.0.runs", "did you mean 'run'?"),
    ("{name: a, run: ['true'], if: x}", "steps.0.if", "is called when here"),
    ("{name: a, run: ['true'], depends_on: x}", "steps.0.depends_on", "is called needs here"),
    ("{name: a, command: x}", "steps.0.command", "is called run here"),
    ("{name: a, python: os.system}", "steps.0.python", "package.module:callable"),
    ("{name: a, python: 'os:system'}", "steps.0.python", "Python's own"),
    ("{name: a, python: 'x.y:z', with: [1]}", "steps.0.with", "must be a mapping of the callable's arguments"),
    ("{name: a, python: 'x.y:z', with: {a-b: 1}}", "steps.0.with.a-b", "can't be the name of an argument"),
    ("{name: a, python: 'x.y:z', with: {class: 1}}", "steps.0.with.class", "can't be the name of an argument"),
    ("{name: a, python: 'x.y:z', with: {a: .nan}}", "steps.0.with.a", "no NaN"),
    ("{name: a, run: ['true'], with: {a: 1}}", "steps.0.with", "is for steps with python"),
    ("{name: a, python: 'x.y:z', cwd: .}", "steps.0.cwd", "is for steps with run"),
    ("{name: a, run: 'rm -rf x'}", "steps.0.run", "no shell reads it"),
    ("{name: a, run: []}", "steps.0.run", "must be a list of a program and its arguments"),
    ("{name: a, run: ['']}", "steps.0.run.0", "it must name a program"),
    ("{name: a, run: ['{{ input }}']}", "steps.0.run.0", "the program can't be a template"),
    ("{name: a, run: ['true', [x]]}", "steps.0.run.1", "must be one value, not a list"),
    ('{name: a, run: [echo, "a\\0b"]}', "steps.0.run.1", "U+0000"),
    ("{name: a, run: ['true'], cwd: ''}", "steps.0.cwd", "must be a folder"),
    ("{name: a, run: ['true'], cwd: '{{ input }}'}", "steps.0.cwd", "can't be a template"),
    ("{name: a, run: ['true'], when: 'yes'}", "steps.0.when", "must be one expression and nothing else"),
    ("{name: a, run: ['true'], when: 'x {{ input }}'}", "steps.0.when", "must be one expression and nothing else"),
    ("{name: a, run: ['true'], env: {F: false}, when: '{{ env.F }}'}", "steps.0.when", "is always a text"),
    ("""{name: a, run: ['true'], when: "{{ 'false' }}"}""", "steps.0.when", "is always a text"),
    ("{name: a, run: ['true'], needs: b}", "steps.0.needs", "must be a list of steps"),
    ("{name: a, run: ['true'], timeout: 0s}", "steps.0.timeout", "from 1s"),
    ("{name: a, run: ['true'], timeout: long}", "steps.0.timeout", "'30s'"),
    ("{name: a, run: ['true'], continue_on_error: 1}", "steps.0.continue_on_error", "true or false"),
    ("{name: a, run: ['true'], env: [A]}", "steps.0.env", "must be a mapping"),
    ("{name: a, run: ['true'], env: {A-B: x}}", "steps.0.env.A-B", "the name of an environment variable"),
    ("{name: a, run: ['true'], env: {TRIGGER_X: x}}", "steps.0.env.TRIGGER_X", "the service's own"),
    ("{name: a, run: ['true'], env: {A: '{{ env.B }}'}}", "steps.0.env.A", "a value under env can't use env"),
    ("{name: a, run: ['true'], retry: 3}", "steps.0.retry", "must be a mapping"),
    ("{name: a, run: ['true'], retry: {}}", "steps.0.retry.attempts", "is missing"),
    ("{name: a, run: ['true'], retry: {attempts: 1}}", "steps.0.retry.attempts", "from 2 to 100"),
    ("{name: a, run: ['true'], retry: {attempts: 2, backoff: []}}", "steps.0.retry.backoff", "exponential"),
    ("{name: a, run: ['true'], retry: {attempts: 2, backoff: [1s, x]}}", "steps.0.retry.backoff.1", "'30s'"),
    ("{name: a, run: ['true'], retry: {attempts: 2, jitter: 2}}", "steps.0.retry.jitter", "a share from 0 to 1"),
    ("{name: a, run: ['true'], retry: {attempts: 2, jitter: 101%}}", "steps.0.retry.jitter", "20%"),
    ("{name: a, run: ['true'], retry: {attempts: 2, on: 75}}", "steps.0.retry.on", "must be a list such as"),
    ("{name: a, run: ['true'], retry: {attempts: 2, on: [256]}}", "steps.0.retry.on.0", "an exit code from 1 to 255"),
    ("{name: a, run: ['true'], retry: {attempts: 2, on: [0]}}", "steps.0.retry.on.0", "an exit code from 1 to 255"),
    ("{name: a, run: ['true'], retry: {attempts: 2, on: [a b]}}", "steps.0.retry.on.0", "the name of an exception"),
    ("{name: a, python: 'x.y:z', retry: {attempts: 2, on: [5]}}", "steps.0.retry.on.0", "name one, such as Conn"),
    ("{name: a, http: {url: 'http://x'}, retry: {attempts: 2, on: [99]}}", "steps.0.retry.on.0", "a status from 100"),
    ("{name: a, http: 'http://x'}", "steps.0.http", "must be a mapping"),
    ("{name: a, http: {}}", "steps.0.http.url", "is missing"),
    ("{name: a, http: {url: shop/x}}", "steps.0.http.url", "must begin with http:// or https://"),
    ("{name: a, http: {url: 'http://'}}", "steps.0.http.url", "names no host"),
    ("{name: a, http: {url: 'http://a b/'}}", "steps.0.http.url", "holds a blank"),
    ("{name: a, http: {url: 'ftp://{{ input }}'}}", "steps.0.http.url", "must begin with http:// or https://"),
    ("{name: a, http: {url: 'http://x', method: SEND}}", "steps.0.http.method", "GET"),
    ("{name: a, http: {url: 'http://x', json: 1}}", "steps.0.http.json", "a GET has no body"),
    (
        "{name: a, http: {url: 'http://x', method: PUT, json: 1, body: x}}",
        "steps.0.http.body",
        "json and body are given",
    ),
    ("{name: a, http: {url: 'http://x', headers: {a b: x}}}", "steps.0.http.headers.'a b'", "the name of a header"),
    ('{name: a, http: {url: "http://x", headers: {A: "x\\ny"}}}', "steps.0.http.headers.A", "a line end"),
    ("{name: a, http: {url: 'http://x', headers: {A: ☃}}}", "steps.0.http.headers.A", "no header can carry"),
    ("{name: a, http: {url: 'http://x', headers: {A: x, a: y}}}", "steps.0.http.headers.a", "is given twice"),
    (
        "{name: a, http: {url: 'http://x', headers: {Content-Length: 1}}}",
        "steps.0.http.headers.Content-Length",
        "itself",
    ),
    ("{name: a, http: {url: 'http://x', query: [x]}}", "steps.0.http.query", "must be a mapping"),
    ("{name: a, http: {url: 'http://x', query: {a: {b: c}}}}", "steps.0.http.query.a", "not a mapping"),
    ("{name: a, http: {url: 'http://x', expect: 200}}", "steps.0.http.expect", "such as [200, 299]"),
    ("{name: a, http: {url: 'http://x', expect: [299, 200]}}", "steps.0.http.expect", "299 is higher than 200"),
    ("{name: a, http: {url: 'http://x', expect: [0, 200]}}", "steps.0.http.expect", "from 100 to 599"),
    ("{name: a, http: {url: 'http://x', redirects: 21}}", "steps.0.http.redirects", "from 0 to 20"),
    ("{name: a, http: {url: 'http://x', redirects: true}}", "steps.0.http.redirects", "from 0 to 20"),
    ("{name: a, http: {url: 'http://x', max_size: 9 MiB}}", "steps.0.http.max_size", "8 MiB"),
    ("{name: a, http: {url: 'http://x', timeout: 5s}}", "steps.0.http.timeout", "write it beside http"),
    ("{name: a, http: {url: 'http://x', data: x}}", "steps.0.http.data", "json, form or body"),
]


@pytest.mark.parametrize(("step", "key", "message"), ONE_STEP, ids=[f"{key}: {said}" for _, key, said in ONE_STEP])
def test_what_is_wrong_in_a_step_is_told_at_its_place(tmp_path: Path, step: str, key: str, message: str) -> None:
    line, column, at, said = only(tmp_path, step)
    assert (line, at) == (4, key)
    assert message in said
    # Where the key stands; of one that is missing, where that stands which lacks it.
    text = f"    - {step}"
    words = [word.strip("'") for word in key.split(".")[2:]]
    if words and words[-1].isdigit():  # of a list: where the item begins
        assert text[column - 2] in "[ "
        return
    assert column == 7 or any(text[column - 1 :].startswith((word, f"'{word}", f'"{word}')) for word in words)


# Templates: the expression, and what is said of it. `a` runs before, `z` after; the API declares sku and count.
TEMPLATES = [
    ("{{ input.sku", "is not a valid template: unexpected end of template"),
    ("{{ input. }}", "is not a valid template"),
    ("{{ }}", "is not a valid template"),
    ("{% if input.sku %}x", "is not a valid template"),
    ("{% include 'x' %}", "of statements there are if, for and set"),
    ("{% import 'x' as y %}", "of statements there are if, for and set"),
    ("{% macro f() %}{% endmacro %}", "of statements there are if, for and set"),
    ("{{ input.sku | shout }}", "there is no filter 'shout'"),
    ("{{ input.sku is loud }}", "there is no test 'loud'"),
    ("{{ " + "(" * 200 + "1" + ")" * 200 + " }}", "nested too deeply"),
    ("{{ input.skuu }}", "'input.skuu': no API of this workflow has a field 'skuu'; did you mean 'sku'?"),
    ("{{ input['skuu'] }}", "no API of this workflow has a field 'skuu'"),
    ("{{ inputs.sku }}", "there is no such name; did you mean 'input'?"),
    ("{{ sku }}", "there is no such name; there are input, headers, caller, request, steps"),
    ("{{ a.output }}", "there is no such name; did you mean steps.a.output?"),
    ("{{ steps.aa.output }}", "there is no step 'aa'; did you mean 'a'?"),
    ("{{ steps.a.total }}", "a step has output, status, error; did you mean steps.a.output.total?"),
    ("{{ steps.me.output }}", "is the step itself"),
    ("{{ steps.z.output }}", "runs later"),
    ("{{ steps.last.output }}", "runs only after the workflow has failed"),
    ("{{ env.SHPO }}", "'SHPO' is not declared: add it under env; did you mean 'SHOP'?"),
    ("{{ env.HOME }}", "'HOME' is not declared: add it under env"),
    ("{{ execution.id }}", "an execution has uid, module, method, attempt"),
    ("{{ error.message }}", "is there only for the steps of on_failure"),
    ("{{ request.sku }}", "a request has id"),
    ("{{ self }}", "there is no such name"),
    ("{{ lipsum(5) }}", "there is no such name"),
    ("{{ cycler }}", "there is no such name"),
    ("{% for x in input %}{{ y }}{% endfor %}", "'y': there is no such name"),
    ("{% set input = 1 %}x", "'input' can't be set"),
]


@pytest.mark.parametrize(("template", "message"), TEMPLATES, ids=[one for one, _ in TEMPLATES])
@pytest.mark.parametrize(
    "place",
    [
        ("run: [echo, '{}']", "run.1"),
        ("python: 'x.y:z', with: {{a: {{b: ['{}']}}}}", "with.a.b.0"),
        ("http: {{method: PUT, url: 'http://x', json: {{a: '{}'}}}}", "http.json.a"),
    ],
    ids=["run", "with", "json"],
)
def test_templates_are_checked_when_the_config_is_loaded(
    tmp_path: Path, place: tuple[str, str], template: str, message: str
) -> None:
    step = "{name: me, " + place[0].format(template.replace("'", "''")) + "}"
    text = (
        "workflows:\n  w:\n    env: {SHOP: x}\n    steps:\n    - {name: a, run: ['true']}\n"
        f"    - {step}\n    - {{name: z, run: ['true']}}\n    on_failure:\n    - {{name: last, run: ['true']}}\n"
        + DECLARED
    )
    (one,) = mistakes(tmp_path, text)
    assert (one.line, one.key) == (6, f"workflows.w.steps.1.{place[1]}")
    assert message in one.message


@pytest.mark.parametrize(
    ("step", "key"),
    [
        ("{name: a, http: {url: 'http://x/{{ }}'}}", "http.url"),
        ("{name: a, http: {url: '{{ nope }}'}}", "http.url"),
        ("{name: a, http: {url: 'http://x', headers: {A: '{{ nope }}'}}}", "http.headers.A"),
        ("{name: a, http: {url: 'http://x', query: {a: [x, '{{ nope }}']}}}", "http.query.a.1"),
        ("{name: a, http: {url: 'http://x', method: PUT, form: {a: '{{ nope }}'}}}", "http.form.a"),
        ("{name: a, http: {url: 'http://x', method: PUT, body: '{{ nope }}'}}", "http.body"),
        ("{name: a, run: ['true'], when: '{{ nope }}'}", "when"),
        ("{name: a, run: ['true'], env: {A: '{{ nope }}'}}", "env.A"),
    ],
)
def test_templates_may_stand_anywhere_and_are_checked_there(tmp_path: Path, step: str, key: str) -> None:
    assert only(tmp_path, step)[2] == f"steps.0.{key}"


def test_a_name_with_a_hyphen_is_explained(tmp_path: Path) -> None:
    tail = TAIL.replace("workflow: w", "workflow: w, input: {fields: {order-id: {type: string}}}")
    said = [message for *_, message in found(tmp_path, "{name: a, run: [echo, '{{ input.order-id }}']}", tail=tail)]
    assert any("input['order-id']" in message or "there is no such name" in message for message in said), said
    assert "a name with '-' is written as in input['id']" in " ".join(said)


def test_without_declared_fields_any_input_may_be_used(tmp_path: Path) -> None:
    steps = of_steps("{name: a, run: [echo, '{{ input.whatever }}']}")
    assert load(write(tmp_path, steps), {}).workflows["w"].steps
    keeps = DECLARED.replace("}}}}}}", "}}, unknown: keep}}}}")
    assert keeps != DECLARED
    steps = of_steps("{name: a, run: [echo, '{{ input.whatever }}']}", tail=keeps)
    assert load(write(tmp_path, steps), {}).workflows["w"].steps


def test_a_field_of_any_of_its_apis_may_be_used(tmp_path: Path) -> None:
    one = "auth: {mode: none}, workflow: w, input: {fields: {FIELD: {type: string}}}"
    tail = (
        f"modules: {{m: {{methods: {{n: {{{one.replace('FIELD', 'sku')}}}, o: {{{one.replace('FIELD', 'ean')}}}}}}}}}\n"
    )
    steps = of_steps("{name: a, run: [echo, '{{ input.sku }}', '{{ input.ean | default(0) }}']}", tail=tail)
    assert load(write(tmp_path, steps), {}).workflows["w"].steps
    assert "'eaan'" in only(tmp_path, "{name: a, run: [echo, '{{ input.eaan }}']}", tail=tail)[3]


# Steps together

TOGETHER = {
    "the same name": (
        [A, A.replace("true", "false")],
        [(5, 8, "steps.1.name", "'a' is given twice; the first is at line 4")],
    ),
    "the same name in a plain list makes no circle": (
        [A, "{name: b, run: ['true']}", A],
        [(6, 8, "steps.2.name", "'a' is given twice; the first is at line 4")],
    ),
    "no name": (
        ["{run: ['true']}", A, "{run: [echo, '{{ steps.a.output }}']}"],
        [(4, 7, "steps.0.name", "is missing"), (6, 7, "steps.2.name", "is missing")],
    ),
    "unknown steps": (
        [A, "{name: b, run: ['true'], needs: [aa, zzzzzz]}"],
        [
            (5, 40, "steps.1.needs.0", "there is no step 'aa'; did you mean 'a'?"),
            (5, 44, "steps.1.needs.1", "there is no step 'zzzzzz'; there are a, b"),
        ],
    ),
    "itself": (
        ["{name: a, run: ['true'], needs: [a]}"],
        [(4, 40, "steps.0.needs.0", "is the step itself: it can't need itself")],
    ),
    "twice": (
        [A, "{name: b, run: ['true'], needs: [a, a]}"],
        [(5, 43, "steps.1.needs.1", "'a' is given twice")],
    ),
    "a circle of two": (
        ["{name: a, run: ['true'], needs: [b]}", "{name: b, run: ['true'], needs: [a]}"],
        [(4, 32, "steps.0.needs", "this is a circle: a needs b needs a")],
    ),
    "a circle of three behind a step": (
        [
            "{name: x, run: ['true']}",
            "{name: a, run: ['true'], needs: [x, c]}",
            "{name: b, run: ['true'], needs: [a]}",
            "{name: c, run: ['true'], needs: [b]}",
        ],
        [(5, 32, "steps.1.needs", "this is a circle: a needs c needs b needs a")],
    ),
    "two circles": (
        [
            "{name: a, run: ['true'], needs: [b]}",
            "{name: b, run: ['true'], needs: [a]}",
            "{name: c, run: ['true'], needs: [d]}",
            "{name: d, run: ['true'], needs: [c]}",
        ],
        [
            (4, 32, "steps.0.needs", "this is a circle: a needs b needs a"),
            (6, 32, "steps.2.needs", "this is a circle: c needs d needs c"),
        ],
    ),
    "a step that is not needed": (
        [A, "{name: b, run: [echo, '{{ steps.a.output }}'], needs: []}"],
        [(5, 29, "steps.1.run.1", "'steps.a.output': the step does not need a: add it to needs")],
    ),
}


@pytest.mark.parametrize("name", TOGETHER)
def test_what_is_wrong_between_steps_is_told_at_its_place(tmp_path: Path, name: str) -> None:
    steps, expected = TOGETHER[name]
    assert found(tmp_path, *steps) == expected


def test_what_a_step_uses_counts_also_through_others(tmp_path: Path) -> None:
    steps = of_steps(
        A,
        "{name: b, run: ['true'], needs: [a]}",
        "{name: c, run: [echo, '{{ steps.a.output }}'], needs: [b]}",
    )
    assert load(write(tmp_path, steps), {}).workflows["w"].steps


def test_a_circle_among_a_thousand_steps_is_found(tmp_path: Path) -> None:
    steps = [f"{{name: s{n}, run: ['true'], needs: [s{(n + 1) % 1000}]}}" for n in range(1000)]
    (one,) = found(tmp_path, *steps)
    assert one[3].startswith("this is a circle: s0 needs s1 needs s2 ")


def test_more_than_a_thousand_steps_are_refused(tmp_path: Path) -> None:
    text = of_steps(*[f"{{name: s{n}, run: ['true']}}" for n in range(1001)])
    (one,) = mistakes(tmp_path, text)
    assert (one.key, one.message) == ("workflows.w.steps", "has 1001 steps: a workflow may have 1000")


WORKFLOW = {
    "neither": ("{description: x}", "workflows.w", "must have exactly one of python"),
    "both": (f"{{python: 'x.y:z', steps: [{A}]}}", "workflows.w", "must have exactly one of python"),
    "no list": ("{steps: {name: a}}", "workflows.w.steps", "must be a list of steps"),
    "parallel of a callable": (
        "{python: 'x.y:z', parallel: 2}",
        "workflows.w.parallel",
        "is for a workflow with steps",
    ),
    "env of a callable": ("{python: 'x.y:z', env: {A: x}}", "workflows.w.env", "is for a workflow with steps"),
    "parallel": (f"{{steps: [{A}], parallel: 0}}", "workflows.w.parallel", "from 1 to 64"),
    "on": (f"{{steps: [{A}], retry: {{attempts: 2, on: [x]}}}}", "workflows.w.retry.on", "is for the retry of a step"),
    "env with steps": (
        f"{{steps: [{A}], env: {{A: '{{{{ steps.a.output }}}}'}}}}",
        "workflows.w.env.A",
        "can't use steps",
    ),
    "env with error": (
        f"{{steps: [{A}], env: {{A: '{{{{ error.step }}}}'}}}}",
        "workflows.w.env.A",
        "only for the steps",
    ),
    "needs at the end": (
        f"{{steps: [{A}], on_failure: [{{name: b, run: ['true'], needs: [a]}}]}}",
        "workflows.w.on_failure.0.needs",
        "take needs away",
    ),
    "needs of the end": (
        f"{{steps: [{{name: a, run: ['true'], needs: [b]}}], on_failure: [{A.replace('name: a', 'name: b')}]}}",
        "workflows.w.steps.0.needs.0",
        "runs only after the workflow has failed",
    ),
    "the same name at the end": (
        f"{{steps: [{A}], on_failure: [{A}]}}",
        "workflows.w.on_failure.0.name",
        "given twice",
    ),
    "later at the end": (
        f"{{steps: [{A}], on_failure: [{{name: b, run: [x, '{{{{ steps.c.output }}}}']}}, {{name: c, run: [x]}}]}}",
        "workflows.w.on_failure.0.run.1",
        "runs later",
    ),
    "of an error": (
        f"{{steps: [{A}], on_failure: [{{name: b, run: [x, '{{{{ error.text }}}}']}}]}}",
        "workflows.w.on_failure.0.run.1",
        "an error has step, class, message",
    ),
}


@pytest.mark.parametrize("name", WORKFLOW)
def test_what_is_wrong_in_a_workflow_is_told(tmp_path: Path, name: str) -> None:
    declared, key, message = WORKFLOW[name]
    (one,) = mistakes(tmp_path, f"workflows:\n  w: {declared}\n{TAIL}")
    assert (one.line, one.key) == (2, key)
    assert message in one.message


def test_an_unquoted_template_is_explained(tmp_path: Path) -> None:
    text = f"workflows:\n  w:\n    steps:\n    - name: a\n      run: ['true']\n      when: {{{{ input.sku }}}}\n{TAIL}"
    said = [(one.line, one.message) for one in mistakes(tmp_path, text)]
    assert (6, "a key must be plain text; quote a text that begins with {{") in said


def test_a_reference_inside_an_expression_is_refused_without_showing_it(tmp_path: Path) -> None:
    text = of_steps("{name: a, run: [echo, '{{ ''${SECRET}'' }}']}")
    (one,) = mistakes(tmp_path, text, {"SECRET": "the-secret"})
    assert (one.line, one.key) == (4, "workflows.w.steps.0.run.1")
    assert "declare it under env" in one.message
    assert "the-secret" not in one.message


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    broken = [step for step, _, _ in ONE_STEP if step.startswith("{name: a,")]
    steps = [step.replace("name: a", f"name: s{number}") for number, step in enumerate(broken)]
    lines = {line for line, *_ in found(tmp_path, *steps)}
    assert lines == set(range(4, 4 + len(steps)))


# Programs


def checked(folder: Path, text: str, **environ: str) -> list[Mistake]:
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text), {"PATH": os.environ["PATH"], **environ}, lambda *_: {})
    return list(caught.value.mistakes)


def test_programs_and_folders_that_are_not_there_are_told(tmp_path: Path) -> None:
    (tmp_path / "plain.sh").write_text("#!/bin/sh\n")
    (tmp_path / "folder").mkdir()
    text = of_steps(
        "{name: a, run: [no-such-program]}",
        "{name: b, run: [./no-such.sh]}",
        "{name: c, run: [./folder]}",
        "{name: d, run: ['true'], cwd: nowhere}",
        "{name: e, run: ['true'], cwd: plain.sh}",
        "{name: f, run: [./plain.sh]}",
    )
    said = [
        (one.line, one.column, one.key.removeprefix("workflows.w.steps."), one.message)
        for one in checked(tmp_path, text)
    ]
    assert [one[:3] for one in said] == [
        (4, 23, "0.run.0"),
        (5, 23, "1.run.0"),
        (6, 23, "2.run.0"),
        (7, 32, "3.cwd"),
        (8, 32, "4.cwd"),
        (9, 23, "5.run.0"),
    ]
    for (*_, message), expected in zip(
        said,
        [
            "there is no program 'no-such-program' on PATH",
            f"it was looked for as '{tmp_path}/no-such.sh'",
            "'./folder' is a folder",
            "'nowhere' does not exist",
            "'plain.sh' is not a folder",
            "'./plain.sh' is not executable by this user: chmod +x it",
        ],
        strict=True,
    ):
        assert expected in message


def test_a_script_that_the_system_can_not_start_is_told(tmp_path: Path) -> None:
    """found.md 29: the system says "No such file" of both."""
    for name, content in (("windows", b"#!/bin/sh\r\necho\r\n"), ("lost", b"#!/no/such/sh -e\necho\n")):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o755)
    windows, lost = checked(tmp_path, of_steps("{name: a, run: [./windows]}", "{name: b, run: [./lost]}"))
    assert (windows.line, windows.column) == (4, 23)
    assert "has the line ends of Windows (CR LF): save it with LF" in windows.message
    assert "is a script for /no/such/sh, which is not on this machine" in lost.message


def test_programs_that_are_there_are_found(tmp_path: Path) -> None:
    script = tmp_path / "bin" / "tell"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    text = of_steps(
        "{name: a, run: [sh, -c, 'true']}",
        "{name: b, run: [bin/tell], cwd: bin}",
        "{name: c, run: [/bin/sh]}",
        "{name: d, run: [tell]}",
    )
    path = f"{os.environ['PATH']}:{script.parent}"
    assert load(write(tmp_path, text), {"PATH": path}, lambda *_: {}).workflows["w"].steps


def test_all_callables_of_steps_are_imported_and_told_at_their_places(tmp_path: Path) -> None:
    asked: list[str] = []

    def check_imports(references: Sequence[str], code: Code) -> dict[str, str]:
        asked.extend(references)
        return {"x.y:z": "there is no module 'x'"}

    text = of_steps(
        "{name: a, python: 'x.y:z'}", "{name: b, python: 'examples.hello:greet'}", "{name: c, python: 'x.y:z'}"
    )
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), {}, check_imports)
    assert asked == ["examples.hello:greet", "x.y:z"]
    assert [(one.line, one.column, one.message) for one in caught.value.mistakes] == [
        (4, 17, "there is no module 'x'"),
        (6, 17, "there is no module 'x'"),
    ]
