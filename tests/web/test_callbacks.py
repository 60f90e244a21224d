"""Callbacks as they are seen and sent again: by HTTP, in the console and by the command line, without a worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.console.site import sign_in
from tests.store.conftest import FAILED, LATER, SUCCEEDED, Bench
from tests.support import OwnRedis
from tests.test_cli import Shell
from tests.web.conftest import MakeSite
from tests.web.site import OPERATOR, Site, accepted, basic
from trigger.store import Status, callbacks

ADMIN = basic("admin", OPERATOR)
SECRET_PATH = "/services/s3cret"
CONFIG = f"""\
operators: {{admin: {OPERATOR}}}
callbacks:
  ops: {{url: 'https://ops.example{SECRET_PATH}', format: slack}}
workflows: {{hello: 'examples.hello:greet'}}
server: {{callback: ops}}
modules:
  shop:
    methods:
      open: {{enabled: true, auth: {{mode: none}}, workflow: hello}}
      told: {{enabled: true, auth: {{mode: none}}, workflow: hello, callback: ops}}
"""


@pytest.fixture(scope="module")
def shop(make_site: MakeSite) -> Site:
    return make_site(CONFIG)


def record(site: Site, uid: str, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = site.call(f"/v1/executions/{uid}", "GET", **options).get_json()["response"]
    return found


def again(site: Site, uid: str, name: str = "ops", **options: Any) -> tuple[int, dict[str, Any]]:
    response = site.call(f"/v1/executions/{uid}/callbacks/{name}/again", **{"headers": ADMIN, **options})
    return response.status_code, response.get_json()["response"]


def failed(site: Site, redis: Redis, api: str = "shop/open") -> str:
    uid = accepted(site.call(api))
    Bench(redis).run(FAILED)
    return uid


def test_a_call_is_accepted_with_its_callbacks(shop: Site, redis: Redis) -> None:
    bench = Bench(redis)
    for api, result, told in (
        ("shop/open", SUCCEEDED, False),
        ("shop/open", FAILED, True),
        ("shop/told", SUCCEEDED, True),
    ):
        uid = accepted(shop.call(api))
        bench.run(result)
        assert ("callbacks" in record(shop, uid)) is told


def test_a_caller_sees_how_far_it_is_and_an_operator_why(shop: Site, redis: Redis) -> None:
    uid = failed(shop, redis)
    other = Bench(redis).send(LATER)
    (seen,) = record(shop, uid)["callbacks"]
    assert seen.keys() == {"to", "status", "attempts", "next"}
    (seen,) = record(shop, uid, headers=ADMIN)["callbacks"]
    assert (seen["uid"], seen["error"]["class"]) == (other, "ValueError")
    assert record(shop, other, headers=ADMIN)["tells_of"] == uid
    assert shop.call(f"/v1/executions/{other}", "GET").status_code == 404, "its own record is for operators"


def test_only_operators_send_one_again(shop: Site, redis: Redis) -> None:
    uid = failed(shop, redis)
    first = Bench(redis).send(FAILED)
    assert again(shop, uid, headers={})[0] == 401
    assert again(shop, uid, headers={**ADMIN, "Sec-Fetch-Site": "cross-site"})[0] == 403
    assert again(shop, uid, method="GET")[0] == 405
    status, said = again(shop, uid)
    assert (status, said["uid"] != first) == (202, True)
    assert again(shop, uid, "nobody")[0] == 404
    assert again(shop, "1" * 25)[0] == 404
    waiting = accepted(shop.call("shop/open"))
    status, said = again(shop, waiting)
    assert (status, said["error"]["code"]) == (409, "requestError.executionNotEnded")


def test_the_page_of_an_execution_shows_them_with_a_button(shop: Site, redis: Redis) -> None:
    uid = failed(shop, redis)
    Bench(redis).send(LATER)
    browser = sign_in(shop)
    page = browser.get(f"/console/executions/{uid}").main
    card = page.one("section", id="callbacks")
    assert all(word in card.text for word in ("ops", "retrying", "no stock", "Send now"))
    assert browser.post(card.one("form")["action"]).startswith(f"/console/executions/{uid}?said=again")
    (state,) = callbacks.of(redis, uid) or ()
    own = browser.get(f"/console/executions/{state.uid}").main
    assert uid in own.text
    for found in (page, own):
        assert SECRET_PATH not in found.text
    other = failed(shop, redis)
    over = browser.get(f"/console/executions/{Bench(redis).send(FAILED)}").main.one("section", id="failure")
    assert "A callback is sent again from the page of the execution that it tells of" in over.text
    assert over.one("a", href=f"/console/executions/{other}")


def test_the_command_line_lists_them_and_sends_them_again(
    tmp_path: Path, redis: Redis, redis_server: OwnRedis, shop: Site
) -> None:
    shell = Shell(tmp_path, redis_server.url)
    uids = [failed(shop, redis) for _ in range(2)]
    bench = Bench(redis)
    bench.send(FAILED)
    rows = json.loads(shell("callbacks", "--json").stdout)
    assert {(row["of"], row["to"], row["status"]) for row in rows} == {
        (uids[0], "ops", "failed"),
        (uids[1], "ops", "queued"),
    }
    shown = shell("callbacks", uids[0])
    assert "no stock" in shown.stdout
    assert uids[1] not in shown.stdout
    assert "none" in shell("callbacks", "--status", "succeeded").stdout
    said = shell("callbacks", "again", uids[0], "--to", "ops")
    assert (said.returncode, "is sent again to ops by" in said.stdout) == (0, True)
    assert [one.status for one in callbacks.of(redis, uids[0]) or ()] == [Status.QUEUED]
    assert shell("callbacks", "again", uids[0], "--to", "nobody").returncode == 1
    assert shell("callbacks", "again").returncode == 2
    assert "callbacks  ops queued" in shell("show", uids[0]).stdout
