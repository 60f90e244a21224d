"""Signing in by a link, once, and where one goes on from there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from redis import Redis

from tests.console.site import RIGHT, SAME_ORIGIN, SIGN_IN, SYSTEM, Browser, is_in, page, set_cookie
from tests.console.tokens import NONSENSE, link, tampered
from tests.support import OwnRedis
from tests.web.conftest import MakeSite
from tests.web.site import OPERATOR, Site
from trigger.web import sessions
from trigger.web.sessions import Sessions

USED_UP = "This link can't be used any more"


def test_a_link_signs_in_once(site: Site, keys: Sessions) -> None:
    url = link(keys)
    browser = Browser(site)
    response = browser.open(url)
    assert (response.status_code, response.location) == (303, "/console/")
    assert set_cookie(response)[1]["httponly"]
    assert is_in(browser)
    again = page(Browser(site).open(url), 401)
    assert again.notices()[0].startswith(USED_UP)
    assert "set-cookie" not in again.headers
    assert is_in(browser)


def test_a_link_runs_out(site: Site, keys: Sessions, later: Callable[[float], None]) -> None:
    url, good = link(keys), link(keys)
    later(sessions.LINK_LIFETIME - 5)
    assert Browser(site).open(good).status_code == 303
    later(sessions.LINK_LIFETIME + 5)
    assert page(Browser(site).open(url), 401).notices()[0].startswith(USED_UP)


def test_a_used_link_is_remembered_for_as_long_as_it_could_be_used(site: Site, keys: Sessions, redis: Redis) -> None:
    Browser(site).open(link(keys))
    (name,) = redis.keys("trigger:spent:*")
    assert redis.ttl(name) > sessions.LINK_LIFETIME


@pytest.mark.parametrize("purpose", ["prefetch", "prefetch;prerender", "prefetch;anonymous-client-ip"])
def test_a_browser_that_looks_ahead_does_not_use_a_link_up(site: Site, keys: Sessions, purpose: str) -> None:
    url = link(keys)
    looked = Browser(site).open(url, headers={"Sec-Purpose": purpose})
    assert "set-cookie" not in page(looked, 400).headers
    assert Browser(site).open(url).status_code == 303


def test_head_does_not_use_a_link_up(site: Site, keys: Sessions) -> None:
    url = link(keys)
    response = Browser(site).open(url, "HEAD")
    assert response.status_code == 200
    assert "Set-Cookie" not in response.headers
    assert Browser(site).open(url).status_code == 303


@pytest.mark.parametrize(
    ("operator", "secret"),
    [("admin", "another-password-of-his"), ("night", OPERATOR), ("", OPERATOR)],
    ids=["old password", "gone", "nameless"],
)
def test_a_link_for_who_is_no_operator_signs_nobody_in(site: Site, keys: Sessions, operator: str, secret: str) -> None:
    assert page(Browser(site).open(link(keys, operator, secret)), 401).notices()[0].startswith(USED_UP)


def test_a_link_that_was_changed_signs_nobody_in(site: Site, keys: Sessions) -> None:
    url, _, key = link(keys).partition("=")
    for forged in (*tampered(key), *NONSENSE):
        page(Browser(site).open(f"{url}={quote(forged)}"), 401)
    assert Browser(site).open(f"{url}={key}").status_code == 303


def test_links_of_another_service_are_none_here(make_site: MakeSite, keys: Sessions, tmp_path: Path) -> None:
    url = link(keys)
    with OwnRedis(tmp_path / "redis") as server:
        page(Browser(make_site(redis_url=server.url)).open(url), 401)


# Where to go on


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/console/",
        "/\\evil.example",
        "/v1/api/open/any/async",
        "/console",
        "/consoles/",
        "/console/../v1/api/open/any/async",
        "/console/%2e%2e/v1/api/open/any/async",
        "/console/%2E./v1/api/open/any/async",
        "/console/\\..\\v1",
        "/console/\r\nSet-Cookie: a=b",
        "/console/%0d%0aSet-Cookie:%20a=b",
        "/console/\tx",
        "/console/ x",
        "/console/é",
        "javascript:alert(1)",
        "/console/" + "x" * 2000,
        "",
    ],
)
def test_signing_in_leads_to_a_page_of_the_console_only(site: Site, keys: Sessions, target: str) -> None:
    browser = Browser(site)
    assert browser.post(SIGN_IN, {**RIGHT, "next": target}) == "/console/"
    shown = browser.get(f"{SIGN_IN}?next={quote(target, safe='')}")
    assert shown.main.one("input", name="next")["value"] == "/console/"
    assert browser.open(f"{link(keys)}&next={quote(target, safe='')}").location == "/console/"


@pytest.mark.parametrize("target", ["/console/", "/console/executions/1?x=1&y=a%20b", "/console/workflows/a.b%3Ac"])
def test_signing_in_leads_to_the_page_that_was_asked_for(site: Site, keys: Sessions, target: str) -> None:
    assert Browser(site).post(SIGN_IN, {**RIGHT, "next": target}) == target
    assert Browser(site).open(f"{link(keys)}&next={quote(target, safe='')}").location == target


def test_who_follows_a_link_on_another_site_comes_again_with_the_cookie(site: Site) -> None:
    """Browsers leave a SameSite=Strict cookie out of that first request."""
    asked = f"{SYSTEM}?x=%22%3E%3Cscript%3E"
    arrived = page(site.call(asked, "GET", headers={"Sec-Fetch-Site": "cross-site"}))
    assert arrived.root.one("meta", http_equiv="refresh")["content"] == f"0; url={asked}"
    assert arrived.main.one("a", text="Go on to the page")["href"] == asked
    again = site.call(asked, "GET", headers=SAME_ORIGIN)
    assert parse_qs(urlsplit(again.location).query) == {"next": [asked]}
