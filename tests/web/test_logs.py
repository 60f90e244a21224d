"""GET /v1/executions/<uid>/logs: who may read a log, in which forms, and how to go on."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from werkzeug.test import TestResponse

from tests.support import OwnRedis, environment, eventually, process
from tests.web.conftest import MakeSite
from tests.web.site import (
    OPERATOR,
    OTHER_TOKEN,
    TOKEN,
    Gunicorn,
    Refusal,
    Site,
    accepted,
    basic,
    many,
    refusal,
    request,
)
from trigger import store
from trigger.store import JOB
from trigger.store.keys import TOLD
from trigger.store.log import Log
from trigger.web import waiting

NOT_FOUND = Refusal(404, "requestError.executionNotFound", "There is no such execution, or it is not yours to read")
ADMIN = basic("admin", OPERATOR)


def logs(site: Site, uid: str, query: str = "", method: str = "GET", **headers: str) -> TestResponse:
    return site.call(f"/v1/executions/{uid}/logs{query}", method, headers=headers)


def content(response: TestResponse) -> dict[str, Any]:
    assert response.status_code == 200, response.data
    assert response.mimetype == "application/json"
    content: dict[str, Any] = response.get_json()["response"]
    assert content.keys() == {"lines", "next", "ended"}
    assert response.headers["Log-Next"] == content["next"]
    assert response.headers["Log-Ended"] == json.dumps(content["ended"])
    return content


def texts(response: TestResponse) -> list[str]:
    return [line["text"] for line in content(response)["lines"]]


class Running:
    """An execution that a worker has taken, in whose place the test writes."""

    def __init__(self, redis: Redis, uid: str, limit: int = 1024 * 1024) -> None:
        self.uid = uid
        self._redis = redis
        redis.hset(JOB + uid, mapping={"status": "started", "execution": "run"})
        self._log = Log(redis, uid, "run", limit=limit)

    def write(self, *texts: str, **about: Any) -> None:
        for text in texts:
            self._log.write("stdout", text, **about)
        assert self._log.flush()

    def end(self) -> None:
        self._redis.hset(JOB + self.uid, "status", "finished")


@pytest.fixture
def running(site: Site, redis: Redis) -> Running:
    return Running(redis, accepted(site.call("open/any")))


def test_a_log_is_read_as_json(site: Site, running: Running) -> None:
    running.write("hello", level="INFO", step="quote", attempt=2)
    (line,) = content(logs(site, running.uid))["lines"]
    assert line.pop("id") == content(logs(site, running.uid))["next"]
    assert line.pop("time").endswith("Z")
    assert line == {"stream": "stdout", "level": "INFO", "step": "quote", "attempt": 2, "text": "hello"}
    assert content(logs(site, running.uid))["ended"] is False
    running.end()
    assert content(logs(site, running.uid))["ended"] is True


@pytest.mark.parametrize("accept", ["text/plain", "text/plain; charset=utf-8", "text/*, application/json;q=0.5"])
def test_a_log_is_read_as_text(site: Site, running: Running, accept: str) -> None:
    running.write("grüße", level="INFO", step="quote", attempt=2)
    running.write("<b>")
    response = logs(site, running.uid, Accept=accept)
    assert response.content_type == "text/plain; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    times = [line["time"] for line in content(logs(site, running.uid))["lines"]]
    assert response.text == f"{times[0]} stdout/INFO quote#2 grüße\n{times[1]} stdout - <b>\n"
    assert response.headers["Log-Next"] == content(logs(site, running.uid))["next"]
    assert response.headers["Log-Ended"] == "false"


@pytest.mark.parametrize("accept", ["application/x-ndjson", "application/jsonl"])
def test_a_log_is_read_as_json_lines(site: Site, running: Running, accept: str) -> None:
    running.write("one", "two")
    response = logs(site, running.uid, Accept=accept)
    assert response.mimetype == accept
    assert [json.loads(line) for line in response.text.splitlines()] == content(logs(site, running.uid))["lines"]


@pytest.mark.parametrize("accept", ["", "*/*", "text/html,application/xhtml+xml,*/*;q=0.8", "image/png", "junk"])
def test_whoever_asks_for_nothing_we_have_gets_json(site: Site, running: Running, accept: str) -> None:
    running.write("x")
    assert texts(logs(site, running.uid, Accept=accept)) == ["x"]


def test_a_log_is_read_page_by_page(site: Site, running: Running) -> None:
    running.write("0", "1", "2", "3", "4")
    running.end()
    first = content(logs(site, running.uid, "?limit=3"))
    assert ([line["text"] for line in first["lines"]], first["ended"]) == (["0", "1", "2"], False)
    second = content(logs(site, running.uid, f"?limit=3&after={first['next']}"))
    assert ([line["text"] for line in second["lines"]], second["ended"]) == (["3", "4"], True)
    third = content(logs(site, running.uid, f"?after={second['next']}"))
    assert third == {"lines": [], "next": second["next"], "ended": True}


def test_where_lines_were_cut_a_marker_comes_first(site: Site, redis: Redis) -> None:
    running = Running(redis, accepted(site.call("open/any")), limit=100)
    running.write("0", "1", "2", "3", "4")
    lines = content(logs(site, running.uid))["lines"]
    assert lines[0] == {"cut": 2}
    assert [line["text"] for line in lines[1:]] == ["2", "3", "4"]
    assert logs(site, running.uid, Accept="text/plain").text.startswith(
        "... 2 lines were cut; only the newest are kept"
    )


def test_an_execution_that_waits_has_an_empty_log(site: Site, redis: Redis) -> None:
    uid = accepted(site.call("open/any"))
    assert content(logs(site, uid)) == {"lines": [], "next": "0-0", "ended": False}


def test_a_log_is_for_those_who_may_read_the_record(site: Site, redis: Redis) -> None:
    uid = accepted(site.call("keyed/one", headers={"token": TOKEN}))
    Running(redis, uid).write("x")
    for headers in ({"token": TOKEN}, {"Authorization": f"Bearer {TOKEN}"}, ADMIN):
        assert texts(logs(site, uid, **headers)) == ["x"]
    strangers: list[dict[str, str]] = [{}, {"token": OTHER_TOKEN}, basic("admin", "wrong"), basic("eve", OPERATOR)]
    for headers in strangers:
        assert refusal(logs(site, uid, **headers)) == NOT_FOUND
        assert refusal(logs(site, uid, "?wait=5&after=x", **headers)) == NOT_FOUND
    assert refusal(logs(site, store.new_uid(), **ADMIN)) == NOT_FOUND
    assert refusal(logs(site, "1" * 24, **ADMIN)) == NOT_FOUND


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("after=1", ["after"]),
        ("after=", ["after"]),
        ("after=%28-1", ["after"]),
        ("after=-", ["after"]),
        (f"after={2**64}-0", ["after"]),
        ("after=1-1&after=1-1", ["after"]),
        ("wait=-1", ["wait"]),
        ("wait=61", ["wait"]),
        ("wait=nan", ["wait"]),
        ("wait=1e1", ["wait"]),
        ("wait=", ["wait"]),
        ("wait=%D9%A1", ["wait"]),
        ("limit=0", ["limit"]),
        ("limit=1001", ["limit"]),
        ("limit=1.5", ["limit"]),
        ("limit=+5", ["limit"]),
        ("follow=true", ["follow"]),
        ("after=x&wait=x&limit=x&y=x", ["after", "limit", "wait", "y"]),
    ],
)
def test_wrong_parameters_are_all_named(site: Site, running: Running, query: str, wrong: list[str]) -> None:
    refused = refusal(logs(site, running.uid, f"?{query}"))
    assert (refused.status, refused.code) == (400, "requestError.invalidParams")
    assert sorted(refused.details["fields"]) == wrong


@pytest.mark.parametrize("query", ["after=%", "after=%ff", "&" * 2000])
def test_a_query_that_can_not_be_read_is_refused(site: Site, running: Running, query: str) -> None:
    assert refusal(logs(site, running.uid, f"?{query}")).status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_only_get_is_answered(site: Site, running: Running, method: str) -> None:
    response = logs(site, running.uid, method=method)
    assert refusal(response).status == 405
    assert response.headers["Allow"] == "GET, HEAD"


def test_head_answers_without_waiting(site: Site, running: Running) -> None:
    response = logs(site, running.uid, "?wait=10", method="HEAD")
    assert (response.status_code, response.data) == (200, b"")


def watched(redis: Redis, uid: str) -> int:
    """How many web processes wait for news of an execution."""
    return int(redis.pubsub_numsub(TOLD + uid)[0][1])


def test_whoever_waits_gets_lines_when_they_come_and_is_told_the_end(
    site: Site, running: Running, redis: Redis
) -> None:
    running.write("before")
    position = content(logs(site, running.uid))["next"]
    answers: list[dict[str, Any]] = []

    def read() -> None:
        answers.append(content(logs(site, running.uid, f"?wait=10&after={position}")))
        answers.append(content(logs(site, running.uid, f"?wait=10&after={answers[0]['next']}")))

    thread = threading.Thread(target=read)
    thread.start()
    eventually(lambda: watched(redis, running.uid) == 1)
    running.write("news")
    eventually(lambda: answers)
    running.end()
    thread.join()
    assert [[line["text"] for line in answer["lines"]] for answer in answers] == [["news"], []]
    assert [answer["ended"] for answer in answers] == [False, True]


def test_who_finds_no_place_to_wait_looks_once_more(
    make_site: MakeSite, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "places", lambda: 1)
    site = make_site()
    running = Running(redis, accepted(site.call("open/any")))
    first = threading.Thread(target=lambda: logs(site, running.uid, "?wait=60"))
    first.start()
    eventually(lambda: watched(redis, running.uid) == 1)
    assert content(logs(site, running.uid, "?wait=60"))["lines"] == []
    running.end()
    first.join()


def test_any_number_may_wait_and_calls_are_answered(gunicorn: Gunicorn, redis: Redis) -> None:
    running = Running(redis, accepted(gunicorn.call("open/any")))
    asking = request("GET", f"/v1/executions/{running.uid}/logs?wait=10", {"Host": "localhost"})
    with many(gunicorn, 40, asking) as clients:
        eventually(lambda: watched(redis, running.uid) == 2)
        assert accepted(gunicorn.call("open/any"))
        assert all(client.is_waiting() for client in clients)
        running.write("news")
        for client in clients:
            assert [line["text"] for line in client.answer().json["response"]["lines"]] == ["news"]


def test_without_redis_logs_are_unavailable(make_site: MakeSite, tmp_path_factory: pytest.TempPathFactory) -> None:
    with OwnRedis(tmp_path_factory.mktemp("redis") / "data") as server:
        site = make_site(redis_url=server.url)
        uid = accepted(site.call("open/any"))
        server.kill()
        response = logs(site, uid, "?wait=1")
        assert refusal(response).status == 503
        assert response.headers["Retry-After"]
        server.start()


def test_a_real_executions_log_is_followed_to_its_end(redis: Redis, redis_server: OwnRedis, tmp_path: Path) -> None:
    (tmp_path / "talking.py").write_text(
        "import time\n\ndef talk(value):\n    for n in range(50):\n        print(n)\n        time.sleep(0.02)\n"
    )
    (tmp_path / "config.yaml").write_text(
        "workflows: {talk: talking:talk}\n"
        "modules: {shop: {methods: {talk: {enabled: true, auth: {mode: none}, workflow: talk}}}}\n"
    )
    worker = process(["worker"], environment(tmp_path, redis_server.url), tmp_path / "worker.log")
    with Gunicorn(tmp_path, redis_server.url) as gunicorn, worker:
        uid = gunicorn.call("shop/talk").json["response"]["uid"]
        pages: list[list[str]] = []
        position, ended = "0-0", "false"
        while ended == "false":
            target = f"/v1/executions/{uid}/logs?wait=5&after={position}"
            answer = gunicorn.call(target, "GET", headers={"Accept": "text/plain"})
            assert answer.status == 200
            pages.append([line.split(" ")[3] for line in answer.body.decode().splitlines()])
            position, ended = answer.headers["log-next"], answer.headers["log-ended"]
    assert [text for page in pages for text in page] == [f"{n}" for n in range(50)]
    assert len(pages) > 2, "it was read while it grew"
