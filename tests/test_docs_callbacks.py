"""docs/callbacks.md is right: its YAML loads, its receiver accepts what is sent, and it names every key and pause."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.config.editors import errors
from tests.programs import free_port
from tests.support import ROOT, eventually
from tests.test_docs import blocks
from tests.workflows.ended import UID, ended
from trigger.config import load
from trigger.config.callbacks import _CALLBACK, _MAIL
from trigger.config.model import Callback
from trigger.config.secret import Secret
from trigger.errors import ConnectionFailed
from trigger.workflows.calling_back import JITTER, LONGEST, PAUSES
from trigger.workflows.delivery import deliver
from trigger.workflows.letter import facts_of, letter

PAGE = ROOT / "docs/callbacks.md"
KEY = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
ENVIRON = {
    "CB_SECRET": KEY,
    "SLACK_URL": "https://hooks.slack.example/services/T0/B0/X",
    "NTFY_TOPIC": "a-topic-to-guess",
    "GOTIFY_TOKEN": "a-token-of-some-length",
    "SMTP_PASSWORD": "a-password%40-that-is-long",
}


@pytest.mark.parametrize("text", blocks(PAGE, "yaml"), ids=lambda text: text.split()[1])
def test_its_yaml_loads(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    text = text if "modules:" in text else f"{text}modules: {{}}\n"
    path.write_text(text)
    found = load(path, ENVIRON)
    assert found.callbacks
    assert [warning.message for warning in found.warnings if warning.key] == []
    assert errors(text) == []


def test_it_names_every_key_and_when_a_callback_is_sent_again() -> None:
    page = " ".join(PAGE.read_text().split())
    assert {key for schema in (_CALLBACK, _MAIL) for key in schema.fields if f"{key}:" not in page} == set()
    assert "after 5 seconds, 1, 5 and 30 minutes, 2, 5, 10 and 24 hours, each up to a fifth longer" in page
    assert (5, *(60 * n for n in (1, 5, 30)), *(3600 * n for n in (2, 5, 10, 24))) == PAUSES
    assert (JITTER, LONGEST) == (0.2, 86_400)


def test_its_example_is_what_is_sent() -> None:
    (shown, _) = (json.loads(text) for text in blocks(PAGE, "json"))
    made = json.loads(letter(Callback("ops", Secret("https://x.example/")), facts_of(ended(), ()), 0)["body"])
    assert shown.keys() == made.keys()
    assert shown["data"].keys() == made["data"].keys()
    assert re.sub(r"\d{25}", "", shown["text"]) == re.sub(r"\d{25}", "", made["text"])


def test_its_receiver_accepts_a_callback_once_and_refuses_what_is_not_signed(tmp_path: Path) -> None:
    (receiver,) = blocks(PAGE, "python")
    (tmp_path / "receiver.py").write_text(receiver)
    port, said = free_port(), tmp_path / "said"
    environ = {"CB_SECRET": KEY, "PORT": str(port), "PATH": os.environ["PATH"]}
    ops = Callback("ops", Secret(f"http://127.0.0.1:{port}/"), secrets=(Secret(KEY),), addresses="any")
    made = letter(ops, facts_of(ended(), ()), time.time())

    def status() -> int:
        try:
            return int(deliver(made, 20)["status"])
        except ConnectionFailed:
            return 0  # it has not started yet

    with said.open("w") as output:
        child = subprocess.Popen([sys.executable, "receiver.py"], cwd=tmp_path, env=environ, stdout=output)
        try:
            assert eventually(status) == 204
            assert status() == 204
            assert said.read_text() == f"shop/restock failed: ValueError: no stock (uid {UID})\n"
            made["body"] += " "
            assert status() == 401
        finally:
            child.terminate()
            child.wait()
