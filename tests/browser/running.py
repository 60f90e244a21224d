"""The whole service with something to look at, and a browser that keeps what it complains about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page

from tests.programs import free_port
from tests.support import environment, eventually, process

# `work.py` beside the config.
WORK = """
import time
from pathlib import Path


def count(value):
    print("counting", value.get("sku"))
    return {"missing": 9}


def tell(value):
    print("told")
    return "told"


def slow(value):
    for n in range(600):
        print("tick", n)
        time.sleep(0.1)


def fails(value):
    raise ValueError("no stock of <script>alert('x')</script>")
"""

CONFIG = """\
# Comments stay.
operators:
  admin: ${TRIGGER_ADMIN_PASSWORD:-}
cancel_grace: 1s
workflows:
  hello: {python: "examples.hello:greet", description: Say hello}
  slow: work:slow
  fails: work:fails
  restock:
    description: Order what is missing
    steps:
      - {name: count, python: "work:count"}
      - name: order
        run: [sh, -c, "echo the warehouse says no >&2; exit 3"]   # mend this
      - {name: tell, python: "work:tell"}
  report:
    description: Three things at once
    steps:
      - {name: sales, needs: [], python: "work:count"}
      - {name: stock, needs: [], python: "work:tell"}
      - {name: visitors, needs: [], run: [echo, "12"]}
      - {name: write, needs: [sales, stock, visitors], python: "work:tell"}
modules:
  shop:
    description: Orders and stock
    methods:
      restock:
        description: See that there is enough of an article
        auth: {mode: token, token: "123456"}
        workflow: restock
        input:
          fields:
            sku: {type: string, required: true, max_length: 20, description: The article}
            count: {type: integer, min: 1, default: 1}
            card: {type: string, secret: true}
        debug: {sku: A1, count: 12}
      slow: {enabled: true, auth: {mode: none}, workflow: slow}
      fails: {enabled: true, auth: {mode: none}, workflow: fails}
      report: {enabled: true, verbs: [POST], auth: {mode: none}, workflow: report, debug: {day: today}}
  front:
    methods:
      hello:
        description: Say hello
        enabled: true
        auth: {mode: none}
        workflow: hello
        input: {fields: {name: {type: string, max_length: 80}}}
        debug: {name: Ada}
"""


@dataclass
class Service:
    """A running service, whose printed sign-in link is `link`."""

    folder: Path
    address: str
    link: str

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def password(self) -> str:
        """The operator's, which was made up at the start."""
        return (self.folder / "data/admin.password").read_text().strip()

    def call(self, api: str, body: Any) -> str:
        """Calls an API and returns the uid."""
        answer = requests.post(f"{self.address}/v1/api/{api}/async", json=body, timeout=20)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["response"]["uid"])

    def status(self, uid: str) -> str:
        answer = requests.get(f"{self.address}/v1/executions/{uid}", auth=("admin", self.password), timeout=20)
        return str(answer.json()["response"]["status"])

    def becomes(self, uid: str, status: str) -> None:
        eventually(lambda: self.status(uid) == status)


@contextmanager
def service(folder: Path, config: str = CONFIG, work: str = WORK) -> Iterator[Service]:
    """`up` on a config in `folder`, with the private Redis, until it is ready."""
    (folder / "config.yaml").write_text(config)
    (folder / "work.py").write_text(work)
    port, log = free_port(), folder / "log"
    environ = environment(folder, "", TRIGGER_BIND=f"127.0.0.1:{port}")
    with process(["up"], environ, log) as child:

        def link() -> str | None:
            assert child.poll() is None, log.read_text()
            found = re.search(r"http://\S+/console/sign-in\?key=\S+", log.read_text())
            return found[0] if found else None

        found = eventually(link, within=60)
        assert found is not None
        yield Service(folder, f"http://127.0.0.1:{port}", found)


@dataclass
class Watched:
    """A page, and what the browser has complained about in it: errors of scripts, loads that failed, what the policy
    of the page has forbidden."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda said: self._note(said.type, said.text))
        self.page.on("pageerror", lambda error: self._note("error", str(error)))
        self.page.on("requestfailed", lambda request: self._failed(request))

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind}: {text}")

    def _failed(self, request: Any) -> None:
        if "ERR_ABORTED" not in (request.failure or ""):  # what a navigation has cut off
            self.complaints.append(f"failed: {request.url} {request.failure}")

    def is_well(self) -> None:
        """No complaints, no serious fault that axe-core finds, and nothing that is wider than the screen."""
        assert self.complaints == [], self.page.url
        wider = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, f"{self.page.url} scrolls sideways by {wider} pixels"
        found = Axe().run(self.page).response["violations"]
        serious = [
            f"{fault['id']}: {fault['help']}: {[node['html'][:200] for node in fault['nodes'][:3]]}"
            for fault in found
            if fault["impact"] in ("serious", "critical")
        ]
        assert serious == [], self.page.url


def sign_in(context: BrowserContext, site: Service) -> None:
    """Signs the browser in with the form."""
    page = context.new_page()
    page.goto(f"{site.address}/console/sign-in")
    page.get_by_label("User").fill("admin")
    page.get_by_label("Password").fill(site.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/console/")
    page.close()
