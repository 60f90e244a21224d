"""The page of an API that a sender of webhooks calls: its keys, its signed curl lines, Debug with headers, last use."""

from __future__ import annotations

import json
import shlex
import time

import pytest
from redis import Redis

from tests.console.api_site import editor, send
from tests.console.site import Browser, sign_in
from tests.support import eventually
from tests.web.conftest import MakeSite
from tests.web.site import OPERATOR, Site
from trigger import store
from trigger.signatures import SCHEMES, sign, verify

SECRET = "a-secret-of-32-characters-or-more"
CONFIG = f"""\
operators: {{admin: {OPERATOR}}}
workflows: {{hello: "examples.hello:greet"}}
modules:
  hooks:
    methods:
      slack:
        enabled: true
        verbs: [POST, PUT]
        auth: {{mode: signature, scheme: slack, secrets: {{now: {SECRET}, next: {SECRET}2}}, once: 24h}}
        headers: {{event: X-Event, retry: X-Slack-Retry-Num}}
        when: "{{{{ headers.event == 'push' }}}}"
        answer: {{status: 200, handshake: slack}}
        body: json
        workflow: hello
        debug: {{name: "it's Ada"}}
      gitlab:
        enabled: true
        verbs: [POST]
        auth: {{mode: signature, scheme: gitlab, secrets: {{now: {SECRET}}}, once: 24h}}
        workflow: hello
"""
PAGE = "/console/apis/hooks/slack"


@pytest.fixture(scope="module")
def module_site(make_site: MakeSite) -> Site:
    return make_site(CONFIG)


@pytest.fixture
def browser(site: Site) -> Browser:
    return sign_in(site)


def sent(browser: Browser, page: str, verb: str = "post") -> tuple[dict[str, str], bytes]:
    """The headers and the body of the curl line on a page."""
    words = shlex.split(browser.get(page).main.one(id=f"curl-{verb}").text)
    pairs = (word[2:].partition(":") for word in words if word.startswith("-H"))
    return {name: value.strip() for name, _, value in pairs}, words[words.index("-d") + 1].encode()


def test_the_page_says_what_the_sender_sends(browser: Browser) -> None:
    facts = browser.get(PAGE).main.one("section", aria_label="Declaration").facts()
    assert facts["Who may call"] == "signature (slack): now, next"
    assert facts["Headers"] == "event: X-Event, retry: X-Slack-Retry-Num"
    assert facts["Only when"] == "{{ headers.event == 'push' }}"
    assert (facts["Body"], facts["Answer"]) == ("json", "200, the handshake of slack")


def test_its_curl_lines_are_signed(browser: Browser) -> None:
    headers, body = sent(browser, PAGE, "put")
    assert json.loads(body) == {"name": "it's Ada"}
    given = {name: value.encode() for name, value in headers.items()}
    signer = verify(SCHEMES["slack"], {"now": SECRET}, given.get, body, now=time.time(), tolerance=60)
    assert signer.name == "now"
    assert "signs another" in browser.get(PAGE).text


def test_a_header_that_is_the_secret_is_not_shown(browser: Browser) -> None:
    headers, _ = sent(browser, "/console/apis/hooks/gitlab")
    assert headers["X-Gitlab-Token"] == "YOUR-X-GITLAB-TOKEN"
    assert SECRET not in browser.get("/console/apis/hooks/gitlab").text
    assert SECRET not in browser.get(PAGE).text


def test_debug_sends_declared_headers_and_looks_at_no_condition(browser: Browser, redis: Redis) -> None:
    assert "when does not count here" in editor(browser.get(PAGE)).text
    origin = store.origin(redis, send(browser, "POST", path=PAGE))
    assert origin
    assert origin.headers == {"event": None, "retry": None}
    form = editor(browser.get(PAGE)).form()
    location = browser.post(f"{PAGE}/debug", {**form, "verb": "PUT", "header-event": "ünd", "header-other": "x"})
    origin = store.origin(redis, location.rpartition("/")[2])
    assert origin
    assert origin.headers == {"event": "ünd", "retry": None}
    wrong = {"verb": "POST", "input": "{}", "header-event": "x" * 1001}
    page = browser.refused(f"{PAGE}/debug", wrong, status=400)
    assert editor(page).form()["header-event"] == "x" * 1001


def test_the_page_of_an_execution_shows_declared_headers_escaped(browser: Browser) -> None:
    form = {**editor(browser.get(PAGE)).form(), "verb": "POST"}
    location = browser.post(f"{PAGE}/debug", {**form, "header-event": "<b>push</b>"})
    facts = browser.get(location).main.one("section", aria_label="Facts")
    assert "Headers" in facts.facts()
    assert [element.text for element in facts.all("code")[:2]] == ["event: <b>push</b>", "retry: -"]
    assert not facts.all("b")


def test_it_says_when_a_secret_was_last_used_and_what_was_ignored(site: Site, browser: Browser, redis: Redis) -> None:
    def used() -> str:
        found = browser.get(PAGE).main.one(id="activity").text
        return found[: found.index("Recent")]

    assert "Last used: now never, next never" in used()
    made = sign(SCHEMES["slack"], SECRET + "2", b"{}", now=time.time(), delivery="d")
    assert site.call("hooks/slack", data=b"{}", headers=made).json == {"response": {"ignored": True}}
    eventually(lambda: "1 call started nothing" in used())
    assert "now never, next never" not in used()
    assert "now never, next " in used()
