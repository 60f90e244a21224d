"""The editors' schema takes every workflow that the service takes, and knows the same keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from marshmallow import Schema

from trigger.config.requests import _HTTP
from trigger.config.schemas import CONFIG
from trigger.config.steps import _RETRY, _STEP
from trigger.config.workflows import _WORKFLOW

from .editors import SCHEMA, errors
from .test_step_mistakes import ONE_STEP, WORKFLOW, of_steps
from .test_steps import API, EVERY_KEY
from .writing import loaded

# Steps that are right in less usual ways.
RIGHT = [
    "{name: a, run: ['true', 5, 1.5, true]}",
    "{name: a, run: ['${PROGRAM:-true}']}",
    "{name: a, run: ['true'], needs: []}",
    "{name: a, run: ['true'], when: '{{ input.a }}'}",
    '{name: a, run: ["true"], when: "{{ input.a }}\\n"}',
    "{name: a, run: ['true'], when: '{{- input.a }}'}",
    "{name: a, run: ['true'], timeout: '${T:-5s}', continue_on_error: '${C:-true}'}",
    "{name: a, run: ['true'], timeout: 5 s}",
    "{name: a, run: ['true'], retry: {attempts: '${N:-3}', backoff: '${B:-5s}', jitter: '${J:-0.5}'}}",
    "{name: a, run: ['true'], retry: {attempts: 2, backoff: [1s, '${B:-5s}'], jitter: 5%, on: [3, '4', '${O:-5}']}}",
    "{name: a, run: ['true'], retry: {attempts: 2, backoff: exponential, on: [KeyError, x.y.Z]}}",
    "{name: a, run: ['true'], env: {A: 5, B: true, C: '', D: 1.5}}",
    "{name: a, python: 'x.y:z.f', with: {}}",
    "{name: a, python: 'x.y:z', with: {a: null, b: [1, {c: 2.5}], größe: 1}}",
    "{name: a, http: {url: '${URL:-http://x}'}}",
    "{name: a, http: {url: '{{ input.url }}', method: '${M:-GET}'}}",
    "{name: a, http: {url: 'HTTP://x:80/{{ input.a }}', query: {a: [], b: 5, c: [1, true]}}}",
    "{name: a, http: {url: 'http://[::1]:80/', method: POST, json: null}}",
    "{name: a, http: {url: 'http://x', method: POST, form: {a: [x, y]}, max_size: 100}}",
    "{name: a, http: {url: 'http://x', method: POST, body: '', max_size: '${M:-1 kB}', redirects: '${R:-2}'}}",
    "{name: a, http: {url: 'http://x', headers: {A: 5, B: true, C: ''}, expect: ['${L:-200}', 599]}}",
]


def test_the_schema_itself_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_key_is_taken() -> None:
    assert errors(EVERY_KEY) == []


@pytest.mark.parametrize("step", RIGHT)
def test_what_is_right_for_the_service_is_right_for_editors(tmp_path: Path, step: str) -> None:
    text = of_steps(step)
    assert loaded(tmp_path, text).workflows["w"].steps
    assert errors(text) == []


@pytest.mark.parametrize(
    "workflow",
    [
        "{steps: [{name: a, run: ['true']}], parallel: '${P:-2}', timeout: 5m, env: {}, queue: q}",
        "{steps: [{name: a, run: ['true']}], on_failure: [{name: b, run: ['true'], when: '{{ error.step }}'}]}",
        "{python: 'x.y:z', retry: {attempts: 3, backoff: 10s}, description: 5}",
        "'x.y:z'",
    ],
)
def test_what_is_a_workflow_for_the_service_is_one_for_editors(tmp_path: Path, workflow: str) -> None:
    text = f"workflows: {{w: {workflow}}}\n{API}"
    assert loaded(tmp_path, text).workflows["w"]
    assert errors(text) == []


# What the schema can't say: what needs Python's, HTTP's or a template's rules, or several keys together.
ONLY_CHECK = (
    "Python's own",
    "the name of an argument",
    "no NaN",
    "it must name a program",
    "can't be a template",
    "U+0000",
    "one expression",
    "is always a text",
    "from 1s",
    "exit code",
    "the name of an exception",
    "name one, such as",
    "a status from",
    "20%",
    "names no host",
    "holds a blank",
    "a GET has no body",
    "the name of a header",
    "a line end",
    "no header can carry",
    "is given twice",
    "set by the service itself",
    "itself",
    "is higher than",
    "8 MiB",
    "use env",
    "service's own",
)


@pytest.mark.parametrize(("step", "key", "message"), ONE_STEP, ids=[f"{key}: {said}" for _, key, said in ONE_STEP])
def test_editors_are_told_of_what_a_schema_can_say(step: str, key: str, message: str) -> None:
    if not any(said in message for said in ONLY_CHECK):
        assert errors(of_steps(step)), "the schema takes it"


@pytest.mark.parametrize("name", ["neither", "both", "no list", "parallel of a callable", "env of a callable", "on"])
def test_editors_are_told_of_broken_workflows(name: str) -> None:
    assert errors(f"workflows: {{w: {WORKFLOW[name][0]}}}\n{API}")


def keys(schema: Schema) -> set[str]:
    return set(schema.fields)


@pytest.mark.parametrize(
    ("ours", "editors"),
    [
        (_STEP, SCHEMA["$defs"]["step"]),
        (_HTTP, SCHEMA["$defs"]["http"]),
        (_RETRY, SCHEMA["$defs"]["step"]["properties"]["retry"]),
        (_WORKFLOW, SCHEMA["$defs"]["workflow"]["oneOf"][1]),
        (CONFIG, SCHEMA),
    ],
    ids=["step", "http", "retry", "workflow", "config"],
)
def test_editors_know_the_same_keys_as_the_service(ours: Schema, editors: dict[str, Any]) -> None:
    assert set(editors["properties"]) == keys(ours)
    assert set(editors.get("required", ())) == {key for key, field in ours.fields.items() if field.required}


@pytest.mark.parametrize("key", sorted(key for key, field in CONFIG.fields.items() if "default" in field.metadata))
def test_editors_are_told_the_defaults_that_count(tmp_path: Path, key: str) -> None:
    field = CONFIG.fields[key]
    config = loaded(tmp_path, f"workflows: {{w: 'x.y:z'}}\n{API}")
    assert field.deserialize(str(field.metadata["default"])) == getattr(config, key)
