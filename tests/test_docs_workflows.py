"""Every YAML on docs/workflows.md is a config that loads, for the service and for editors."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.editors import errors
from tests.support import ROOT
from tests.test_docs import blocks
from trigger.config import load

PAGE = ROOT / "docs/workflows.md"
SNIPPETS = blocks(PAGE, "yaml")
ENVIRON = {"SHOP_TOKEN": "a-token-of-some-length", "API_KEY": "a-key-of-some-length"}


def test_there_are_snippets() -> None:
    assert len(SNIPPETS) == 5


@pytest.mark.parametrize("text", SNIPPETS, ids=lambda text: text.split()[1])
def test_a_snippet_loads(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert load(path, ENVIRON).workflows
    assert errors(text) == []


def test_the_page_names_every_key() -> None:
    from trigger.config.requests import _HTTP
    from trigger.config.steps import _RETRY, _STEP
    from trigger.config.workflows import _WORKFLOW

    page = PAGE.read_text()
    keys = {key for schema in (_HTTP, _RETRY, _STEP, _WORKFLOW) for key in schema.fields}
    assert {key for key in keys if f"`{key}" not in page and f"{key}:" not in page} == set()
