"""Takes the pictures of docs/images/: `make screenshots`. A service with the shipped examples, some calls, each page.

The bars of earlier hours can't be called into being; they are written where the service counts.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Browser
from redis import Redis

from examples.warehouse import Warehouse
from tests.browser.running import Service, service, sign_in
from tests.chromium import chromium
from tests.programs import free_port
from tests.support import ROOT
from trigger.store.keys import FAILING, FIGURES

IMAGES = ROOT / "docs/images"
TOKEN = {"token": "123456"}

# What is added to the name, the size of the window, the theme.
LOOKS = (("", (1280, 800), "light"), ("-dark", (1280, 800), "dark"), ("-phone", (390, 844), "light"))

PAGES = {
    "overview": "/console/",
    "apis": "/console/apis",
    "api": "/console/apis/shop/restock",
    "workflows": "/console/workflows",
    "workflow": "/console/workflows/nightly-report",
    "executions": "/console/executions",
    "execution": "/console/executions/{succeeded}",
    "failed": "/console/executions/{failed}",
    "refused": "/console/refused",
    "system": "/console/system",
    "docs": "/docs",
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Warehouse(free_port()) as warehouse:
        threading.Thread(target=warehouse.serve_forever, daemon=True).start()
        here = Path(folder)
        shutil.copytree(ROOT / "examples", here, dirs_exist_ok=True)
        config = (ROOT / "examples/config.yaml").read_text()
        config = config.replace("http://127.0.0.1:8090", f"http://127.0.0.1:{warehouse.server_port}")
        config = config.replace("../data/board.txt", "board.txt")
        with service(here, config) as site, chromium() as browser:
            uids = calls(site)
            earlier(site)
            for suffix, size, theme in LOOKS:
                take(browser, site, uids, suffix, size, theme)
        warehouse.shutdown()


def calls(site: Service) -> dict[str, str]:
    """Calls that succeed, fail and are refused; answers the uid of one of each that was accepted."""

    def call(api: str, body: dict[str, Any], **headers: str) -> str:
        url = f"{site.address}/v1/api/{api}/async"
        answer = requests.post(url, json=body, headers={**TOKEN, **headers}, timeout=20).json()
        return str(answer["response"].get("uid", ""))

    for day in range(20, 29):
        call("reports/nightly", {"day": f"2026-01-{day}"})
    for _ in range(4):
        call("shop/restock", {"sku": "A1", "count": 12})
    call("shop/restock", {"sku": "A1", "cuont": 12})
    call("shop/restock", {"sku": "A1", "count": 12}, token="an old one")
    call("shop/order", {"sku": "A1"})
    failed = call("shop/restock", {"sku": "Z9", "count": 3})
    succeeded = call("reports/nightly", {"day": "2026-01-31"})
    site.becomes(failed, "failed")
    site.becomes(succeeded, "succeeded")
    return {"failed": failed, "succeeded": succeeded}


def earlier(site: Service) -> None:
    """A day of bars, and a week of outcomes."""
    dice = random.Random(6)  # pictures
    present = int(time.time() // 3600)
    with Redis(unix_socket_path=str(site.folder / "data/redis.sock")) as redis:
        for api, busy in (("shop/restock", 60), ("reports/nightly", 8), ("github/push", 20)):
            for hour in range(present - 23, present):
                made = dice.randrange(busy // 4, busy)
                redis.hset(f"{FIGURES}api:{api}", f"calls@{hour}", str(made))
                if dice.random() < 0.2:
                    failed = dice.randrange(1, 2 + made // 4)
                    redis.hset(f"{FIGURES}api:{api}", f"failed@{hour}", str(failed))
                    redis.hincrby(f"{FIGURES}service:all", f"failed@{hour}", failed)
                    redis.zadd(FAILING, {api: hour})
                redis.hincrby(f"{FIGURES}service:all", f"succeeded@{hour}", made)
        today = present // 24 * 24
        for workflow, usual in (("restock", 40), ("nightly-report", 36), ("deploy", 55)):
            for day in range(today - 6 * 24, today, 24):
                for number in range(usual - 4, usual + 6):
                    redis.hset(f"{FIGURES}workflow:{workflow}", f"took@{day}:{number}", str(dice.randrange(1, 30)))
                redis.hset(f"{FIGURES}workflow:{workflow}", f"failed@{day}", str(dice.randrange(0, 9)))


def take(browser: Browser, site: Service, uids: dict[str, str], suffix: str, size: tuple[int, int], theme: str) -> None:
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{site.address}/console/sign-in")
    page.screenshot(path=IMAGES / f"console-sign-in{suffix}.png")
    sign_in(context, site)
    for name, path in PAGES.items():
        page.goto(site.address + path.format(**uids))
        if name == "docs":
            page.locator(".opblock").first.wait_for()
        page.screenshot(path=IMAGES / f"console-{name}{suffix}.png")
    context.close()


if __name__ == "__main__":
    main()
