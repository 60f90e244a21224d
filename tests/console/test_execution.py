"""GET /console/executions/<uid>: what its page shows, and POST …/cancel, /rerun and /resume, without a worker."""

from __future__ import annotations

import base64
import json
import pickle
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.console.site import MAX_PAGE, Browser, Element, Page, check_headers, sign_in
from tests.store.conftest import FAILED, LATER, SUCCEEDED, Bench
from tests.support import OwnRedis, eventually
from tests.test_record import BROKEN, Planted
from tests.web.conftest import MakeSite
from tests.web.site import OPERATOR, Site, accepted
from trigger import store
from trigger.console import execution, execution_log
from trigger.console.shown import NOTHING
from trigger.store import outcome
from trigger.store.log import Log

CARD = "4111222233334444"
NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}]]>\u202e"

CONFIG = f"""\
operators: {{admin: {OPERATOR}}}
server: {{max_body: 20000}}
workflows:
  plain: examples.hello:greet
  stepped:
    steps:
      - {{name: quote, python: 'examples.hello:greet'}}
      - name: order
        run: [sh, -c, 'exit 3']
      - {{name: tell, needs: [quote], run: ['true']}}
    on_failure:
      - {{name: alert, run: ['true']}}
modules:
  shop:
    methods:
      plain: {{enabled: true, auth: {{mode: none}}, workflow: plain}}
      direct: {{enabled: true, auth: {{mode: none}}, workflow: 'examples.hello:greet'}}
      order:
        enabled: true
        auth: {{mode: none}}
        workflow: stepped
        input:
          fields:
            sku: {{type: string, max_length: 20}}
            card: {{type: string, secret: true}}
          unknown: keep
      push: {{enabled: true, auth: {{mode: none}}, workflow: plain, debounce: 1m}}
      deploy: {{enabled: true, auth: {{mode: none}}, workflow: plain, concurrency: 1}}
"""


@dataclass
class Shop:
    """The app, an operator's browser, and what a worker would do."""

    site: Site
    browser: Browser
    bench: Bench
    redis: Redis

    def call(self, api: str, value: Any = None) -> str:
        return accepted(self.site.call(f"shop/{api}", json={} if value is None else value))

    def page(self, uid: str, query: str = "") -> Page:
        return self.browser.get(f"/console/executions/{uid}{query}")

    def post(self, uid: str, act: str, form: dict[str, str] | None = None) -> str:
        return self.browser.post(f"/console/executions/{uid}/{act}", form)

    def refused(self, uid: str, act: str, form: dict[str, str] | None = None, *, status: int) -> Page:
        return self.browser.refused(f"/console/executions/{uid}/{act}", form, status=status)

    def input_of(self, uid: str) -> Any:
        origin = store.origin(self.redis, uid)
        assert origin is not None
        return origin.input

    def count(self) -> int:
        return int(self.redis.zcard(store.INDEX))

    def steps(self, uid: str, **states: Any) -> None:
        """Writes states of the steps of `stepped`, each as this config declares it."""
        workflow = self.site.watcher.current.workflows["stepped"]
        digests = {step.name: step.digest for step in (*workflow.steps, *workflow.on_failure)}
        plan = json.loads(store.Plan.of(workflow).to_json())
        self.bench.steps(uid, plan, {name: {"digest": digests[name], **state} for name, state in states.items()})

    def log(self, uid: str, limit: int = 1024 * 1024) -> Log:
        """The log of an execution that a worker has taken."""
        run = self.redis.hget(store.JOB + uid, "execution") or b""
        return Log(self.redis, uid, run.decode() if isinstance(run, bytes) else run, limit=limit)

    def failed_in_steps(self, value: Any = None) -> str:
        """One that has failed in its second step."""
        uid = self.call("order", value)
        assert self.bench.take()
        self.steps(
            uid,
            quote=state("succeeded", uid, 0, 100, output={"total": 3}),
            order=state(
                "failed",
                uid,
                100,
                150,
                error={"class": "ExitStatus", "message": "sh ended with 3"},
                traceback="deep\nin",
            ),
            alert=state("succeeded", uid, 150, 160, output="alerted"),
        )
        error = {"class": "ExitStatus", "message": "step order: sh ended with 3", "step": "order"}
        times = {"created_at": 0, "started_at": 0, "ended_at": 200}
        fields = {name: moment(uid, ms).replace("Z", "000Z") for name, ms in times.items()}
        fields |= {"status": "failed", "error": json.dumps(error), "attempt": "1"}
        for name, text in fields.items():
            self.redis.hset(store.JOB + uid, name, text)
        return uid


def moment(uid: str, ms: int) -> str:
    """So many milliseconds after a second before an execution was accepted."""
    begin = datetime.fromtimestamp(store.accepted_ms(uid) / 1000 - 1, UTC)
    return (begin + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def state(status: str, uid: str, begin: int, end: int | None, **more: Any) -> dict[str, Any]:
    """A step's state, with times as `moment` has them."""
    ended = {} if end is None else {"ended_at": moment(uid, end)}
    return {"status": status, "attempts": 1, "started_at": moment(uid, begin), **ended, **more}


@pytest.fixture(scope="module")
def shop_site(make_site: MakeSite) -> Site:
    return make_site(CONFIG)


@pytest.fixture
def shop(shop_site: Site, redis: Redis) -> Shop:
    return Shop(shop_site, sign_in(shop_site), Bench(redis), redis)


def statuses(page: Page) -> list[tuple[str, str]]:
    """Name and status of the steps that a page shows."""
    found = []
    for step in page.main.all("details", of="step"):
        name = step.all("summary")[0].one(of="name")
        status = name.one(of="status").text
        found.append((name.text.removeprefix(status).strip(), status))
    return found


def bars(element: Element) -> list[tuple[str, float, float]]:
    """The kind of each bar, and where it begins and ends in percent."""
    shown = [bar for bar in element.all("rect") if bar.get("class") != "ground"]
    lefts = [(bar["class"], float(bar["x"].rstrip("%")), float(bar["width"].rstrip("%"))) for bar in shown]
    return [(kind, left, left + width) for kind, left, width in lefts]


# --- what it shows ---


def test_one_that_waits_can_be_cancelled_and_is_looked_at_again(shop: Shop) -> None:
    uid = shop.call("order", {"sku": "A1", "card": CARD})
    page = shop.page(uid)
    assert page.heading == f"Execution {uid}"
    facts = page.main.facts()
    assert (facts["API"], facts["Workflow"], facts["Caller"], facts["Attempt"]) == ("shop/order", "stepped", "-", "-")
    assert (facts["Started"], facts["Ended"], facts["Running"]) == ("-", "-", NOTHING)
    assert page.main.one(id="now")["data-live"] == "1"
    assert page.main.one("form", action=f"/console/executions/{uid}/cancel")["data-confirm"]
    assert page.main.all("form", action=f"/console/executions/{uid}/resume") == []
    assert json.loads(page.main.one(id="input-text").raw) == {"sku": "A1", "card": "***"}
    assert CARD not in page.html
    assert page.main.one("ol", of="log")["data-after"] == "0-0"


def test_one_that_a_limit_holds_back_says_so(shop: Shop) -> None:
    assert "Waits for" not in shop.page(shop.call("deploy")).main.facts()
    assert shop.page(shop.call("deploy")).main.facts()["Waits for"] == "other executions of its API to end"
    uid = shop.call("push")
    facts = shop.page(uid).main.facts()
    assert (facts["Waits for"], facts.get("Merged")) == ("the end of its burst of calls", None)
    shop.call("push")
    page = shop.page(uid)
    assert page.main.facts()["Merged"] == "1 further call"
    assert "in the queue" not in page.text
    shop.call("push")
    assert shop.page(uid).main.facts()["Merged"] == "2 further calls"


def test_one_that_has_succeeded_shows_what_it_put_out(shop: Shop) -> None:
    uid = shop.call("plain", {"name": "Ada"})
    shop.bench.run(outcome.succeeded({"text": "grüße", "list": [1, None, True]}))
    page = shop.page(uid)
    assert page.main.all(of="status")[0].text == "succeeded"
    assert json.loads(page.main.one(id="output-text").raw) == {"text": "grüße", "list": [1, None, True]}
    assert "data-live" not in page.main.one(id="now").attributes
    assert page.main.all("form", action=f"/console/executions/{uid}/cancel") == []
    assert page.main.all(id="failure") == []
    assert "Nothing was written." in page.text


def test_one_that_has_failed_shows_why_first_and_where_to_fix_it(shop: Shop) -> None:
    uid = shop.call("plain")
    shop.bench.run(outcome.failed("ValueError", "no stock", "Traceback (most recent call last):\nValueError: no stock"))
    page = shop.page(uid)
    failure = page.main.all("section")[0]
    assert failure["id"] == "failure"
    assert page.main.all(of="status")[0].text == "failed"
    assert failure.one("h2").text == "Failed"
    assert failure.one("code", text="ValueError")
    assert failure.all("pre")[0].text == "no stock"
    assert "Traceback (most recent call last):\nValueError: no stock" in failure.one(id="traceback").raw
    assert "the workflow is declared in line 4 of config.yaml and calls examples.hello:greet." in failure.text
    assert failure.one("a", text="Run it again")["href"] == "#again"
    assert failure.all("form") == []
    direct = shop.call("direct")
    shop.bench.run(FAILED)
    assert "is declared in line 17 of config.yaml" in shop.page(direct).text


def test_a_failed_step_is_named_with_what_it_was_given_and_its_last_lines(shop: Shop) -> None:
    uid = shop.call("order", {"sku": "A1", "card": CARD})
    assert shop.bench.take()
    log = shop.log(uid)
    for n in range(9):
        log.write("stderr", f"line {n}", step="order", attempt=2)
    log.write("stdout", "another's", step="quote")
    assert log.flush()
    shop.redis.hset(store.JOB + uid, "status", "failed")
    shop.redis.hset(store.JOB + uid, "error", json.dumps({"class": "X", "message": "step order: no", "step": "order"}))
    shop.steps(uid, order=state("failed", uid, 0, 5, input={"card": CARD}, traceback=f"deep {CARD}", attempts=2))
    page = shop.page(uid)
    failure = page.main.one(id="failure")
    assert failure.one("h2").text == "Failed in step order"
    assert json.loads(failure.one(id="given").one("pre").raw) == {"card": "***"}
    assert "deep ***" in failure.one(id="traceback").text
    assert [item.one(of="text").text for item in failure.one("ol", of="log").all("li")] == [
        f"line {n}" for n in range(4, 9)
    ]
    assert failure.one("ol", of="log").all("li")[0].one(of="step").text == "order#2"
    assert "the step order is declared in line 8 of config.yaml and calls sh -c 'exit 3'." in failure.text
    assert CARD not in page.html


def test_steps_stand_in_their_order_to_one_scale(shop: Shop) -> None:
    uid = shop.failed_in_steps({"sku": "A1"})
    page = shop.page(uid)
    assert statuses(page) == [("quote", "succeeded"), ("order", "failed"), ("tell", "skipped"), ("alert", "succeeded")]
    quote, order, tell, alert = page.main.all("details", of="step")
    assert json.loads(quote.one("pre").raw) == {"total": 3}
    assert "Why it failed" in order.text
    assert "order failed" in tell.text
    assert "runs only after a failure" in alert.text
    (first,), (second,), (third,) = bars(quote), bars(order), bars(alert)
    assert (first[0], second[0], third[0], bars(tell)) == ("succeeded", "failed", "succeeded", [])
    assert first[1] == 0
    assert first[2] == pytest.approx(second[1], abs=0.01)
    assert second[2] == pytest.approx(third[1], abs=0.01)
    assert (first[2] - first[1]) == pytest.approx(2 * (second[2] - second[1]), abs=0.01)
    told = quote.one("svg")["aria-label"]
    assert told == "succeeded: began 0 ms after the execution was accepted and ran for 100 ms"
    assert "2 succeeded · 1 failed · 1 skipped" in page.text
    words = [item.text for item in page.main.one(id="spans").all("li")]
    assert any("running order for" in text for text in words)
    boxes = page.main.one("svg", of="drawing").all("g")
    assert [box["class"].split()[-1] for box in boxes] == ["succeeded", "failed", "skipped", "succeeded"]


def test_what_runs_reaches_to_now(shop: Shop) -> None:
    uid = shop.call("order")
    assert shop.bench.take()
    shop.steps(uid, quote=state("running", uid, 1, None))
    page = shop.page(uid)
    (bar,) = bars(page.main.one(id="step-1"))
    assert bar[0] == "running"
    assert bar[2] == pytest.approx(100, abs=0.01)
    assert "so far" in page.main.one(id="step-1").one("svg")["aria-label"]
    assert statuses(page)[1:] == [("order", "waiting"), ("tell", "waiting"), ("alert", "waiting")]
    assert bars(page.main.all(of="whole")[0])[-1][2] == pytest.approx(100, abs=0.01)


def test_one_that_is_tried_again_says_what_the_last_attempt_failed_of(shop: Shop) -> None:
    uid = shop.call("plain")
    shop.bench.run(LATER)
    page = shop.page(uid)
    assert page.main.all(of="status")[0].text == "retrying"
    assert page.main.one(id="failure").one("h2").text == "The last attempt failed"
    assert "What now" not in page.text
    assert bars(page.main.all(of="whole")[0])[-1][0] == "waiting"


def test_links_lead_to_what_it_repeats(shop: Shop) -> None:
    first = shop.failed_in_steps()
    rerun = shop.post(first, "rerun").removeprefix("/console/executions/").partition("?")[0]
    resumed = shop.post(first, "resume").removeprefix("/console/executions/").partition("?")[0]
    assert shop.page(rerun).main.facts()["Rerun of"] == f"{first} by admin"
    page = shop.page(resumed)
    assert page.main.facts()["Resumes"] == f"{first} by admin"
    assert "done in the execution that this one resumes" in page.main.one(id="step-1").text
    assert bars(page.main.one(id="step-1")) == []


def test_an_unknown_uid_is_a_page_that_says_so(shop: Shop) -> None:
    for uid in ("1" * 25, "1", "x" * 25, "%3Cb%3E"):
        for more in ("", "/record.json", "/log", "/log.txt"):
            page = shop.browser.get(f"/console/executions/{uid}{more}", 404)
            assert page.heading == "There is no such execution, or its record is no longer kept"
            assert page.main.all("a")[0]["href"] == "/console/executions"
        for act in ("cancel", "rerun", "resume"):
            shop.refused(uid, act, status=404)


def test_without_redis_it_says_so(make_site: MakeSite, tmp_path: Path) -> None:
    with OwnRedis(tmp_path / "data", fsync="no") as own:
        site = make_site(CONFIG, redis_url=own.url)
        browser = sign_in(site)
        uid = accepted(site.call("shop/plain"))
        own.kill()
        for path in ("", "/record.json", "/log", "/log.txt"):
            assert browser.get(f"/console/executions/{uid}{path}", 503).heading.endswith("can't be read now; try again")
        for act in ("cancel", "rerun", "resume"):
            browser.refused(f"/console/executions/{uid}/{act}", status=503)


# --- how large it gets ---


def test_an_output_of_a_mebibyte_is_cut_and_all_of_it_can_be_had(shop: Shop) -> None:
    uid = shop.call("plain", {"text": "'" * 10_000})
    output = ["\"'<&>" * 10] * 16_000
    shop.bench.run(outcome.succeeded(output))
    page = shop.page(uid)
    assert len(page.main.one(id="output-text").raw) < execution.OUTPUT
    assert "There is more: the whole record has it." in page.text
    assert "The input is too large to be edited here" in page.text
    assert page.main.all("textarea") == []
    link = page.main.all("a", text="the whole record")[0]["href"]
    whole = shop.browser.open(link)
    check_headers({name.lower(): value for name, value in whole.headers})
    assert whole.headers["Content-Type"] == "application/json"
    assert whole.headers["Content-Disposition"] == f'attachment; filename="{uid}.json"'
    assert json.loads(whole.data)["output"] == output
    new = shop.post(uid, "rerun").removeprefix("/console/executions/").partition("?")[0]
    assert shop.input_of(new) == {"text": "'" * 10_000}


def test_of_many_steps_a_page_shows_those_that_tell_most(shop: Shop) -> None:
    uid = shop.call("order", {"n": "'\"<&>" * 3_000})
    taken = shop.bench.take()
    assert taken
    log = shop.log(uid)
    for _ in range(200):
        log.write("stdout", "'<&>\"" * 1_600, step="s300")
    assert log.flush()
    names = [f"{'s' * 50}{n}" for n in range(500)]
    states = {
        name: state("succeeded", uid, n, n + 1, output="'" * 3_000, input="'" * 3_000, traceback="'" * 3_000)
        for n, name in enumerate(names[:300])
    }
    error = {"class": NASTY * 50, "message": NASTY * 50}
    states[names[300]] = state("failed", uid, 300, 301, error=error, traceback=NASTY * 500, input=NASTY * 100)
    shop.bench.steps(uid, {"steps": names}, states)
    assert shop.bench.end(*taken, outcome.failed(NASTY * 10, NASTY * 90, NASTY * 900))
    page = shop.page(uid)  # which is found small enough
    assert statuses(page)[0] == (names[300], "failed")
    assert len(statuses(page)) == execution.STEPS
    assert "300 succeeded · 1 failed · 199 skipped" in page.text
    pages = {link.text: link["href"] for link in page.main.one("nav", aria_label="Pages").all("a")}
    earlier = shop.browser.get(pages["Earlier steps"].partition("#")[0])
    assert statuses(earlier)[-1] == (names[299], "succeeded")
    assert statuses(shop.page(uid, "?steps=1"))[0] == (names[0], "succeeded")
    for query in ("?steps=9999", "?steps=99999", "?steps=-1", "?steps=x", "?steps=٣"):
        assert shop.page(uid, query)
    assert page.main.one(id="failure").one("h2").one("a")["href"] == f"/console/executions/{uid}?steps=13#steps"


def test_of_many_steps_those_are_found_that_one_looks_for(shop: Shop) -> None:
    uid = shop.call("order")
    assert shop.bench.take()
    names = [f"{'Load' if n % 2 else 'store'}_{n:03d}" for n in range(120)]
    states = {name: state("succeeded", uid, n, n + 1) for n, name in enumerate(names[:90])}
    states[names[90]] = state("failed", uid, 90, 91, error={"class": "E", "message": "no"})
    shop.bench.steps(uid, {"steps": names}, states)
    page = shop.page(uid)
    search = page.main.one("form", role="search")
    assert search.form() == {"step": ""}
    found = shop.page(uid, "?step=load_0")
    assert statuses(found)[:2] == [("Load_001", "succeeded"), ("Load_003", "succeeded")]
    assert found.main.all("details", of="step")[0]["id"] == "step-2"
    more = found.main.one("a", text="Later steps")["href"].partition("#")[0]
    assert statuses(shop.browser.get(more))[0] == ("Load_051", "succeeded")
    failed = shop.browser.get(page.main.one("a", text="1 failed")["href"].partition("#")[0])
    assert statuses(failed) == [(names[90], "failed")]
    nothing = shop.page(uid, "?step=nothing")
    assert statuses(nothing) == []
    assert "No step matches" in nothing.text
    assert len(statuses(shop.browser.get(nothing.main.one("a", text="show all")["href"].partition("#")[0]))) == 25


def test_of_few_steps_none_is_looked_for(shop: Shop) -> None:
    assert not shop.page(shop.failed_in_steps()).main.all("form", role="search")


def test_a_value_that_is_very_deep_is_not_shown(shop: Shop) -> None:
    uid = shop.call("plain")
    shop.bench.run(SUCCEEDED)
    for depth in (900, 100_000):
        deep = base64.b64encode(b"[" * depth + b"]" * depth)
        shop.redis.xadd(store.RESULTS + uid, {"return_value": deep})
        assert shop.page(uid).main.one(id="output-text").text
        whole = shop.browser.open(f"/console/executions/{uid}/record.json")
        assert whole.status_code == 200
        assert whole.get_json()["uid"] == uid


# --- its log ---


def test_the_last_lines_are_shown_and_followed_from_there(shop: Shop) -> None:
    uid = shop.call("plain")
    assert shop.bench.take()
    log = shop.log(uid)
    for n in range(1_000):
        log.write("stderr" if n % 2 else "stdout", f"line {n}", level="ERROR" if n == 999 else "")
    assert log.flush()
    page = shop.page(uid)
    listed = page.main.one("ol", of="log")
    texts = [item.one(of="text").text for item in listed.all("li")]
    assert texts == [f"line {n}" for n in range(1_000 - execution_log.FIRST, 1_000)]
    assert [item["class"] for item in listed.all("li")[-2:]] == ["stdout", "error"]
    assert f"The last {execution_log.FIRST} lines" in page.text
    follow = shop.browser.open(f"{listed['data-log']}?after={listed['data-after']}").get_json()
    assert follow == {"lines": [], "next": listed["data-after"], "ended": False, "limit": execution_log.AT_ONCE}
    log.write("stdout", "one more")
    assert log.flush()
    follow = shop.browser.open(f"{listed['data-log']}?after={listed['data-after']}").get_json()
    assert [line["text"] for line in follow["lines"]] == ["one more"]
    assert follow["lines"][0].keys() == {"time", "step", "kind", "text"}


def test_what_follows_comes_in_bounded_pieces_to_the_end(shop: Shop) -> None:
    uid = shop.call("plain")
    taken = shop.bench.take()
    assert taken
    log = shop.log(uid)
    for n in range(1_200):
        log.write("stdout", f"{n}{'x' * 5_000 if n == 3 else ''}")
    assert log.flush()
    assert shop.bench.end(*taken, SUCCEEDED)
    after, texts, ended = "0-0", [], False
    while not ended:
        response = shop.browser.open(f"/console/executions/{uid}/log?after={after}")
        check_headers({name.lower(): value for name, value in response.headers})
        content = response.get_json()
        assert len(content["lines"]) <= content["limit"]
        texts += [line["text"] for line in content["lines"]]
        after, ended = content["next"], content["ended"]
    assert [text[:5].rstrip("x…") for text in texts] == [str(n) for n in range(1_200)]
    assert max(map(len, texts)) == execution_log.MAX_LINE + 1


def test_lines_that_are_not_kept_are_counted(shop: Shop) -> None:
    uid = shop.call("plain")
    assert shop.bench.take()
    log = shop.log(uid, limit=1_000)
    for n in range(100):
        log.write("stdout", f"line {n}")
    assert log.flush()
    first = shop.browser.open(f"/console/executions/{uid}/log").get_json()["lines"][0]
    assert first["kind"] == "cut"
    assert first["text"].endswith("lines were cut; only the newest are kept")


@pytest.mark.parametrize("after", ["x", "1", "", "1-1-1", "9" * 30 + "-0", "<b>"])
def test_a_position_that_is_none_is_refused(shop: Shop, after: str) -> None:
    uid = shop.call("plain")
    for path in ("log", "log.txt"):
        assert shop.browser.get(f"/console/executions/{uid}/{path}?after={after}", 400)


def test_all_of_a_log_is_had_as_text(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = shop.call("plain")
    assert shop.bench.take()
    log = shop.log(uid)
    for n in range(1_500):
        log.write("stdout", f"{n} <script>alert(1)</script>")
    assert log.flush()
    response = shop.browser.open(f"/console/executions/{uid}/log.txt")
    check_headers({name.lower(): value for name, value in response.headers})
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    lines = response.text.splitlines()
    assert len(lines) == 1_500
    assert lines[-1].endswith("stdout - 1499 <script>alert(1)</script>")
    monkeypatch.setattr(execution_log, "MAX_TEXT", 1)
    *part, last = shop.browser.open(f"/console/executions/{uid}/log.txt").text.splitlines()
    assert part == lines[: execution_log.AT_ONCE]
    *rest, _ = shop.browser.open(last.removeprefix("... it goes on at ")).text.splitlines()
    assert rest == lines[execution_log.AT_ONCE : 2 * execution_log.AT_ONCE]


# --- what others have put there ---


def test_everything_that_was_sent_or_put_out_is_inert(shop: Shop) -> None:
    uid = shop.call("order", {NASTY: NASTY, "sku": "x"})
    taken = shop.bench.take()
    assert taken
    log = shop.log(uid)
    log.write("stdout", NASTY, step=NASTY, level=NASTY)
    assert log.flush()
    meta = json.loads(shop.redis.hget(store.JOB + uid, "meta") or b"")
    shop.redis.hset(store.JOB + uid, "meta", json.dumps({**meta, "caller": NASTY}))
    failed = state("failed", uid, 0, 1, error={"class": NASTY, "message": NASTY}, traceback=NASTY, input=NASTY)
    done = state("succeeded", uid, 0, 1, output={NASTY: [NASTY]}, because=NASTY)
    odd = state(NASTY, uid, 0, 1, output=NASTY)
    plan = {"steps": ["a", NASTY, "c"], "kinds": {"a": NASTY}, "needs": {"a": [NASTY]}}
    shop.bench.steps(uid, plan, {"a": done, NASTY: failed, "c": odd})
    assert shop.bench.end(*taken, outcome.failed(NASTY, NASTY, NASTY, step=NASTY))
    page = shop.page(uid)
    assert page.main.facts()["Caller"].startswith("<script>")
    assert page.main.one(id="input-text").raw.count("onerror") == 2
    assert page.main.one(id="failure").all("pre")[0].raw.startswith("<script>")
    other = shop.call("plain")
    shop.bench.run(outcome.succeeded({NASTY: NASTY}))
    assert json.loads(shop.page(other).main.one(id="output-text").raw) == {NASTY: NASTY}


def test_what_is_pickled_is_neither_run_nor_a_fault_of_ours(shop: Shop, tmp_path: Path) -> None:
    evidence = tmp_path / "ran"
    planted = pickle.dumps(Planted(evidence))
    uid = shop.failed_in_steps()
    shop.redis.hset(store.JOB + uid, "status", "finished")
    shop.redis.xadd(store.RESULTS + uid, {"return_value": base64.b64encode(planted)})
    shop.redis.hset(store.STEPS + uid, "quote", planted)
    page = shop.page(uid)
    assert json.loads(page.main.one(id="output-text").raw) == {"unreadable": True}
    for name in ("error", "runs", "meta", "data"):
        shop.redis.hset(store.JOB + uid, name, planted)
        assert shop.browser.open(f"/console/executions/{uid}").status_code in (200, 404)
        assert shop.browser.open("/console/executions").status_code == 200
    assert not evidence.exists()


@pytest.mark.parametrize("value", BROKEN, ids=lambda value: repr(value[:40]))
def test_fields_that_are_broken_break_no_page(shop: Shop, value: bytes) -> None:
    uid = shop.failed_in_steps()
    for name in ("meta", "error", "created_at", "started_at", "ended_at", "attempt", "runs", "log", "status", "data"):
        before = shop.redis.hget(store.JOB + uid, name)
        shop.redis.hset(store.JOB + uid, name, value)
        response = shop.browser.open(f"/console/executions/{uid}")
        assert response.status_code in (200, 404)
        assert len(response.data) < MAX_PAGE
        shop.redis.hset(store.JOB + uid, name, before or "")
    shop.redis.hset(store.JOB + uid, "created_at", value)
    assert statuses(shop.page(uid))
    for name in ("quote", "order", ""):
        shop.redis.hset(store.STEPS + uid, name, value)
        assert shop.page(uid)


# --- cancel ---


def test_cancelling_one_that_waits_ends_it(shop: Shop, log: list[str]) -> None:
    uid = shop.call("plain")
    leads = shop.post(uid, "cancel")
    page = shop.browser.get(leads)
    assert page.notices() == ["The execution is cancelled."]
    assert page.main.one(id="failure").one("h2").text == "Cancelled"
    assert "Cancelled by admin" in page.text
    (line,) = [line for line in log if f"/{uid}/cancel" in line]
    assert f"caller=admin uid={uid}" in line


def test_cancelling_one_that_has_ended_says_why_not(shop: Shop) -> None:
    uid = shop.call("plain")
    shop.bench.run(SUCCEEDED)
    page = shop.refused(uid, "cancel", status=409)
    assert page.notices() == ["The execution has succeeded already: there is nothing to cancel"]
    assert page.heading == f"Execution {uid}"


def test_cancelling_one_that_runs_tells_its_worker(shop: Shop) -> None:
    uid = shop.call("plain")
    assert shop.bench.take()
    assert shop.post(uid, "cancel") == f"/console/executions/{uid}?said=told"


# --- rerun ---


def again(page: Page) -> dict[str, str]:
    return page.main.one(id="again").one("form").form()


def test_what_was_not_changed_is_run_again_as_it_was(shop: Shop, log: list[str]) -> None:
    value = {"card": CARD, "sku": "A1", "n": 1.0}
    uid = shop.call("order", value)
    form = again(shop.page(uid))
    assert json.loads(form["input"]) == {**value, "card": "***"}
    leads = shop.post(uid, "rerun", {**form, "input": form["input"].replace("\n", "\r\n")})
    page = shop.browser.get(leads)
    assert page.notices() == ["This is the new execution."]
    new = page.heading.removeprefix("Execution ")
    assert new != uid
    assert (shop.input_of(new), page.main.facts()["Rerun of"]) == (value, f"{uid} by admin")
    (line,) = [line for line in log if f"/{uid}/rerun" in line]
    assert f"caller=admin uid={new}" in line


def test_an_edited_input_keeps_the_secrets_that_are_still_masked(shop: Shop) -> None:
    uid = shop.call("order", {"sku": "A1", "card": CARD})
    form = again(shop.page(uid))
    leads = shop.post(uid, "rerun", {**form, "input": form["input"].replace("A1", "B2")})
    new = leads.removeprefix("/console/executions/").partition("?")[0]
    assert shop.input_of(new) == {"sku": "B2", "card": CARD}
    leads = shop.post(uid, "rerun", {"input": '{"card": "5500000000000004"}'})
    assert shop.input_of(leads.removeprefix("/console/executions/").partition("?")[0]) == {"card": "5500000000000004"}


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("{", 400, "The input is not valid JSON: line 1, column 2"),
        ("", 400, "The input is not valid JSON"),
        ('{"a": 1, "a": 2}', 400, "The input is not valid JSON: line 1, column 10: a key that its object has already"),
        ('{"sku": 1' + "0" * 30 + "}", 400, "an integer that is not from"),
        ("[" * 40 + "]" * 40, 400, "The input is nested too deep"),
        ('{"sku": "123456789012345678901"}', 400, "The input is invalid sku: "),
        ('"text"', 400, "The input must be an object"),
        ('{"x": "' + "y" * 20_000 + '"}', 413, "The input may have at most 20,000 bytes"),
        (NASTY, 400, "The input is not valid JSON"),
    ],
)
def test_an_input_that_is_wrong_is_given_back_with_what_is_wrong(shop: Shop, text: str, status: int, said: str) -> None:
    uid = shop.call("order", {"sku": "A1"})
    page = shop.refused(uid, "rerun", {"input": text}, status=status)
    (notice,) = page.notices()
    assert said in notice
    assert again(page)["input"] == text
    assert shop.count() == 1


def test_a_form_that_is_sent_twice_starts_one_execution(shop: Shop) -> None:
    uid = shop.failed_in_steps({"sku": "A1"})
    page = shop.page(uid)
    form = again(page)
    first, second = (shop.post(uid, "rerun", form) for _ in range(2))
    assert second.partition("?")[0] == first.partition("?")[0]
    assert shop.browser.get(second).notices() == ["This form was sent before: this is the execution that it started."]
    assert shop.count() == 2
    assert shop.post(uid, "rerun", {**form, "input": '{"sku": "B2"}'})
    assert shop.post(uid, "rerun", again(shop.page(uid)))
    assert shop.count() == 4
    resume = page.main.one("form", action=f"/console/executions/{uid}/resume").form()
    first, second = (shop.post(uid, "resume", resume).partition("?")[0] for _ in range(2))
    assert first == second
    assert shop.count() == 5
    for once in ("", "x", "x" * 65, "\r\n" * 10):
        shop.post(uid, "rerun", {"once": once})


# --- resume ---


def test_resume_is_offered_where_it_can_be(shop: Shop) -> None:
    def offers(uid: str) -> bool:
        return bool(shop.page(uid).main.all("form", action=f"/console/executions/{uid}/resume"))

    failed = shop.failed_in_steps()
    assert offers(failed)
    assert "Continues at order; quote won't run again." in shop.page(failed).text
    waits = shop.call("order")
    assert not offers(waits)
    shop.post(waits, "cancel")
    assert offers(waits)
    plain = shop.call("plain")
    shop.bench.run(FAILED)
    assert not offers(plain)
    assert shop.refused(plain, "resume", status=409).notices() == [
        "The workflow plain has no steps to go on from; rerun the execution"
    ]


def test_what_is_done_and_was_changed_can_not_be_gone_on_from(shop: Shop) -> None:
    uid = shop.failed_in_steps()
    done = state("succeeded", uid, 0, 1, digest="another")
    shop.redis.hset(store.STEPS + uid, "quote", json.dumps(done))
    page = shop.refused(uid, "resume", status=409)
    (notice,) = page.notices()
    assert notice.startswith("The step quote, which was done already, has been changed in the workflow stepped")
    assert page.main.one(id="failure")
    assert shop.count() == 1


@pytest.fixture
def own_shop(make_site: MakeSite, redis: Redis) -> Shop:
    """One whose config a test may edit."""
    site = make_site(CONFIG)
    return Shop(site, sign_in(site), Bench(redis), redis)


def test_an_api_that_is_not_enabled_or_gone_starts_nothing(own_shop: Shop) -> None:
    uid = own_shop.failed_in_steps()
    own_shop.site.edit("      order:\n        enabled: true", "      order:\n        enabled: false")
    page = own_shop.page(uid)
    assert "The API is not enabled, so it can't be started again." in page.text
    assert page.main.all(id="again") == page.main.all("form", action=f"/console/executions/{uid}/resume") == []
    (notice,) = own_shop.refused(uid, "rerun", status=409).notices()
    assert notice == "The API shop/order is not enabled"
    own_shop.site.edit("      order:\n        enabled: false", "      orders:\n        enabled: true")
    assert "The config has no such API any more, so it can't be started again." in own_shop.page(uid).text
    own_shop.site.edit("name: order", "name: orders")
    assert "is declared in line 5 of config.yaml" in own_shop.page(uid).text
    assert own_shop.page(uid).main.all("svg", of="drawing") == []


# --- who ---


@pytest.mark.parametrize("act", ["cancel", "rerun", "resume"])
def test_only_a_page_of_ours_can_act_and_only_by_post(shop: Shop, act: str) -> None:
    uid = shop.call("order")
    path = f"/console/executions/{uid}/{act}"
    for headers in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert shop.browser.open(path, "POST", headers=headers).status_code == 403
    assert shop.browser.open(path, "GET").status_code == 405
    stranger = Browser(shop.site)
    response = stranger.send(path)
    assert (response.status_code, response.location) == (303, "/console/sign-in")
    assert eventually(lambda: shop.count() == 1)
    assert shop.page(uid).main.all(of="status")[0].text == "queued"


@pytest.mark.parametrize("more", ["", "/record.json", "/log", "/log.txt"])
def test_it_is_for_operators_only(shop: Shop, more: str) -> None:
    uid = shop.call("plain", {"name": "secret-of-the-caller"})
    response = shop.site.call(f"/console/executions/{uid}{more}", "GET")
    assert response.status_code == 303
    assert response.location.startswith("/console/sign-in?next=")
    assert shop.browser.open(f"/console/executions/{uid}{more}", "DELETE").status_code == 405
