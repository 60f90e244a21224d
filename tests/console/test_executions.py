"""GET /console/executions: the list, its filters and its pages."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from redis import Redis

from tests.console.site import Browser, sign_in
from tests.store.conftest import FAILED, SUCCEEDED, Bench, api
from tests.support import OwnRedis
from tests.web.conftest import MakeSite
from tests.web.site import CONFIG, OPERATOR, TOKEN, Site, accepted, basic
from trigger import store
from trigger.store import listing, outcome

LIST = "/console/executions"
NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}"


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


def uids(browser: Browser, query: str = "") -> list[str]:
    """The uids that the list shows, in its order."""
    root = browser.get(LIST + query).root
    return [row["Execution"] for row in root.rows()] if root.all("table") else []


def links(browser: Browser, path: str) -> dict[str, str]:
    """Where the links to other pages of the list lead, by their words."""
    nav = [nav for nav in browser.get(path).main.all("nav") if nav.get("aria-label") == "Pages"]
    return {link.text: link["href"] for link in nav[0].all("a")}


def test_the_newest_come_first_with_what_has_become_of_them(site: Site, bench: Bench, signed_in: Browser) -> None:
    ended = bench.accept()
    bench.run(SUCCEEDED)
    failed = bench.accept(caller=None)
    bench.run(FAILED)
    waiting = bench.accept(api("front", "hello"), debug=True, rerun_of=ended)
    shown = signed_in.get(LIST)
    rows = shown.root.rows()
    assert [row["Execution"] for row in rows] == [waiting, failed, ended]
    assert [row["Status"] for row in rows] == ["queued", "failed", "succeeded"]
    assert [row["API"] for row in rows] == ["front/hello", "shop/restock", "shop/restock"]
    assert [row["Workflow"] for row in rows] == ["plain"] * 3
    assert [row["Caller"] for row in rows] == ["ci", "-", "ci"]
    assert [row["Attempt"] for row in rows] == ["-", "1", "1"]
    assert rows[0]["Took"] == "-"
    assert rows[2]["Took"].endswith((" ms", " s"))
    assert rows[0]["Remarks"] == "debug a rerun"
    assert rows[1]["Remarks"] == "ValueError: no stock"
    assert all("ago" in row["Accepted"] or row["Accepted"] == "just now" for row in rows)
    assert shown.main.one("a", text=failed)["href"] == f"{LIST}/{failed}"
    assert shown.main.one("a", text="a rerun")["href"] == f"{LIST}/{ended}"
    assert shown.main.one(id="list")["data-live"]


def test_without_any_it_says_what_to_do(site: Site, redis: Redis, signed_in: Browser) -> None:
    shown = signed_in.get(LIST)
    assert "Nothing was called yet" in shown.text
    assert shown.main.one("a", text="Look at the APIs")["href"] == "/console/apis"
    assert "No execution matches" in signed_in.get(f"{LIST}?status=failed").text


def test_filters_narrow_it(site: Site, redis: Redis, signed_in: Browser) -> None:
    ci = accepted(site.call("keyed/two", headers={"token": TOKEN}))
    off = accepted(site.call("open/get", "GET"))
    site.call(f"/v1/executions/{off}/cancel", headers=basic("admin", OPERATOR))
    both = sorted([ci, off], reverse=True)
    assert uids(signed_in, "?api=keyed") == uids(signed_in, "?api=keyed%2Ftwo") == uids(signed_in, "?caller=ci") == [ci]
    assert uids(signed_in, "?api=keyed/two&until=") == uids(signed_in, "?status=queued") == [ci]
    assert uids(signed_in, "?status=cancelled&since=1h") == [off]
    assert uids(signed_in, "?until=2001-01-01T00:00:00Z") == []
    assert uids(signed_in, "?api=&status=&since=&until=&caller=&uid=&cursor=&trail=") == both
    assert uids(signed_in, "?api=keyed/two&caller=nobody") == []


def test_filters_stay_in_the_form_and_times_are_explained(site: Site, redis: Redis, signed_in: Browser) -> None:
    accepted(site.call("open/any"))
    shown = signed_in.get(f"{LIST}?api=open/any&status=queued&since=2026-01-31T12:00:00Z&until=&caller=")
    assert shown.main.one("form", of="filters").form() == {
        "api": "open/any",
        "status": "queued",
        "since": "2026-01-31T12:00:00Z",
        "until": "",
        "caller": "",
        "uid": "",
    }
    assert "Accepted since 2026-01-31 12:00:00 UTC." in shown.text
    assert shown.main.one("a", text="Show all")["href"] == LIST


def test_a_uid_leads_to_its_page(site: Site, redis: Redis, signed_in: Browser) -> None:
    uid = accepted(site.call("open/any"))
    response = signed_in.open(f"{LIST}?uid=%20{uid}&status=failed")
    assert (response.status_code, response.location) == (303, f"{LIST}/{uid}")


@pytest.mark.parametrize(
    ("query", "field", "said"),
    [
        ("?since=tomorrow", "since", "must be a time such as"),
        ("?until=2026-31-31T00:00:00Z", "until", "must be a time such as"),
        ("?status=broken", "status", "must be one of queued, running"),
        ("?api=a/b/c", "api", "must be a module or module/method"),
        ("?api=a/", "api", "must be a module or module/method"),
        ("?uid=123", "uid", "must be the 25 digits of a whole uid"),
        ("?uid=" + "1" * 26, "uid", "must be the 25 digits of a whole uid"),
    ],
)
def test_mistakes_stand_beside_their_fields(
    site: Site, redis: Redis, signed_in: Browser, query: str, field: str, said: str
) -> None:
    accepted(site.call("open/any"))
    shown = signed_in.get(LIST + query)
    control = shown.main.one(id=field)
    assert said in shown.main.one(id=f"{field}-mistake").text
    assert (control["aria-invalid"], control["aria-describedby"]) == ("true", f"{field}-mistake")
    assert shown.main.all("table") == []
    assert shown.notices()
    everything = signed_in.get(f"{LIST}?since=x&until=y&caller=ci")
    assert len(everything.main.all(of="mistake")) == 2


@pytest.mark.parametrize("cursor", ["x", "AAAA", "Ä", "A" * 300, "%00"])
def test_a_broken_link_to_a_page_leads_to_the_newest(site: Site, redis: Redis, signed_in: Browser, cursor: str) -> None:
    shown = signed_in.get(f"{LIST}?status=failed&cursor={cursor}&trail=..x.%22")
    (notice,) = shown.notices()
    assert "This link is broken" in notice
    assert shown.main.one("a", text="go to the newest")["href"] == f"{LIST}?status=failed"


def test_one_goes_to_older_ones_and_back(site: Site, bench: Bench, signed_in: Browser) -> None:
    every = [bench.accept() for _ in range(120)][::-1]
    first = links(signed_in, f"{LIST}?caller=ci")
    assert first.keys() == {"Older"}
    second = links(signed_in, first["Older"])
    third = links(signed_in, second["Older"])
    assert [uids(signed_in, f"?{urlsplit(path).query}") for path in (first["Older"], second["Older"])] == [
        every[50:100],
        every[100:],
    ]
    assert third.keys() == {"Newer", "Newest"}
    assert third["Newer"] == first["Older"]
    assert second["Newer"] == second["Newest"] == f"{LIST}?caller=ci"
    assert parse_qs(urlsplit(second["Older"]).query)["caller"] == ["ci"]
    assert "data-live" not in signed_in.get(first["Older"]).main.one(id="list").attributes


def test_rare_ones_are_searched_for_further_back(
    site: Site, bench: Bench, signed_in: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "WALK", 10)
    old = bench.accept(caller="ada")
    for _ in range(15):
        bench.accept(caller="ci")
    new = bench.accept(caller="ada")
    shown = signed_in.get(f"{LIST}?caller=ada")
    assert [row["Execution"] for row in shown.root.rows()] == [new]
    (notice,) = shown.notices()
    assert notice.startswith("Of the 10 executions that were looked at, only these match; they go back to 20")
    further = shown.main.one("a", text="Search further back")["href"]
    assert [row["Execution"] for row in signed_in.get(further).root.rows()] == [old]
    (notice,) = signed_in.get(f"{LIST}?caller=nobody").notices()
    assert notice.startswith("Of the 10 executions that were looked at, none matches")


def test_an_api_is_typed_where_there_are_many(make_site: MakeSite, redis: Redis) -> None:
    methods = "".join(f"      m{n}: {{enabled: true, auth: {{mode: none}}, workflow: hello}}\n" for n in range(60))
    browser = sign_in(make_site(CONFIG + f"  many:\n    methods:\n{methods}"))
    assert browser.get(LIST).main.one(id="api").tag == "input"
    browser = sign_in(make_site())
    assert browser.get(LIST).main.one(id="api").tag == "select"
    assert browser.get(f"{LIST}?api=gone/since").main.one("form", of="filters").form()["api"] == "gone/since"


def test_what_callers_sent_is_inert_and_bounded(site: Site, bench: Bench, signed_in: Browser) -> None:
    for _ in range(50):
        bench.accept(caller=NASTY * 20)
        bench.run(outcome.failed(NASTY, NASTY * 100))
    shown = signed_in.get(f"{LIST}?caller={NASTY}&api={NASTY}&since={NASTY}&cursor={NASTY}&uid={NASTY}")
    assert shown.main.one(id="caller")["value"].startswith("<script>alert(1)</script>")
    shown = signed_in.get(LIST)  # which looks through every page for what runs, and how large it is
    assert len(shown.root.rows()) == 50
    assert shown.root.rows()[0]["Remarks"].startswith("<script>alert(1)</script>")


def test_a_record_that_is_broken_breaks_no_list(site: Site, bench: Bench, redis: Redis, signed_in: Browser) -> None:
    whole, broken = bench.accept(), bench.accept()
    for meta in ("[]", json.dumps({"workflow": [1], "caller": {"a": 1}, "rerun_of": "x'><b>", "debug": "x"}), b"\x80"):
        redis.hset(store.JOB + broken, "meta", meta)
        assert whole in uids(signed_in)


def test_it_is_for_operators_only(site: Site, redis: Redis) -> None:
    response = site.call(LIST, "GET")
    assert (response.status_code, response.location) == (303, "/console/sign-in?next=%2Fconsole%2Fexecutions")
    assert site.call(LIST, "POST").status_code == 405


def test_without_redis_it_says_so(make_site: MakeSite, tmp_path: Path) -> None:
    with OwnRedis(tmp_path / "data", fsync="no") as own:
        browser = sign_in(make_site(redis_url=own.url))
        own.kill()
        shown = browser.get(LIST, 503)
    assert shown.heading == "Records can't be read now; try again"
    assert shown.headers["retry-after"]
