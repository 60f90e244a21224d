"""One line per event, whatever is in it, which ends with what finds the call in all logs."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from trigger.logs import MAX_LINE, JsonFormatter, TextFormatter, escaped

ABOUT = {"uid": "1" * 25, "request": "id-of-nginx", "step": "quote"}
TRACED = f" uid={'1' * 25} request=id-of-nginx"

NASTY = [
    "a\r\nb",
    "a\n\n",
    "\x1b[2J\x1b]0;title\x07",
    "a\0b\x85c\u2028d\u202e",
    "ä \ud800",
    "x" * 1_000_000,
    "\n" * 100_000,
    " uid=2 request=3",
    '", "uid": "2',
    "%s %d %(uid)s",
]


def record(text: str, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("trigger.worker", logging.INFO, "", 0, text, None, more.pop("exc_info", None))
    made.__dict__.update(more)
    return made


@pytest.mark.parametrize("text", NASTY, ids=lambda text: repr(text[:10]))
def test_x3_text_is_one_short_line_that_ends_with_uid_and_request(text: str) -> None:
    line = TextFormatter().format(record(text, fields=ABOUT))
    assert line.isprintable()
    assert line.endswith(TRACED)
    assert "step" not in line
    assert len(line) < 3 * MAX_LINE


@pytest.mark.parametrize("text", NASTY, ids=lambda text: repr(text[:10]))
def test_x3_json_is_one_short_line_with_all_fields(text: str) -> None:
    line = JsonFormatter().format(record(text, fields={**ABOUT, "error": text[:100]}))
    assert line.isprintable()
    assert line.isascii()
    assert len(line) < 7 * MAX_LINE
    entry = json.loads(line)
    assert entry["event"] == text[:MAX_LINE] + ("…" if len(text) > MAX_LINE else "")
    assert {name: entry[name] for name in ABOUT} == ABOUT
    assert entry["error"] == text[:100]
    assert (entry["level"], entry["logger"]) == ("info", "trigger.worker")


@pytest.mark.parametrize(
    "text",
    [
        "«\u202fBien sûr\u00a0!\u202f»",
        "👩\u200d💻 👍🏽",
        "\u0645\u06cc\u200c\u062e\u0648",
        "日本\u3000語",
        "Ver\u00adlag",
    ],
)
def test_languages_are_logged_as_they_are_written(text: str) -> None:
    """found.md 31."""
    assert TextFormatter().format(record(text)).endswith(f"worker: {text}")
    assert escaped(f"{text}\x1b[2J\u200b\u202e") == rf"{text}\x1b[2J\u200b\u202e"


def test_what_is_about_no_call_ends_with_nothing() -> None:
    assert TextFormatter().format(record("well")).endswith("INFO    worker: well")
    assert TextFormatter().format(record("well", fields={"uid": "1"})).endswith("worker: well uid=1")


def test_a_traceback_comes_after_them() -> None:
    try:
        int("a\nb")
    except ValueError as error:
        made = record("it failed", fields=ABOUT, exc_info=(type(error), error, error.__traceback__))
    first, *rest = TextFormatter().format(made).split("\n")
    assert first.endswith(f"it failed{TRACED}")
    assert rest
    assert all(line.startswith("  | ") for line in rest)
    assert "ValueError" in json.loads(JsonFormatter().format(made))["traceback"]
