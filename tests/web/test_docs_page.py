"""GET /docs in a real browser: it shows the APIs and calls them, and asks nobody but us for anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.chromium import chromium
from tests.support import WORKFLOWS, OwnRedis
from tests.web.browser import Visit, desk, is_too_wide, phone, visit
from tests.web.described import CONFIG, USER
from tests.web.site import OPERATOR, TOKEN, Gunicorn

# More paths than are shown at once.
MANY = CONFIG.replace(
    "  any:\n    methods:\n",
    "  any:\n    methods:\n"
    + "".join(f"      n{n}: {{enabled: true, auth: {{mode: none}}, workflow: echo}}\n" for n in range(300)),
)

Serve = Callable[[str], str]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def serve(redis_server: OwnRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Starts the web processes under a config, and tells where they are."""
    with ExitStack() as stack:

        def start(config: str) -> str:
            folder: Path = tmp_path_factory.mktemp("docs")
            (folder / "config.yaml").write_text(config)
            os.chmod(folder / "config.yaml", 0o600)
            (folder / "work.py").write_text(WORKFLOWS)
            web = stack.enter_context(Gunicorn(folder, redis_server.url))
            return f"http://127.0.0.1:{web.port}"

        yield start


@pytest.fixture(scope="module")
def address(serve: Serve) -> str:
    return serve(CONFIG)


def is_clean(visited: Visit, address: str) -> bool:
    """Nothing on the console, such as a violation of the policy, and no request to anybody else."""
    assert visited.said == []
    assert [url for url in visited.asked if not url.startswith(f"{address}/")] == []
    return True


def tried(page: Page, api: str, verb: str = "post", **values: str) -> str:
    """Opens an API's operation, fills in parameters by name, sends it, and reads the answer's status."""
    operation = page.locator(f".opblock-{verb}").filter(has_text=f"/v1/api/{api}/async")
    operation.locator(".opblock-summary-control").click()
    operation.locator(".try-out__btn").click()
    for name, value in values.items():
        operation.locator(f"tr[data-param-name={name}] input").fill(value)
    operation.locator(".execute").click()
    return operation.locator(".live-responses-table .response-col_status").last.inner_text()


@pytest.mark.parametrize("size", [phone(), desk()], ids=["phone", "desk"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_shows_the_apis_and_tries_one(browser: Browser, address: str, size: dict[str, Any], theme: Any) -> None:
    with visit(browser, f"{address}/docs", color_scheme=theme, **size) as visited:
        page = visited.page
        expect(page).to_have_title("APIs")
        expect(page.get_by_text("Every kind of field")).to_be_visible()
        assert tried(page, "all/types") == "202"
        expect(page.locator(".live-responses-table")).to_contain_text('"uid"')
        assert not is_too_wide(page)
        assert ("dark-mode" in (page.locator("html").get_attribute("class") or "")) == (theme == "dark")
        assert is_clean(visited, address)


def test_a_get_is_sent_with_its_parameters(browser: Browser, address: str) -> None:
    with visit(browser, f"{address}/docs", **desk()) as visited:
        assert tried(visited.page, "all/types", "get", word="hello") == "202"
        assert any("/all/types/async?word=hello&" in url for url in visited.asked)
        assert is_clean(visited, address)


def test_credentials_are_given_once_and_sent_in_the_header(browser: Browser, address: str) -> None:
    with visit(browser, f"{address}/docs", **desk()) as visited:
        page = visited.page
        page.get_by_role("button", name="Authorize").first.click()
        page.locator(".auth-container").filter(has_text="token").first.locator("input").fill(TOKEN)
        page.locator(".auth-container").filter(has_text="token").first.get_by_role("button").first.click()
        page.locator(".btn-done").first.click()
        assert tried(page, "any/get", "get") == "202"
        assert TOKEN not in "".join(visited.asked)
        assert is_clean(visited, address)


def test_an_operator_is_asked_for_the_password_and_then_sees_it(browser: Browser, serve: Serve) -> None:
    address = serve(CONFIG.replace("docs: public\n", ""))
    who = {"username": USER, "password": OPERATOR}
    with visit(browser, f"{address}/docs", http_credentials=who, **desk()) as visited:
        expect(visited.page.get_by_text("Every kind of field")).to_be_visible()
        assert is_clean(visited, address)


def test_of_many_one_module_is_shown_at_a_time(browser: Browser, serve: Serve) -> None:
    address = serve(MANY)
    with visit(browser, f"{address}/docs", **phone()) as visited:
        page = visited.page
        expect(page.locator(".opblock-tag")).to_have_text(["allEvery kind of field"])
        page.get_by_label("Module").select_option("Executions and health")
        expect(page.locator(".opblock-tag")).to_contain_text("Executions and health")
        expect(page.locator(".opblock")).to_have_count(10)
        assert page.url.endswith("/docs?module=Executions%20and%20health")
        assert not is_too_wide(page)
        assert is_clean(visited, address)


def test_it_says_why_there_is_nothing_to_see(browser: Browser, address: str) -> None:
    with visit(browser, f"{address}/healthz", **desk()) as visited:
        page = visited.page
        page.route("**/openapi.json", lambda route: route.fulfill(status=503, body="{}"))
        page.goto(f"{address}/docs")
        expect(page.get_by_text("can't be shown: it is answered with 503")).to_be_visible()
