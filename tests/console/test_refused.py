"""GET /console/refused: the last calls that were refused."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from redis import Redis

from tests.console.site import Browser, Page, sign_in
from tests.support import OwnRedis
from tests.web.conftest import MakeSite
from tests.web.site import CONFIG, TOKEN, Site, path
from trigger.store.keys import REFUSED
from trigger.store.refused import KEPT, MAX_CLIENT, MAX_MESSAGE, MAX_METHOD, MAX_PATH, Refused

PATH = "/console/refused"
EACH = f"{PATH}?view=each"


def at(seconds: float) -> str:
    """The moment so many seconds ago."""
    moment = datetime.now(UTC) - timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def refused(number: int = 0, **fields: object) -> Refused:
    known = {
        "time": at(number),
        "api": "keyed/one",
        "reason": "requestError.unauthorized",
        "message": "Token is invalid",
        "client": "192.0.2.1",
        "status": 401,
        "method": "POST",
        "path": f"/v1/api/keyed/one/async/{number}",
    }
    return Refused(**{**known, **fields})  # type: ignore[arg-type]


@pytest.fixture
def keep(redis: Redis, site: Site) -> None:
    """What was counted before must not come while a test looks."""
    site.flask.close()
    redis.delete(REFUSED)


def store(redis: Redis, *calls: Refused) -> None:
    redis.rpush(REFUSED, *(call.packed() for call in calls))


def calls(page: Page) -> list[dict[str, str]]:
    return page.main.one(aria_label="Refused calls").rows()


@pytest.mark.usefixtures("keep")
def test_without_any_it_says_what_will_be_here(signed_in: Browser) -> None:
    page = signed_in.get(PATH)
    assert page.heading == "Refused calls"
    assert "No call was refused lately." in page.text


@pytest.mark.usefixtures("keep")
def test_a_refused_call_is_shown_with_who_what_and_why(signed_in: Browser) -> None:
    site = signed_in.site
    site.call("keyed/one", headers={"token": "canary-of-a-token"})
    site.call(f"{path('no/such')}?token=canary-of-a-query", data="canary-of-a-body")
    site.flask.close()
    page = signed_in.get(PATH)
    unknown, known = calls(page)
    assert known == {
        "When": known["When"],
        "Call": "keyed/one POST /v1/api/keyed/one/async",
        "Why": "401 requestError.unauthorized Token is invalid",
        "From": site.client,
    }
    assert known["When"].endswith(("ago", "just now"))
    assert page.main.one("a", text="keyed/one")["href"] == "/console/apis/keyed/one"
    assert unknown["Call"] == "POST /v1/api/no/such/async"
    assert unknown["Why"] == "404 requestError.apiNotFound There is no such API"
    assert "canary" not in page.html
    assert TOKEN not in page.html


@pytest.mark.usefixtures("keep")
def test_it_follows_by_itself_on_the_first_page(signed_in: Browser, redis: Redis) -> None:
    store(redis, *map(refused, range(150)))
    assert signed_in.get(PATH).main.one(id="refused")["data-live"] == "5"
    assert signed_in.get(f"{EACH}&page=2").main.one(id="refused").get("data-live") is None


@pytest.mark.usefixtures("keep")
def test_a_thousand_are_paged_by_a_hundred_the_newest_first(signed_in: Browser, redis: Redis) -> None:
    store(redis, *map(refused, range(KEPT)))
    page, seen = signed_in.get(EACH), []
    for number in range(10):
        rows = calls(page)
        assert len(rows) == 100
        seen += [row["Call"].rpartition("/")[2] for row in rows]
        assert "1,000 calls" in page.text
        newer, older = page.main.all("a", text="Newer"), page.main.all("a", text="Older")
        assert (len(newer), len(older)) == (number > 0, number < 9)
        if older:
            page = signed_in.get(older[0]["href"])
    assert seen == [str(number) for number in range(KEPT)]
    back = signed_in.get(page.main.one("a", text="Newer")["href"])
    assert calls(back)[0]["Call"].endswith("/800")


@pytest.mark.usefixtures("keep")
def test_filters_hold_from_page_to_page(signed_in: Browser, redis: Redis) -> None:
    store(
        redis,
        *(refused(number, api="shop/restock" if number % 2 else "keyed/one") for number in range(300)),
        *(refused(300 + number, api="shop/restock", reason="requestError.apiNotEnabled") for number in range(3)),
        refused(400, api="", path="/v1/api/shop/nowhere/async"),
    )
    first = signed_in.get(f"{EACH}&api=Shop&reason=requestError.unauthorized")
    assert "151 calls" in first.text
    assert {row["Call"].split()[0] for row in calls(first)} == {"shop/restock"}
    form = first.main.one("form").form()
    assert form == {"api": "Shop", "reason": "requestError.unauthorized", "view": "each"}
    second = signed_in.get(first.main.one("a", text="Older")["href"])
    assert len(calls(second)) == 51
    assert second.main.one("form").form() == form
    assert len(calls(signed_in.get(f"{EACH}&reason=requestError.apiNotEnabled"))) == 3
    assert len(calls(signed_in.get(f"{PATH}?api=nowhere"))) == 1
    assert second.main.one("a", text="Show all")["href"] == PATH


@pytest.mark.usefixtures("keep")
@pytest.mark.parametrize("number", ["0", "-1", "x", "", "11", "999", "9" * 5000, "²", "1.5"])
def test_a_page_that_is_none_does_no_harm(signed_in: Browser, redis: Redis, number: str) -> None:
    store(redis, *map(refused, range(5)))
    page = signed_in.get(f"{EACH}&page={quote(number)}")
    assert len(calls(page)) == 5


@pytest.mark.usefixtures("keep")
def test_what_a_caller_and_an_operator_have_sent_is_shown_inert(signed_in: Browser, redis: Redis) -> None:
    evil = "\"'><script>alert(1)</script>&amp;{{7*7}}"
    store(redis, refused(api=evil, reason=evil, message=evil, client=evil, method="<b>", path=evil))
    page = signed_in.get(f"{PATH}?api={quote(evil)}&reason={quote(evil)}")
    (row,) = calls(page)
    assert row["Call"] == f"{evil} <b> {evil}"
    assert row["Why"] == f"401 {evil} {evil}"
    assert page.main.one("form").form() == {"api": evil, "reason": evil}
    nothing = signed_in.get(f"{PATH}?api={quote('<none>')}&reason={quote('<none>')}")
    assert "None of the last 1,000 refused calls matches." in nothing.text


@pytest.mark.usefixtures("keep")
def test_it_stays_small_whatever_was_called(signed_in: Browser, redis: Redis) -> None:
    store(
        redis,
        *(
            refused(
                number,
                api=f"{'m' * 64}/{'n' * 64}",
                reason="requestError.unsupportedMediaType",
                message="m" * MAX_MESSAGE,
                client="f" * MAX_CLIENT,
                method="&" * MAX_METHOD,
                path="/" * MAX_PATH,
            )
            for number in range(100)
        ),
    )
    assert len(calls(signed_in.get(EACH))) == 100


@pytest.mark.usefixtures("keep")
def test_alike_ones_are_shown_together(signed_in: Browser, redis: Redis) -> None:
    store(
        redis,
        *(refused(10 + number, client=f"192.0.2.{number % 5}", path="/v1/api/keyed/one/async") for number in range(20)),
        *(refused(40 + number, api="", reason="requestError.apiNotFound", path=f"/{number}") for number in range(7)),
        refused(60, message="Token is required", reason="requestError.invalidParams"),
    )
    page = signed_in.get(PATH)
    wrong, unknown, missing = calls(page)
    assert "28 calls" in page.text
    assert wrong["Call"] == "20 times keyed/one POST /v1/api/keyed/one/async"
    assert wrong["From"] == "192.0.2.0, 192.0.2.1, 192.0.2.2 and 2 more"
    assert re.fullmatch(r"1\d s ago ?first [23]\d s ago", wrong["When"])
    assert unknown["Call"] == "7 times POST /0 and 6 other paths"
    assert "times" not in missing["Call"]
    each = signed_in.get(page.main.one("a", text="20 times")["href"])
    assert len(calls(each)) == 20
    assert len(calls(signed_in.get(each.main.one("a", text="Show alike ones together")["href"]))) == 1
    assert len(calls(signed_in.get(page.main.one("a", text="Show each")["href"]))) == 28


@pytest.mark.usefixtures("keep")
def test_what_another_version_has_kept_is_left_out(signed_in: Browser, redis: Redis) -> None:
    redis.rpush(REFUSED, b"\xff", b"[]", json.dumps({"time": "x"}))
    store(redis, refused())
    assert len(calls(signed_in.get(PATH))) == 1


def test_with_redis_away_the_page_says_so(make_site: MakeSite, tmp_path: Path) -> None:
    with OwnRedis(tmp_path / "redis") as server:
        browser = sign_in(make_site(CONFIG, redis_url=server.url))
    page = browser.get(PATH, status=503)
    assert page.heading == "This page needs Redis, which can't be used now: System says what is wrong"
    assert page.root.one("nav").one("a", text="System")["href"] == "/console/system"
