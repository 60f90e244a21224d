"""Calls that wait for the end, and records that are waited for: real web processes, a real worker."""

from __future__ import annotations

import http.client
import json
import os
import re
import resource
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support import ROOT, OwnRedis, awaited, environment, eventually, process
from tests.web import test_events
from tests.web.site import (
    OPERATOR,
    TOKEN,
    Answer,
    Connection,
    Gunicorn,
    Refusal,
    accepted,
    basic,
    many,
    refusal,
    request,
)
from tests.web.test_http_page import check
from trigger.store import JOB, Status, acts
from trigger.web.waiting import Preferred

ADMIN = basic("admin", OPERATOR)

CONFIG = f"""\
operators: {{admin: {OPERATOR}}}
workflows:
  stepped:
    steps:
      - {{name: quote, python: "work:echo", with: {{value: 1}}}}
      - {{name: order, python: "work:fails", with: {{value: "{{{{ input.card }}}}"}}}}
  later: {{python: "work:echo", queue: later}}
  talk:
    steps:
      - {{name: say, python: "work:say", with: {{}}}}
      - {{name: fail, python: "work:fails", with: {{value: beans}}}}
modules:
  shop:
    methods:
      echo: {{enabled: true, sync: 30s, auth: {{mode: none}}, workflow: "work:echo"}}
      fails:
        enabled: true
        sync: 30s
        auth: {{mode: none}}
        workflow: "work:fails"
        input: {{fields: {{card: {{type: string, secret: true}}}}}}
      stepped: {{enabled: true, sync: 30s, auth: {{mode: none}}, workflow: stepped}}
      later: {{enabled: true, sync: 1s, auth: {{mode: none}}, workflow: later}}
      long: {{enabled: true, sync: 60s, auth: {{mode: none}}, workflow: later}}
      short: {{enabled: true, sync: 1s, answer: {{status: 200, body: none}}, auth: {{mode: none}}, workflow: later}}
      picky: {{enabled: true, sync: 30s, when: "{{{{ input.go }}}}", auth: {{mode: none}}, workflow: "work:echo"}}
      keyed: {{enabled: true, sync: 30s, auth: {{mode: token, token: {TOKEN}}}, workflow: "work:echo"}}
      path: {{enabled: true, sync: 30s, auth: {{mode: token, in: path, token: {TOKEN}}}, workflow: "work:echo"}}
      talk: {{enabled: true, auth: {{mode: token, token: {TOKEN}}}, workflow: talk}}
      never: {{enabled: true, auth: {{mode: none}}, workflow: "work:echo"}}
      off: {{sync: 30s, auth: {{mode: none}}, workflow: "work:echo"}}
"""

PAGE = (ROOT / "docs" / "waiting.md").read_text()


def block(language: str) -> str:
    """The one block of the page in a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


WORK = """
import time


def echo(value):
    return value


def say():
    for number in range(30):
        print(number)
        time.sleep(0.01)


def fails(value):
    time.sleep(0.05)
    card = value.get("card") if isinstance(value, dict) else value
    raise ValueError(f"no stock for {card}")
"""


@pytest.fixture(scope="module")
def web(redis_server: OwnRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    folder: Path = tmp_path_factory.mktemp("waiting")
    (folder / "config.yaml").write_text(CONFIG + block("yaml").removeprefix("modules:\n"))
    (folder / "work.py").write_text(WORK)
    (folder / "stock.py").write_text(block("python"))
    with (
        Gunicorn(folder, redis_server.url) as gunicorn,
        process(["worker"], environment(folder, redis_server.url), folder / "worker.log"),
    ):
        yield gunicorn


@pytest.fixture
def serving(web: Gunicorn, redis: Redis) -> Gunicorn:
    """The web, once there is a worker: whoever has emptied Redis has forgotten it."""
    return web


def at(api: str, end: str = "sync") -> str:
    return f"/v1/api/{api}/{end}"


def called(web: Gunicorn, api: str, value: Any = None, **headers: str) -> Answer:
    return web.call(at(api), body=json.dumps(value if value is not None else {}).encode(), headers=headers)


def waiting(web: Gunicorn, api: str, **headers: str) -> Connection:
    """A connection on which a call waits."""
    connection = web.connect()
    connection.send(request("POST", at(api), {"Host": "localhost", "Content-Length": "0", **headers}))
    return connection


# --- How it ends ---


def test_a_call_that_succeeds_is_answered_its_output(serving: Gunicorn) -> None:
    answer = called(serving, "shop/echo", {"name": "Ada"})
    uid = answer.headers["location"].rpartition("/")[2]
    assert answer.status == 200
    assert answer.json == {"response": {"code": 0, "data": {"name": "Ada"}, "msg": "", "uid": uid}}
    assert answer.headers["x-request-id"] == uid
    assert answer.headers["cache-control"] == "no-store"
    record = serving.call(f"/v1/executions/{uid}", "GET", headers=ADMIN).json["response"]
    assert record["output"] == {"name": "Ada"}


def test_a_get_waits_too(serving: Gunicorn) -> None:
    answer = serving.call(f"{at('shop/echo')}?name=Ada", "GET")
    assert (answer.status, answer.json["response"]["data"]) == (200, {"name": "Ada"})


def test_one_that_fails_says_so_at_once_with_what_the_record_tells_its_caller(serving: Gunicorn) -> None:
    answer = called(serving, "shop/fails", {"card": "4111222233334444"})
    uid = answer.headers["location"].rpartition("/")[2]
    assert answer.status == 424
    assert answer.json == {
        "response": {
            "error": {
                "code": "workflowError.failed",
                "message": "no stock for ***",
                "details": {"class": "ValueError"},
            },
            "uid": uid,
        }
    }
    assert b"Traceback" not in answer.body


def test_it_says_which_step_has_failed(serving: Gunicorn) -> None:
    answer = called(serving, "shop/stepped", {"card": "gold"})
    error = answer.json["response"]["error"]
    assert (answer.status, error["details"]) == (424, {"class": "ValueError", "step": "order"})
    assert "no stock for gold" in error["message"]


def test_one_that_is_cancelled_says_so(serving: Gunicorn, redis: Redis) -> None:
    with waiting(serving, "shop/long") as connection:
        (uid,) = eventually(lambda: awaited(redis))
        assert serving.call(f"/v1/executions/{uid}/cancel", headers=ADMIN).status == 202
        answer = connection.answer()
    assert (answer.status, answer.json["response"]["uid"]) == (424, uid)
    assert answer.json["response"]["error"] == {
        "code": "workflowError.cancelled",
        "message": "Cancelled by admin",
        "details": {"class": "Cancelled"},
    }


def test_one_that_has_not_ended_in_time_is_answered_as_by_async(serving: Gunicorn) -> None:
    accepted(called(serving, "shop/later"))


def test_what_the_answer_is_to_be_concerns_only_that(serving: Gunicorn) -> None:
    answer = called(serving, "shop/short")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["location"].startswith("/v1/executions/")


def test_the_curl_lines_of_the_page_are_answered_as_it_shows(serving: Gunicorn) -> None:
    lines = re.findall(r"^(curl .*)\n# (\d+) (.*)$", PAGE, re.MULTILINE)
    assert [status for _, status, _ in lines] == ["200", "424", "202"]
    for line, status, body in lines:
        check(serving, line, status, body)


def test_it_is_counted_how_waits_end_and_calls_do_not_take_as_long(serving: Gunicorn, redis: Redis) -> None:
    called(serving, "shop/echo")
    called(serving, "shop/fails", {"card": "x"})
    called(serving, "shop/later")

    def figures() -> dict[str, float]:
        text = serving.call("/metrics", "GET", headers=ADMIN).body.decode()
        pairs = [line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#"]
        return {name: float(number) for name, number in pairs}

    def are_counted() -> bool:
        found = figures()
        return all(found.get(f'trigger_waits_total{{outcome="{how}"}}') for how in ("succeeded", "failed", "late"))

    eventually(are_counted)
    found = figures()
    calls = found['trigger_call_seconds_count{outcome="accepted"}']
    assert calls >= 3
    assert found['trigger_call_seconds_sum{outcome="accepted"}'] < calls * 0.3  # one of three has waited for a second
    assert found['trigger_waits_total{outcome="full"}'] == found["trigger_awaited"] == 0


# --- What is not waited for ---


def test_an_api_that_does_not_say_sync_has_no_such_path(serving: Gunicorn) -> None:
    found = refusal(called(serving, "shop/never"))
    assert found == Refusal(404, "requestError.notFound", "There is nothing at this path; did you mean …/async?")
    assert refusal(serving.call(at("shop/never", "sink"))).code == found.code
    assert refusal(called(serving, "shop/nobody")).code == "requestError.apiNotFound"
    assert refusal(called(serving, "shop/off")).code == "requestError.apiNotEnabled"
    assert refusal(serving.call(f"{at('shop/echo')}/", "POST")).message.endswith("…/sync, without a slash at the end?")


def test_what_starts_nothing_does_not_wait(serving: Gunicorn) -> None:
    answer = called(serving, "shop/picky", {"go": False})
    assert (answer.status, answer.json) == (202, {"response": {"ignored": True}})
    assert called(serving, "shop/picky", {"go": True}).status == 200


def test_the_checks_are_those_of_async(serving: Gunicorn) -> None:
    assert refusal(called(serving, "shop/keyed")).status == 401
    assert called(serving, "shop/keyed", token=TOKEN).status == 200
    assert refusal(called(serving, "shop/fails", {"cart": 1})).details == {
        "fields": {"cart": ["unknown field; did you mean card?"]}
    }


def test_a_token_in_the_path_is_in_no_log(serving: Gunicorn) -> None:
    assert serving.call(f"{at('shop/path')}/{TOKEN}").status == 200
    assert refusal(serving.call(f"{at('shop/path')}/wrong-{TOKEN}")).status == 401
    lines = eventually(lambda: [line for line in serving.log.splitlines() if "shop/path" in line][1:])
    assert all("/v1/api/shop/path/sync…" in line for line in lines)
    assert TOKEN not in serving.log


# --- What the caller prefers ---


@pytest.mark.parametrize(
    ("prefer", "seconds", "applied"),
    [
        ("", 10, ""),
        ("wait=3", 3, "wait=3"),
        ("wait=0", 0, "wait=0"),
        ("wait=100", 10, ""),
        (f"wait={'9' * 8000}", 10, ""),
        ("wait=-1", 10, ""),
        ("wait=abc", 10, ""),
        ("wait", 10, ""),
        ("wait=", 10, ""),
        ("wait=1.5", 10, ""),
        ("wait=٣", 10, ""),
        ('wait="3"', 3, "wait=3"),
        ("Wait = 3 ; x=y, wait=5", 3, "wait=3"),
        ("return=minimal, wait=3", 3, "wait=3"),
        ("respond-async", 0, "respond-async"),
        ("respond-async=no", 10, ""),
        ("respond-async, wait=3", 3, "respond-async, wait=3"),
        ("respond-async, wait=99", 0, "respond-async"),
        (',,;=,"', 10, ""),
    ],
)
def test_what_is_preferred_shortens_the_wait_and_nonsense_is_ignored(prefer: str, seconds: float, applied: str) -> None:
    found = Preferred.of(prefer)
    assert found.seconds(10) == seconds
    assert found.applied(10, is_late=True) == applied


def test_who_wants_no_wait_is_answered_as_by_async(serving: Gunicorn) -> None:
    answer = called(serving, "shop/long", Prefer="respond-async")
    accepted(answer)
    assert answer.headers["preference-applied"] == "respond-async"
    answer = called(serving, "shop/long", Prefer="wait=1")
    accepted(answer)
    assert answer.headers["preference-applied"] == "wait=1"
    answer = called(serving, "shop/echo", Prefer="wait=20, respond-async")
    assert (answer.status, answer.headers["preference-applied"]) == (200, "wait=20")
    assert "preference-applied" not in called(serving, "shop/echo", Prefer="wait=-1").headers


def test_the_same_key_waits_on(serving: Gunicorn) -> None:
    first = called(serving, "shop/echo", 1, **{"Idempotency-Key": "k"})
    again = called(serving, "shop/echo", 1, **{"Idempotency-Key": "k"})
    assert (first.status, again.status) == (200, 200)
    assert again.json == first.json
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert refusal(called(serving, "shop/echo", 2, **{"Idempotency-Key": "k"})).status == 422


# --- A record that is waited for ---


def test_a_record_is_answered_when_it_is_final_or_as_it_is_then(serving: Gunicorn, redis: Redis) -> None:
    uid = accepted(serving.call("shop/long"))
    path = f"/v1/executions/{uid}"
    assert serving.call(f"{path}?wait=0.1", "GET", headers=ADMIN).json["response"]["status"] == "queued"
    with serving.connect() as connection:
        connection.send(request("GET", f"{path}?wait=60", {"Host": "localhost", **ADMIN}))
        eventually(lambda: awaited(redis))
        assert connection.is_waiting()
        serving.call(f"{path}/cancel", headers=ADMIN)
        assert connection.answer().json["response"]["status"] == "cancelled"
    assert serving.call(f"{path}?wait=60", "GET", headers=ADMIN).json["response"]["status"] == "cancelled"
    for wrong in ("-1", "61", "x", "", "1&wait=2", "1e1"):
        found = refusal(serving.call(f"{path}?wait={wrong}", "GET", headers=ADMIN))
        assert found.details == {"fields": {"wait": ["must be a number of seconds from 0 to 60"]}}


# --- Events, of which tests/web/test_events.py has more ---


def test_a_real_execution_is_followed_over_http_to_its_end(serving: Gunicorn, redis: Redis) -> None:
    uid = accepted(serving.call("shop/talk", headers={"token": TOKEN}))
    client = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=30)
    client.request("GET", f"/v1/executions/{uid}/events", headers={"token": TOKEN})
    response = client.getresponse()
    assert response.headers["Transfer-Encoding"] == "chunked"
    pieces = []
    while piece := response.read1():
        pieces.append(piece)
    assert len(pieces) > 3, "it came as it was told"
    found = test_events.parsed(b"".join(pieces).decode())
    assert [event.data["text"] for event in found if event.kind == "log"] == [f"{number}" for number in range(30)]
    assert [event.data["status"] for event in found if event.kind == "status"][-2:] == ["running", "failed"]
    assert found[-1].kind == "end"
    assert "traceback" not in found[-1].data["error"], "that is for operators"
    client.request("GET", "/healthz")  # the connection can be used again
    assert client.getresponse().status == 200
    client.close()


def test_a_stream_is_let_go_when_its_client_hangs_up_and_has_no_chunks_in_http_1_0(
    serving: Gunicorn, redis: Redis
) -> None:
    uid = accepted(serving.call("shop/long"))
    with serving.connect() as connection:
        connection.send(f"GET /v1/executions/{uid}/events HTTP/1.0\r\n\r\n".encode())
        assert "200 OK" in connection.line()
        eventually(lambda: awaited(redis) == {uid})
    eventually(lambda: not awaited(redis))


# --- Clients and processes that go away ---


def test_who_hangs_up_gives_the_place_back(serving: Gunicorn, redis: Redis) -> None:
    with waiting(serving, "shop/long"):
        eventually(lambda: len(awaited(redis)) == 1)
    eventually(lambda: not awaited(redis))
    with waiting(serving, "shop/long") as connection:
        eventually(lambda: len(awaited(redis)) == 1)
        connection.finish()  # who only says that nothing more is sent gets an answer
        accepted(connection.answer())


def test_a_call_behind_one_that_waits_is_answered_in_its_turn(serving: Gunicorn, redis: Redis) -> None:
    with waiting(serving, "shop/later") as connection:
        connection.send(request("GET", "/healthz", {"Host": "localhost"}))
        accepted(connection.answer())
        assert connection.answer().json == {"response": {"status": "alive"}}


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many files may be open as 2,000 connections take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_all_who_wait_for_one_execution_are_told_its_end(serving: Gunicorn, redis: Redis) -> None:
    uid = accepted(serving.call("shop/later"))
    asking = request("GET", f"/v1/executions/{uid}?wait=60", {"Host": "localhost", **ADMIN})
    with many(serving, 600, asking) as clients:
        eventually(lambda: awaited(redis) == {uid})
        eventually(lambda: all(client.is_waiting() for client in clients))
        assert acts.cancel(redis, uid, "ada") is Status.CANCELLED
        answers = Counter((answer.status, answer.json["response"].get("status")) for answer in map(_answer, clients))
    assert answers == {(200, "cancelled"): 600}


def _answer(client: Connection) -> Answer:
    return client.answer()


@pytest.mark.usefixtures("many_files")
def test_2000_waiters_hold_up_nobody_and_a_stop_answers_those_that_wait(
    redis_server: OwnRedis, redis: Redis, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(f"server: {{backlog: 100000}}\n{CONFIG}")
    (tmp_path / "work.py").write_text(WORK)
    asking = request("POST", at("shop/long"), {"Host": "localhost", "Content-Length": "0"})
    with Gunicorn(tmp_path, redis_server.url) as web, many(web, 2000, asking) as clients:
        eventually(lambda: sum(client.is_waiting() for client in clients) <= 1200, within=60)
        accepted(web.call("shop/never"))
        assert called(web, "shop/later", Prefer="wait=0").status == 202
        waits = [client for client in clients if client.is_waiting()]
        assert len(waits) > 500
        begin = time.monotonic()
        os.kill(web.pid, signal.SIGTERM)
        for client in waits:
            accepted(client.answer())
        assert time.monotonic() - begin < 10  # they would have waited for 60 seconds


def test_what_waits_while_redis_is_away_is_answered_when_its_time_is_over_or_redis_is_back(tmp_path: Path) -> None:
    with OwnRedis(tmp_path / "redis") as server:
        (tmp_path / "config.yaml").write_text(CONFIG)
        (tmp_path / "work.py").write_text(WORK)
        client = Redis.from_url(server.url)
        with (
            Gunicorn(tmp_path, server.url) as web,
            waiting(web, "shop/later") as short,
            waiting(web, "shop/long") as long,
        ):
            eventually(lambda: len(awaited(client)) == 2)
            (uid,) = [uid for uid in awaited(client) if client.hget(JOB + uid, "description") == b"shop/long"]
            server.kill()
            accepted(short.answer())
            assert long.is_waiting()
            server.start()
            cancel = f"/v1/executions/{uid}/cancel"
            eventually(lambda: web.call(cancel, headers=ADMIN).status == 202)
            assert long.answer().status == 424
        client.close()
