"""What a worker's log says of executions and their steps, and that steps know the id of the request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support import OwnRedis, eventually
from tests.worker.stepping import Steps
from trigger.store import Status, acts

GIVEN = "6f1dcb2a03e94ac1b7a1d1f0c2b3a495"

Entry = dict[str, Any]


@pytest.fixture
def rig(tmp_path: Path, redis: Redis, redis_server: OwnRedis) -> Iterator[Steps]:
    rig = Steps(tmp_path, redis, redis_server.url)
    yield rig
    rig.close()


def said(rig: Steps, uid: str, request: str = "", workflow: str = "it") -> list[Entry]:
    """What the log says of an execution, once it says how that has ended; each entry has all that finds it."""

    def all_of_it() -> list[Entry]:
        found = rig.entries(uid)
        return found if found and "step" not in found[-1] and found[-1]["state"] in ("succeeded", "failed") else []

    found = eventually(all_of_it)
    about = {"uid": uid, "request": request or uid, "module": "shop", "method": workflow, "workflow": workflow}
    for entry in found:
        assert {name: entry[name] for name in about} == about
        assert entry["logger"] == "trigger.worker"
    return found


def states(entries: list[Entry]) -> list[tuple[str, str, int]]:
    return [(entry.get("step", ""), entry["state"], entry["attempt"]) for entry in entries]


def test_each_step_is_told_from_its_beginning_to_its_end(rig: Steps) -> None:
    rig.steps(
        it="""
        - {name: a, python: "work:mark", with: {}}
        - {name: b, run: ["true"]}
        - {name: c, when: "{{ false }}", run: ["true"]}
        """
    )
    rig.start(TRIGGER_LOG="json")
    uid = rig.submit("it", request=GIVEN)
    found = said(rig, uid, GIVEN)
    assert states(found) == [
        ("a", "running", 1),
        ("a", "succeeded", 1),
        ("b", "running", 1),
        ("b", "succeeded", 1),
        ("c", "running", 1),
        ("c", "skipped", 1),
        ("", "succeeded", 1),
    ]
    assert all(entry["level"] == "info" for entry in found)
    assert all(isinstance(entry["ms"], float) for entry in found if entry["state"] != "running")
    assert found[0]["event"] == "step a of shop/it begins"
    assert re.fullmatch(r"step a of shop/it succeeded in \d\.\d{3} s", found[1]["event"])
    assert found[5]["event"] == "step c of shop/it was skipped: its `when` is false"
    assert re.fullmatch(r"shop/it succeeded in \d\.\d{3} s \(attempt 1\)", found[6]["event"])


def test_a_step_that_is_tried_again_says_when_and_why(rig: Steps) -> None:
    rig.steps(
        it="""
        steps:
          - {name: a, python: "work:fails_until", with: {good: 3}, retry: {attempts: 3, backoff: 1s}}
          - {name: b, run: [sh, -c, "exit 7"]}
        on_failure:
          - {name: alert, run: ["true"]}
        """
    )
    rig.start(TRIGGER_LOG="json")
    uid = rig.submit("it")
    found = said(rig, uid)
    assert states(found) == [
        ("a", "running", 1),
        ("a", "retrying", 1),
        ("", "retrying", 1),
        ("a", "running", 2),
        ("a", "retrying", 2),
        ("", "retrying", 1),
        ("a", "running", 3),
        ("a", "succeeded", 3),
        ("b", "running", 1),
        ("b", "failed", 1),
        ("alert", "running", 1),
        ("alert", "succeeded", 1),
        ("", "failed", 1),
    ]
    failed = r"step a of shop/it failed in \d\.\d{3} s, its next attempt is due in 1 s: RuntimeError: attempt 1"
    assert re.fullmatch(failed, found[1]["event"])
    assert (found[1]["level"], found[1]["error"]) == ("warning", "RuntimeError")
    assert found[2]["event"] == "shop/it goes on in 1 s, with a step's next attempt"
    assert found[3]["event"] == "step a of shop/it begins, attempt 2"
    assert re.fullmatch(r"step b of shop/it failed in .* s: ExitStatus: sh ended with exit status 7", found[9]["event"])
    assert found[-1]["event"].endswith("(attempt 1): ExitStatus: step b: sh ended with exit status 7")
    assert (found[-1]["level"], found[-1]["error"]) == ("warning", "ExitStatus")


def test_a_cancelled_step_and_its_execution_say_so(rig: Steps, redis: Redis) -> None:
    rig.steps(it="- {name: a, python: 'work:hangs', with: {}}")
    rig.start(TRIGGER_LOG="json")
    uid = rig.submit("it", request=GIVEN)
    eventually(lambda: rig.marks(uid)["a"])
    acts.cancel(redis, uid, "ada")
    rig.ended(uid)
    found = eventually(lambda: len(rig.entries(uid)) > 2 and rig.entries(uid)) or []
    assert states(found) == [("a", "running", 1), ("a", "cancelled", 1), ("", "cancelled", 1)]
    assert [entry["request"] for entry in found] == [GIVEN] * 3


@pytest.mark.parametrize("request_id", ["", GIVEN])
def test_a_plain_workflow_has_one_line_and_one_for_each_further_attempt(rig: Steps, request_id: str) -> None:
    rig.configure("  again: {python: 'work:fails', retry: {attempts: 2, backoff: 1s}}\n")
    rig.start(TRIGGER_LOG="json")
    good = rig.submit("echo", {"a": 1}, request=request_id or None)
    assert states(said(rig, good, request_id, "echo")) == [("", "succeeded", 1)]
    bad = rig.submit("again", request=request_id or None)
    found = said(rig, bad, request_id, "again")
    assert states(found) == [("", "retrying", 1), ("", "failed", 2)]
    assert re.match(r"shop/again failed in .* s \(attempt 1\), its next attempt is due in 1 s: ", found[0]["event"])
    assert [entry["error"] for entry in found] == ["ValueError"] * 2


def test_in_text_a_sentence_is_followed_by_uid_and_request(rig: Steps) -> None:
    rig.steps(it="- {name: a, run: ['true']}")
    rig.start()
    uid = rig.submit("it", request=GIVEN)
    end = rf" uid={uid} request={GIVEN}$"
    last = re.compile(rf"INFO    worker: shop/it succeeded in .* s \(attempt 1\){end}", re.MULTILINE)
    eventually(lambda: last.search(rig.log()))
    assert re.search(f"INFO    worker: step a of shop/it begins{end}", rig.log(), re.MULTILINE)
    assert re.search(f"INFO    worker: step a of shop/it succeeded in .* s{end}", rig.log(), re.MULTILINE)


@pytest.mark.parametrize("form", ["text", "json"])
def test_x1_x3_what_a_step_says_hides_secrets_and_breaks_no_line(rig: Steps, form: str) -> None:
    rig.steps(
        it="""
        steps:
          - {name: a, python: "work:raises_with", env: {KEY: "${KEY}"}, retry: {attempts: 2, backoff: 1s},
             with: {words: ["{{ input.card }}", "{{ env.KEY }}", "{{ input.nasty }}"]}}
        """
    )
    work = rig.folder / "work.py"
    work.write_text(work.read_text() + "\ndef raises_with(words):\n    raise ValueError(' '.join(words))\n")
    rig.start(TRIGGER_LOG=form, KEY="canary-0815")
    nasty = "a\r\nb\x1b[2J\x00\u2028 uid=1 " + "x" * 1_000_000
    uid = rig.submit("it", {"card": "canary-4711", "nasty": nasty}, secrets=[["card"]], request=GIVEN)
    record = rig.ended(uid)
    assert record.status is Status.FAILED
    lines = eventually(lambda: (found := rig.log().split("\n")[:-1]) and "(attempt 1)" in found[-1] and found) or []
    about = [line for line in lines if uid in line]
    assert len(about) == 6  # two attempts at the step begin and end, as do two runs
    assert all(line.isprintable() and len(line) < 30_000 for line in lines)
    assert "canary" not in rig.log()
    assert sum("*** ***" in line for line in about) == 3
    if form == "json":
        assert {(entry["uid"], entry["request"]) for entry in map(json.loads, about)} == {(uid, GIVEN)}
    else:
        assert all(line.endswith(f" uid={uid} request={GIVEN}") for line in about)


@pytest.mark.parametrize("request_id", ["", GIVEN])
def test_steps_of_all_kinds_know_the_id_of_the_request(rig: Steps, request_id: str) -> None:
    rig.steps(
        it="""
        - {name: a, python: "work:request_id", with: {}}
        - {name: b, run: [sh, -c, 'echo "$TRIGGER_REQUEST_ID $TRIGGER_UID"']}
        - {name: c, python: "work:give", with: {request: "{{ execution.request_id }}"}}
        """,
        plain="python: work:request_id",
    )
    work = rig.folder / "work.py"
    work.write_text(work.read_text() + "\ndef request_id(*_):\n    return current().request_id\n")
    rig.start()
    uid = rig.submit("it", request=request_id or None)
    expected = request_id or uid
    outputs = [step.output for step in rig.ended(uid).steps]
    assert outputs == [expected, f"{expected} {uid}", {"request": expected}]
    plain = rig.submit("plain", request=request_id or None)
    assert rig.ended(plain).output == (request_id or plain)
