"""A workflow with steps as callers and operators see it: real web processes, a real worker, and the command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests import forks
from tests.support import OwnRedis, environment, eventually, process
from tests.web.site import OPERATOR, TOKEN, Gunicorn, accepted, basic, refusal

ADMIN = basic("admin", OPERATOR)
CARD = "4111222233334444"
KEY = "a-key-of-the-config"

CONFIG = f"""\
operators: {{admin: {OPERATOR}}}
workflows:
  order:
    env: {{API_KEY: "${{API_KEY}}"}}
    steps:
      - name: quote
        python: shop:quote
      - name: buy
        python: shop:buy
        with:
          total: "{{{{ steps.quote.output.total }}}}"
          card: "{{{{ input.card }}}}"
          key: "{{{{ env.API_KEY }}}}"
      - name: tell
        run: [sh, -c, 'echo bought']
    on_failure:
      - name: alert
        run: [sh, -c, 'echo alerted']
  slow:
    steps:
      - {{name: first, python: 'shop:quote'}}
      - {{name: sleep, run: [sh, -c, 'echo zzz; sleep 60']}}
  broken:
    steps:
      - name: deploy
        run: [sh, -c, 'exit 3', "{{{{ input.sku }}}}"]
  killed:
    steps:
      - {{name: die, python: 'shop:die', with: {{how: "{{{{ input.how }}}}"}}}}
  refused:
    steps:
      - name: ask
        http: {{method: POST, url: 'http://127.0.0.1:9/x?key={{{{ input.sku }}}}', json: {{sku: "{{{{ input.sku }}}}"}},
               headers: {{Authorization: 'Bearer {{{{ input.sku }}}}'}}}}
modules:
  shop:
    methods:
      order:
        enabled: true
        auth: {{mode: token, token: {TOKEN}}}
        workflow: order
        input: {{fields: {{sku: {{type: string}}, card: {{type: string, secret: true}}}}}}
      broken: {{enabled: true, auth: {{mode: none}}, workflow: broken}}
      killed: {{enabled: true, auth: {{mode: none}}, workflow: killed}}
      refused: {{enabled: true, auth: {{mode: none}}, workflow: refused}}
      slow: {{enabled: true, auth: {{mode: none}}, workflow: slow}}
"""

SHOP = """
from pathlib import Path

HERE = Path(__file__).parent


def quote(value):
    with (HERE / "quotes").open("a") as file:
        file.write("quote\\n")
    print("quoting", value.get("sku"))
    return {"total": 3}


def die(how):
    os.kill(os.getpid(), signal.SIGKILL)


def buy(total, card, key):
    print("paying with", card, "and", key)
    if not (HERE / "stocked").exists():
        raise ValueError(f"no stock; {card} was not charged")
    return {"paid": total}
"""


class Place:
    """A folder with the config, its web processes and its worker."""

    def __init__(self, folder: Path, url: str, web: Gunicorn) -> None:
        self.folder = folder
        self.web = web
        self.environ = environment(folder, url, API_KEY=KEY)

    def get(self, path: str, **headers: str) -> Any:
        answer = self.web.call(path, "GET", headers={**ADMIN, **headers})
        assert answer.status == 200, answer
        return answer.json["response"]

    def start(self, api: str, value: Any) -> str:
        body = json.dumps(value).encode()
        return accepted(self.web.call(api, body=body, headers={"token": TOKEN, "Content-Type": "application/json"}))

    def act(self, uid: str, name: str) -> Any:
        return self.web.call(f"/v1/executions/{uid}/{name}", headers=ADMIN)

    def ended(self, uid: str) -> dict[str, Any]:
        def record() -> dict[str, Any] | None:
            found: dict[str, Any] = self.get(f"/v1/executions/{uid}")
            return found if found["ended_at"] else None

        return eventually(record, within=40) or {}

    def shell(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return forks.run(arguments, self.environ)


@pytest.fixture(scope="module")
def running(redis_server: OwnRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "shop.py").write_text(SHOP)
    with Gunicorn(folder, redis_server.url, API_KEY=KEY) as web:
        place = Place(folder, redis_server.url, web)
        with process(["worker"], place.environ, folder / "worker.log"):
            yield place


@pytest.fixture
def place(running: Place, redis_server: OwnRedis) -> Place:
    """With no stock; what the worker knows of itself in Redis stays."""
    client = Redis.from_url(redis_server.url)
    eventually(lambda: client.scard("rq:workers:default"))
    client.close()
    for name in ("stocked", "quotes"):
        (running.folder / name).unlink(missing_ok=True)
    return running


def steps_of(record: dict[str, Any]) -> list[tuple[str, str]]:
    return [(step["name"], step["status"]) for step in record["steps"]]


def total_of(record: dict[str, Any]) -> int:
    whole = datetime.fromisoformat(record["ended_at"]) - datetime.fromisoformat(record["created_at"])
    return whole // timedelta(milliseconds=1)


def test_a_failed_step_is_found_understood_mended_and_gone_on_with(place: Place) -> None:
    uid = place.start("shop/order", {"sku": "A1", "card": CARD})
    record = place.ended(uid)
    assert record["status"] == "failed"
    assert steps_of(record) == [("quote", "succeeded"), ("buy", "failed"), ("tell", "skipped"), ("alert", "succeeded")]
    quote, buy, tell, alert = record["steps"]
    assert (quote["output"], tell["because"], alert["output"]) == ({"total": 3}, "buy failed", "alerted")
    assert (buy["error"]["class"], buy["error"]["message"]) == ("ValueError", "no stock; *** was not charged")
    assert "shop.py" in buy["error"]["traceback"]
    assert buy["input"] == {"total": 3, "card": "***", "key": "***"}
    assert sum(span["ms"] for span in record["timeline"]) == total_of(record)
    assert [name for span in record["timeline"] for name in span["steps"]] == ["quote", "buy", "alert"]

    listed = place.get("/v1/executions?status=failed&module=shop&since=1h&limit=1")["executions"]
    assert [(row["uid"], row["error"]["class"]) for row in listed] == [(uid, record["error"]["class"])]
    lines = place.get(f"/v1/executions/{uid}/logs")["lines"]
    assert [(line["step"], line["text"]) for line in lines if line["stream"] == "stdout"] == [
        ("quote", "quoting A1"),
        ("buy", "paying with *** and ***"),
        ("alert", "alerted"),
    ]
    said = place.shell("show", uid)
    assert said.returncode == 0, said.stderr
    assert 'buy got    {"total": 3, "card": "***", "key": "***"}' in said.stdout
    assert "no stock; *** was not charged" in said.stdout
    assert "paying with *** and ***" in said.stdout
    table = place.shell("executions", "--status", "failed")
    assert uid in table.stdout
    for text in (json.dumps(record), json.dumps(listed), json.dumps(lines), said.stdout, table.stdout):
        assert CARD not in text
        assert KEY not in text

    (place.folder / "stocked").touch()
    new = accepted(place.act(uid, "resume"))
    done = place.ended(new)
    assert (done["status"], done["resumed_from"], done["output"]) == ("succeeded", uid, "bought")
    assert steps_of(done)[:3] == [("quote", "succeeded"), ("buy", "succeeded"), ("tell", "succeeded")]
    assert done["steps"][0]["because"]
    assert sum(span["ms"] for span in done["timeline"]) == total_of(done)
    assert [name for span in done["timeline"] for name in span["steps"]] == ["buy", "tell"]
    assert (place.folder / "quotes").read_text() == "quote\n"
    assert refusal(place.act(new, "resume")).code == "requestError.executionEnded"


@pytest.mark.parametrize(
    ("api", "value", "given"),
    [
        ("broken", {"sku": "A1"}, ["sh", "-c", "exit 3", "A1"]),
        ("killed", {"how": {"at": "once"}}, {"how": {"at": "once"}}),
        ("killed", {"how": "x" * 10_000}, {"truncated": True, "bytes": 10_010}),
        ("refused", {"sku": "A1"}, {"method": "POST", "url": "http://127.0.0.1:9/x?***", "json": {"sku": "A1"}}),
    ],
)
def test_what_a_step_was_given_is_known_however_it_fails(place: Place, api: str, value: Any, given: Any) -> None:
    record = place.ended(place.start(f"shop/{api}", value))
    assert record["status"] == "failed"
    assert record["steps"][0]["input"] == given


def test_a_caller_sees_steps_but_no_traceback_and_no_arguments(place: Place) -> None:
    uid = place.start("shop/order", {"sku": "A1", "card": CARD})
    place.ended(uid)
    answer = place.web.call(f"/v1/executions/{uid}", "GET", headers={"token": TOKEN})
    buy = answer.json["response"]["steps"][1]
    assert buy["error"].keys() == {"class", "message"}
    assert "input" not in buy


@pytest.mark.parametrize("by", ["http", "command"])
def test_what_runs_is_cancelled_and_its_log_followed_to_the_end(place: Place, by: str) -> None:
    uid = place.start("shop/slow", {})
    eventually(lambda: "zzz" in [line["text"] for line in place.get(f"/v1/executions/{uid}/logs")["lines"]])
    if by == "http":
        assert place.act(uid, "cancel").json["response"] == {"uid": uid, "status": "running"}
    else:
        assert place.shell("cancel", uid).stdout == f"{uid} is running and told to end\n"
    followed = place.shell("logs", "-f", uid)
    assert followed.returncode == 0
    assert "zzz" in followed.stdout
    record = place.ended(uid)
    who = "admin" if by == "http" else "the command line"
    assert (record["status"], record["error"]["message"]) == ("cancelled", f"Cancelled by {who}")
    assert steps_of(record) == [("first", "succeeded"), ("sleep", "cancelled")]
    assert sum(span["ms"] for span in record["timeline"]) == total_of(record)
    assert place.act(uid, "cancel").json["response"] == {"uid": uid, "status": "cancelled"}
    assert "resume" in place.shell("show", uid).stdout
