"""What a caller sends, through steps that are run: it is never code, an option, a path upwards or a leak."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.support import OwnRedis
from tests.worker.stepping import Steps, step_of


@pytest.fixture
def rig(tmp_path: Path, redis: Redis, redis_server: OwnRedis) -> Iterator[Steps]:
    rig = Steps(tmp_path, redis, redis_server.url)
    yield rig
    rig.close()


def test_a_shells_argument_is_not_code(rig: Steps) -> None:
    """found.md 24."""
    rig.steps(it="""- {name: a, run: [sh, -c, 'printf "<%s>" "$1"', deploy, "{{ input.b }}"]}""")
    rig.start()
    assert rig.succeeds("it", {"b": "x; echo $(id) `id`"}).output == "<x; echo $(id) `id`>"


def test_an_option_of_a_callers_fails_the_step_before_it_runs(rig: Steps) -> None:
    rig.steps(
        it="""
        - name: a
          run: [touch, "{{ input.b }}"]
          retry: {attempts: 3, backoff: 1s}
        """,
        safe="- {name: a, run: [basename, --, '{{ input.b }}']}",
    )
    rig.start()
    record = rig.fails("it", {"b": "--version"})
    assert (record.error or {})["class"] == "TemplateError"
    assert "put -- before it" in (record.error or {})["message"]
    assert step_of(record, "a").attempts == 1
    assert rig.succeeds("safe", {"b": "--version"}).output == "--version"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("x" * 200_000, "argument 1 has 200000 bytes, and the system takes at most 131071 (128 KiB)"),
        ("a\0b", "U+0000"),
        ("\ud800", "half of a surrogate pair"),
    ],
)
def test_what_no_program_can_be_given_fails_at_once(rig: Steps, value: str, message: str) -> None:
    """found.md 29."""
    rig.steps(
        it="""
        - name: a
          run: [echo, "{{ input.b }}"]
          retry: {attempts: 3, backoff: 1s}
        """
    )
    rig.start()
    record = rig.fails("it", {"b": value})
    assert (record.error or {})["class"] == "ArgumentError"
    assert message in (record.error or {})["message"]
    assert step_of(record, "a").attempts == 1


def test_arguments_that_are_too_large_together_fail_at_once(rig: Steps) -> None:
    arguments = ", ".join(["'{{ input.b }}'"] * 80)
    rig.steps(it=f"- {{name: a, run: [echo, {arguments}], retry: {{attempts: 3, backoff: 1s}}}}")
    rig.start()
    record = rig.fails("it", {"b": "x" * 100_000})
    assert "together larger than the system takes" in (record.error or {})["message"]
    assert step_of(record, "a").attempts == 1


def test_an_output_that_was_too_large_is_marked_and_used_by_no_step(rig: Steps) -> None:
    """found.md 30."""
    rig.steps(
        it="""
        steps:
          - {name: a, run: [head, -c, 2000000, /dev/zero]}
          - {name: b, python: "work:give", with: {status: "{{ steps.a.status }}"}}
          - {name: c, python: "work:give", with: {value: "{{ steps.a.output.beginning }}"}}
        on_failure:
          - {name: d, python: "work:give", with: {all: "{{ steps }}"}}
        """,
        last="- {name: a, run: [head, -c, 2000000, /dev/zero]}",
        alike="""
        - {name: a, python: "work:give", with: {truncated: true, bytes: 5, beginning: x}}
        - {name: b, python: "work:give", with: {all: "{{ steps.a }}"}}
        """,
    )
    rig.start()
    record = rig.fails()
    assert step_of(record, "a").truncated
    assert step_of(record, "a").as_json(operator=False)["truncated"] is True
    assert step_of(record, "b").output == {"status": "succeeded"}
    message = (step_of(record, "c").error or {})["message"]
    assert message.startswith("{{ steps.a.output.beginning }}: the output of step a was larger than 1 MiB")
    assert "the output of step a was larger" in (step_of(record, "d").error or {})["message"]
    record = rig.succeeds("last")
    assert record.truncated
    assert record.output["bytes"] == 2_000_000
    record = rig.succeeds("alike")
    assert not record.truncated
    assert "truncated" not in record.as_json(operator=True)
    assert not step_of(record, "a").truncated


def test_the_record_of_a_request_that_failed_has_no_credentials_of_its_url(rig: Steps) -> None:
    """found.md 26."""
    rig.steps(
        it="""
        - name: a
          http:
            url: "http://user:{{ input.p }}@127.0.0.1:9/x/{{ input.n }}?token={{ input.p }}"
            query: {key: "{{ input.p }}"}
        """
    )
    rig.start()
    record = rig.fails("it", {"p": "hunter2", "n": "a/b"})
    assert step_of(record, "a").input == {
        "method": "GET",
        "url": "http://***@127.0.0.1:9/x/a%2Fb?***",
        "query": {"key": "***"},
    }
    assert "hunter2" not in f"{record.steps} {record.error}"
