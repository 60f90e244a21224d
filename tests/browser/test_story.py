"""What a new user does, in a real browser, without reading anything first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.running import Service, Watched, service

SOON = 15_000  # milliseconds


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path) as running:
        yield running


def status_of(page: Page, word: str) -> None:
    """The execution's page says by itself, without a reload, that it is this now."""
    expect(page.locator("#now .status").first).to_have_text(word, timeout=SOON)


@pytest.mark.parametrize("width", [390, 1280])
def test_from_the_printed_link_to_the_resumed_execution(fresh: Service, browser: Browser, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844})
    page = context.new_page()
    watched = Watched(page)

    # signs in by the printed link, which counts once
    page.goto(fresh.link)
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    other = browser.new_context().new_page()
    answer = other.goto(fresh.link)
    assert answer is not None
    assert answer.status == 401
    other.context.close()

    # finds the API and enables it
    page.get_by_role("link", name="APIs", exact=True).click()
    page.get_by_label("Search").fill("article")
    page.get_by_role("button", name="Search").click()
    switch = page.get_by_role("switch", name="shop/restock enabled")
    expect(switch).to_have_attribute("aria-checked", "false")
    switch.click()
    expect(page.get_by_role("status")).to_contain_text("Enabled shop/restock")
    expect(page.get_by_role("switch", name="shop/restock enabled")).to_have_attribute("aria-checked", "true")
    text = fresh.config.read_text()
    assert "# Comments stay." in text
    assert "# mend this" in text

    # debugs it, and watches it fail
    page.get_by_role("link", name="restock").first.click()
    expect(page.get_by_role("heading", name="shop/restock")).to_be_visible()
    page.get_by_label("Input, as JSON").fill('{"sku": "A1", "cuont": 1}')
    page.get_by_role("button", name="Send as POST").click()
    expect(page.get_by_role("alert")).to_contain_text("did you mean count?")
    watched.complaints.clear()  # the browser notes that the answer was a 400
    page.get_by_label("Input, as JSON").fill('{"sku": "A1", "count": 12}')
    page.get_by_role("button", name="Send as POST").click()
    status_of(page, "failed")
    failed = page.url.partition("?")[0]
    expect(page.get_by_role("heading", name="Failed in step order")).to_be_visible()
    expect(page.locator("#now .status.debug")).to_be_visible()
    expect(page.get_by_role("region", name="Log")).to_contain_text("the warehouse says no", timeout=SOON)
    watched.is_well()

    # fixes the YAML, resumes
    fresh.config.write_text(fresh.config.read_text().replace("echo the warehouse says no >&2; exit 3", "echo ordered"))
    page.wait_for_timeout(2_000)  # in which an edit is in force, as the page says
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("status")).to_contain_text("it continues after the steps that are done")
    status_of(page, "succeeded")
    assert page.url.partition("?")[0] != failed
    expect(page.get_by_role("region", name="Log")).to_contain_text("told", timeout=SOON)
    expect(page.get_by_role("region", name="Log")).not_to_contain_text("counting")
    watched.is_well()
    context.close()


def test_a_running_execution_is_watched_and_cancelled(fresh: Service, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    watched = Watched(page)
    page.goto(fresh.link)
    page.goto(f"{fresh.address}/console/executions")
    uid = fresh.call("shop/slow", {})
    page.get_by_role("link", name=uid).click(timeout=SOON)  # the list shows it by itself
    status_of(page, "running")
    expect(page.get_by_role("region", name="Log")).to_contain_text(
        "tick 5", timeout=SOON
    )  # lines are added as they come
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    status_of(page, "cancelled")
    watched.is_well()
    context.close()


def test_an_edit_with_mistakes_is_shown_on_every_page_and_in_full_on_one(fresh: Service, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(fresh.link)
    fresh.config.write_text(fresh.config.read_text().replace("verbs: [POST]", "vebrs: [POST]"))
    for _ in range(20):
        page.goto(f"{fresh.address}/console/workflows")
        if page.get_by_role("status").count():
            break
        page.wait_for_timeout(250)
    page.get_by_role("link", name="see what is wrong").click()
    expect(page.locator("#config")).to_contain_text("did you mean 'verbs'?")
    context.close()


def test_the_console_is_used_without_scripts(fresh: Service, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(fresh.link)
    page.get_by_role("link", name="APIs", exact=True).click()
    page.get_by_role("switch", name="shop/restock enabled").click()
    expect(page.get_by_role("status")).to_contain_text("Enabled shop/restock")
    page.get_by_role("link", name="restock").first.click()
    page.get_by_role("button", name="Send as POST").click()
    page.wait_for_url("**/console/executions/*")
    for _ in range(40):
        page.reload()
        if page.locator("#now .status").first.text_content() == "failed":
            break
        page.wait_for_timeout(250)
    expect(page.get_by_role("heading", name="Failed in step order")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(f"{fresh.address}/console/executions")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    context.close()
