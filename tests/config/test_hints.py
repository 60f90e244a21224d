"""Words of other tools, where the config has another: the mistake says what is meant (found.md 23)."""

from __future__ import annotations

from pathlib import Path

import pytest

from trigger.config import hints
from trigger.config.declarations import _DECLARATION
from trigger.config.requests import _HTTP
from trigger.config.retrying import _RETRY as _WORKFLOW_RETRY
from trigger.config.schemas import _ANY_AUTH, _API, _MODULE, _SERVER, CONFIG
from trigger.config.steps import _RETRY, _STEP
from trigger.config.workflows import _WORKFLOW

from .writing import mistakes

GOOD = """\
workflows:
  w:
    # workflow
    steps:
      - name: a
        run: ["true"]
        # step
modules:
  m:
    # module
    methods:
      n:
        auth: {mode: none}
        workflow: w
        # api
# root
"""

WORDS = [
    ("step", "working_directory: x", "steps.0.working_directory: is called cwd here"),
    ("step", "working-directory: x", "is called cwd here"),
    ("step", "workdir: x", "is called cwd here"),
    ("step", "environment: {A: x}", "is called env here"),
    ("step", "timeoutSec: 5", "is called timeout here, with its unit"),
    ("step", "timeout-minutes: 5", "is called timeout here, with its unit"),
    ("step", "retries: 3", "retry: {attempts: 3}"),
    ("step", "uses: actions/checkout", "a step is a python callable, a program (run) or a request (http)"),
    ("step", "continueOn: x", "is called continue_on_error here"),
    ("workflow", "schedule: 5 4 * * *", "let cron or a systemd timer call the API"),
    ("workflow", "max_active_steps: 5", "is called parallel here"),
    ("workflow", "script: x", "is a step's"),
    ("module", "apis: {}", "is called methods here"),
    ("api", "http-methods: [GET]", "is called verbs here"),
    ("api", "command: x", "stands in a workflow"),
    ("api", "token: abc", "stands under auth"),
    ("root", "jobs: {}", "is called workflows here"),
    ("root", "version: 3", "is not needed here"),
    ("root", "port: 80", "TRIGGER_BIND"),
]


@pytest.mark.parametrize(("where", "key", "said"), WORDS, ids=[f"{where} {key}" for where, key, _ in WORDS])
def test_a_word_of_another_tool_is_told_what_it_is_called_here(tmp_path: Path, where: str, key: str, said: str) -> None:
    found = mistakes(tmp_path, GOOD.replace(f"# {where}\n", f"{key}\n"))
    assert len(found) == 1
    assert said in str(found[0])


@pytest.mark.parametrize("word", ["command", "cmd", "script", "function", "url"])
def test_a_word_that_tells_the_kind_of_a_step_is_the_only_mistake(tmp_path: Path, word: str) -> None:
    assert len(mistakes(tmp_path, GOOD.replace("run:", f"{word}:"))) == 1


@pytest.mark.parametrize(
    ("table", "schema"),
    [
        (hints.ROOT, CONFIG),
        (hints.SERVER, _SERVER),
        (hints.MODULE, _MODULE),
        (hints.API, _API),
        (hints.AUTH, _ANY_AUTH),
        (hints.FIELD, _DECLARATION),
        (hints.WORKFLOW, _WORKFLOW),
        (hints.WORKFLOW_RETRY, _WORKFLOW_RETRY),
        (hints.STEP, _STEP),
        (hints.RETRY, _RETRY),
        (hints.HTTP, _HTTP),
    ],
)
def test_each_word_of_a_table_can_be_asked_for(table: hints.Hints, schema: object) -> None:
    for word in table:
        assert hints.word(word) == word
        assert word not in schema.fields  # type: ignore[attr-defined]
