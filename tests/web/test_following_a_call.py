"""One call is followed from nginx' log to the end of its last step: real nginx, web processes, worker, command line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests import forks
from tests.support import ROOT, OwnRedis, entries, environment, eventually, process
from tests.web.site import OPERATOR, TOKEN, Answer, Gunicorn, accepted, basic, path, refusal, request
from tests.web.test_nginx import Nginx

ADMIN = basic("admin", OPERATOR)
CARD = "canary-4111222233334444"
KEY = "canary-of-the-config"
WRONG = "canary-wrong-token"

CONFIG = f"""\
server: {{proxies: 1}}
operators: {{admin: {OPERATOR}}}
workflows:
  order:
    env: {{API_KEY: "${{API_KEY}}"}}
    steps:
      - name: quote
        python: shop:quote
        retry: {{attempts: 2, backoff: 1s}}
        with: {{card: "{{{{ input.card }}}}", key: "{{{{ env.API_KEY }}}}"}}
      - name: tell
        run: [sh, -c, 'echo "of $TRIGGER_REQUEST_ID"']
  plain: shop:plain
modules:
  shop:
    methods:
      order:
        enabled: true
        auth: {{mode: token, token: {TOKEN}}}
        workflow: order
        input: {{fields: {{card: {{type: string, secret: true}}}}}}
      plain: {{enabled: true, auth: {{mode: none}}, workflow: plain}}
"""

SHOP = """
from trigger.workflows import current


def quote(card, key):
    if current().attempt == 1:
        raise ValueError(f"no stock for {card} by {key}\\n\\x1b[2J uid=1 request=2 " + "x" * 100_000)
    return current().request_id


def plain(value):
    return current().request_id
"""

PAGE_CONFIG = f"""\
server: {{proxies: 1}}
workflows:
  restock:
    queue: page
    steps:
      - {{name: quote, run: ["true"]}}
      - {{name: order, python: "shop:order", with: {{}}, retry: {{attempts: 2, backoff: 1s}}}}
modules:
  shop:
    methods:
      restock: {{enabled: true, auth: {{mode: token, tokens: {{ci: {TOKEN}}}}}, workflow: restock}}
"""

PAGE_SHOP = """
from trigger.workflows import current


def order():
    if current().attempt == 1:
        raise ConnectionError("no answer")
"""


@dataclass(frozen=True)
class Place:
    """A folder with the config, its web processes, its worker, and nginx in front."""

    folder: Path
    web: Gunicorn
    nginx: Nginx
    environ: dict[str, str]

    @property
    def worker_log(self) -> Path:
        return self.folder / "worker.log"

    def record(self, uid: str) -> dict[str, Any]:
        """The record, once the execution has ended."""

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = self.web.call(f"/v1/executions/{uid}", "GET", headers=ADMIN).json["response"]
            return found if found["ended_at"] else None

        return eventually(ended, within=40) or {}

    def told(self, uid: str) -> list[dict[str, Any]]:
        """What web processes and worker have said about an execution, once it has succeeded, but for reading it."""

        def whole() -> list[dict[str, Any]]:
            found = entries(self.worker_log, uid)
            return found if found and (found[-1]["state"], found[-1].get("step")) == ("succeeded", None) else []

        calls = [entry for entry in entries(self.folder / "log", uid) if entry["verb"] != "GET"]
        return [*calls, *eventually(whole)]


@pytest.fixture(scope="module")
def running(redis_server: OwnRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "shop.py").write_text(SHOP)
    environ = environment(folder, redis_server.url, API_KEY=KEY, TRIGGER_LOG="json")
    with (
        Gunicorn(folder, redis_server.url, API_KEY=KEY, TRIGGER_LOG="json") as web,
        Nginx(tmp_path_factory.mktemp("nginx"), web.port) as nginx,
        process(["worker"], environ, folder / "worker.log"),
    ):
        yield Place(folder, web, nginx, environ)


@pytest.fixture
def place(running: Place, redis_server: OwnRedis) -> Place:
    client = Redis.from_url(redis_server.url)
    eventually(lambda: client.scard("rq:workers:default"))
    client.close()
    return running


def in_access_log(place: Place, count: int) -> list[str]:
    """The ids of the last requests in nginx' log, once there are so many."""
    lines = eventually(lambda: (found := place.nginx.access_log.read_text().splitlines())[count - 1 :] and found)
    return [line.split()[-1] for line in lines or []]


def check_told(found: list[dict[str, Any]], uid: str, number: str) -> None:
    """The entries are those about one call of shop/order, each with what finds it, from the call to the end."""
    assert all((entry["uid"], entry["request"]) == (uid, number) for entry in found)
    assert [(entry.get("status"), entry.get("step"), entry.get("state")) for entry in found] == [
        (202, None, None),
        (None, "quote", "running"),
        (None, "quote", "retrying"),
        (None, None, "retrying"),
        (None, "quote", "running"),
        (None, "quote", "succeeded"),
        (None, "tell", "running"),
        (None, "tell", "succeeded"),
        (None, None, "succeeded"),
    ]


def test_from_nginx_to_the_last_step(place: Place) -> None:
    before = len(place.nginx.access_log.read_text().splitlines())
    sent = {"token": TOKEN, "X-Request-Id": "forged", "Content-Type": "application/json"}
    answer = place.nginx.call("shop/order", body=json.dumps({"card": CARD}).encode(), headers=sent)
    uid = accepted(answer)
    number = in_access_log(place, before + 1)[-1]
    assert re.fullmatch("[0-9a-f]{32}", number)
    assert answer.headers["x-request-id"] == number
    record = place.record(uid)
    assert (record["status"], record["request_id"], record["output"]) == ("succeeded", number, f"of {number}")
    assert record["steps"][0]["output"] == number
    found = place.told(uid)
    check_told(found, uid, number)
    assert "no stock for *** by ***\n\x1b[2J uid=1" in found[2]["event"]
    shown = forks.run(["show", uid], place.environ).stdout
    assert re.search(rf"^request +{number}$", shown, re.MULTILINE)


def test_from_the_web_process_to_the_last_step(place: Place) -> None:
    body = json.dumps({"card": CARD}).encode()
    answer = place.web.call("shop/order", body=body, headers={"token": TOKEN})
    uid = accepted(answer)
    assert answer.headers["x-request-id"] == uid
    assert place.record(uid)["output"] == f"of {uid}"
    check_told(place.told(uid), uid, uid)


def test_an_operators_rerun_is_followed_by_the_operators_request(place: Place) -> None:
    old = accepted(place.web.call("shop/plain", headers={"X-Request-Id": "of-the-caller"}))
    assert place.record(old)["output"] == "of-the-caller"
    before = len(place.nginx.access_log.read_text().splitlines())
    new = accepted(place.nginx.call(f"/v1/executions/{old}/rerun", headers=ADMIN))
    number = in_access_log(place, before + 1)[-1]
    assert place.record(new)["output"] == number
    (call, end) = place.told(new)
    assert (call["path"], call["caller"]) == (f"/v1/executions/{old}/rerun", "admin")
    assert {(entry["uid"], entry["request"]) for entry in (call, end)} == {(new, number)}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(value, id=repr(value[:12]))
        for value in (b"", b"a b", b"\x1b[31mred", b"\xff\xfe", b"-x", b"x" * 65, b"x" * 8000, b'","uid":"1', b"a\tb")
    ],
)
def test_x3_a_header_that_is_no_id_is_replaced(place: Place, value: bytes) -> None:
    head = request("POST", path("shop/plain"), {"Host": "localhost", "Content-Length": "0", "Connection": "close"})
    answer = place.web.send(head[:-2] + b"X-Request-Id: " + value + b"\r\n\r\n")
    if answer.status == 400:  # gunicorn takes no control characters
        refused(place, answer)
        return
    uid = accepted(answer)
    assert answer.headers["x-request-id"] == uid
    assert place.record(uid)["request_id"] == uid
    assert [entry["request"] for entry in place.told(uid)] == [uid, uid]


@pytest.mark.parametrize("value", [b"a\r\nX: y\r\nno header", b"a\0", b"x" * 9000, b"x" * 1_000_000, b"a\r\n b"])
def test_x3_a_header_that_breaks_the_rules_is_refused_with_an_id(place: Place, value: bytes) -> None:
    answer = place.web.send(request("GET", path("shop/plain"), {})[:-2] + b"X-Request-Id: " + value + b"\r\n\r\n")
    refused(place, answer)


def refused(place: Place, answer: Answer) -> None:
    """It is refused, with an id that was made here and that the log has."""
    assert refusal(answer).status in (400, 431)
    number = answer.headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{16}", number)
    (entry,) = entries(place.folder / "log", number)
    assert (entry["status"], entry["request"]) == (answer.status, number)


def test_the_log_looks_as_the_page_shows_it(place: Place, tmp_path: Path) -> None:
    """Some lines of docs/operations.md, against those of a service like that whose log they are said to be."""
    (page,) = re.findall(r"```text\n(.*?)```", (ROOT / "docs" / "operations.md").read_text(), re.DOTALL)
    (tmp_path / "config.yaml").write_text(PAGE_CONFIG)
    (tmp_path / "shop.py").write_text(PAGE_SHOP)
    redis_url = place.environ["REDIS_URL"]
    with (
        Gunicorn(tmp_path, redis_url) as web,
        process(["worker", "--queue", "page"], environment(tmp_path, redis_url), tmp_path / "log"),
    ):
        headers = {"token": TOKEN, "X-Request-Id": "id-of-nginx", "X-Forwarded-For": "192.0.2.7"}
        uid = accepted(web.call("shop/restock", headers=headers))
        eventually(lambda: "worker: shop/restock succeeded" in web.log)
        lines = [line for line in web.log.splitlines() if line.endswith(f" uid={uid} request=id-of-nginx")]
    lines.sort(key=lambda line: " api: " not in line)  # a worker may be quicker than the end of the call
    assert list(map(without_figures, lines)) == list(map(without_figures, page.splitlines()))


def without_figures(line: str) -> str:
    line = re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "TIME", line)
    line = re.sub(r"\bms=\d+\.\d\b", "ms=MS", re.sub(r"\bin \d+\.\d{3} s\b", "in SECONDS s", line))
    return re.sub(r" uid=\S+ request=\S+$", " uid=UID request=ID", line)


def test_a_refused_call_is_found_in_both_logs(place: Place) -> None:
    before = len(place.nginx.access_log.read_text().splitlines())
    answer = place.nginx.call("shop/order", headers={"token": WRONG})
    assert refusal(answer).status == 401
    number = in_access_log(place, before + 1)[-1]
    assert answer.headers["x-request-id"] == number
    (entry,) = entries(place.folder / "log", number)
    assert (entry["status"], entry["request"], entry["verb"]) == (401, number, "POST")


def test_what_nginx_answers_itself_has_its_id(place: Place) -> None:
    before = len(place.nginx.access_log.read_text().splitlines())
    answer = place.nginx.call("/nothing", "GET")
    assert refusal(answer).status == 404
    assert answer.headers["x-request-id"] == in_access_log(place, before + 1)[-1]


def test_x1_nothing_above_has_shown_a_secret_or_broken_a_line(place: Place) -> None:
    for log in (place.folder / "log", place.worker_log):
        text = log.read_bytes().decode()
        assert all(isinstance(json.loads(line), dict) for line in text.splitlines())
        assert all(len(line) < 30_000 and line.isprintable() for line in text.splitlines())
        for secret in (CARD, KEY, WRONG, TOKEN, OPERATOR, "forged"):
            assert secret not in text
        assert '"level": "error"' not in text
