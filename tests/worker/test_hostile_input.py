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
