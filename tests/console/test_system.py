"""GET /console/system: what the one who is woken at night looks at first."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.console.site import SYSTEM, Browser, Page, sign_in
from tests.store.conftest import FAILED, LATER, SUCCEEDED, Bench
from tests.support import OwnRedis, environment, eventually, process
from tests.web.conftest import MakeSite
from tests.web.site import CONFIG, OPERATOR, Site, accepted, basic
from trigger import __version__, store

TAKEN = "Accepting calls."


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


def card(page: Page, title: str) -> dict[str, str]:
    """The facts of the card with this heading."""
    (found,) = (section for section in page.main.all("section") if section.all("h2", text=title))
    return found.facts()


def queue(page: Page, name: str = "default") -> dict[str, str]:
    (row,) = (row for row in page.main.one(aria_label="Queues").rows() if row["Queue"] == name)
    return row


# Queues and workers


def test_it_says_whether_calls_are_taken(signed_in: Browser) -> None:
    page = signed_in.get(SYSTEM)
    assert page.heading == "System"
    assert page.notices() == [TAKEN]
    assert page.main.one(id="state")["data-live"] == "5"


def test_queues_are_shown_with_what_is_in_them(signed_in: Browser, bench: Bench) -> None:
    for _ in range(6):
        bench.accept()
    bench.run(SUCCEEDED)
    bench.run(LATER)
    bench.take()
    page = signed_in.get(SYSTEM)
    shown = queue(page)
    assert re.fullmatch(r"[0-9.]+ m?s", shown.pop("Oldest waits for"))
    counts = {"Waiting": "3", "Running": "1", "Retrying": "1", "Held back": "0", "Workers": "0"}
    assert shown == {"Queue": "default", **counts}
    assert "Queue default has no worker; 3 executions wait." in page.notices()
    assert "No worker is running" in page.text


def test_a_queue_that_no_workflow_names_any_more_is_shown_while_something_waits_in_it(
    signed_in: Browser, redis: Redis
) -> None:
    redis.sadd("rq:queues", "rq:queue:<i>old</i>")
    redis.zadd(store.waiting_key("<i>old</i>"), {"1": 0})
    page = signed_in.get(SYSTEM)
    assert queue(page, "<i>old</i>")["Waiting"] == "1"
    wrong = "Queue <i>old</i> has no worker; 1 execution waits, and no workflow of the config names it."
    assert wrong in page.notices()


def test_workers_are_shown_with_what_they_do(make_site: MakeSite, redis: Redis, redis_server: OwnRedis) -> None:
    site = make_site(CONFIG.replace("hello: examples.hello:greet", "hello: work:nap"))
    site.config.with_name("work.py").write_text("import time\ndef nap(value):\n    time.sleep(value)\n")
    browser = sign_in(site)
    with process(["worker"], environment(site.config.parent, redis_server.url), site.config.with_name("log")) as child:

        def worker() -> dict[str, str]:
            table = browser.get(SYSTEM).main.all(aria_label="Workers")
            return table[0].rows()[0] if table else {}

        eventually(lambda: worker().get("State") == "idle")
        assert worker()["Runs"] == "-"
        accepted(site.call("open/any", json=0))
        eventually(lambda: worker()["Succeeded"] == "1")
        uid = accepted(site.call("open/any", json=60))
        eventually(lambda: worker()["State"] == "busy")
        page = browser.get(SYSTEM)
        (shown,) = page.main.one(aria_label="Workers").rows()
        assert shown["Worker"].endswith(f"process {child.pid}")
        assert (shown["Queue"], shown["Succeeded"], shown["Failed"]) == ("default", "1", "0")
        assert re.fullmatch(rf"{uid} for [0-9.]+ m?s", shown["Runs"])
        assert page.main.one("a", text=uid)["href"] == f"/console/executions/{uid}"
        assert queue(page)["Workers"] == "1"
        child.kill()


def test_suspended_workers_are_told_of(signed_in: Browser, redis: Redis) -> None:
    redis.set("rq:suspended", 1)
    assert any("workers are suspended" in text for text in signed_in.get(SYSTEM).notices())


def test_an_execution_without_an_owner_is_told_of(signed_in: Browser, bench: Bench) -> None:
    uid = bench.accept()
    bench.take()
    seconds, _ = bench.redis.time()
    bench.redis.zadd(store.leased_key("default"), {uid: (seconds - 30) * 1000})
    notices = signed_in.get(SYSTEM).notices()
    assert any(re.search(r"queue default an execution has no owner for 3\d s", text) for text in notices)


# Redis


def test_redis_says_how_durable_it_is_and_how_full(signed_in: Browser, redis: Redis) -> None:
    page = signed_in.get(SYSTEM)
    facts = card(page, "Redis")
    assert "AOF on, fsync no: an answered call survives a crash of Redis" in page.text
    assert re.fullmatch(r"[0-9.]+ MiB", facts["Memory"])
    assert facts["Its maxmemory"] == "none"
    assert int(facts["Keys"]) == redis.dbsize()
    assert int(facts["Clients"]) >= 1
    assert "Free on its disk" not in facts  # it is not our private one
    meter = page.main.one("svg", of="meter")
    assert re.fullmatch(r"Memory: [0-9.]+ % of that up to which calls are accepted", meter["aria-label"])


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    with OwnRedis(tmp_path / "redis") as server:
        yield server


def test_why_calls_are_refused_is_shown(make_site: MakeSite, own_redis: OwnRedis) -> None:
    site = make_site(redis_url=own_redis.url)
    browser = sign_in(site)
    with Redis.from_url(own_redis.url) as redis:
        redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 100_000)
        refused = "No calls are accepted: Redis' memory is nearly used up."
        eventually(lambda: refused in browser.get(SYSTEM).notices())
        redis.config_set("maxmemory", 0)
        redis.config_set("appendonly", "no")
    page = browser.get(SYSTEM)
    assert "AOF off: an answered call is lost when Redis stops" in page.text
    assert any("has its append-only file off" in text for text in page.notices())


def test_it_works_with_redis_away(make_site: MakeSite, own_redis: OwnRedis) -> None:
    site = make_site(redis_url=own_redis.url)
    browser = sign_in(site)
    own_redis.kill()
    page = browser.get(SYSTEM)
    assert page.notices() == ["No calls are accepted: Redis can't be reached."]
    assert card(page, "Config in force")["File"] == "config.yaml"
    assert card(page, "Versions")["Trigger"] == __version__
    assert not page.main.all(aria_label="Queues")
    own_redis.start()
    eventually(lambda: browser.get(SYSTEM).notices() == [TAKEN])


def test_it_works_with_a_redis_that_will_not_do(make_site: MakeSite, own_redis: OwnRedis) -> None:
    site = make_site(redis_url=own_redis.url)
    browser = sign_in(site)
    with Redis.from_url(own_redis.url) as redis:
        redis.config_set("maxmemory", 10**9)
        redis.config_set("maxmemory-policy", "allkeys-lru")
    page = browser.get(SYSTEM)
    assert "drops accepted executions when memory is short" in page.notices()[0]
    assert card(page, "Redis")["Its maxmemory"] == "954 MiB"


# The config


def test_the_config_in_force_is_named_without_its_folder(signed_in: Browser) -> None:
    page = signed_in.get(SYSTEM)
    facts = card(page, "Config in force")
    assert (facts["File"], facts["Workflows"], facts["Records are kept for"]) == ("config.yaml", "1", "7 d")
    apis = signed_in.site.watcher.current.apis.values()
    assert facts["APIs"] == f"{len(apis)}, {sum(api.enabled for api in apis)} enabled"
    assert facts["Version"] == signed_in.site.watcher.current.digest[:12]
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", facts["In force since"])
    assert str(signed_in.site.config.parent) not in page.html


def broken(site: Site, mistakes: str) -> None:
    """An edit of the config that is refused."""
    site.config.write_text(site.config.read_text() + mistakes)
    eventually(lambda: site.watcher.poll() or site.watcher.refused)


def test_a_refused_edit_is_shown_with_all_its_mistakes(make_site: MakeSite) -> None:
    site = make_site()
    browser = sign_in(site)
    before = browser.get(SYSTEM)
    assert before.main.one(id="config").one("h2").text == "Config in force"
    broken(site, "<script>alert(1)</script>: 1\nretention: -1\nworkers: many\n")
    page = browser.get(SYSTEM)
    shown = page.main.one(id="config")
    assert [heading.text for heading in shown.all("h2")] == [
        "The last edit of the config was refused",
        "Config in force",
    ]
    refused = site.watcher.refused
    assert refused is not None
    assert len(refused.mistakes) == 3
    assert [item.text for item in shown.all("ul", of="mistakes")[0].all("li")] == [
        f"config.yaml:{m.line}:{m.column} {m.key} {m.message}" for m in refused.mistakes
    ]
    assert shown.facts() == before.main.one(id="config").facts()  # the version before is in force
    assert "The last edit of the config has mistakes" in browser.get("/console/refused").notices()[0]
    assert "mistakes" not in Browser(site).get("/console/sign-in").text


def test_a_python_file_that_does_not_import_is_shown_as_a_refused_edit_and_by_readyz(make_site: MakeSite) -> None:
    site = make_site()
    folder = site.config.parent
    (folder / "mine.py").write_text("def work(value): ...\n")
    site.edit("workflows:\n", "workflows:\n  mine: mine:work\n")
    version = site.watcher.current.version
    (folder / "mine.py").write_text("def work(value) ...\n")
    eventually(lambda: site.watcher.poll() or site.watcher.refused)
    config = json.loads(site.call("/readyz", "GET").data)["response"]["config"]
    assert config["digest"] == version
    assert config["refused"].startswith("1 mistake;")
    assert "importing 'mine' raised SyntaxError" in sign_in(site).get(SYSTEM).main.one(id="config").text
    assert "mine" not in sys.modules
    (folder / "mine.py").write_text("def work(value): return 2\n")
    eventually(lambda: site.watcher.poll() or not site.watcher.refused)
    assert "refused" not in json.loads(site.call("/readyz", "GET").data)["response"]["config"]


def test_of_many_mistakes_the_first_are_shown(make_site: MakeSite) -> None:
    site = make_site()
    browser = sign_in(site)
    broken(site, "".join(f"unknown{'x' * 300}{number}: 1\n" for number in range(300)))
    shown = browser.get(SYSTEM).main.one(id="config")
    assert len(shown.all("ul", of="mistakes")[0].all("li")) == 50
    assert "It has 300 mistakes." in shown.text
    assert "and 250 more mistakes" in shown.text


def test_what_is_unwise_in_the_config_is_shown(make_site: MakeSite) -> None:
    weak = CONFIG.replace("{mode: none}, workflow: hello}", "{mode: token, token: sh0rt}, workflow: hello}")
    page = sign_in(make_site(weak)).get(SYSTEM)
    warnings = page.main.one("details", id="warnings")
    assert "auth.token is shorter than 16 characters" in warnings.text
    assert "sh0rt" not in page.html


# Records


def test_records_and_the_reaper_are_counted(signed_in: Browser, bench: Bench) -> None:
    for _ in range(4):
        bench.accept()
    bench.run(SUCCEEDED)
    bench.run(FAILED)
    bench.take()
    bench.reap()
    bench.redis.lpush("rq:queue:default", "<img src=x onerror=alert(1)>")
    bench.take()
    page = signed_in.get(SYSTEM)
    facts = card(page, "Records")
    assert re.fullmatch(r"just now|\d+ s ago", facts.pop("Oldest"))
    assert facts == {
        "Kept": "4",
        "Failed or cancelled": "1: failed, cancelled",
        "Recovered from dead workers": "1",
        "Unreadable (dead letters)": "1",
    }
    for status in ("failed", "cancelled"):  # which are counted together, and listed apart
        link = page.main.one("a", text=status)["href"]
        assert link == f"/console/executions?status={status}"
        assert len(signed_in.get(link).main.all("tr", of="")) == (2 if status == "failed" else 0)
    (entry,) = page.main.one("ul", of="plain").all("li")
    assert entry.one("code").text == "<img src=x onerror=alert(1)>"


def test_it_stays_small_whatever_there_is(signed_in: Browser, redis: Redis) -> None:
    long = "q" * 60
    with redis.pipeline() as pipeline:
        for number in range(400):
            pipeline.sadd("rq:queues", f"rq:queue:{long}{number}")
            worker = f"rq:worker:{number:032d}"
            pipeline.sadd("rq:workers", worker)
            pipeline.hset(
                worker,
                mapping={
                    "queues": f"{long}{number}",
                    "hostname": "h" * 60,
                    "pid": 4_000_000,
                    "birth": "2026-01-31T12:00:00.000000Z",
                    "last_heartbeat": "2026-01-31T12:00:00.000000Z",
                },
            )
            pipeline.sadd(f"{worker}:executions", f"{number:025d}:x")
            pipeline.lpush(store.POISON, '{"at": "2026-01-31T12:00:00.000000Z", "entry": "' + "<" * 500 + '"}')
        pipeline.execute()
    page = signed_in.get(SYSTEM)  # which is measured
    assert "and 300 more workers" in page.text
    assert len(page.main.one(aria_label="Queues").rows()) == 50
    assert len(page.main.one("ul", of="plain").all("li")) == 10


def test_readyz_tells_everybody_no_more_than_before(make_site: MakeSite) -> None:
    site = make_site()
    answer = site.call("/readyz", "GET", headers=basic("admin", OPERATOR)).get_json()["response"]
    assert answer.keys() == {"status", "problems", "config", "redis", "workers", "queues"}
    assert answer["config"].keys() == {"digest", "apis"}
    assert answer["redis"].keys() == {"status", "durability", "reaped", "poisoned"}
    assert answer["queues"]["default"].keys() == {
        *("waiting", "running", "oldest_waiting_s", "oldest_without_owner_s"),
    }
