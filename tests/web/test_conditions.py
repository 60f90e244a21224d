"""`when` of an API: what starts nothing, and what can't be told."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from redis import Redis

from tests.support import OwnRedis
from tests.web.conftest import MakeSite
from tests.web.site import Gunicorn, nothing_stored, refusal

CONFIG = """
modules:
  git:
    methods:
      push:
        enabled: true
        auth: {mode: none}
        headers: {event: X-Event}
        when: "{{ headers.event == 'push' and input.ref == 'main' }}"
        workflow: examples.hello:greet
      heavy:
        enabled: true
        auth: {mode: none}
        when: "{{ input.a | select('in', input.b) | list }}"
        workflow: examples.hello:greet
"""


@pytest.mark.parametrize(
    ("event", "ref", "starts"),
    [("push", "main", True), ("issue", "main", False), ("push", "x", False), (None, "", False)],
)
def test_only_what_the_condition_wants_starts_something(
    make_site: MakeSite, redis: Redis, event: str | None, ref: str, starts: bool
) -> None:
    site = make_site(CONFIG)
    answer = site.call("git/push", json={"ref": ref}, headers={} if event is None else {"X-Event": event})
    assert answer.status_code == 202
    if starts:
        assert answer.get_json()["response"]["uid"]
    else:
        assert answer.get_json() == {"response": {"ignored": True}}
        assert nothing_stored(redis)


def test_a_condition_that_can_not_be_told_starts_nothing_and_operators_see_why(
    make_site: MakeSite, redis: Redis, log: list[str]
) -> None:
    site = make_site(CONFIG)
    refused = refusal(site.call("git/push", json={}, headers={"X-Event": "push"}))
    assert (refused.status, refused.code) == (400, "requestError.invalidParams")
    assert refused.message == "The condition of this API can't be told for this input"
    assert any("error=requestError.invalidParams: The condition" in line and "ref" in line for line in log)
    assert nothing_stored(redis)


def test_a_condition_that_computes_for_long_is_stopped(redis_server: OwnRedis, tmp_path: Path) -> None:
    """In the loop that serves all connections: nobody is served meanwhile."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    with Gunicorn(tmp_path, redis_server.url) as web:
        sent = {"a": list(range(60_000)), "b": list(range(60_000, 120_000))}
        answer = requests.post(f"http://127.0.0.1:{web.port}/v1/api/git/heavy/async", json=sent, timeout=60)
        assert answer.status_code == 400
        assert "can't be told" in answer.json()["response"]["error"]["message"]
        assert "it takes more than 0.1 s to compute" in web.log
