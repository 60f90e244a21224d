"""GET /console/: whether all is well, in one look, and a link from each problem to what shows it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.console.site import Browser, Element, Page, sign_in
from tests.store.conftest import FAILED, LATER, SUCCEEDED, Bench, api
from tests.support import OwnRedis, eventually
from tests.web.conftest import MakeSite
from tests.web.site import CONFIG, Site
from trigger import store
from trigger.console.overview import MAX_APIS
from trigger.store import acts
from trigger.store.keys import FAILING, FIGURES, REFUSED

PATH = "/console/"
FAILED_ONES = "/console/executions?status=failed&since=24h"
WELL = "All is well: accepting calls, and nothing failed in the last 24 hours."


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


@pytest.fixture
def keep(redis: Redis, site: Site) -> None:
    """What was counted before must not come while a test looks."""
    site.flask.close()
    redis.delete(REFUSED)


def facts(page: Page, title: str) -> dict[str, str]:
    """Those of the panel with this heading."""
    return panel(page, title).facts()


def rows(page: Page) -> list[dict[str, str]]:
    return page.main.one(aria_label="Executions, the newest first").rows()


def panel(page: Page, title: str) -> Element:
    (found,) = (section for section in page.main.all("section") if section.all("h2", text=title))
    return found


def problems(page: Page) -> dict[str, str]:
    """What is wrong, and where each link leads."""
    (notice,) = page.main.all("div", of="notice")
    return {item.text: item.one("a")["href"] for item in notice.all("li")}


@pytest.fixture
def worker(redis: Redis) -> str:
    """The key of a worker that lives."""
    key = "rq:worker:one"
    redis.hset(key, mapping={"state": "idle", "last_heartbeat": "2026-01-31T12:00:00.000000Z"})
    for workers in ("rq:workers", "rq:workers:default"):
        redis.sadd(workers, key)
    return key


@pytest.mark.usefixtures("keep", "worker")
def test_when_all_is_well_it_says_so(signed_in: Browser, bench: Bench) -> None:
    bench.accept()
    bench.run(SUCCEEDED)
    page = signed_in.get(PATH)
    assert page.heading == "Overview"
    assert page.notices() == [WELL]
    assert page.main.one(id="overview")["data-live"] == "5"
    shown = facts(page, "Last 24 hours")
    assert shown == {"Succeeded": "1", "Failed": "0", "Cancelled": "0", "Success rate": "100 %"}
    assert panel(page, "Refused calls").text.endswith("None in the last 24 hours.")
    assert panel(page, "Failing APIs").text.endswith("None in the last 24 hours.")
    assert facts(page, "Config in force")["Last edit"] == "in force"
    assert page.root.one("head").one("title").text == "Overview · Trigger"
    assert not page.root.all("a", of="count")


def test_without_a_worker_not_all_is_well(signed_in: Browser, redis: Redis, worker: str) -> None:
    assert signed_in.get(PATH).notices() == [WELL]
    redis.delete(worker)
    assert list(problems(signed_in.get(PATH))) == ["Queue default has no worker. System"]


@pytest.mark.usefixtures("keep", "worker")
def test_what_failed_is_counted_and_leads_to_it(signed_in: Browser, bench: Bench) -> None:
    for result in (SUCCEEDED, FAILED, FAILED, LATER):
        bench.accept()
        bench.run(result)
    bench.accept(api("mail", "report"))
    bench.run(FAILED)
    acts.cancel(bench.redis, bench.accept(), "ada")
    page = signed_in.get(PATH)
    (wrong,) = problems(page).items()
    assert wrong == (
        "3 executions failed in the last 24 hours. show them",
        "/console/executions?status=failed&since=24h",
    )
    assert len(rows(signed_in.get(wrong[1]))) == 3
    shown = facts(page, "Last 24 hours")
    assert shown == {"Succeeded": "1", "Failed": "3", "Cancelled": "1", "Success rate": "25 %"}
    failing = [item.text for item in panel(page, "Failing APIs").all("li")]
    assert sorted(failing) == ["mail/report1 failed of 1 call", "shop/restock2 failed of 5 calls"]
    link = panel(page, "Failing APIs").one("a", text="2 failed")["href"]
    assert len(rows(signed_in.get(link))) == 2
    assert facts(page, "Now")["Retrying"] == "1"


def test_each_page_counts_the_failures_in_its_title_and_beside_its_sections(signed_in: Browser, bench: Bench) -> None:
    for _ in range(2):
        bench.accept()
        bench.run(FAILED)
    for path in (
        PATH,
        "/console/apis",
        "/console/workflows",
        "/console/executions",
        "/console/refused",
        "/console/system",
    ):
        page = signed_in.get(path)
        assert page.root.one("head").one("title").text.startswith("(2) ")
        count = page.root.one("nav", id="sections").one("a", of="count")
        assert (count.text, count["href"]) == ("2 failed", FAILED_ONES)
    assert "failed" not in Browser(signed_in.site).get("/console/sign-in").root.one("header").text


def test_what_waits_for_long_is_told_of(signed_in: Browser, bench: Bench) -> None:
    uid = bench.accept()
    bench.accept()
    page = signed_in.get(PATH)
    assert "Queue default has no worker; 2 executions wait. System" in problems(page)
    assert facts(page, "Now")["Waiting"] == "2"
    seconds, _ = bench.redis.time()
    bench.redis.zadd(store.waiting_key("default"), {uid: (seconds - 720) * 1000})
    page = signed_in.get(PATH)
    assert problems(page)["The oldest of 2 waiting executions has waited for 12 min. what waits"] == (
        "/console/executions?status=queued"
    )
    assert facts(page, "Now")["Oldest waits for"].startswith("12 min")


@pytest.mark.usefixtures("keep")
def test_refused_calls_are_counted_by_reason(signed_in: Browser) -> None:
    for _ in range(3):
        signed_in.site.call("keyed/one")
    signed_in.site.call("no/such")
    signed_in.site.flask.close()
    refused = panel(signed_in.get(PATH), "Refused calls")
    assert [item.text for item in refused.all("li")] == ["requestError.invalidParams 3", "requestError.apiNotFound 1"]
    for item in refused.all("li"):
        assert "No call" not in signed_in.get(item.one("a")["href"]).text


def test_an_edit_that_was_refused_is_shown_with_its_mistake(make_site: MakeSite) -> None:
    site = make_site()
    browser = sign_in(site)
    site.config.write_text(site.config.read_text() + "retention: -1\n")
    eventually(lambda: site.watcher.poll() or site.watcher.refused)
    page = browser.get(PATH)
    text = "The last edit of config.yaml was refused and is not in force. its mistakes"
    assert problems(page)[text] == "/console/system#config"
    assert "config.yaml:" in panel(page, "The last edit was refused").text
    assert "retention" in panel(page, "The last edit was refused").text
    assert facts(page, "Config in force")["Last edit"] == "refused"


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    with OwnRedis(tmp_path / "redis") as server:
        yield server


def test_it_works_with_redis_away(make_site: MakeSite, own_redis: OwnRedis) -> None:
    browser = sign_in(make_site(redis_url=own_redis.url))
    own_redis.kill()
    page = browser.get(PATH, 503)
    assert list(problems(page)) == ["No calls are accepted: Redis can't be reached. System"]
    assert facts(page, "Config in force")["Last edit"] == "in force"
    own_redis.start()
    eventually(lambda: browser.open(PATH).status_code == 200)


def test_it_is_small_and_asks_redis_the_same_with_many_apis_that_fail(make_site: MakeSite, redis: Redis) -> None:
    browser = sign_in(make_site(CONFIG))
    hour = int(time.time() // 3600)

    def asked() -> int:
        before = redis.info("stats")["total_commands_processed"]
        page = browser.get(PATH)  # which is measured
        assert len(panel(page, "Failing APIs").all("li")) <= MAX_APIS
        return int(redis.info("stats")["total_commands_processed"] - before)

    names = [f"m{number % 100:02d}{'x' * 50}/a{number:05d}{'y' * 50}" for number in range(2_000)]
    redis.zadd(FAILING, dict.fromkeys(names[:MAX_APIS], hour))
    few = asked()
    redis.zadd(FAILING, dict.fromkeys(names, hour))
    with redis.pipeline() as pipeline:
        for name in names:
            pipeline.hset(f"{FIGURES}api:{name}", mapping={f"failed@{hour - ago}": 9 for ago in range(24)})
        pipeline.execute()
    assert asked() < 2 * few  # others ask meanwhile
    assert "and 1,990 more APIs" in panel(browser.get(PATH), "Failing APIs").text


def test_an_api_that_is_not_in_the_config_any_more_is_shown_too(signed_in: Browser, bench: Bench) -> None:
    bench.accept(api("gone", "away"))
    bench.run(FAILED)
    (item,) = panel(signed_in.get(PATH), "Failing APIs").all("li")
    assert re.fullmatch(r"gone/away1 failed of 1 call", item.text)
