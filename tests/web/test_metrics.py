"""GET /metrics: who may read it, what it says, and that it is the same whichever process is asked."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families
from redis import Redis
from werkzeug.test import TestResponse

from tests.store.conftest import FAILED, LATER, SUCCEEDED, Bench, api
from tests.support import OwnRedis, environment, eventually, process
from tests.web.conftest import MakeSite
from tests.web.site import CONFIG, OPERATOR, TOKEN, Gunicorn, Site, accepted, basic, refusal
from trigger import store
from trigger.config.model import Workflow
from trigger.store import acts
from trigger.web import metrics_view
from trigger.web.metrics import Figures

ADMIN = basic("admin", OPERATOR)
OPENMETRICS = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,*/*;q=0.1"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(autouse=True)
def _always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was answered a moment ago would hide what a test has done since."""
    monkeypatch.setattr(metrics_view, "FRESH", 0.0)


def scrape(site: Site, **headers: str) -> TestResponse:
    site.flask.close()  # writes what was counted, which otherwise comes within a second
    return site.call("/metrics", "GET", headers={**ADMIN, **headers})


def samples(text: str) -> Samples:
    found: Samples = {}
    for family in text_families(text):
        for sample in family.samples:
            found[sample.name, frozenset(sample.labels.items())] = sample.value
    return found


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def count(found: Samples, name: str, **labels: str) -> float:
    """0 where there is none yet."""
    return found.get((name, frozenset(labels.items())), 0)


def of_name(found: Samples, name: str) -> Mapping[frozenset[tuple[str, str]], float]:
    return {labels: number for (named, labels), number in found.items() if named == name}


@pytest.fixture
def fresh(site: Site, redis: Redis) -> Site:
    site.flask.close()
    redis.flushall()
    return site


# --- who may read it ---


def test_operators_may_read_it_and_nobody_else(fresh: Site, redis: Redis) -> None:
    assert scrape(fresh).status_code == 200
    missing = fresh.call("/metrics", "GET")
    assert refusal(missing).message == "User/Password is required"
    assert missing.headers["WWW-Authenticate"].startswith("Basic ")
    assert refusal(fresh.call("/metrics", "GET", headers=basic("admin", "wrong"))).status == 401
    assert refusal(fresh.call("/metrics", "GET", headers={"token": TOKEN})).status == 401


def test_it_may_be_open_to_everybody(make_site: MakeSite, redis: Redis) -> None:
    site = make_site(CONFIG + "metrics: public\n")
    assert site.call("/metrics", "GET").status_code == 200
    assert refusal(site.call("/metrics", "POST")).status == 405


def test_it_may_be_off(make_site: MakeSite, redis: Redis) -> None:
    site = make_site(CONFIG + "metrics: 'off'\n")
    for method in ("GET", "POST"):
        answer = refusal(site.call("/metrics", method, headers=ADMIN))
        assert (answer.status, answer.message) == (404, "There is nothing at this path")


def test_a_scrape_is_no_line_in_the_log_unless_it_is_refused(fresh: Site, log: list[str]) -> None:
    scrape(fresh)
    fresh.call("/metrics", "GET")
    assert [line for line in log if "/metrics" in line and "status=200" in line] == []
    assert len([line for line in log if "/metrics" in line and "status=401" in line]) == 1


# --- how it is said ---


def test_it_is_prometheus_text_unless_openmetrics_is_asked_for(fresh: Site) -> None:
    accepted(fresh.call("open/any"))
    text = scrape(fresh)
    assert text.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert text.headers["Cache-Control"] == "no-store"
    assert text.headers["X-Content-Type-Options"] == "nosniff"
    asked = scrape(fresh, Accept=OPENMETRICS)
    assert asked.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert asked.text.endswith("# EOF\n")
    names = {family.name for family in openmetrics_families(asked.text)}
    assert names == {family.name.removesuffix("_total") for family in text_families(text.text)}
    for other in ("text/html", "*/*", "application/openmetrics-text;q=0", "x" * 1000, ";=,;"):
        assert scrape(fresh, Accept=other).headers["Content-Type"] == text.headers["Content-Type"]


def test_head_is_answered_without_a_body(fresh: Site) -> None:
    answer = fresh.call("/metrics", "HEAD", headers=ADMIN)
    assert (answer.status_code, answer.data) == (200, b"")


# --- what it says ---


def test_calls_by_api_and_outcome_and_how_long_they_took(fresh: Site, redis: Redis) -> None:
    for _ in range(3):
        accepted(fresh.call("open/any"))
    fresh.call("keyed/one", headers={"token": "wrong"})
    fresh.call("no/such")
    found = samples(scrape(fresh).text)

    def calls(module: str, method: str, outcome: str) -> float:
        return value(found, "trigger_calls_total", module=module, method=method, outcome=outcome)

    assert calls("open", "any", "accepted") == 3
    assert calls("keyed", "one", "accepted") == 0
    assert calls("keyed", "one", "requestError.unauthorized") == 1
    assert calls("", "", "requestError.apiNotFound") == 1
    assert value(found, "trigger_call_seconds_count", outcome="accepted") == 3
    assert value(found, "trigger_call_seconds_count", outcome="refused") == 2
    assert value(found, "trigger_call_seconds_count", outcome="failed") == 0
    assert value(found, "trigger_call_seconds_bucket", outcome="accepted", le="+Inf") == 3
    assert value(found, "trigger_call_seconds_sum", outcome="accepted") > 0
    apis = {dict(labels)["method"] for labels in of_name(found, "trigger_calls_total")}
    assert apis == {"any", "one", ""}  # only those that were called


def test_executions_attempts_and_durations(fresh: Site, redis: Redis) -> None:
    bench = Bench(redis)
    for result in (SUCCEEDED, SUCCEEDED, FAILED):
        bench.accept()
        bench.run(result)
    bench.accept()
    bench.run(LATER)
    acts.cancel(redis, bench.accept(), "ada")
    found = samples(scrape(fresh).text)
    of = {"module": "shop", "method": "restock"}
    ended = {status: value(found, "trigger_executions_total", **of, status=status) for status in store.FINAL}
    assert ended == {"succeeded": 2, "failed": 1, "cancelled": 1}
    attempts = {dict(labels)["outcome"]: n for labels, n in of_name(found, "trigger_attempts_total").items()}
    assert attempts == {"succeeded": 2, "failed": 1, "retried": 1, "interrupted": 0}
    assert value(found, "trigger_execution_seconds_count", workflow="plain") == 2
    assert value(found, "trigger_execution_seconds_bucket", workflow="plain", le="86400.0") == 2
    assert value(found, "trigger_records") == 5
    assert value(found, "trigger_queue_retrying", queue="default") == 1


def test_queues_their_age_and_their_workers(fresh: Site, redis: Redis, redis_server: OwnRedis, tmp_path: Path) -> None:
    bench = Bench(redis)
    bench.accept(api(workflow=Workflow(name="other", python="work:other", timeout=60, queue="elsewhere")))
    before = redis.time()[0]
    redis.zadd(store.waiting_key("elsewhere"), {b"older": (before - 100) * 1000})
    redis.sadd("rq:queues", "rq:queue:empty")  # which the config names no more, and holds nothing
    (tmp_path / "config.yaml").write_text("modules: {}\n")
    with process(["worker"], environment(tmp_path, redis_server.url), tmp_path / "log"):
        eventually(lambda: redis.scard("rq:workers:default"))
        found = samples(scrape(fresh).text)
    waiting = {dict(labels)["queue"]: n for labels, n in of_name(found, "trigger_queue_waiting").items()}
    assert waiting == {"default": 0, "elsewhere": 2}
    assert value(found, "trigger_queue_oldest_waiting_seconds", queue="default") == 0
    assert value(found, "trigger_queue_oldest_waiting_seconds", queue="elsewhere") >= 100
    assert value(found, "trigger_workers", queue="default", state="idle") == 1
    assert value(found, "trigger_workers", queue="default", state="busy") == 0
    assert value(found, "trigger_workers", queue="elsewhere", state="idle") == 0


def test_the_reaper_and_what_was_put_aside(fresh: Site, redis: Redis) -> None:
    bench = Bench(redis)
    uid = bench.accept()
    taken = bench.take()
    assert taken
    found = samples(scrape(fresh).text)
    assert value(found, "trigger_queue_running", queue="default") == 1
    assert value(found, "trigger_reaped_total") == 0
    redis.zadd(store.leased_key("default"), {uid: (redis.time()[0] - 50) * 1000})
    assert value(samples(scrape(fresh).text), "trigger_queue_oldest_unowned_seconds", queue="default") >= 50
    bench.reap()
    redis.rpush("rq:queue:default", "junk")
    assert bench.take()
    assert bench.take() is None
    found = samples(scrape(fresh).text)
    assert value(found, "trigger_reaped_total") == 1
    assert value(found, "trigger_poisoned_total") == 1


def test_the_config_and_its_edits(make_site: MakeSite, redis: Redis) -> None:
    site = make_site()
    site.flask.close()
    redis.flushall()
    found = samples(scrape(site).text)
    assert value(found, "trigger_config_apis", state="enabled") == 11
    assert value(found, "trigger_config_apis", state="disabled") == 2
    assert value(found, "trigger_config_refused") == 0
    site.edit("backlog: 50", "backlog: 51")
    site.config.write_text("modules: [")
    eventually(lambda: site.watcher.poll() or site.watcher.refused)
    found = samples(scrape(site).text)
    assert value(found, "trigger_config_refused") == 1
    assert value(found, "trigger_config_edits_total", outcome="taken") == 1
    assert value(found, "trigger_config_edits_total", outcome="refused") == 1


def test_redis_and_whether_calls_are_taken(make_site: MakeSite, tmp_path: Path) -> None:
    with OwnRedis(tmp_path / "data", fsync="no") as server:
        site = make_site(redis_url=server.url)
        found = samples(scrape(site).text)
        assert value(found, "trigger_redis_up") == value(found, "trigger_ready") == 1
        assert value(found, "trigger_redis_memory_bytes") > 100_000
        assert value(found, "trigger_redis_memory_limit_bytes") == 0
        Redis.from_url(server.url).config_set("maxmemory", 100_000)
        eventually(lambda: value(samples(scrape(site).text), "trigger_ready") == 0)
        found = samples(scrape(site).text)
        assert value(found, "trigger_redis_up") == 1
        assert value(found, "trigger_redis_memory_limit_bytes") == 100_000
        server.kill()
        away = scrape(site)
        assert away.status_code == 200
        found = samples(away.text)
        assert value(found, "trigger_redis_up") == value(found, "trigger_ready") == 0
        assert value(found, "trigger_config_apis", state="enabled") == 11
        assert not of_name(found, "trigger_records")


def test_no_secret_and_nothing_that_callers_have_sent_is_in_it(fresh: Site) -> None:
    for secret in ("caller-sent-this", TOKEN, OPERATOR):
        fresh.call(f"/v1/api/{secret}/{secret}/async?{secret}", headers={"token": secret})
        fresh.call("keyed/one", headers={"token": f"{secret}x"}, json={secret: secret})
    text = scrape(fresh).text
    assert not any(secret in text for secret in ("caller-sent-this", TOKEN, OPERATOR))


# --- how much it costs ---


def test_it_is_made_once_a_second_for_all_who_ask(
    make_site: MakeSite, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_view, "FRESH", 60.0)
    site = make_site(CONFIG + "metrics: public\n")
    entered, go_on = threading.Semaphore(0), threading.Event()
    made = 0
    real = Figures.exposition

    def slow(self: Figures, *, openmetrics: bool) -> tuple[bytes, str]:
        nonlocal made
        made += 1
        entered.release()
        assert go_on.wait(30)
        return real(self, openmetrics=openmetrics)

    monkeypatch.setattr(Figures, "exposition", slow)
    answers: list[TestResponse] = []

    def ask() -> None:
        answers.append(site.call("/metrics", "GET"))

    callers = [threading.Thread(target=ask) for _ in range(10)]
    callers[0].start()
    assert entered.acquire(timeout=30)
    for caller in callers[1:]:
        caller.start()
    assert answers == []
    go_on.set()
    for caller in callers:
        caller.join()
    assert [answer.status_code for answer in answers] == [200] * 10
    ask()
    assert made == 1


# --- several processes ---


def test_two_processes_and_a_restart_give_the_sum_of_all_calls(
    redis: Redis, redis_server: OwnRedis, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    web = Gunicorn(tmp_path, redis_server.url)

    def counted() -> tuple[float, float]:
        """Accepted and refused calls, if two scrapes in a row, of whichever process, say the same."""
        answers = [web.call("/metrics", "GET", headers=ADMIN) for _ in range(2)]
        assert [answer.status for answer in answers] == [200, 200]
        calls = [
            (
                count(found, "trigger_calls_total", module="open", method="any", outcome="accepted"),
                count(found, "trigger_call_seconds_count", outcome="refused"),
            )
            for found in (samples(answer.body.decode()) for answer in answers)
        ]
        return calls[0] if calls[0] == calls[1] else (0, 0)

    with web:
        for _ in range(30):
            accepted(web.call("open/any", body=b"{}"))
            web.call("keyed/one")
        eventually(lambda: len(list(redis.scan_iter("trigger:figures:sender:*"))) == 2)  # each had some of them
        eventually(lambda: counted() == (30, 30))
    with web:
        eventually(lambda: counted() == (30, 30))
        accepted(web.call("open/any", body=b"{}"))
        eventually(lambda: counted() == (31, 30))
