"""The list of workflows, and the page of each."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from redis import Redis

from tests.console.site import Browser, Page, page, sign_in
from tests.store.conftest import FAILED, SUCCEEDED, Bench
from tests.support import OwnRedis
from tests.web.conftest import MakeSite
from tests.web.site import OPERATOR, Site
from trigger.console.lists import ROWS
from trigger.console.week import Week
from trigger.store import acts
from trigger.store.counters import Outcomes

XSS = "</code></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg/onload=alert(3)>"
KEY = "canary-from-outside"
PIN = "4711"

CONFIG = f"""\
operators:
  admin: {OPERATOR}
workflows:
  hello: examples.hello:greet
  Alpha:
    python: examples.hello:greet
    description: Says hello first
    timeout: 90s
    queue: slow
    retry: {{attempts: 3, backoff: [1s, 5m]}}
  keyed:
    description: "For ${{KEY}}, ${{PIN}} of them"
    steps:
      - {{name: http, http: {{url: "https://ada:${{KEY}}@api.example.net/{{{{ input.x }}}}/${{PIN}}"}}}}
      - {{name: program, run: [sh, -c, "echo ${{KEY}} $${{HOME}}", "${{PIN}}"]}}
      - {{name: call, python: "examples.hello:greet", with: {{value: "${{KEY}}"}}}}
  order:
    description: |-
      {XSS}
    parallel: 2
    steps:
      - {{name: quote, needs: [], python: "examples.hello:greet"}}
      - name: stock
        needs: []
        http: {{method: PUT, url: "https://example.net/{{{{ input.sku }}}}?q='>"}}
        timeout: 10s
      - name: tell
        needs: [quote, stock]
        when: "{{{{ steps.quote.output == '<b>' }}}}"
        run:
          - sh
          - -c
          - |-
            echo {XSS}
        retry: {{attempts: 4, backoff: [1s, 5s], on: [1]}}
        continue_on_error: true
    on_failure:
      - {{name: undo, python: "examples.hello:greet"}}
      - {{name: complain, run: [sh, -c, "exit 0"], when: "{{{{ true }}}}"}}
modules:
  shop:
    methods:
      order: {{enabled: true, auth: {{mode: none}}, workflow: order, description: Take an order}}
      again: {{auth: {{mode: none}}, workflow: order}}
      hello: {{enabled: true, auth: {{mode: none}}, workflow: hello}}
      direct: {{enabled: true, auth: {{mode: none}}, workflow: "examples.hello:greet"}}
"""


@pytest.fixture(scope="module")
def module_site(make_site: MakeSite) -> Site:
    return make_site(CONFIG, KEY=KEY, PIN=PIN)


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


def page_of(browser: Browser, **query: str) -> Page:
    return page(browser.open("/console/workflows", query_string=query))


def names(page: Page) -> list[str]:
    """The workflows on a page of the list, in its order."""
    return [cell.one("a").text for cell in page.main.all("td", of="name")]


def row(page: Page, name: str) -> dict[str, str]:
    return next(cells for cells in page.main.rows() if cells["Workflow"].split(" ")[0] == name)


def run(bench: Bench, site: Site, api: str, *ends: bool) -> list[str]:
    """Has an API called so often, and its executions succeed or fail; their uids."""
    of = site.watcher.current.apis[tuple(api.split("/"))]  # type: ignore[index]
    uids = []
    for end in ends:
        uids.append(bench.accept(of))
        assert bench.run(SUCCEEDED if end else FAILED) == uids[-1]
    return uids


def steps(page: Page) -> dict[str, dict[str, str]]:
    """The rows of the tables of steps, by the name of each step."""
    tables = page.main.all(of="scroll")
    return {row["Step"]: row for table in tables if table.all("table", of="steps") for row in table.rows()}


# The list.


def test_each_workflow_is_listed_with_what_it_is_and_what_starts_it(signed_in: Browser) -> None:
    page = signed_in.get("/console/workflows")
    assert page.heading == "Workflows"
    assert names(page) == ["Alpha", "examples.hello:greet", "hello", "keyed", "order"]
    assert row(page, "Alpha") == {
        "Workflow": "Alpha Says hello first",
        "Runs": "examples.hello:greet",
        "Queue": "slow",
        "Started by": "no API",
        "Succeeded": "none ended",
        "p50": "-",
        "p95": "-",
    }
    assert row(page, "order")["Runs"] == "3 steps"
    assert row(page, "order")["Started by"] == "shop/again, shop/order"
    assert row(page, "examples.hello:greet")["Started by"] == "shop/direct"
    assert page.main.one("a", text="shop/again")["href"] == "/console/apis/shop/again"


def test_every_name_leads_to_the_page_of_its_workflow(signed_in: Browser) -> None:
    page = signed_in.get("/console/workflows")
    for cell in page.main.all("td", of="name"):
        link = cell.one("a")
        assert signed_in.get(link["href"]).heading == link.text


def test_how_executions_have_ended_is_a_bar_and_words(signed_in: Browser, site: Site, bench: Bench) -> None:
    run(bench, site, "shop/order", True, False, True, True)
    page = signed_in.get("/console/workflows")
    cells = row(page, "order")
    assert cells["Succeeded"] == "75 % of 4"
    assert cells["p50"].endswith("s")
    assert cells["p95"].endswith("s")
    bar = page.main.one("svg", of="week")
    assert bar["aria-label"] == "3 succeeded, 1 failed in the last 7 days"
    assert [(piece["x"], piece["width"]) for piece in bar.all("rect")[1:]] == [("0", "74"), ("74", "26")]
    assert row(page, "hello")["Succeeded"] == "none ended"


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("first", ["Alpha"]),
        ("SLOW", ["Alpha"]),
        ("examples GREET", ["Alpha", "examples.hello:greet", "hello", "keyed", "order"]),
        ("example.net/", ["keyed", "order"]),
        ("onerror=alert(2)", ["order"]),
        (KEY, []),
        ("${KEY}", ["keyed"]),
        ("no such thing", []),
        ("\0", []),
    ],
)
def test_a_search_looks_at_names_descriptions_queues_and_calls(
    signed_in: Browser, search: str, found: list[str]
) -> None:
    page = page_of(signed_in, q=search)
    assert names(page) == found
    assert page.main.one("input", type="search")["value"] == search
    assert ("No workflow has all of these words" in page.text) is (not found)


def test_without_any_workflow_it_says_how_to_declare_one(make_site: MakeSite, redis: Redis) -> None:
    browser = sign_in(make_site(f"operators: {{admin: {OPERATOR}}}\nmodules: {{}}\n"))
    page = browser.get("/console/workflows")
    assert page.main.one("h2").text == "No workflows yet"
    example = page.main.one("pre").raw
    browser = sign_in(make_site(f"operators: {{admin: {OPERATOR}}}\n{example}\nmodules: {{}}\n"))
    assert names(browser.get("/console/workflows")) == ["hello", "restock"]


def many(count: int) -> str:
    description = "All that can be said about it in a line or two " * 3
    workflows = "".join(
        f"  workflow-{number:05d}: {{python: examples.hello:greet, description: {description}}}\n"
        for number in range(count)
    )
    modules = "".join(
        f"  module-{start:05d}:\n    methods:\n"
        + "".join(
            f"      method-{number:05d}: {{enabled: true, auth: {{mode: none}}, workflow: workflow-00007}}\n"
            for number in range(start, start + 100)
        )
        for start in range(0, 1000, 100)
    )
    return f"operators: {{admin: {OPERATOR}}}\nworkflows:\n{workflows}modules:\n{modules}"


def test_ten_thousand_workflows_come_a_page_at_a_time(make_site: MakeSite, redis: Redis, bench: Bench) -> None:
    site = make_site(many(10_000))
    browser = sign_in(site)
    first = browser.get("/console/workflows")  # which is checked to have less than 100 KB
    assert first.text.count("10,000 workflows") == 1
    assert len(names(first)) == ROWS
    assert row(first, "workflow-00007")["Started by"] == (
        "module-00000/method-00000, module-00000/method-00001 and 998 more"
    )
    tenth = browser.get("/console/workflows?page=10")
    assert names(browser.get(tenth.main.one("a", text="Next")["href"]))[0] == "workflow-00500"
    last = browser.get("/console/workflows?page=999999")
    assert names(last)[-1] == "workflow-09999"
    assert not last.main.all("a", text="Next")
    found = browser.get("/console/workflows?q=workflow-077&page=2")
    assert "100 workflows of 10,000 match “workflow-077”." in found.text
    assert names(found)[0] == "workflow-07750"
    assert names(browser.get(found.main.one("a", text="Previous")["href"]))[0] == "workflow-07700"
    # One that a thousand APIs start.
    (uid,) = run(bench, site, "module-00500/method-00555", True)
    busy = browser.get("/console/workflows/workflow-00007")
    assert len(busy.main.one("ul", of="starters").all("li")) == 20
    assert busy.main.one("a", text="and 980 more APIs")["href"] == "/console/apis?q=workflow-00007"
    assert busy.main.one(id="recent").rows()[0]["Execution"] == uid


# The page of one.


def test_a_callable_is_shown_with_its_declaration(signed_in: Browser) -> None:
    page = signed_in.get("/console/workflows/Alpha")
    line = CONFIG.splitlines().index("  Alpha:") + 1
    assert page.main.facts() == {
        "Runs": "examples.hello:greet",
        "Queue": "slow",
        "Timeout": "1 min 30 s",
        "Attempts": "3 attempts, after 1 s, 5 min",
        "Declared in": f"config.yaml, line {line}",
    }
    assert "Says hello first" in page.text
    assert "No API starts it" in page.text
    assert not page.main.all("svg")


def test_one_that_its_api_names_directly_is_a_workflow_too(signed_in: Browser, site: Site, bench: Bench) -> None:
    uids = run(bench, site, "shop/direct", True)
    page = signed_in.get("/console/workflows/examples.hello%3Agreet")
    assert page.heading == "examples.hello:greet"
    assert page.main.facts()["Declared in"] == "config.yaml, by its API"
    recent = page.main.one(id="recent")
    assert [found["Execution"] for found in recent.rows()] == uids
    assert recent.one("a", text="All executions of this API")["href"] == "/console/executions?api=shop%2Fdirect"


def test_steps_are_drawn(signed_in: Browser) -> None:
    drawing = signed_in.get("/console/workflows/order").main.one("svg", of="drawing")
    assert drawing["aria-label"] == (
        "Steps: quote first; stock first; tell after quote, stock. After a failure: undo, complain."
    )
    assert [(title.text) for title in drawing.all("title")] == [
        "quote: python",
        "stock: http",
        "tell: run · when · 4 attempts",
        "undo: python",
        "complain: run · when",
    ]
    assert len(drawing.all("g", of="late")) == 2


def test_steps_are_told_with_what_they_call_and_when(signed_in: Browser) -> None:
    page = signed_in.get("/console/workflows/order")
    assert page.main.facts()["Runs"] == "3 steps, at most 2 at once"
    echo = XSS.replace("'", "'\"'\"'")
    assert steps(page) == {
        "quote": {"Step": "quote", "Calls": "python examples.hello:greet", "Needs": "-", "Rules": "-"},
        "stock": {
            "Step": "stock",
            "Calls": "http PUT https://example.net/{{ input.sku }}?q='>",
            "Needs": "-",
            "Rules": "at most 10 s",
        },
        "tell": {
            "Step": "tell",
            "Calls": f"run sh -c 'echo {echo}'",
            "Needs": "quote, stock",
            "Rules": "only when {{ steps.quote.output == '<b>' }} 4 attempts, after 1 s, 5 s, on some errors only "
            "may fail: the others still run",
        },
        "undo": {"Step": "undo", "Calls": "python examples.hello:greet", "Rules": "-"},
        "complain": {"Step": "complain", "Calls": "run sh -c 'exit 0'", "Rules": "only when {{ true }}"},
    }
    assert page.main.one("h3").text == "Only after a failure"


def test_of_many_steps_those_are_found_that_one_looks_for(make_site: MakeSite, signed_in: Browser) -> None:
    declared = "".join(
        f"      - {{name: {'Load' if n % 2 else 'store'}_{n:03d}, python: 'examples.hello:greet'}}\n"
        for n in range(120)
    )
    text = f"operators: {{admin: {OPERATOR}}}\nworkflows:\n  long:\n    steps:\n{declared}modules: {{}}\n"
    browser = sign_in(make_site(text))
    page = browser.get("/console/workflows/long")
    assert page.main.one("form", role="search").form() == {"q": ""}
    found = browser.get("/console/workflows/long?q=load")
    assert list(steps(found))[:2] == ["Load_001", "Load_003"]
    assert next(iter(steps(browser.get(found.main.one("a", text="Next")["href"])))) == "Load_101"
    assert list(steps(browser.get("/console/workflows/long?q=GREET+store_11"))) == [
        f"store_{n}" for n in range(110, 120, 2)
    ]
    assert "No step has all of these words" in browser.get("/console/workflows/long?q=nothing").text
    assert not signed_in.get("/console/workflows/order").main.all("form", role="search")  # of few none is looked for


def test_nothing_that_a_reference_gave_is_shown(signed_in: Browser) -> None:
    for path in ("/console/workflows", "/console/workflows?q=keyed", "/console/workflows/keyed"):
        html = signed_in.get(path).html
        assert KEY not in html
        assert PIN not in html
    page = signed_in.get("/console/workflows/keyed")
    assert "For ${KEY}, ${PIN} of them" in page.text
    assert {name: cells["Calls"] for name, cells in steps(page).items()} == {
        "http": "http GET https://***@api.example.net/{{ input.x }}/${PIN}",
        "program": "run sh -c 'echo ${KEY} ${HOME}' '${PIN}'",
        "call": "python examples.hello:greet(value)",
    }


def test_what_the_config_says_is_shown_inert(signed_in: Browser) -> None:
    for path in ("/console/workflows", "/console/workflows/order", "/console/workflows?q=%3Csvg/onload=alert(1)%3E"):
        page = signed_in.get(path)  # which is checked to run nothing but our own script
        assert not page.main.all("img")
        assert not page.main.all("script")
        assert not [element for element in page.main.all() if "onload" in element.attributes]
    assert XSS in signed_in.get("/console/workflows/order").text


def test_it_says_how_it_fares_and_what_has_run_lately(signed_in: Browser, site: Site, bench: Bench) -> None:
    ended = run(bench, site, "shop/order", True, True, False)
    other = run(bench, site, "shop/hello", True)
    waiting = bench.accept(site.watcher.current.apis["shop", "again"])
    acts.cancel(bench.redis, bench.accept(site.watcher.current.apis["shop", "again"]), "admin")
    page = signed_in.get("/console/workflows/order")
    week = page.main.one(id="week")
    assert week.facts()["Succeeded"] == "66.6 %"
    assert [part.text for part in week.one(of="ends").all("span") if part.text] == [
        "2 succeeded",
        "1 failed",
        "1 cancelled",
    ]
    recent = page.main.one(id="recent").rows()
    assert [(found["Execution"], found["Status"], found["API"]) for found in recent[1:]] == [
        (waiting, "queued", "shop/again"),
        (ended[2], "failed", "shop/order"),
        (ended[1], "succeeded", "shop/order"),
        (ended[0], "succeeded", "shop/order"),
    ]
    assert recent[0]["Status"] == "cancelled"
    assert other[0] not in page.html
    assert [item.text for item in page.main.one("ul", of="starters").all("li")] == [
        "shop/again disabled",
        "shop/order enabled Take an order",
    ]


@pytest.mark.parametrize("name", ["nobody", "hello/x", "HELLO", "..%2Fhello", "%00", "examples.hello:nobody", "é"])
def test_one_that_is_not_there_is_not_found(signed_in: Browser, name: str) -> None:
    assert signed_in.get(f"/console/workflows/{name}", 404).heading == "There is no workflow of that name"


def test_a_workflow_of_a_thousand_steps_has_pages_without_a_drawing(make_site: MakeSite, redis: Redis) -> None:
    long, condition = "<" * 2000, f"{{{{ 1 == {'1' * 1000} }}}}"
    lines = "".join(
        f"      - {{name: step_{number}, needs: [{needs}], run: [sh, -c, '{long}'], when: '{condition}'}}\n"
        for number in range(1000)
        for needs in [", ".join(f"step_{before}" for before in range(max(0, number - 30), number))]
    )
    late = "".join(f"      - {{name: late_{number}, run: [sh, -c, exit]}}\n" for number in range(3))
    head = f"operators: {{admin: {OPERATOR}}}\nmodules: {{}}\nworkflows:\n  big:\n"
    browser = sign_in(make_site(f"{head}    steps:\n{lines}    on_failure:\n{late}"))
    first = browser.get("/console/workflows/big")  # which is checked to have less than 100 KB
    assert len(steps(first)) == ROWS
    assert "too many steps, or needs, for a drawing" in first.text
    assert not first.main.all("svg", of="drawing")
    second = browser.get(first.main.one("a", text="Next")["href"])
    assert steps(second)["step_99"]["Needs"] == ("step_69, step_70, step_71, step_72, step_73, step_74 and 24 more")
    last = browser.get("/console/workflows/big?page=99")
    assert "Page 21 of 21" in last.text
    assert list(steps(last)) == ["late_0", "late_1", "late_2"]


def test_while_redis_is_away_the_pages_show_what_the_config_says(make_site: MakeSite, tmp_path: Path) -> None:
    with OwnRedis(tmp_path / "data", fsync="no") as server:
        browser = sign_in(make_site(CONFIG, redis_url=server.url, KEY=KEY, PIN=PIN))
        server.kill()
        listed = browser.get("/console/workflows", 503)
        assert row(listed, "order")["Succeeded"] == "-"
        shown = browser.get("/console/workflows/order", 503)
        assert len(steps(shown)) == 5
        assert shown.main.all("svg", of="drawing")
        for page in (listed, shown):
            (notice,) = page.notices()
            assert notice.startswith("Redis can't be reached:")


def test_only_operators_see_workflows(site: Site) -> None:
    for path in ("/console/workflows", "/console/workflows/order"):
        response = Browser(site).open(path)
        assert response.status_code == 303
        assert response.location.startswith("/console/sign-in?next=")


def test_nothing_is_changed_here(signed_in: Browser) -> None:
    for path in ("/console/workflows", "/console/workflows/order"):
        assert signed_in.refused(path, status=405).headers["allow"] == "GET, HEAD"


# The bar.


def pieces(succeeded: int, failed: int, cancelled: int) -> tuple[str, str, list[tuple[str, int, int]]]:
    week = Week.of(Outcomes(succeeded, failed, cancelled, None, None))
    return week.rate, week.words, [(piece.status, piece.x, piece.width) for piece in week.pieces]


def test_the_bar_shows_what_is_rare_and_the_rate_is_never_too_good() -> None:
    assert pieces(0, 0, 0) == ("-", "none has ended", [])
    assert pieces(5, 0, 0) == ("100 %", "5 succeeded", [("succeeded", 0, 100)])
    assert pieces(9_999, 1, 0) == ("99.9 %", "9,999 succeeded, 1 failed", [("succeeded", 0, 98), ("failed", 98, 2)])
    assert pieces(1, 99_999, 0)[0] == "0 %"
    rate, words, shown = pieces(1, 1, 2)
    assert (rate, words) == ("50 %", "1 succeeded, 1 failed, 2 cancelled")
    assert [width for _, _, width in shown] == [26, 25, 49]
    assert sum(width for _, _, width in shown) == 100


def test_the_drawing_of_a_page_is_well_formed(signed_in: Browser) -> None:
    html = signed_in.get("/console/workflows/order").html
    svg = html[html.index('<svg class="drawing"') : html.index("</svg>", html.index('<svg class="drawing"')) + 6]
    ElementTree.fromstring(svg)
