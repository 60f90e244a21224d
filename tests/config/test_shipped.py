"""The config.yaml, the examples and the editors' schema that the repository ships."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from examples.hello import greet
from trigger.config import MISSING, NoAuth, PasswordAuth, TokenAuth, load
from trigger.config.declarations import TYPES

from .editors import errors
from .test_mistakes import TEN_BROKEN

ROOT = Path(__file__).resolve().parents[2]
GITHUB = {"GITHUB_SECRET": "a-secret-of-32-characters-or-more"}
SHIPPED = ROOT / "config.yaml"


def test_the_shipped_config_offers_the_demo_apis() -> None:
    config = load(SHIPPED, {})
    assert set(config.apis) == {("iolinker", "test"), ("iolinker", "draft"), ("admin", "test"), ("admin", "report")}
    test, draft = config.apis["iolinker", "test"], config.apis["iolinker", "draft"]
    assert (test.auth, test.enabled, test.verbs, test.debug) == (NoAuth(), True, ("GET", "POST"), {"name": "Ada"})
    assert test.input is not None
    assert [(field.name, field.required, field.max_length) for field in test.input.fields] == [("name", False, 80)]
    assert (draft.enabled, draft.debug) == (False, MISSING)
    token, report = config.apis["admin", "test"].auth, config.apis["admin", "report"].auth
    assert isinstance(token, TokenAuth)
    assert token.tokens["token"].matches(b"123456")
    assert isinstance(report, PasswordAuth)
    assert report.users["iolinker"].matches(b"123456")
    assert (config.operators, config.redis) == ({}, None)
    assert {one.key for one in config.warnings if "demo" in one.message} == {
        "modules.admin.methods.test.auth.token",
        "modules.admin.methods.report.auth.users.iolinker",
    }


def test_the_shipped_config_takes_its_operator_and_redis_from_the_environment() -> None:
    config = load(SHIPPED, {"TRIGGER_ADMIN_PASSWORD": "a-password-that-is-long", "REDIS_URL": "redis://h"})
    assert set(config.operators) == {"admin"}
    assert config.redis is not None


@pytest.mark.parametrize(("data", "who"), [({"name": "Ada"}, "Ada"), ({}, "world"), ({"name": ""}, "world")])
def test_the_example_greets(data: dict[str, Any], who: str) -> None:
    assert greet(data) == {"greeting": f"Hello, {who}"}


def test_the_editors_schema_takes_the_shipped_config() -> None:
    assert errors(SHIPPED.read_text()) == []


@pytest.mark.parametrize("name", ["unknown keys", "wrong types", "server", "verbs", "auth"])
def test_the_editors_schema_refuses_broken_configs(name: str) -> None:
    assert errors(TEN_BROKEN[name][0])


@pytest.mark.parametrize("kind", TYPES)
def test_the_editors_schema_knows_each_type_of_field(kind: str) -> None:
    api = "{auth: {mode: none}, workflow: 'x.y:z', input: {fields: {a: {type: TYPE}}}}".replace("TYPE", kind)
    assert errors(f"modules: {{m: {{methods: {{n: {api}}}}}}}") == []
    assert errors(f"modules: {{m: {{methods: {{n: {api.replace(kind, kind + 'x')}}}}}}}")


def test_docs_show_a_config_that_loads(tmp_path: Path) -> None:
    page = (ROOT / "docs/config.md").read_text()
    examples = [block.partition("```")[0] for block in page.split("```yaml\n")[1:]]
    assert examples
    (tmp_path / "backup-token").write_text("a-token-that-is-long-enough\n")
    environ = {
        "CI_TOKEN": "another-token-long-enough",
        "ADA_PASSWORD": "a-password-that-is-long",
        "CB_SECRET": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3",
        "SMTP_PASSWORD": "a-password-that-is-long",
        **os.environ,
        **GITHUB,
    }
    for text in examples:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        assert load(path, environ).apis
        assert errors(text) == []
