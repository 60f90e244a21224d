"""What follows by itself leaves alone what the reader does: what is open, marked, scrolled or in the focus stays."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from tests.browser.running import CONFIG, Service, Watched, service, sign_in

STEPS = """\
  long:
    steps:
      - {name: first, python: "work:count"}
      - {name: then, python: "work:slow"}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    config = CONFIG.replace("workflows:\n", f"workflows:\n{STEPS}").replace(
        "      slow: {", "      long: {enabled: true, auth: {mode: none}, workflow: long}\n      slow: {"
    )
    with service(tmp_path_factory.mktemp("following"), config) as running:
        yield running


@pytest.fixture
def page(browser: Browser, site: Service) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 600})
    sign_in(context, site)
    yield context.new_page()
    context.close()


def test_an_execution_is_followed_while_one_reads(page: Page, site: Service) -> None:
    watched = Watched(page)
    uid = site.call("shop/long", {"sku": "A1"})
    site.becomes(uid, "running")
    page.goto(f"{site.address}/console/executions/{uid}")
    expect(page.locator("#step-1 .status")).to_have_text("succeeded")
    page.locator("#step-1 summary").click()
    page.locator("#spans summary").click()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#input-text'))")
    page.evaluate("scrollTo(0, 200); window.before = document.querySelector('#step-1')")
    took = page.locator(".whole .number").first
    for _ in range(2):
        expect(took).not_to_have_text(took.inner_text())
    assert page.evaluate("before === document.querySelector('#step-1') && before.open")
    assert page.evaluate("document.activeElement === document.querySelector('#spans summary')")
    assert page.evaluate("getSelection().toString()").split() == ["{", '"sku":', '"A1"', "}"]
    assert page.evaluate("scrollY") == 200
    lines = page.locator("ol.log[data-log] li")
    expect(lines.filter(has_text="tick 20")).to_have_count(1, timeout=20_000)
    assert page.evaluate(
        "(list => list.scrollTop + list.clientHeight >= list.scrollHeight - 8)(document.querySelector('ol.log'))"
    )
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#step-2 .status")).to_have_text("cancelled", timeout=20_000)
    expect(page.locator("#now")).not_to_have_attribute("data-live", "1")
    expect(page.locator("#failure-title")).to_have_text("Cancelled")
    watched.is_well()


def test_the_list_follows_but_not_under_the_pointer(page: Page, site: Service) -> None:
    watched = Watched(page)
    page.clock.install()  # the page's time goes on when we say so
    first = site.call("front/hello", {"name": "Ada"})
    page.goto(f"{site.address}/console/executions")
    row = page.locator(f"#e{first}")
    expect(row).to_be_visible()
    second = site.call("front/hello", {"name": "Ada"})
    page.clock.run_for(2_000)
    expect(page.locator(f"#e{second}")).to_be_visible()
    assert page.locator("tbody tr").first.get_attribute("id") == f"e{second}"
    row.hover()
    third = site.call("front/hello", {"name": "Ada"})
    looks: list[str] = []
    page.on("request", lambda request: looks.append(request.url))
    for _ in range(3):
        page.clock.run_for(2_000)
    assert looks == []
    page.mouse.move(0, 0)
    page.clock.run_for(2_000)
    expect(page.locator(f"#e{third}")).to_be_visible()
    watched.is_well()


def test_a_page_that_is_cut_off_says_since_when_and_counts_no_further(page: Page, site: Service) -> None:
    watched = Watched(page)
    uid = site.call("shop/slow", {})
    site.becomes(uid, "running")
    page.goto(f"{site.address}/console/executions/{uid}")
    took = page.locator(".whole .number").first
    expect(took).not_to_have_text(took.inner_text())
    page.context.set_offline(True)
    notice = page.locator("#stale")
    expect(notice).to_have_text(re.compile(r"Not updated since \d\d:\d\d:\d\d; trying again\."))
    said, shown = notice.inner_text(), took.inner_text()
    before = len(watched.complaints)
    eventually_more(page, watched, before)  # has looked again, in vain
    assert (notice.inner_text(), took.inner_text()) == (said, shown)
    watched.complaints.clear()  # of the network
    watched.is_well()
    page.context.set_offline(False)
    expect(notice).to_have_count(0)
    expect(took).not_to_have_text(shown)
    requests.post(f"{site.address}/v1/executions/{uid}/cancel", auth=("admin", site.password), timeout=20)


def eventually_more(page: Page, watched: Watched, before: int) -> None:
    for _ in range(100):
        if len(watched.complaints) >= before + 2:
            return
        page.wait_for_timeout(100)
    raise AssertionError("the page looks no more")


def test_the_overview_and_the_title_follow(page: Page, site: Service) -> None:
    watched = Watched(page)
    page.clock.install()  # the page's time goes on when we say so
    page.goto(f"{site.address}/console/")
    before = page.title()
    uid = site.call("shop/fails", {})
    site.becomes(uid, "failed")
    page.clock.run_for(5_000)
    expect(page).not_to_have_title(before)
    expect(page).to_have_title(re.compile(r"\(\d+\) Overview · Trigger"))
    expect(page.locator("#sections .count")).to_have_text(re.compile(r"\d+ failed"))
    expect(page.locator("#overview .notice")).to_contain_text("failed in the last 24 hours")
    page.clock.resume()
    watched.is_well()
