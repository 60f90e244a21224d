"""X4: whatever the config, callers and workflows say is text in every page, to a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, expect

from tests.browser.running import Service, Watched, service, sign_in
from tests.support import eventually

# Ways out of a text, an attribute of either quote, a comment, a script, JSON in a page, a style, a text field and SVG.
NASTY = (
    "<script>pwned()</script></script><script>pwned()</script>\"><img src=x onerror=pwned()>'><svg onload=pwned()>"
    "\" onmouseover=pwned() autofocus onfocus=pwned() x=\"' onmouseover='pwned()--><script>pwned()</script>"
    "</textarea></title></style></select></svg><details open ontoggle=pwned()><a href=javascript:pwned()>x</a>"
    "<iframe srcdoc='<script>parent.pwned()</script>'></iframe>\\u003cscript>pwned()\\u003c/script>"
)

CALLER = "\"'><svg onload=pwned()><script>pwned()</script>"

WORK = f"""
import json, logging, time

NASTY = {NASTY!r}


def tells(value):
    print(NASTY)
    logging.getLogger(NASTY).error(NASTY)
    return {{NASTY: [NASTY, value]}}


def fails(value):
    print(NASTY)
    raise type(NASTY, (Exception,), {{}})(NASTY)


def follows(value):
    for n in range(600):
        print(n, NASTY)
        time.sleep(0.1)
"""


def config() -> dict[str, Any]:
    """The config, with it wherever there may be any text; names of modules, methods, workflows and steps may not."""
    fields = {
        "plain": {"type": "string", "default": NASTY, "description": NASTY},
        "one": {"type": "string", "enum": [NASTY, "a"], "description": NASTY},
        "like": {"type": "string", "pattern": f"({NASTY.replace('(', '[(]').replace(')', '[)]')})?"},
    }
    shared = {
        "enabled": True,
        "description": f"{NASTY}\n{NASTY}",
        "auth": {"mode": "token", "tokens": {CALLER: "a-token-of-the-tests"}},
        "input": {"unknown": "keep", "fields": fields},
        "debug": {"plain": NASTY, NASTY: NASTY},
    }
    steps: list[dict[str, Any]] = [
        {"name": "told", "python": "work:tells"},
        {"name": "skipped", "when": "{{ input.plain == " + json.dumps(NASTY) + " and false }}", "run": ["echo", NASTY]},
        {
            "name": "ran",
            "run": ["sh", "-c", 'printf "%s" "$1"; printf "%s" "$1" >&2', NASTY, NASTY],
            "env": {"N": NASTY},
        },
        {"name": "asked", "continue_on_error": True, "http": {"url": f"http://127.0.0.1:1/{quote(NASTY)}"}},
        {"name": "failed", "python": "work:fails", "with": {"value": NASTY}},
    ]
    return {
        "operators": {"admin": "${TRIGGER_ADMIN_PASSWORD:-}"},
        "workflows": {
            "tells": {"python": "work:tells", "description": NASTY},
            "fails": {"python": "work:fails", "description": NASTY},
            "follows": {"python": "work:follows", "description": NASTY},
            "steps": {"description": NASTY, "steps": steps},
        },
        "modules": {
            "shop": {
                "description": NASTY,
                "methods": {name: {**shared, "workflow": name} for name in ("tells", "fails", "follows", "steps")},
            }
        },
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("inert"), json.dumps(config()), WORK) as running:
        yield running


@pytest.fixture(scope="module")
def uids(site: Service) -> dict[str, str]:
    found = {}
    for api, becomes in (("tells", "succeeded"), ("fails", "failed"), ("follows", "running"), ("steps", "failed")):
        answer = requests.post(
            f"{site.address}/v1/api/shop/{api}/async",
            json={"plain": NASTY, NASTY: NASTY},
            headers={"token": "a-token-of-the-tests", "User-Agent": NASTY, "Idempotency-Key": NASTY[:200]},
            timeout=20,
        )
        assert answer.status_code == 202, answer.text
        found[api] = answer.json()["response"]["uid"]
        site.becomes(found[api], becomes)
    for path in (f"/v1/api/{quote(NASTY)}/{quote(NASTY)}/async", f"/v1/api/shop/{quote(NASTY, safe='')}/async"):
        assert requests.post(f"{site.address}{path}", timeout=20).status_code == 404
    assert requests.get(f"{site.address}/v1/api/shop/tells/async?x={quote(NASTY)}", timeout=20).status_code == 401
    return found


@pytest.fixture
def context(browser: Browser, site: Service) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport={"width": 1280, "height": 900})
    made.add_init_script("window.pwned = () => { window.top.wasPwned = true; alert('pwned'); };")
    sign_in(made, site)
    yield made
    made.close()


@dataclass
class Visit:
    """A page of the browser, what it has complained about, and the dialogs that it has opened."""

    page: Page
    watched: Watched
    dialogs: list[str] = field(default_factory=list)

    def nothing_ran(self) -> None:
        assert self.page.evaluate("window.wasPwned") is None, self.page.url
        assert self.dialogs == [], self.page.url
        assert self.page.locator("iframe, a[href^=javascript]").count() == 0, self.page.url
        scripts = "[...document.scripts].filter(one => one.text || !one.src).length"
        assert self.page.evaluate(scripts) == 0, self.page.url


def visit(context: BrowserContext) -> Visit:
    page = context.new_page()
    made = Visit(page, Watched(page))

    def dismiss(dialog: Dialog) -> None:
        made.dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    return made


def walk(context: BrowserContext, site: Service, paths: list[str], status: int = 200) -> None:
    """Opens each page, unfolds it, and has every event happen to all that is in it."""
    seen = visit(context)
    for path in paths:
        answer = seen.page.goto(site.address + path)
        assert answer is not None
        assert answer.status == status, path
        seen.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        seen.page.evaluate(
            "document.querySelectorAll('*').forEach(one => ['mouseover', 'focus', 'toggle', 'load', 'error']"
            ".forEach(kind => one.dispatchEvent(new Event(kind))))"
        )
        seen.nothing_ran()
        assert seen.page.locator("img:not([src^='/console/static/'])").count() == 0, path
        refused = f"the server responded with a status of {status}"
        assert [said for said in seen.watched.complaints if refused not in said or status == 200] == [], path
    seen.page.close()


def test_x4_what_is_declared_sent_and_put_out_runs_nowhere(
    context: BrowserContext, site: Service, uids: dict[str, str]
) -> None:
    nasty = quote(NASTY, safe="")
    walk(
        context,
        site,
        [
            "/console/apis",
            f"/console/apis?q={nasty}",
            *(f"/console/apis/shop/{api}" for api in uids),
            "/console/workflows",
            f"/console/workflows?q={nasty}",
            *(f"/console/workflows/{name}" for name in uids),
            "/console/executions",
            f"/console/executions?caller={quote(CALLER)}",
            f"/console/executions?api={nasty}&since={nasty}&until={nasty}&status={nasty}&uid={nasty}&cursor={nasty}",
            *(f"/console/executions/{uid}" for uid in uids.values()),
            "/console/refused",
            f"/console/refused?api={nasty}&reason={nasty}",
            "/console/system",
        ],
    )
    walk(
        context,
        site,
        [f"/console/apis/{nasty}/{nasty}", f"/console/workflows/{nasty}", f"/console/executions/{nasty}", f"/{nasty}"],
        404,
    )


def test_x4_what_is_typed_and_refused_runs_nowhere(
    context: BrowserContext, site: Service, uids: dict[str, str]
) -> None:
    seen = visit(context)
    page = seen.page
    page.goto(f"{site.address}/console/apis/shop/tells#debug")
    page.locator("#debug textarea").fill(NASTY)
    page.locator("#debug button", has_text="POST").click()
    expect(page.locator("#mistakes")).to_be_visible()
    assert page.locator("#debug textarea").input_value() == NASTY
    seen.nothing_ran()


def test_x4_what_is_logged_runs_nowhere_also_while_it_is_followed(
    context: BrowserContext, site: Service, uids: dict[str, str]
) -> None:
    seen = visit(context)
    page = seen.page
    page.goto(f"{site.address}/console/executions/{uids['follows']}")
    lines = page.locator("ol.log[data-log] li")
    before = lines.count()
    eventually(lambda: lines.count() > before + 5)
    assert NASTY in lines.last.inner_text()
    seen.nothing_ran()
    assert seen.watched.complaints == []


@pytest.mark.parametrize("more", ["log.txt", "record.json"])
def test_x4_raw_views_are_no_pages(context: BrowserContext, site: Service, uids: dict[str, str], more: str) -> None:
    cookies = {cookie["name"]: cookie["value"] for cookie in context.cookies()}
    url = f"{site.address}/console/executions/{uids['steps']}/{more}"
    answer = requests.get(url, cookies=cookies, timeout=20)
    assert answer.headers["Content-Type"] in ("text/plain; charset=utf-8", "application/json")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


def test_x4_the_page_of_the_apis_runs_nothing(context: BrowserContext, site: Service) -> None:
    """Descriptions are Markdown there (OpenAPI 3.1): Swagger UI cleans them, and the page's policy stops the rest.

    One method is opened, by each verb: the others say the same, and the operations of executions nothing of the config.
    """
    seen = visit(context)
    page = seen.page
    page.goto(f"{site.address}/docs")
    operations = page.locator(".opblock").filter(has_text="/v1/api/shop/tells/async")
    expect(operations.first).to_be_visible(timeout=20_000)  # Swagger UI takes its time
    assert operations.count() == 2
    for operation in operations.all():
        operation.locator(".opblock-summary-control").click()
        expect(operation.locator(".opblock-body")).to_be_visible(timeout=20_000)
    seen.nothing_ran()
    handlers = (
        "[...document.querySelectorAll('*')].flatMap(one => [...one.attributes]).filter(it => /^on/.test(it.name))"
    )
    assert page.evaluate(f"{handlers}.length") == 0


def test_x4_mistakes_of_an_edit_run_nowhere(context: BrowserContext, site: Service, uids: dict[str, str]) -> None:
    wrong = config()
    wrong["workflows"][NASTY] = {NASTY: NASTY}
    wrong["modules"]["shop"]["methods"]["tells"]["workflow"] = NASTY
    wrong["retention"] = NASTY
    Path(site.config).write_text(json.dumps(wrong))
    ready = f"{site.address}/readyz"
    eventually(lambda: requests.get(ready, timeout=20).json()["response"]["config"].get("refused"))
    walk(context, site, ["/console/apis", "/console/system"])
