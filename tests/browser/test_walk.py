"""Every page, on a phone and on a desk, in light and in dark: no complaints, no serious fault, nothing too wide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.running import Service, Watched, sign_in

WIDTHS = {"phone": (390, 844), "tablet": (768, 1024), "desk": (1280, 800), "wide": (1920, 1080)}


@pytest.fixture(scope="module")
def uids(site: Service) -> dict[str, str]:
    """An execution of each kind, by what has become of it."""
    found = {
        "succeeded": site.call("shop/report", {"day": "today"}),
        "failed": site.call("shop/fails", {"sku": "<img src=x onerror=alert(1)>"}),
        "running": site.call("shop/slow", {}),
    }
    for status, uid in found.items():
        site.becomes(uid, status)
    return found


@pytest.fixture(scope="module", params=zip(WIDTHS, ("light", "dark", "light", "dark"), strict=True), ids="-".join)
def watched(request: Any, browser: Browser, site: Service) -> Iterator[Watched]:
    """A window that goes from page to page: what a new one would load and compile anew takes longer than the look."""
    width, theme = request.param
    size = dict(zip(("width", "height"), WIDTHS[width], strict=True))
    context = browser.new_context(viewport=size, color_scheme=theme)  # type: ignore[arg-type]
    sign_in(context, site)
    yield Watched(context.new_page())
    context.close()


PAGES = {
    "overview": "/console/",
    "apis": "/console/apis",
    "found": "/console/apis?q=stock",
    "api": "/console/apis/shop/restock",
    "workflows": "/console/workflows",
    "callable": "/console/workflows/hello",
    "drawing": "/console/workflows/report",
    "executions": "/console/executions",
    "filtered": "/console/executions?status=failed&since=24h",
    "mistaken": "/console/executions?since=tomorrow",
    "succeeded": "/console/executions/{succeeded}",
    "failed": "/console/executions/{failed}",
    "running": "/console/executions/{running}",
    "refused": "/console/refused",
    "each refused": "/console/refused?view=each",
    "system": "/console/system",
}


@pytest.mark.parametrize("path", PAGES.values(), ids=list(PAGES))
def test_a_page_is_well(watched: Watched, site: Service, uids: dict[str, str], path: str) -> None:
    watched.complaints.clear()
    answer = watched.page.goto(site.address + path.format(**uids))
    assert answer is not None
    assert answer.status == 200
    assert watched.page.locator("h1").count() == 1
    watched.is_well()


def test_nothing_that_one_looks_for_is_off_the_screen(browser: Browser, site: Service, uids: dict[str, str]) -> None:
    """At 768 pixels, what failed in a list is seen without scrolling; on a phone, why one has failed."""
    for width, path, where in (
        (768, "/console/executions?status=failed", ".error"),
        (390, "/console/executions/{failed}", "#failure pre"),
    ):
        context = browser.new_context(viewport={"width": width, "height": 844})
        sign_in(context, site)
        page = context.new_page()
        page.goto(site.address + path.format(**uids))
        box = page.locator(where).first.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= 600
        context.close()


def test_a_uid_in_a_list_is_short_and_copied_whole(browser: Browser, site: Service, uids: dict[str, str]) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 844})
    sign_in(context, site)
    page = context.new_page()
    page.goto(f"{site.address}/console/executions?status=failed")
    link = page.locator("a.uid").first
    assert link.get_attribute("title") == uids["failed"]
    box = link.bounding_box()
    assert box is not None
    assert box["width"] < 90
    page.evaluate("getSelection().selectAllChildren(document.querySelector('a.uid'))")
    assert page.evaluate("getSelection().toString()") == uids["failed"]
    context.close()


def test_the_page_where_one_signs_in_is_well(browser: Browser, site: Service) -> None:
    for theme in ("light", "dark"):
        context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=theme)
        page = context.new_page()
        watched = Watched(page)
        page.goto(f"{site.address}/console/executions")
        assert page.get_by_role("heading", name="Sign in").is_visible()
        watched.is_well()
        context.close()
