"""The page of an API; and what all pages of APIs must stand."""

from __future__ import annotations

import json
import re
import shlex
import time
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.console.api_site import (
    CARD,
    CONFIG,
    KEY,
    ORDER,
    PASSWORD,
    XSS,
    clicked,
    editor,
    figures,
    page_of,
    send,
    wrong,
)
from tests.console.site import SAME_ORIGIN, Browser, Element, page, sign_in
from tests.support import OwnRedis
from tests.web.conftest import MakeSite
from tests.web.site import OPERATOR, OTHER_TOKEN, TOKEN, Site, accepted, refusal
from trigger.console.fields import MAX_ROWS


@pytest.fixture(scope="module")
def module_site(make_site: MakeSite) -> Site:
    return make_site(CONFIG, KEY=KEY)


def test_a_page_says_how_the_api_is_declared(signed_in: Browser) -> None:
    page = signed_in.get("/console/apis/stock/count")
    assert page.heading == "stock/count"
    line = signed_in.site.config.read_text().splitlines().index("      count:") + 1
    assert page.main.one(aria_label="Declaration").facts() == {
        "Verbs": "POST",
        "Who may call": "token: ci, backup",
        "Starts the workflow": "hello",
        "Path": "/v1/api/stock/count/async",
        "Declared in": f"config.yaml, line {line}",
    }
    assert signed_in.get("/console/apis/stock/report").main.one("dl").facts()["Who may call"] == "password: ada"
    assert signed_in.get(ORDER).main.one("dl").facts()["Who may call"] == "anybody"


def test_a_page_says_whether_a_call_may_wait_for_the_end(make_site: MakeSite, redis: Redis) -> None:
    browser = sign_in(make_site(CONFIG.replace("verbs: [POST]", "sync: 20s\n        verbs: [POST]"), KEY=KEY))
    page = browser.get("/console/apis/stock/count")
    assert page.main.one("dl").facts()["Waits for the end"] == "up to 20 s, at …/sync"
    line = page.main.one(id="curl-post-sync").raw
    assert line == page.main.one(id="curl-post").raw.replace("/async", "/sync")
    assert page.main.one("button", data_copy="curl-post-sync").text == "Copy"
    assert "workflowError.failed" in page.text
    assert "/sync" not in browser.get(ORDER).html


def test_a_page_says_who_is_told_of_which_ends(make_site: MakeSite, redis: Redis) -> None:
    declared = "callbacks:\n  ops: {url: 'https://ops.example/s3cret', format: slack}\n"
    declared += "  night: {url: 'https://n.example/', format: ntfy, on: [failed, cancelled]}\n"
    named = CONFIG.replace("verbs: [POST]", "callback: [ops, night]\n        verbs: [POST]")
    page = sign_in(make_site(declared + named, KEY=KEY)).get("/console/apis/stock/count")
    told = "ops: succeeded, failed, cancelled; night: failed, cancelled"
    assert page.main.one("dl").facts()["Callbacks"] == told
    assert "s3cret" not in page.html


def test_fields_are_rows_with_those_inside_them(signed_in: Browser) -> None:
    fields = signed_in.get(ORDER).main.one("table", of="fields")
    rows = {row["Field"]: row for row in Element("", {}, [fields]).rows()}
    assert rows["sku"] == {
        "Field": "sku",
        "Type": "string",
        "Required": "yes",
        "Default": "-",
        "Rules": "2 to 20 characters; matches [A-Z].*",
        "Description": "Which",
    }
    assert (rows["count"]["Default"], rows["count"]["Rules"]) == ("1", "1 to 9")
    assert rows["colour"]["Rules"] == 'one of "red", "blue"; or null'
    assert rows["card"]["Type"] == "string secret"
    assert (rows["pin"]["Default"], rows["pin"]["Rules"]) == ("***", "one of 2 values")
    assert (rows["tags"]["Type"], rows["tags"]["Rules"]) == ("list of string", "at most 3 items")
    assert rows["each item"]["Rules"] == "at most 5 characters"
    assert rows["address"]["Rules"] == "Unknown fields are dropped"
    inside = next(cell for cell in fields.all("th") if cell.text == "city")
    assert (inside["class"], inside["title"]) == ("in-1", "address.city")


def test_an_api_that_declares_no_fields_says_what_that_means(signed_in: Browser) -> None:
    assert "No fields are declared: any JSON is accepted" in signed_in.get("/console/apis/shop/get").text


def test_no_secret_is_in_any_page(signed_in: Browser, redis: Redis) -> None:
    send(signed_in, "POST")
    for path in ("/console/apis", ORDER, "/console/apis/stock/count", "/console/apis/stock/report"):
        html = signed_in.get(path).html
        for secret in (TOKEN, OTHER_TOKEN, PASSWORD, CARD, KEY, OPERATOR):
            assert secret not in html


@pytest.mark.parametrize(
    ("api", "credentials", "allowed"),
    [
        ("shop/order", {}, {"GET", "POST"}),
        ("shop/get", {}, {"GET"}),
        ("stock/count", {"YOUR-TOKEN": TOKEN}, {"POST"}),
        ("stock/report", {"YOUR-PASSWORD": PASSWORD}, {"GET", "POST"}),
    ],
)
def test_a_curl_line_for_each_verb_calls_the_api(
    signed_in: Browser, api: str, credentials: dict[str, str], allowed: set[str]
) -> None:
    page = signed_in.get(f"/console/apis/{api}")
    lines = {
        line["id"].removeprefix("curl-").upper(): line.raw for line in page.main.all("pre") if "id" in line.attributes
    }
    assert lines.keys() == allowed
    for verb, line in lines.items():
        assert page.main.one("button", data_copy=f"curl-{verb.lower()}", type="button").text == "Copy"
        for placeholder, secret in credentials.items():
            assert placeholder in line
            line = line.replace(placeholder, secret)
        program, *words = shlex.split(line)
        assert program == "curl"
        headers = dict(word[2:].split(":", 1) for word in words if word.startswith("-H"))
        assert words[-1].startswith(f"http://localhost/v1/api/{api}/async")
        options: dict[str, Any] = {"data": words[words.index("-d") + 1]} if "-d" in words else {}
        headers = {name: value.strip() for name, value in headers.items()} | (
            {"Content-Type": "application/x-www-form-urlencoded"} if options else {}
        )
        target = words[-1].removeprefix("http://localhost")
        accepted(signed_in.site.call(target, "POST" if options else "GET", headers=headers, **options))


@pytest.mark.parametrize("host", ["trigger.example.org:8443", "[::1]:80"])
def test_curl_lines_have_the_host_that_the_page_came_from(signed_in: Browser, host: str) -> None:
    page_ = page(signed_in.open(ORDER, headers={"Host": host}))
    assert f"http://{host}/v1/api/shop/order/async" in page_.text


def test_a_host_that_a_shell_would_not_take_for_one_is_left_out(signed_in: Browser) -> None:
    page_ = page(signed_in.open(ORDER, environ_overrides={"HTTP_HOST": "x;$(reboot)"}))
    assert "http://localhost/v1/api/shop/order/async" in page_.text
    assert "reboot" not in page_.html


def test_debug_data_that_is_too_long_for_a_line_is_left_out(make_site: MakeSite, redis: Redis) -> None:
    browser = sign_in(make_site(CONFIG.replace("debug: {name: Ada}", f"debug: {{name: {'x' * 3000}}}"), KEY=KEY))
    page = browser.get("/console/apis/shop/off")
    assert page.main.one(id="curl-post").raw == "curl -d '{}' http://localhost/v1/api/shop/off/async"
    assert "too long to be shown in this line" in page.text
    assert len(json.loads(editor(page).form()["input"])["name"]) == 3000


def test_it_says_which_refusals_there_can_be(signed_in: Browser) -> None:
    def codes(api: str) -> list[tuple[str, str]]:
        table = signed_in.get(f"/console/apis/{api}").main.one("table", of="codes")
        return [(row["Status"], row["Code"]) for row in Element("", {}, [table]).rows()]

    site = signed_in.site
    shown = codes("stock/count")
    for answer in (
        site.call("stock/count", data=b"x" * 5000),
        site.call("stock/count", "GET"),
        site.call("stock/count"),
        site.call("stock/count", headers={"token": "wrong"}),
        site.call("stock/count", data=b"{", headers={"token": TOKEN}),
        site.call("stock/count", data=b"x", headers={"token": TOKEN, "Content-Type": "text/plain"}),
    ):
        seen = refusal(answer)
        assert (str(seen.status), seen.code) in shown
    assert [status for status, _ in shown] == ["413", "405", "403", "401", "401", "400", "415", "429", "503"]
    assert [status for status, _ in codes("shop/get")] == ["405", "403", "429", "503"]


DECLARED = "enabled: true, verbs: [GET], workflow: 'examples.hello:greet'"
OPEN = f"{DECLARED}, auth: {{mode: none}}"
LIMITED = f"""\
docs: public
operators: {{admin: {OPERATOR}}}
modules:
  shop:
    methods:
      free: {{{OPEN}}}
      rated: {{{OPEN}, rate: 1/1m}}
      queued: {{{DECLARED}, concurrency: 1, auth: {{mode: token, token: {TOKEN}}}}}
      both: {{{OPEN}, rate: 1/1m, concurrency: {{limit: 1, full: reject}}}}
      newest: {{{OPEN}, sync: 5s, concurrency: {{limit: 1, full: newest}}}}
      burst: {{{OPEN}, sync: 5s, debounce: 5s, concurrency: 1}}
      inside: {{{OPEN}, from: [192.0.2.0/24]}}
"""


def test_it_says_which_limits_refuse_a_call_as_the_description_does(make_site: MakeSite, redis: Redis) -> None:
    site = make_site(LIMITED)
    browser = sign_in(site)
    described = site.call("/openapi.json", "GET").get_json()["paths"]

    def when(api: str, code: str) -> list[str]:
        table = browser.get(f"/console/apis/shop/{api}").main.one("table", of="codes")
        return [row["When"] for row in Element("", {}, [table]).rows() if row["Code"] == code]

    def component(api: str, status: str) -> str:
        responses = described[f"/v1/api/shop/{api}/async"]["get"]["responses"]
        return str(responses[status]["$ref"].rpartition("/")[2])

    later, queue = "Retry-After says when to call again", "too many executions are waiting in its queue"
    slots, often = "too many of its executions are running or waiting", "It is called too often"
    too_many = {
        "free": f"{queue}; {later}",
        "rated": f"{often}, or {queue}; {later}",
        "queued": f"{slots}, or {queue}, or the credentials from this address were wrong too often; {later}",
        "both": f"{often}, or {slots}, or {queue}; {later}",
        "newest": f"{queue}; {later}",
        "burst": f"{queue}; {later}",
        "inside": f"{queue}; {later}",
    }
    for api, text in too_many.items():
        assert when(api, "requestError.tooManyRequests") == [text[0].upper() + text[1:]]
        assert component(api, "429") == ("429-limited" if api in ("rated", "queued", "both") else "429")
        is_open = api != "inside"
        assert bool(when(api, "requestError.forbidden")) is not is_open
        assert component(api, "403") == ("403" if is_open else "403-address")
    (cancelled,) = when("newest", "workflowError.cancelled")
    assert cancelled.endswith("cancelled by an operator or by a newer call")
    (cancelled,) = when("burst", "workflowError.cancelled")
    assert cancelled.endswith("cancelled by an operator")


def test_the_chart_names_each_hour(signed_in: Browser, redis: Redis) -> None:
    figures(redis, "shop/order", calls_0=4, failed_0=1)
    chart = signed_in.get(ORDER).main.one("svg", of="chart", role="img")
    assert chart["aria-label"] == "4 calls, 1 failed in the last 24 hours, by hour; 4 at most in one"
    hours = [title.text for title in chart.all("title")]
    assert len(hours) == 24
    assert hours[-1] == f"from {time.gmtime().tm_hour:02d}:00 UTC: 4 calls, 1 failed"
    assert (chart.one("rect", of="bar")["height"], chart.one("rect", of="bar-bad")["height"]) == ("24", "6")


def test_it_has_the_last_executions_of_this_api_only(signed_in: Browser, redis: Redis) -> None:
    other = accepted(signed_in.site.call("shop/get", "GET"))
    uid = accepted(signed_in.site.call("stock/count", headers={"token": OTHER_TOKEN}))
    recent = signed_in.get("/console/apis/stock/count").main.one(id="activity")
    (row,) = recent.rows()
    assert row["Execution"] == uid
    assert (row["Status"], row["Took"], row["Caller"]) == ("queued", "-", "backup")
    assert recent.one("a", text=uid)["href"] == f"/console/executions/{uid}"
    links = [link["href"] for link in recent.all("a")]
    assert "/console/executions?api=stock%2Fcount" in links
    assert other not in recent.text


@pytest.mark.parametrize("path", ["shop/nothing", "nothing/order", "shop", "shop/order/x", f"shop/{XSS}", "shop/%00"])
def test_there_is_no_page_of_an_api_that_is_not_declared(signed_in: Browser, path: str) -> None:
    signed_in.get(f"/console/apis/{path}", 404)
    if path.count("/") == 1:
        for act in ("switch", "debug"):
            signed_in.refused(f"/console/apis/{path}/{act}", {"enabled": "true"}, status=404)


def test_whatever_the_config_and_callers_say_is_inert(make_site: MakeSite, redis: Redis) -> None:
    quoted = json.dumps(XSS)
    config = f"""\
operators: {{admin: {OPERATOR}}}
workflows: {{hello: "examples.hello:greet"}}
modules:
  shop:
    description: {quoted}
    methods:
      order:
        description: {quoted}
        auth: {{mode: token, tokens: {{{json.dumps(XSS.replace(":", "")[:60])}: {TOKEN}}}}}
        workflow: hello
        input:
          fields:
            a: {{type: string, description: {quoted}, default: {quoted}, enum: [{quoted}]}}
            b: {{type: string, pattern: {json.dumps(re.escape(XSS))}}}
        debug: {{a: {quoted}}}
"""
    browser = sign_in(make_site(config))
    pages = [browser.get("/console/apis"), browser.get(ORDER), page_of(browser, q=XSS, page=XSS, said=XSS)]
    pages += [wrong(browser, "POST", XSS)[0], wrong(browser, "POST", json.dumps({XSS: 1}))[0]]
    uid = send(browser, "POST")
    pages.append(browser.get(ORDER))
    assert uid in pages[-1].text
    for shown in pages:  # each was checked for scripts and handlers when it was read
        assert not shown.main.all("script")
        assert not shown.main.all("img")
        assert "1234000" not in shown.html  # nothing was rendered twice
    assert XSS in " ".join(pages[0].main.raw.split("\n"))
    assert json.loads(editor(pages[1]).form()["input"]) == {"a": XSS}


@pytest.mark.parametrize("act", ["switch", "debug"])
@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {}, 403),
        ("POST", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", {"Origin": "https://evil.example"}, 403),
        ("POST", {"Origin": "null"}, 403),
        ("GET", SAME_ORIGIN, 405),
        ("PUT", SAME_ORIGIN, 405),
    ],
)
def test_only_a_form_of_ours_changes_anything(
    signed_in: Browser, redis: Redis, act: str, method: str, headers: dict[str, str], status: int
) -> None:
    text = signed_in.site.config.read_text()
    form = {"enabled": "false", "verb": "POST", "input": '{"sku": "A1"}'}
    options = {"data": form} if method != "GET" else {"query_string": form}
    assert signed_in.open(f"{ORDER}/{act}", method, headers=headers, **options).status_code == status
    assert signed_in.site.config.read_text() == text
    assert redis.keys("rq:*") == []


@pytest.mark.parametrize("path", ["/console/apis", ORDER, f"{ORDER}/switch", f"{ORDER}/debug"])
def test_only_who_is_signed_in_sees_and_does_anything(site: Site, path: str) -> None:
    text = site.config.read_text()
    browser = Browser(site)
    sends = path.endswith(("switch", "debug"))
    form = {"enabled": "false", "verb": "POST", "input": '{"sku": "A1"}'}
    answer = browser.send(path, form) if sends else browser.open(path)
    assert answer.status_code == 303
    assert answer.location.startswith("/console/sign-in")
    assert site.config.read_text() == text


def test_without_redis_the_pages_say_so_and_the_switch_works(make_site: MakeSite, tmp_path: Path) -> None:
    with OwnRedis(tmp_path / "data", fsync="no") as server:
        browser = sign_in(make_site(CONFIG, redis_url=server.url, KEY=KEY))
        server.kill()
        for path in ("/console/apis", ORDER):
            (notice,) = browser.get(path, 503).notices()
            assert notice.startswith("Redis can't be reached:")
        _, mistakes = wrong(browser, "POST", '{"sku": "A1"}', 503)
        assert "The queue can't take the call now" in mistakes
        assert (
            browser.post(*clicked(browser.get("/console/apis", 503), "shop/off"))
            == "/console/apis?q=&page=1&switched=enabled&api=shop/off#shop/off"
        )
        server.start()


def test_an_api_of_very_many_fields_has_a_page_that_is_not_too_long(make_site: MakeSite, redis: Redis) -> None:
    field = "{type: string, description: " + "what it is for " * 30 + ", enum: [" + ", ".join("abcdefgh") + "]}"
    fields = "".join(f"            f{number}: {field}\n" for number in range(1000))
    config = CONFIG.replace("            sku:", f"{fields}            sku:")
    page = sign_in(make_site(config, KEY=KEY)).get(ORDER)  # which is checked to have less than 100 KB
    assert len(page.main.one("table", of="fields").one("tbody").all("tr")) == MAX_ROWS
    assert "there are more" in page.text
