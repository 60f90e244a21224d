"""The list of APIs, and the switch on it and on an API's own page."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from redis import Redis

from tests.console.api_site import (
    CONFIG,
    KEY,
    ORDER,
    PASSWORD,
    XSS,
    clicked,
    figures,
    flip,
    listed,
    page_of,
    row,
    switch,
)
from tests.console.site import Browser, sign_in
from tests.console.site import page as page_of_answer
from tests.support import eventually
from tests.web.conftest import MakeSite
from tests.web.site import OPERATOR, TOKEN, Site, accepted, refusal
from trigger import store
from trigger.console import switching
from trigger.console.lists import ROWS


@pytest.fixture(scope="module")
def module_site(make_site: MakeSite) -> Site:
    return make_site(CONFIG, KEY=KEY)


@pytest.fixture
def own(make_site: MakeSite, redis: Redis) -> Browser:
    """A browser on an app of the test's own, whose file it may edit."""
    return sign_in(make_site(CONFIG, KEY=KEY))


def test_apis_are_listed_by_module_with_what_they_are(signed_in: Browser) -> None:
    page = signed_in.get("/console/apis")
    assert page.heading == "APIs"
    assert [heading.text for heading in page.main.all("h2")] == ["shop", "stock"]
    assert listed(page) == [
        "shop/get",
        "shop/off",
        "shop/order",
        "stock/alias",
        "stock/count",
        "stock/outside",
        "stock/report",
        "stock/shared",
    ]
    order = row(page, "shop/order")
    assert order.one("p").text == "Take an order"
    assert [order.one(of=of).text for of in ("how", "runs", "day")] == ["GET POST anybody", "starts hello", "no calls"]
    assert row(page, "stock/count").one(of="how").text == "POST token"
    assert row(page, "stock/report").one(of="auth").text == "password"
    link = row(page, "shop/get").one("a", text="examples.hello:greet")
    assert link["href"] == "/console/workflows/examples.hello%3Agreet"
    assert "8 APIs in 2 modules, 6 enabled." in page.text


def test_a_switch_says_what_is_in_force(signed_in: Browser) -> None:
    page = signed_in.get("/console/apis")
    assert switch(page, "shop/order")["aria-checked"] == "true"
    assert switch(page, "shop/off")["aria-checked"] == "false"


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("shop/", ["shop/get", "shop/off", "shop/order"]),
        ("ORDER take", ["shop/order"]),
        ("sold off", ["shop/off"]),
        ("examples.hello:greet", ["shop/get"]),
        ("report", ["stock/report"]),
    ],
    ids=["module", "description", "module's description", "workflow", "method"],
)
def test_search_finds_what_has_all_the_words(signed_in: Browser, search: str, found: list[str]) -> None:
    page = page_of(signed_in, q=search)
    assert listed(page) == found
    assert page.main.one("input", type="search")["value"] == search


@pytest.mark.parametrize("search", ["nowhere", XSS, "\x00", "é" * 5000, "%"])
def test_a_search_that_finds_nothing_says_what_it_looks_at(signed_in: Browser, search: str) -> None:
    page = page_of(signed_in, q=search)
    assert listed(page) == []
    assert "No API has all of these words in its module, method, descriptions or workflow." in page.text


def test_without_any_api_it_says_how_to_declare_one(make_site: MakeSite, redis: Redis) -> None:
    browser = sign_in(make_site(f"operators: {{admin: {OPERATOR}}}\nmodules: {{}}\n"))
    page = browser.get("/console/apis")
    assert page.main.one("h2").text == "No APIs yet"
    example = page.main.one("pre").raw
    site = make_site(f"operators: {{admin: {OPERATOR}}}\n{example}")
    assert accepted(site.call("shop/order"))


def test_calls_and_failures_of_24_hours_are_bars_and_words(signed_in: Browser, redis: Redis) -> None:
    figures(redis, "shop/order", calls_0=1, calls_2=1200, failed_2=600, calls_23=300, calls_25=9)
    day = row(signed_in.get("/console/apis"), "shop/order").one(of="day")
    assert day.text == "1,501 calls, 600 failed"
    chart = day.one("svg", role="img")
    assert chart["aria-label"] == "By hour, 1200 at most"
    assert chart.one("path", of="calls")["d"] == "M2 24v-6M86 24v-24M94 24v-1"
    assert chart.one("path", of="failures")["d"] == "M86 24v-12"


def test_real_calls_are_counted(signed_in: Browser, site: Site) -> None:
    accepted(site.call("shop/order", json={"sku": "A1"}))
    assert row(signed_in.get("/console/apis"), "shop/order").one(of="day").text == "1 call, 0 failed"
    assert "1 call, 0 failed; at most 1 in an hour" in signed_in.get(ORDER).main.one(id="activity").text


def many(count: int, description: str) -> str:
    modules = "".join(
        f"  module-{start:05d}:\n    description: {description}\n    methods:\n"
        + "".join(
            f"      method-{number:05d}: {{enabled: true, description: {description} {number}, workflow: hello, "
            f"auth: {{mode: token, token: {TOKEN}}}}}\n"
            for number in range(start, min(count, start + 500))
        )
        for start in range(0, count, 500)
    )
    return f"operators: {{admin: {OPERATOR}}}\nworkflows: {{hello: examples.hello:greet}}\nmodules:\n{modules}"


def test_ten_thousand_apis_come_a_page_at_a_time(make_site: MakeSite, redis: Redis) -> None:
    browser = sign_in(make_site(many(10_000, "All that can be said about it in a line or two " * 3)))
    busy = {f"{what}_{ago}": 10 + ago for what in ("calls", "failed") for ago in range(24)}
    for number in range(480, 560):
        figures(redis, f"module-{number // 500 * 500:05d}/method-{number:05d}", **busy)
    first = browser.get("/console/apis")  # which is checked to have less than 100 KB
    assert "10,000 APIs in 20 modules, 10,000 enabled." in first.text
    assert len(listed(first)) == ROWS
    tenth = browser.get("/console/apis?page=10")
    next_page = browser.get(tenth.main.one("a", text="Next")["href"].replace("&amp;", "&"))
    assert listed(next_page)[0] == "module-00500/method-00500"
    assert {element.text for element in next_page.main.all(of="day")} == {"516 calls, 516 failed"}
    assert "Page 11 of 200" in next_page.text
    last = browser.get("/console/apis?page=999999")
    assert listed(last)[-1] == "module-09500/method-09999"
    assert not last.main.all("a", text="Next")
    assert listed(browser.get("/console/apis?q=method-07777")) == ["module-07500/method-07777"]


@pytest.mark.parametrize("number", ["0", "-1", "x", "1e3", "٣", "9" * 400, ""])
def test_a_page_that_is_none_is_the_first(signed_in: Browser, number: str) -> None:
    assert len(listed(page_of(signed_in, page=number))) == 8


def test_the_switch_edits_that_one_value_and_the_next_page_shows_it(own: Browser) -> None:
    text = own.site.config.read_text()
    location = flip(own, "/console/apis?q=shop", "shop/off")
    assert location == "/console/apis?q=shop&page=1&switched=enabled&api=shop/off#shop/off"
    after = own.get(location)
    assert after.notices() == ["Enabled shop/off Undo"]
    assert after.main.one(id="shop/off") is row(after, "shop/off")  # where the browser goes to
    assert switch(after, "shop/off")["aria-checked"] == "true"
    assert accepted(own.site.call("shop/off"))
    edited = own.site.config.read_text()
    assert edited == text.replace("      off:\n        auth", "      off:\n        enabled: true\n        auth")
    path, form = clicked(own.get("/console/apis/shop/off"), "shop/off")
    location = own.post(path, {**form, "sure": "1"})
    assert location == "/console/apis/shop/off?switched=disabled&api=shop/off"
    assert own.site.config.read_text() == edited.replace("off:\n        enabled: true", "off:\n        enabled: false")
    after = own.get(location)
    assert after.notices() == ["Disabled shop/off Undo"]
    assert switch(after, "shop/off")["aria-checked"] == "false"
    assert after.main.one(of="heading").one(of="status").text == "disabled"
    assert refusal(own.site.call("shop/off")).code == "requestError.apiNotEnabled"


@pytest.mark.parametrize("where", ["/console/apis?q=order&page=1", ORDER])
def test_a_switch_is_undone_with_one_click(own: Browser, where: str) -> None:
    text = own.site.config.read_text()
    accepted(own.site.call("shop/order", json={"sku": "A1"}))  # in use: undoing asks nothing
    for _ in range(2):
        path, form = clicked(own.get(where), "shop/order")
        after = own.get(own.post(path, {**form, "sure": "1"}))
        undo = after.main.one("form", of="notice")
        button = undo.one("button", text="Undo")
        back = own.get(own.post(undo["action"], {**undo.form(), button["name"]: button["value"]}))
        assert back.notices() == ["Enabled shop/order Undo"]
        assert back.heading == after.heading
        assert own.site.config.read_text() == text


@pytest.mark.parametrize("where", ["/console/apis?q=order&page=1", ORDER])
def test_an_api_that_is_in_use_is_disabled_only_after_a_question(own: Browser, where: str) -> None:
    text = own.site.config.read_text()
    for _ in range(3):
        accepted(own.site.call("shop/order", json={"sku": "A1"}))
    path, form = clicked(own.get(where), "shop/order")
    question = page_of_answer(own.send(path, form))
    assert question.heading == "Disable shop/order?"
    assert "It was called 3 times in the last hour." in question.text
    assert own.site.config.read_text() == text
    back = own.get(question.main.one("a", text="Keep it enabled")["href"])
    assert switch(back, "shop/order")["aria-checked"] == "true"
    assert back.notices() == []
    sure = question.main.one("form")
    button = sure.one("button")
    after = own.get(own.post(sure["action"], {**sure.form(), button["name"]: button["value"]}))
    assert after.notices() == ["Disabled shop/order Undo"]
    assert after.heading == back.heading


def test_an_api_that_was_called_longer_ago_is_disabled_at_once(own: Browser, redis: Redis) -> None:
    uid = accepted(own.site.call("shop/order", json={"sku": "A1"}))
    redis.zadd(store.api_index_key("shop", "order"), {uid: (time.time() - 3700) * 1000})
    assert own.get(flip(own, ORDER, "shop/order")).notices() == ["Disabled shop/order Undo"]


def test_what_the_file_says_already_is_left(own: Browser) -> None:
    before = own.site.config.stat()
    location = own.post(f"{ORDER}/switch", {"enabled": "true"})
    assert own.get(location).notices() == ["shop/order was enabled already."]
    assert own.site.config.stat() == before


def test_a_switch_that_is_not_in_force_is_not_called_so(own: Browser) -> None:
    """As when the file gets a mistake elsewhere before the page that the switch leads to is made (found.md 22)."""
    location = flip(own, ORDER, "shop/order")
    text = own.site.config.read_text()
    own.site.config.write_text(text.replace("enabled: false", "enabled: true", 1))
    eventually(lambda: own.site.watcher.poll() or own.site.watcher.current.apis["shop", "order"].enabled)
    own.site.config.write_text(text.replace("workflow: hello", "workflow: hullo", 1))
    eventually(lambda: own.site.watcher.poll() or own.site.watcher.refused)
    _, notice = own.get(location).notices()
    assert notice.startswith("shop/order is enabled: that it was disabled is not in force.")


@pytest.mark.parametrize(
    "query",
    ["switched=enabled", "switched=enabled&api=no/such", "switched=x&api=shop/order", f"switched={XSS}&api={XSS}"],
)
def test_nothing_is_said_of_what_was_not_switched(signed_in: Browser, query: str) -> None:
    assert signed_in.get(f"/console/apis?{query}").notices() == []


def test_a_page_that_comes_from_another_process_waits_for_the_edit(
    own: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switching, "PATIENCE", 30.0)
    text = own.site.config.read_text()
    own.site.config.write_text(text.replace("      off:\n", "      off:\n        enabled: true\n"))
    assert switch(own.get("/console/apis?switched=enabled&api=shop/off"), "shop/off")["aria-checked"] == "true"


@pytest.mark.parametrize(
    ("api", "reason"),
    [
        ("stock/alias", "is an alias of, or merged from, something elsewhere"),
        ("stock/outside", "from outside the file"),
    ],
)
@pytest.mark.parametrize("where", ["/console/apis?q=stock&page=1", "/console/apis/{api}"])
def test_a_switch_that_can_not_be_made_says_why(signed_in: Browser, api: str, reason: str, where: str) -> None:
    text = signed_in.site.config.read_text()
    path, form = clicked(signed_in.get(where.format(api=api)), api)
    refused = signed_in.refused(path, form, status=409)
    (notice,) = refused.notices()
    assert notice.startswith(f"{api} was not {'disabled' if form['enabled'] == 'false' else 'enabled'}.")
    assert reason in notice
    assert "edit it by hand" in notice
    assert signed_in.site.config.read_text() == text
    assert refused.heading == ("APIs" if "q=" in where else api)
    assert switch(refused, api)["value"] == form["enabled"]  # can be tried again


def test_a_file_that_can_not_be_written_says_so(own: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "rename", read_only)
    path, form = clicked(own.get("/console/apis"), "shop/off")
    (notice,) = own.refused(path, form, status=409).notices()
    assert (
        notice
        == f"shop/off was not enabled. the config file {own.site.config} can't be replaced: Read-only file system"
    )
    assert [entry.name for entry in own.site.config.parent.glob(".config*")] == []


def test_while_the_file_has_mistakes_it_is_left_alone(own: Browser) -> None:
    own.site.config.write_text(own.site.config.read_text().replace("workflow: hello", "workflow: hullo", 1))
    eventually(lambda: own.site.watcher.refused)
    text = own.site.config.read_text()
    refused = own.refused("/console/apis/shop/off/switch", {"enabled": "true"}, status=409)
    layout, notice = refused.notices()
    assert layout == "The last edit of the config has mistakes and is not in force: see what is wrong."
    assert notice.startswith("shop/off was not enabled.")
    assert "'hullo' is not one of `workflows`" in notice
    assert own.site.config.read_text() == text


def test_an_edit_that_can_not_be_in_force_is_taken_back(make_site: MakeSite, redis: Redis) -> None:
    """As with a demo credential on a network, which is refused only once the API is enabled."""
    config = CONFIG.replace(f"{{mode: password, users: {{ada: {PASSWORD}}}}}", '{mode: token, token: "123456"}')
    config = config.replace("report:\n        enabled: true", "report:\n        enabled: false # not yet")
    browser = sign_in(make_site(config, KEY=KEY, TRIGGER_BIND="0.0.0.0:8080"))
    path, form = clicked(browser.get("/console/apis/stock/report"), "stock/report")
    refused = browser.refused(path, form, status=409)
    (notice,) = refused.notices()
    assert notice.startswith("stock/report was not enabled.")
    assert "demo credentials" in notice
    assert browser.site.config.read_text() == config
    assert browser.site.watcher.refused is None
    assert switch(refused, "stock/report")["aria-checked"] == "false"


@pytest.mark.parametrize("value", ["", "yes", "True", XSS])
def test_a_switch_is_on_or_off(signed_in: Browser, value: str) -> None:
    text = signed_in.site.config.read_text()
    signed_in.refused(f"{ORDER}/switch", {"enabled": value}, status=400)
    assert signed_in.site.config.read_text() == text


def test_who_switches_is_in_the_log(own: Browser, log: list[str]) -> None:
    flip(own, ORDER, "shop/order")
    assert any("shop/order: disabled by admin" in line for line in log)
