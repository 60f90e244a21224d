"""What a callback says: in each format, signed as the official library wants it, bounded, and harmless to show."""

from __future__ import annotations

import base64
import email
import json
import time
from email.policy import default
from typing import Any

import pytest
import standardwebhooks

from tests.workflows.ended import UID, ended
from trigger.config.model import Callback, Mail
from trigger.config.secret import Secret
from trigger.store import Status
from trigger.workflows.letter import PART, facts_left, facts_of, letter, text_of

KEY, OLD = ("whsec_" + base64.b64encode(text).decode() for text in (b"k" * 24, b"o" * 24))


def callback(**options: Any) -> Callback:
    return Callback("ops", **{"url": Secret("https://ops.example/hooks"), **options})


def body_of(made: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(made["body"])
    return found


def test_the_official_library_accepts_it_with_each_of_the_secrets() -> None:
    made = letter(callback(secrets=(Secret(KEY), Secret(OLD))), facts_of(ended(), ()), time.time())
    assert made["headers"]["webhook-id"] == f"{UID}.failed"
    assert len(made["headers"]["webhook-signature"].split(" ")) == 2
    for key in (KEY, OLD):
        payload = standardwebhooks.Webhook(key).verify(made["body"], made["headers"])
        assert payload["type"] == "execution.failed"
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(KEY).verify(made["body"] + " ", made["headers"])


def test_it_has_no_secret_but_its_url() -> None:
    made = letter(callback(secrets=(Secret(KEY),)), facts_of(ended(), ()), time.time())
    assert KEY.removeprefix("whsec_") not in json.dumps(made)


def test_it_says_what_the_record_says_and_no_more() -> None:
    made = body_of(letter(callback(), facts_of(ended(), ()), time.time()))
    assert made["timestamp"] == "2026-11-27T10:00:01.000Z"
    assert made["data"] == {
        "uid": UID,
        "module": "shop",
        "method": "restock",
        "workflow": "restock",
        "status": "failed",
        "created_at": "2026-11-27T10:00:00.000Z",
        "started_at": "2026-11-27T10:00:00.500Z",
        "ended_at": "2026-11-27T10:00:01.000Z",
        "attempt": 2,
        "caller": "ci",
        "request_id": UID,
        "error": {"class": "ValueError", "message": "no stock"},
    }
    assert made["text"] == f"shop/restock failed: ValueError: no stock (uid {UID})"


def test_parts_are_included_where_they_are_wanted() -> None:
    lines = [{"text": "hello"}]
    made = facts_of(ended(), ("input", "output", "steps", "logs"), lines)
    assert (made["input"], made["output"], made["steps"], made["logs"]) == ({"sku": "A1"}, None, [], lines)


def test_a_part_that_is_too_large_is_cut_with_a_marker() -> None:
    made = facts_of(ended(input="ü" * PART), ("input",))
    assert made["input"]["truncated"] is True
    assert made["input"]["bytes"] > PART
    assert len(json.dumps(made)) < 10_000


def test_the_text_is_one_short_line() -> None:
    said = text_of(facts_of(ended(error={"class": "E", "message": "a\nb\x1b[31m" + "c" * 9_000}), ()))
    assert said.isprintable()
    assert len(said) < 700
    cancelled = ended(status=Status.CANCELLED, error={"class": "Cancelled", "message": "Cancelled by ada"})
    assert text_of(facts_of(cancelled, ())) == f"shop/restock was cancelled: Cancelled by ada (uid {UID})"
    assert text_of(facts_of(ended(status=Status.SUCCEEDED, error=None), ())) == f"shop/restock succeeded (uid {UID})"
    stepped = ended(error={"class": "ValueError", "message": "no stock", "step": "quote"})
    assert text_of(facts_of(stepped, ())).startswith("shop/restock failed in step quote: ValueError")


def test_slack_shows_it_and_calls_nobody() -> None:
    shouting = ended(error={"class": "E", "message": "<!channel> @here & <https://x|y>"})
    made = letter(callback(format="slack"), facts_of(shouting, ()), time.time())
    (said,) = body_of(made).values()
    assert "<" not in said
    assert "@here" not in said
    assert "&lt;!channel&gt;" in said
    assert "webhook-signature" not in made["headers"]


def test_ntfy_gets_text_with_a_title() -> None:
    made = letter(callback(format="ntfy"), facts_of(ended(), ()), time.time())
    assert made["body"] == f"shop/restock failed: ValueError: no stock (uid {UID})"
    assert made["headers"]["Title"] == "shop/restock failed"


def test_gotify_gets_title_message_and_priority() -> None:
    made = body_of(letter(callback(format="gotify"), facts_of(ended(), ()), time.time()))
    assert made.keys() == {"title", "message", "priority"}


def test_a_mail_has_nothing_that_its_text_could_put_into_its_headers() -> None:
    evil = ended(error={"class": "E", "message": "x\r\nBcc: eve@example.org\r\n\r\n.\r\nQUIT ü"})
    mail = Mail(("a@example.org", "b@example.org"), "trigger@example.org", Secret("smtp://mail.example"))
    made = letter(callback(url=None, mail=mail), facts_of(evil, ("input",)), time.time())
    found = email.message_from_string(made["mail"], policy=default)
    assert found["To"] == "a@example.org, b@example.org"
    assert found["Bcc"] is None
    assert found["Subject"] == "shop/restock failed"
    assert found["Message-ID"] == f"<{UID}.failed@example.org>"
    said = found.get_content()
    assert "Bcc: eve@example.org" in said
    assert '"sku": "A1"' in said
    assert "ü" in said


def test_where_the_record_is_gone_it_says_what_its_end_has_noted() -> None:
    left = {
        "uid": UID,
        "status": "failed",
        "api": "shop/restock",
        "workflow": "w",
        "ended_at": "2026-11-27T10:00:01.000000Z",
    }
    made = body_of(letter(callback(), facts_left(left), time.time()))
    assert made["type"] == "execution.failed"
    assert made["text"] == f"shop/restock failed (uid {UID})"
