"""The page of an execution while a real worker runs it: it fails, is mended and gone on with, cancelled, run again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from redis import Redis

from tests.console.site import Browser, Page, sign_in
from tests.support import OwnRedis, environment, eventually, process
from tests.web.conftest import MakeSite
from tests.web.site import OPERATOR, Site, accepted

CARD = "4111222233334444"

CONFIG = f"""\
operators: {{admin: {OPERATOR}}}
cancel_grace: 1s
workflows:
  restock:
    steps:
      - name: quote
        run: [sh, -c, 'echo "quoted $1" >> quotes; echo 12', sh, "{{{{ input.sku }}}}"]
      - name: order
        run: [sh, -c, 'echo the warehouse says no >&2; exit 3']   # mend this
      - name: tell
        run: [sh, -c, 'echo told']
  waits:
    steps:
      - name: first
        run: [echo, begun]
      - name: sleep
        run: [sh, -c, 'echo zzz; sleep 60']
modules:
  shop:
    methods:
      restock:
        enabled: true
        auth: {{mode: none}}
        workflow: restock
        input: {{fields: {{sku: {{type: string, max_length: 20}}, card: {{type: string, secret: true}}}}}}
      waits: {{enabled: true, auth: {{mode: none}}, workflow: waits}}
"""


@dataclass
class Shop:
    """The app, an operator's browser, and a worker."""

    site: Site
    browser: Browser

    def call(self, api: str, value: object) -> str:
        return accepted(self.site.call(f"shop/{api}", json=value))

    def page(self, uid: str) -> Page:
        return self.browser.get(f"/console/executions/{uid}")

    def ended(self, uid: str) -> Page:
        """Its page, once nothing follows any more."""

        def is_final() -> bool:
            return "data-live" not in self.page(uid).main.one(id="now").attributes

        eventually(is_final, within=40)
        return self.page(uid)

    def press(self, page: Page, act: str, **changed: str) -> Page:
        """The page that a form of a page leads to."""
        form = next(form for form in page.main.all("form") if form["action"].endswith(f"/{act}"))
        return self.browser.get(self.browser.post(form["action"], {**form.form(), **changed}))


@pytest.fixture(scope="module")
def shop(make_site: MakeSite, redis_server: OwnRedis) -> Iterator[Shop]:
    client = Redis.from_url(redis_server.url)
    client.flushall()
    site = make_site(CONFIG)
    folder = site.config.parent
    with process(["worker"], environment(folder, redis_server.url), folder / "worker.log"):
        eventually(lambda: client.scard("rq:workers:default"))
        yield Shop(site, sign_in(site))
    client.close()


def uid_of(page: Page) -> str:
    return page.heading.removeprefix("Execution ")


def steps(page: Page) -> list[tuple[str, str]]:
    names = [step.all("summary")[0].one(of="name") for step in page.main.all("details", of="step")]
    return [(name.text.rpartition(" ")[2], name.one(of="status").text) for name in names]


def test_it_fails_is_mended_and_gone_on_with(shop: Shop) -> None:
    uid = shop.call("restock", {"sku": "A1", "card": CARD})
    page = shop.ended(uid)
    assert steps(page) == [("quote", "succeeded"), ("order", "failed"), ("tell", "skipped")]
    failure = page.main.one(id="failure")
    assert failure.one("h2").text == "Failed in step order"
    assert "the warehouse says no" in failure.one("ol", of="log").text
    line = CONFIG.splitlines().index("      - name: order") + 1
    assert f"is declared in line {line} of config.yaml" in failure.text
    shop.site.edit("echo the warehouse says no >&2; exit 3", "echo ordered")
    resumed = shop.press(page, "resume")
    assert resumed.notices() == ["This is the new execution: it continues after the steps that are done."]
    assert resumed.main.facts()["Resumes"] == f"{uid} by admin"
    done = shop.ended(uid_of(resumed))
    assert steps(done) == [("quote", "succeeded"), ("order", "succeeded"), ("tell", "succeeded")]
    assert json.loads(done.main.one(id="output-text").raw) == "told"
    assert (shop.site.config.parent / "quotes").read_text() == "quoted A1\n"

    again = shop.press(done, "rerun", input=json.dumps({"sku": "B2", "card": "***"}))
    assert again.main.facts()["Rerun of"] == f"{uid_of(resumed)} by admin"
    shop.ended(uid_of(again))
    assert (shop.site.config.parent / "quotes").read_text() == "quoted A1\nquoted B2\n"
    for shown in (page, done, again):
        assert CARD not in shown.html


def test_what_runs_is_followed_and_cancelled(shop: Shop) -> None:
    uid = shop.call("waits", {})

    def sleeping() -> Page | None:
        page = shop.page(uid)
        return page if "zzz" in page.main.one("ol", of="log").text else None

    page = eventually(sleeping)
    assert page is not None
    assert steps(page) == [("first", "succeeded"), ("sleep", "running")]
    listed = page.main.one("ol", of="log")
    told = shop.press(page, "cancel")
    assert told.notices() == ["Cancelling…"]
    done = shop.ended(uid)
    assert steps(done) == [("first", "succeeded"), ("sleep", "cancelled")]
    assert done.main.one(id="failure").one("h2").text == "Cancelled"
    assert "Cancelled by admin" in done.text
    last = shop.browser.open(f"{listed['data-log']}?after={listed['data-after']}").get_json()
    assert last["ended"] is True
