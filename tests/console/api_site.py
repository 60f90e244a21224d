"""What the tests of the pages of APIs share: a config, and how those pages are read and clicked."""

from __future__ import annotations

import re
import time

from redis import Redis

from tests.console.site import Browser, Element, Page, page
from tests.web.site import OPERATOR, OTHER_TOKEN, TOKEN
from trigger.store.keys import FIGURES

XSS = "</textarea></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg/onload=alert(3)>{{1234*1000}}"
CARD = "canary-card-4111"
KEY = "canary-from-outside"
PASSWORD = "password-of-the-tests"

CONFIG = f"""\
server:
  max_body: 4096
  backlog: 3
operators:
  admin: {OPERATOR}
workflows:
  hello: examples.hello:greet
modules:
  shop:
    description: What is sold
    methods:
      order:
        description: Take an order      # a comment
        enabled: true
        auth: {{mode: none}}
        workflow: hello
        input:
          fields:
            sku: {{type: string, required: true, min_length: 2, max_length: 20, pattern: "[A-Z].*", description: Which}}
            count: {{type: integer, default: 1, min: 1, max: 9}}
            ready: {{type: boolean}}
            colour: {{type: string, enum: [red, blue], nullable: true}}
            card: {{type: string, secret: true}}
            pin: {{type: string, secret: true, default: {CARD}, enum: [{CARD}, b]}}
            tags: {{type: list, of: {{type: string, max_length: 5}}, max_length: 3}}
            key: {{type: string}}
            address:
              type: object
              unknown: drop
              fields:
                city: {{type: string, required: true}}
        debug: {{sku: A1, card: {CARD}, key: "${{KEY}}"}}
      off:
        auth: {{mode: none}}
        workflow: hello
        debug: {{name: Ada}}
      get:
        enabled: true
        verbs: [GET]
        auth: {{mode: none}}
        workflow: examples.hello:greet
  stock:
    methods:
      # what is left
      count:
        enabled: true
        verbs: [POST]
        auth: {{mode: token, tokens: {{ci: {TOKEN}, backup: {OTHER_TOKEN}}}}}
        workflow: hello
      report:
        enabled: true
        auth: {{mode: password, users: {{ada: {PASSWORD}}}}}
        workflow: hello
      shared: &shared
        enabled: true
        auth: {{mode: none}}
        workflow: hello
      alias: *shared
      outside:
        enabled: ${{OFF:-false}}
        auth: {{mode: none}}
        workflow: hello
"""
ORDER = "/console/apis/shop/order"


def listed(page: Page) -> list[str]:
    """The APIs on a page of the list, as module/method, in its order."""
    return [link["href"].removeprefix("/console/apis/") for link in page.main.one(id="apis").all("a") if is_api(link)]


def is_api(link: Element) -> bool:
    return link["href"].count("/") == 4 and link["href"].startswith("/console/apis/")


def switch(page: Page, api: str) -> Element:
    return page.main.one("button", role="switch", aria_label=f"{api} enabled")


def flip(browser: Browser, path: str, api: str) -> str:
    """Clicks the switch of an API on the page at `path`; where that leads to."""
    return browser.post(*clicked(browser.get(path), api))


def clicked(page: Page, api: str) -> tuple[str, dict[str, str]]:
    """What a click on the switch of an API on this page sends, and where to."""
    button = switch(page, api)
    (form,) = [form for form in page.main.all("form") if button in form.all("button")]
    return button.get("formaction") or form["action"], {**form.form(), button["name"]: button["value"]}


def row(page: Page, api: str) -> Element:
    return next(
        item for item in page.main.all("li") if any(is_api(a) and a["href"].endswith(api) for a in item.all("a"))
    )


def editor(page: Page) -> Element:
    """The editor and its form."""
    return page.main.one(id="debug").one("form")


def send(browser: Browser, verb: str, text: str | None = None, path: str = ORDER) -> str:
    """Sends what the editor holds, or this text; the uid of what it started."""
    form = editor(browser.get(path)).form()
    location = browser.post(f"{path}/debug", {**form, "verb": verb, **({} if text is None else {"input": text})})
    assert re.fullmatch(r"/console/executions/\d{25}", location)
    return location.rpartition("/")[2]


def wrong(browser: Browser, verb: str, text: str, status: int = 400, path: str = ORDER) -> tuple[Page, str]:
    """The page after such a text was refused, which still holds it, and what it says about the mistakes."""
    answered = browser.refused(f"{path}/debug", {"verb": verb, "input": text}, status=status)
    assert editor(answered).form()["input"] == text
    assert editor(answered).one("textarea")["aria-invalid"] == "true"
    return answered, answered.main.one(id="mistakes").text


def page_of(browser: Browser, **query: str) -> Page:
    return page(browser.open("/console/apis", query_string=query))


def figures(redis: Redis, api: str, **by_hour: int) -> None:
    """Has an API had so many calls@ or failed@ so many hours ago: `calls_3=5`."""
    hour = int(time.time() // 3600)
    for name, count in by_hour.items():
        what, _, ago = name.partition("_")
        redis.hset(f"{FIGURES}api:{api}", f"{what}@{hour - int(ago)}", count)
