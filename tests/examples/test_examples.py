"""The examples run as the README says: the service with examples/config.yaml, a worker, and what they talk to."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from examples.warehouse import Warehouse
from tests import forks
from tests.programs import free_port, needs_program
from tests.support import ROOT, OwnRedis, environment, eventually, process

CONFIG = ROOT / "examples/config.yaml"
PUSH = Path(__file__).with_name("github_push.json").read_text()
OPERATOR = "0perator-of-the-examples"
TOKEN = {"token": "123456"}


@dataclass(frozen=True)
class Site:
    """The running service and what its workflows work on."""

    address: str
    warehouse: Warehouse
    board: Path
    origin: Path  # a git repository
    folder: Path
    environ: dict[str, str]

    def call(self, api: str, body: Any, **options: Any) -> str:
        """Calls an API with a JSON body and returns the uid."""
        answer = requests.post(f"http://{self.address}/v1/api/{api}/async", json=body, timeout=20, **options)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["response"]["uid"])

    def record(self, uid: str) -> dict[str, Any]:
        """The record, once it is final, as an operator sees it."""

        def final() -> dict[str, Any] | None:
            url = f"http://{self.address}/v1/executions/{uid}"
            record: dict[str, Any] = requests.get(url, auth=("admin", OPERATOR), timeout=20).json()["response"]
            return record if record["status"] in ("succeeded", "failed", "cancelled") else None

        record = eventually(final, within=60)
        assert record is not None
        return record

    def log(self, uid: str) -> str:
        shown = forks.run(["logs", uid], self.environ)
        shown.check_returncode()
        return shown.stdout


def git(*arguments: str, at: Path) -> str:
    command = [
        "git",
        "-c",
        "user.name=Ada",
        "-c",
        "user.email=ada@example.org",
        "-c",
        "commit.gpgsign=false",
        *arguments,
    ]
    return subprocess.run(command, cwd=at, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    needs_program("git")
    folder = tmp_path_factory.mktemp("examples")
    origin = folder / "origin"
    origin.mkdir()
    git("init", "--quiet", "--initial-branch=main", at=origin)
    warehouse = Warehouse(port=0)
    threading.Thread(target=warehouse.serve_forever, daemon=True).start()
    port = free_port()
    with OwnRedis(folder / "data", fsync="no") as redis:
        environ = environment(
            folder,
            redis.url,
            TRIGGER_CONFIG=str(CONFIG),
            TRIGGER_BIND=f"127.0.0.1:{port}",
            TRIGGER_ADMIN_PASSWORD=OPERATOR,
            WAREHOUSE=f"http://127.0.0.1:{warehouse.server_address[1]}",
            BOARD=str(folder / "yard/board.txt"),
            DEPLOY_FROM=str(origin),
            DEPLOY_TO=str(folder / "www/site"),
        )
        with process(["web"], environ, folder / "web.log"), process(["worker"], environ, folder / "worker.log"):
            eventually(lambda: "serves queue" in (folder / "worker.log").read_text())
            eventually(lambda: _answers(f"http://127.0.0.1:{port}/healthz"))
            yield Site(f"127.0.0.1:{port}", warehouse, folder / "yard/board.txt", origin, folder, environ)
    warehouse.shutdown()
    warehouse.server_close()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False


def statuses(record: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["status"] for step in record["steps"]}


def test_the_examples_config_has_no_mistakes() -> None:
    command = [sys.executable, "-m", "trigger", "check", str(CONFIG)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


# Restock


def test_restock_orders_what_is_missing_and_tells(site: Site) -> None:
    uid = site.call("shop/restock", {"sku": "A1", "count": 12}, headers=TOKEN)
    record = site.record(uid)
    order = site.warehouse.orders[uid]
    assert order == {"order": order["order"], "sku": "A1", "count": 9}
    assert record["status"] == "succeeded"
    assert statuses(record) == {"quote": "succeeded", "order": "succeeded", "tell": "succeeded", "complain": "skipped"}
    assert record["output"] == f"{order['order']}: 9 x A1"
    assert f"{uid}  {order['order']}: 9 x A1\n" in site.board.read_text()
    steps = {step["name"]: step for step in record["steps"]}
    assert steps["quote"]["output"] == {"missing": 9, "total": 22.5}
    assert (steps["order"]["output"]["status"], steps["order"]["output"]["json"]) == (201, order)
    log = site.log(uid)
    assert re.search(r" log/INFO quote shop: 3 of A1 in stock, 9 missing$", log, re.MULTILINE)
    assert re.search(rf" stdout tell {order['order']}: 9 x A1$", log, re.MULTILINE)


def test_restock_tries_again_while_the_warehouse_is_busy(site: Site) -> None:
    site.warehouse.busy = 1
    uid = site.call("shop/restock", {"sku": "B2", "count": 41}, headers=TOKEN)
    record = site.record(uid)
    assert record["status"] == "succeeded"
    assert [step["attempts"] for step in record["steps"] if step["name"] == "order"] == [2]
    assert site.warehouse.orders[uid]["count"] == 1


def test_restock_orders_nothing_when_there_is_enough(site: Site) -> None:
    uid = site.call("shop/restock", {"sku": "B2", "count": 2}, headers=TOKEN)
    record = site.record(uid)
    assert record["status"] == "succeeded"
    assert statuses(record) == {"quote": "succeeded", "order": "skipped", "tell": "skipped", "complain": "skipped"}
    assert uid not in site.warehouse.orders


def test_restock_says_what_went_wrong_where_people_look(site: Site) -> None:
    uid = site.call("shop/restock", {"sku": "Z9", "count": 2}, headers=TOKEN)
    record = site.record(uid)
    assert (record["status"], record["error"]["class"]) == ("failed", "LookupError")
    assert record["error"]["message"] == "step quote: there is no article Z9"
    assert statuses(record)["complain"] == "succeeded"
    assert f"{uid}  Z9 is NOT ordered: step quote: there is no article Z9\n" in site.board.read_text()


def test_what_a_caller_sends_is_only_ever_data(site: Site) -> None:
    answer = requests.post(
        f"http://{site.address}/v1/api/shop/restock/async", json={"sku": "$(id)", "count": 1}, headers=TOKEN, timeout=20
    )
    assert answer.status_code == 400


# Deploy


def commit(site: Site, content: str) -> str:
    (site.origin / "index.html").write_text(content)
    git("add", ".", at=site.origin)
    git("commit", "--quiet", "--message", content, at=site.origin)
    return git("rev-parse", "HEAD", at=site.origin)


def push(site: Site, **changes: Any) -> dict[str, Any]:
    """GitHub's payload for a push of a new commit."""
    payload: dict[str, Any] = json.loads(PUSH.replace("COMMIT", commit(site, f"page {changes}")))
    return payload | changes


def test_a_push_deploys_its_commit(site: Site) -> None:
    for text in ("first", "second"):
        payload = json.loads(PUSH.replace("COMMIT", commit(site, text)))
        headers = {"X-GitHub-Event": "push", "User-Agent": "GitHub-Hookshot/1"}
        uid = site.call("github/push", payload, auth=("github", "123456"), headers=headers)
        record = site.record(uid)
        assert record["status"] == "succeeded", site.log(uid)
        assert record["output"] == {"deployed": payload["after"]}
        assert record["caller"] == "github"
        assert record["input"] == payload
        assert (site.folder / "www/site/index.html").read_text() == text


@pytest.mark.parametrize(
    "changes", [{"ref": "refs/heads/topic"}, {"ref": "refs/tags/main"}, {"deleted": True, "after": "0" * 40}]
)
def test_other_pushes_are_skipped(site: Site, changes: dict[str, Any]) -> None:
    record = site.record(site.call("github/push", push(site, **changes), auth=("github", "123456")))
    assert (record["status"], statuses(record)) == ("succeeded", {"deploy": "skipped"})


def test_githubs_ping_is_accepted(site: Site) -> None:
    ping = {"zen": "Design for failure.", "hook_id": 1, "hook": {"type": "Repository", "active": True}}
    record = site.record(site.call("github/push", ping, auth=("github", "123456")))
    assert (record["status"], statuses(record)) == ("succeeded", {"deploy": "skipped"})


def test_a_commit_that_is_not_there_fails_and_says_so(site: Site) -> None:
    uid = site.call("github/push", push(site, after="f" * 40), auth=("github", "123456"))
    record = site.record(uid)
    assert record["status"] == "failed"
    assert record["error"]["message"] == "step deploy: scripts/deploy.sh ended with exit status 128"
    assert re.search(r" stderr deploy fatal: .*f{40}", site.log(uid))


@pytest.mark.parametrize("after", ["--help", "main", "f" * 39 + ";", "x"])
def test_what_is_no_commit_is_refused(site: Site, after: str) -> None:
    url = f"http://{site.address}/v1/api/github/push/async"
    answer = requests.post(url, json=push(site, after=after), auth=("github", "123456"), timeout=20)
    assert answer.status_code == 400


# The nightly report


def test_the_nightly_report_needs_all_three(site: Site) -> None:
    record = site.record(site.call("reports/nightly", {"day": "2026-01-31"}, headers=TOKEN))
    assert record["status"] == "succeeded", record["error"]
    assert record["output"] == ("Report of 2026-01-31\n3 visitors, 8 pieces sold for 36.50\nRunning low: A1\n")
    steps = {step["name"]: step for step in record["steps"]}
    assert steps["visitors"]["output"] == {"visitors": 3}
    assert max(steps[name]["ended_at"] for name in ("sales", "stock", "visitors")) <= steps["write"]["started_at"]


# The README


def test_the_readmes_lines_run(site: Site) -> None:
    needs_program("curl")
    section = (ROOT / "README.md").read_text().partition("## Steps")[2].partition("## Commands")[0]
    pages = section + (ROOT / "docs/workflows.md").read_text().partition("## Examples")[2]
    lines = re.findall(r"^curl (?:.*\\\n)*.*$", pages, re.MULTILINE)
    assert len(lines) == 6
    commit(site, "deployed as the README says")
    for line in lines:
        command = line.replace("curl ", "curl -s ", 1).replace("127.0.0.1:8080", site.address)
        command = command.replace("git rev-parse HEAD", f"git -C {site.origin} rev-parse HEAD")
        said = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout
        record = site.record(json.loads(said)["response"]["uid"])
        assert record["status"] == "succeeded", (line, record["error"])
