"""Configs that say something wrong: every mistake, its line, its key, and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from trigger.config import load
from trigger.errors import ConfigError

from .writing import MINIMAL, api, loaded, mistake, mistakes

TEN_BROKEN = {
    "unknown keys": (
        "modules:\n  shop:\n    method: {}\n    desciption: x\nserver: {max_bdy: 1}\nmodule: {}\n",
        [
            (3, "modules.shop.method", "'methods'"),
            (4, "modules.shop.desciption", "'description'"),
            (5, "server.max_bdy", "'max_body'"),
            (6, "module", "'modules'"),
        ],
    ),
    "wrong types": (
        "modules:\n  shop:\n    methods: [order]\n  yard: 3\nserver: []\nretention: {}\n",
        [
            (3, "modules.shop.methods", "not a list"),
            (4, "modules.yard", "must be a mapping"),
            (5, "server", "must be a mapping"),
            (6, "retention", "one value, not a mapping"),
        ],
    ),
    "server": (
        "modules: {}\n"
        "server:\n"
        "  prefix: /v1/\n"
        "  max_body: 65 MiB\n"
        "  proxies: -1\n"
        "  hosts: ['http://x']\n"
        "  backlog: 1.5\n"
        "  auth_failures: many\n"
        "retention: 59s\n"
        "redis: http://x\n",
        [
            (3, "server.prefix", "such as /v1/api"),
            (4, "server.max_body", "64 MiB"),
            (5, "server.proxies", "from 0 to 16"),
            (6, "server.hosts.0", "host name"),
            (7, "server.backlog", "whole number"),
            (8, "server.auth_failures", "'many'"),
            (9, "retention", "1m"),
            (10, "redis", "redis://, rediss:// or unix://"),
        ],
    ),
    "workflows": (
        "modules: {}\n"
        "workflows:\n"
        "  a: os:system\n"
        "  b: ../x\n"
        "  c: eval\n"
        "  d: {steps: []}\n"
        "  e:\n"
        "    python: x.y:z\n"
        "    timeout: -5s\n"
        "    queue: a b\n"
        "  f: examples.hello:greet.__globals__\n"
        "  g: builtins:eval\n"
        "  h h: x.y:z\n",
        [
            (3, "workflows.a", "Python's own"),
            (4, "workflows.b", "package.module:callable"),
            (5, "workflows.c", "package.module:callable"),
            (6, "workflows.d.steps", "must be a list of steps"),
            (9, "workflows.e.timeout", "'30s'"),
            (10, "workflows.e.queue", "letters"),
            (11, "workflows.f", "Python's own"),
            (12, "workflows.g", "Python's own"),
            (13, "workflows.'h h'", "letters"),
        ],
    ),
    "verbs": (
        api("verbs: [GET, TRACE, GET, get]"),
        [
            (9, "modules.shop.methods.order.verbs.1", "'TRACE'"),
            (9, "modules.shop.methods.order.verbs.2", "twice"),
            (9, "modules.shop.methods.order.verbs.3", "'get'"),
        ],
    ),
    "an API": (
        "modules:\n"
        "  shop:\n"
        "    methods:\n"
        "      order:\n"
        "        enabled: yes\n"
        "        verbs: []\n"
        "        workflow: helo\n"
        "        input: {}\n"
        "        debug: .nan\n"
        "workflows: {hello: 'x.y:z'}\n",
        [
            (4, "modules.shop.methods.order.auth", "is missing"),
            (5, "modules.shop.methods.order.enabled", "true or false"),
            (6, "modules.shop.methods.order.verbs", "[GET, POST]"),
            (7, "modules.shop.methods.order.workflow", "'hello'"),
            (8, "modules.shop.methods.order.input.fields", "is missing"),
            (9, "modules.shop.methods.order.debug", "NaN"),
        ],
    ),
    "names": (
        "modules:\n  ..: {}\n  'a b': {}\n  ok:\n    methods:\n      '.': {auth: {mode: none}, workflow: 'x.y:z'}\n  "
        + "x" * 65
        + ": {}\n",
        [
            (2, "modules...", "module"),
            (3, "modules.'a b'", "module"),
            (6, "modules.ok.methods..", "method"),
            (7, "modules.'" + "x" * 64 + "'", "64"),
        ],
    ),
    "references": (
        "modules: {}\nretention: ${DAYS}\nserver:\n  prefix: ${file:prefix.txt}\nworkflows:\n  a: ${}\n  b: x.${y\n",
        [
            (2, "retention", "DAYS is not set"),
            (4, "server.prefix", "'prefix.txt' does not exist"),
            (6, "workflows.a", "no reference"),
            (7, "workflows.b", "not closed"),
        ],
    ),
    "auth": (
        "modules:\n"
        "  m:\n"
        "    methods:\n"
        "      a: {workflow: 'x.y:z', auth: {mode: none, token: x}}\n"
        "      b: {workflow: 'x.y:z', auth: {mode: tokn}}\n"
        "      c: {workflow: 'x.y:z', auth: {token: x}}\n"
        "      d: {workflow: 'x.y:z', auth: none}\n"
        "      e: {workflow: 'x.y:z', auth: {mode: token}}\n"
        "      f: {workflow: 'x.y:z', auth: {mode: password, user: {}}}\n",
        [
            (4, "modules.m.methods.a.auth.token", "mode: token"),
            (5, "modules.m.methods.b.auth.mode", "'token'"),
            (6, "modules.m.methods.c.auth.mode", "is missing"),
            (7, "modules.m.methods.d.auth", "{mode: none}"),
            (8, "modules.m.methods.e.auth", "exactly one"),
            (9, "modules.m.methods.f.auth.user", "'users'"),
            (9, "modules.m.methods.f.auth", "takes users"),
        ],
    ),
    "duplicates": (
        "modules: {}\nserver:\n  proxies: 1\n  proxies: 2\nredis: ''\nredis: ''\n",
        [(4, "server.proxies", "line 3"), (6, "redis", "line 5")],
    ),
}


@pytest.mark.parametrize("name", TEN_BROKEN)
def test_a_broken_file_shows_each_mistake_with_its_line(tmp_path: Path, name: str) -> None:
    text, expected = TEN_BROKEN[name]
    found = mistakes(tmp_path, text)
    for line, key, message in expected:
        assert any(one.line == line and one.key == key and message in one.message for one in found), (key, found)
    assert len(found) == len(expected), found


def test_a_mistake_reads_as_file_line_column_key_and_message(tmp_path: Path) -> None:
    found = mistake(tmp_path, api("verbs: GET"))
    message = "modules.shop.methods.order.verbs: must be a list of verbs, such as [GET, POST]"
    assert str(found) == f"{tmp_path / 'config.yaml'}:9:9: {message}"


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "True", "1", "''"])
def test_booleans_are_true_and_false_only(tmp_path: Path, word: str) -> None:
    assert "true or false" in mistake(tmp_path, api(f"enabled: {word}")).message


@pytest.mark.parametrize(
    "prefix",
    [
        "/v1/executions",
        "/v1/executions/x",
        "/v1",
        "/console",
        "/docs/a",
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/metrics",
    ],
)
def test_a_prefix_that_clashes_with_the_services_own_paths_is_refused(tmp_path: Path, prefix: str) -> None:
    assert "clashes" in mistake(tmp_path, f"modules: {{}}\nserver: {{prefix: {prefix}}}\n").message


@pytest.mark.parametrize("prefix", ["/", "api", "/a//b", "/a/", "/a b", "/a/..", "/./a", "''", "/ä", "/a%20"])
def test_a_prefix_that_is_no_plain_path_is_refused(tmp_path: Path, prefix: str) -> None:
    assert "such as /v1/api" in mistake(tmp_path, f"modules: {{}}\nserver: {{prefix: {prefix}}}\n").message


FIELDS = {
    "{type: strin}": ("type", "'string'"),
    "string": ("", "such as {type: string}"),
    "{required: true}": ("type", "is missing"),
    "{type: integer, max_length: 3}": ("max_length", "does not fit type integer"),
    "{type: string, min: 3}": ("min", "does not fit type string"),
    "{type: integer, min: 5, max: 3}": ("min", "larger than max"),
    "{type: string, min_length: 5, max_length: 3}": ("min_length", "larger than max_length"),
    "{type: string, max_length: -1}": ("max_length", "whole number"),
    "{type: integer, min: 1.5}": ("min", "whole number"),
    "{type: number, min: a}": ("min", "must be a number"),
    "{type: string, pattern: '('}": ("pattern", "regular expression"),
    "{type: string, pattern: 'a{99999999999999}'}": ("pattern", "regular expression"),
    "{type: string, pattern: '[A-Z]{e}'}": ("pattern", "no count such as {2,3}"),
    "{type: string, pattern: '(abc){e<=1}'}": ("pattern", "no count such as {2,3}"),
    "{type: string, pattern: '[[a-z]&&[aeiou]]'}": ("pattern", "regular expression"),
    "{type: string, pattern: '[_[:alpha:]]'}": ("pattern", "'[:' between"),
    "{type: string, pattern: '\\p{L}'}": ("pattern", "regular expression"),
    "{type: date, pattern: a}": ("pattern", "does not fit"),
    "{type: integer, default: x}": ("default", "an integer"),
    "{type: integer, default: true}": ("default", "an integer"),
    "{type: integer, default: '1'}": ("default", "an integer"),
    "{type: integer, default: 11, max: 10}": ("default", "at most 10"),
    "{type: boolean, default: yes}": ("default", "a boolean"),
    "{type: string, default: null}": ("default", "null"),
    "{type: string, default: c, enum: [a, b]}": ("default", "one of a, b"),
    "{type: string, required: true, default: a}": ("default", "required"),
    "{type: date, default: 2026-02-30}": ("default", "a date"),
    "{type: datetime, default: 2026-01-01T25:00:00Z}": ("default", "a date and time"),
    "{type: email, default: nobody}": ("default", "e-mail"),
    "{type: url, default: nowhere}": ("default", "URL"),
    "{type: uuid, default: x}": ("default", "UUID"),
    "{type: string, default: ab, pattern: '^a$'}": ("default", "pattern"),
    "{type: integer, enum: []}": ("enum", "at least one"),
    "{type: integer, enum: [1, a]}": ("enum.1", "an integer"),
    "{type: integer, enum: [1, 1]}": ("enum.1", "twice"),
    "{type: string, enum: [a, null]}": ("enum.1", "nullable"),
    "{type: boolean, enum: [true]}": ("enum", "does not fit"),
    "{type: string, fields: {}}": ("fields", "is for object"),
    "{type: string, of: {type: string}}": ("of", "is for list"),
    "{type: list, of: {type: strin}}": ("of.type", "'string'"),
    "{type: list, of: {type: integer}, default: [1, a]}": ("default", "1: must be a whole number"),
    "{type: object, fields: {a: {type: intger}}}": ("fields.a.type", "'integer'"),
    "{type: object, fields: {a: {type: integer, required: true}}, default: {}}": ("default", "a: is required"),
    "{type: object, fields: {a: {type: integer}}, default: {b: 1}}": ("default", "b: unknown field"),
    "{type: object, unknown: rejct}": ("unknown", "'reject'"),
    "{type: string, maxlength: 3}": ("maxlength", "'max_length'"),
    "{type: integer, default: 99999999999999999999}": ("default", "64 bits"),
    "{type: number, default: 1e999}": ("default", "too large"),
}


@pytest.mark.parametrize("declaration", FIELDS)
def test_a_field_that_no_input_could_meet_is_refused(tmp_path: Path, declaration: str) -> None:
    key, message = FIELDS[declaration]
    found = mistake(tmp_path, api(f"input:\n  fields:\n    name: {declaration}"))
    assert found.line == 11
    assert found.key == ".".join(filter(None, ["modules.shop.methods.order.input.fields.name", key]))
    assert message in found.message


def test_a_field_is_declared_once_and_has_a_plain_name(tmp_path: Path) -> None:
    found = mistakes(tmp_path, api("input:\n  fields:\n    a: {type: any}\n    a: {type: any}\n    b.c: {type: any}"))
    assert [(one.line, one.key.rpartition("fields.")[2]) for one in found] == [(12, "a"), (13, "b.c")]


def test_workflows_that_do_not_import_are_told_at_every_place_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "workflows:\n  a: shop.one:run\n  b:\n    python: shop.two:run\nmodules:\n  m:\n    methods:\n"
        "      x: {auth: {mode: none}, workflow: 'shop.one:run'}\n      y: {auth: {mode: none}, workflow: b}\n"
    )
    asked: list[list[str]] = []

    def check(references: object, _: object) -> dict[str, str]:
        asked.append(list(references))  # type: ignore[call-overload]
        return {"shop.one:run": "there is no module shop", "shop.two:run": "there is no run in it"}

    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "config.yaml", {}, check)
    assert asked == [["shop.one:run", "shop.two:run"]]
    assert [(one.line, one.key) for one in caught.value.mistakes] == [
        (2, "workflows.a"),
        (4, "workflows.b.python"),
        (8, "modules.m.methods.x.workflow"),
    ]


def test_mistakes_come_in_the_order_of_the_file_and_beside_those_of_imports(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(MINIMAL.replace("enabled", "enbled"))
    with pytest.raises(ConfigError) as caught:
        load(path, {}, lambda references, _: dict.fromkeys(references, "no"))
    assert [one.line for one in caught.value.mistakes] == [2, 7]


def test_thousands_of_mistakes_are_all_told(tmp_path: Path) -> None:
    many = "".join(f"      a{n}: {{auth: {{mode: none}}, workflow: w{n}, enbled: true}}\n" for n in range(2000))
    names = "".join(f"  v{n}: x.y:z\n" for n in range(2000))
    assert len(mistakes(tmp_path, f"workflows:\n{names}modules:\n  m:\n    methods:\n{many}")) == 4000


def test_sections_may_stand_empty(tmp_path: Path) -> None:
    config = loaded(tmp_path, "server:\nredis:\noperators:\nworkflows:\nmodules:\n")
    assert (config.apis, config.redis, config.operators) == ({}, None, {})
