"""Who may use the console: signing in and out, by password and by link, and what no page of ours has sent."""

from __future__ import annotations

import itertools
from urllib.parse import urlsplit

import pytest

from tests.console.site import COOKIE, SAME_ORIGIN, Browser, check_headers, is_in, page, sign_in
from tests.console.tokens import link
from tests.web.conftest import MakeSite
from tests.web.site import CONFIG, FAILURES, OPERATOR, Gunicorn, Site, address
from trigger.config.secret import Secret, hash_secret
from trigger.web.sessions import Sessions

SYSTEM = "/console/system"
SIGN_IN, SIGN_OUT = "/console/sign-in", "/console/sign-out"
RIGHT = {"user": "admin", "password": OPERATOR}
WRONG = "The user or the password is wrong."


# By password


def test_who_is_not_signed_in_is_sent_to_sign_in_and_then_on(site: Site) -> None:
    browser = Browser(site)
    response = browser.open(f"{SYSTEM}?a=1&b=x%20y")
    assert response.status_code == 303
    form = page(browser.open(response.location)).main.one("form").form()
    assert form["next"] == f"{SYSTEM}?a=1&b=x%20y"
    assert browser.post(SIGN_IN, {**form, **RIGHT}) == f"{SYSTEM}?a=1&b=x%20y"
    assert is_in(browser)


def test_a_signed_in_page_names_the_operator(signed_in: Browser) -> None:
    head = signed_in.get(SYSTEM).root.one("header")
    assert head.one("form", of="who").one("span").text == "admin"
    assert [entry.text for entry in head.one("nav").all("a", aria_current="page")] == ["System"]


@pytest.mark.parametrize(
    "form",
    [
        {"user": "admin", "password": "wrong"},
        {"user": "nobody", "password": OPERATOR},
        {"user": "admin", "password": ""},
        {"user": "", "password": OPERATOR},
        {"user": "admin"},
        {},
        {"user": "ADMIN", "password": OPERATOR},
        {"user": "admin ", "password": OPERATOR},
        {"user": "admin\0", "password": OPERATOR},
        {"user": "admin", "password": f"{OPERATOR}\0"},
        {"user": "admin", "password": OPERATOR[:-1]},
    ],
)
def test_it_is_never_said_which_was_wrong(site: Site, form: dict[str, str]) -> None:
    browser = Browser(site)
    answered = browser.refused(SIGN_IN, form, status=401)
    assert answered.notices() == [WRONG]
    assert "set-cookie" not in answered.headers
    shown = answered.html.replace(f'value="{form.get("user", "")}"', 'value="USER"')
    other = Browser(site).refused(SIGN_IN, {"user": "x", "password": "y"}, status=401).html
    # But for where the cursor is, which depends on whether a user was given.
    assert shown.replace(" autofocus", "") == other.replace('value="x"', 'value="USER"').replace(" autofocus", "")


def test_an_unknown_user_costs_as_much_as_a_wrong_password(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(CONFIG.replace(f"admin: {OPERATOR}", f'admin: "{hash_secret(OPERATOR)}"'))
    computed: list[bool] = []
    real = Secret.matches

    def matches(self: Secret, value: bytes) -> bool:
        computed.append(self.hashed)
        return real(self, value)

    monkeypatch.setattr(Secret, "matches", matches)
    Browser(site).refused(SIGN_IN, {"user": "admin", "password": "wrong"}, status=401)
    Browser(site).refused(SIGN_IN, {"user": "nobody", "password": "wrong"}, status=401)
    assert computed == [True, True]
    assert is_in(sign_in(site))


def test_the_user_that_was_typed_is_shown_inert(site: Site) -> None:
    typed = "\"><script>alert(1)</script>{{7*7}}'"
    shown = Browser(site).refused(SIGN_IN, {"user": typed, "password": "x"}, status=401)
    assert shown.main.one("input", name="user")["value"] == typed


def test_too_many_wrong_passwords_make_an_address_wait_but_not_the_right_one(site: Site) -> None:
    browser = Browser(site)
    for _ in range(FAILURES):
        browser.refused(SIGN_IN, {"user": "admin", "password": "guess"}, status=401)
    shut_out = browser.refused(SIGN_IN, {"user": "admin", "password": "guess"}, status=429)
    assert 0 < int(shut_out.headers["retry-after"]) <= 60
    assert "try again later" in shut_out.notices()[0]
    assert "set-cookie" not in shut_out.headers
    assert is_in(sign_in(site))
    site.client = address()
    browser.refused(SIGN_IN, {"user": "admin", "password": "guess"}, status=401)


def test_a_browser_that_is_signed_in_stays_so_while_its_address_is_shut_out(signed_in: Browser) -> None:
    for _ in range(FAILURES):
        Browser(signed_in.site).refused(SIGN_IN, {"user": "admin", "password": "guess"}, status=401)
    Browser(signed_in.site).refused(SIGN_IN, {"user": "admin", "password": "guess"}, status=429)
    assert is_in(signed_in)


def test_nothing_of_a_password_or_key_is_logged(site: Site, keys: Sessions, log: list[str]) -> None:
    browser = sign_in(site)
    Browser(site).refused(SIGN_IN, {"user": "admin", "password": "canary-of-a-wrong-one"}, status=401)
    url = link(keys)
    assert Browser(site).open(url).status_code == 303
    assert Browser(site).open(url).status_code == 401
    lines = "\n".join(log)
    assert "admin signed in" in lines
    assert "signing in failed" in lines
    for secret in (OPERATOR, "canary-of-a-wrong-one", browser.cookie, url.partition("=")[2]):
        assert secret not in lines


# What no page of ours has sent (X5)

FOREIGN = [
    {},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": ""},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "https://["},
    {"Origin": "http://localhost:99999999", "Host": "localhost:8080"},
    {"Origin": "http://localhost:9000", "Host": "localhost:8080"},
    {"Origin": "http://localhost", "Host": "localhost:8080"},
    {"Origin": "file://"},
]
OURS = [
    {"Sec-Fetch-Site": "same-origin"},
    {"Origin": "http://localhost"},
    {"Origin": "http://LOCALHOST:8080", "Host": "localhost:8080"},
    {"Origin": "https://[::1]", "Host": "[::1]:443"},
    {"Origin": "http://localhost:8080", "Host": "localhost"},  # through a proxy that leaves the port out
    {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
]


def routes(site: Site) -> list[str]:
    """A path for each route of the console."""
    rules = [rule for rule in site.flask.url_map.iter_rules() if rule.rule.startswith("/console")]
    paths = []
    for rule in rules:
        values = dict.fromkeys(rule.arguments, "x")
        paths.append(site.flask.url_map.bind("localhost").build(rule.endpoint, values))
    assert len(paths) > 5
    return paths


def verbs(site: Site, path: str) -> set[str]:
    """The verbs that a route says it takes; none when there is nothing."""
    response = site.call(path, "OPTIONS", headers=SAME_ORIGIN)
    if response.status_code == 404:
        return set()
    assert page(response, 405)
    return set(response.headers["Allow"].split(", "))


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_what_no_page_of_ours_has_sent_changes_nothing(signed_in: Browser, headers: dict[str, str]) -> None:
    changed = [path for path in routes(signed_in.site) if "POST" in verbs(signed_in.site, path)]
    assert {SIGN_IN, SIGN_OUT} <= set(changed)
    for path in changed:
        refused = page(signed_in.open(path, "POST", data=RIGHT, headers=headers), 403)
        assert refused.heading == "Only a page of this console may do this"
        assert "set-cookie" not in refused.headers
    assert is_in(signed_in)


@pytest.mark.parametrize("headers", OURS, ids=str)
def test_what_a_page_of_ours_has_sent_is_taken(site: Site, headers: dict[str, str]) -> None:
    response = Browser(site).open(SIGN_IN, "POST", data=RIGHT, headers=headers)
    assert (response.status_code, response.location) == (303, "/console/")


def test_nothing_is_changed_or_shown_without_a_session(site: Site) -> None:
    for path in routes(site):
        allowed = verbs(site, path)
        if path in (SIGN_IN, SIGN_OUT) or path.startswith("/console/static/") or not allowed:
            continue
        for verb in allowed & {"GET", "POST"}:
            response = site.call(path, verb, headers=SAME_ORIGIN)
            if path == "/console":
                assert response.location == "/console/"
            else:
                assert urlsplit(response.location or "").path == SIGN_IN, (verb, path)


# X6: page() checks the headers of each page; here, those of what is no page


def test_each_answer_says_that_it_is_not_to_be_kept_or_framed(signed_in: Browser) -> None:
    for path, verb in itertools.product(routes(signed_in.site), ("GET", "POST", "PUT", "OPTIONS", "HEAD")):
        if path in (SIGN_OUT, "/console/static/x"):
            continue
        response = signed_in.open(path, verb, headers=SAME_ORIGIN)
        assert response.status_code < 500, (verb, path)
        if response.status_code == 303:
            assert response.headers["Cache-Control"] == "no-store"
            assert response.data == b""
        else:
            check_headers({name.lower(): value for name, value in response.headers})


# Verbs


@pytest.mark.parametrize("verb", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "FOO"])
def test_other_verbs_are_refused_everywhere(signed_in: Browser, verb: str) -> None:
    for path in routes(signed_in.site):
        allowed = verbs(signed_in.site, path)
        answered = page(signed_in.open(path, verb, headers=SAME_ORIGIN), 405 if allowed else 404)
        if allowed:
            assert set(answered.headers["allow"].split(", ")) in ({"GET", "HEAD"}, {"POST"}, {"GET", "POST", "HEAD"})
    assert is_in(signed_in)


def test_head_is_answered_as_get_without_its_body(signed_in: Browser) -> None:
    for path in (SYSTEM, SIGN_IN, "/console/"):
        got, head = signed_in.open(path), signed_in.open(path, "HEAD")
        assert head.status_code == got.status_code
        assert head.data == b""
        assert head.headers["Content-Length"] == got.headers["Content-Length"]


def test_a_get_never_signs_out(signed_in: Browser) -> None:
    page(signed_in.open(SIGN_OUT), 405)
    page(signed_in.open(f"{SIGN_OUT}?_method=POST", headers={"X-HTTP-Method-Override": "POST"}), 405)
    assert is_in(signed_in)


# Forms


def test_a_form_that_is_too_large_is_refused_unread(site: Site) -> None:
    refused = Browser(site).refused(SIGN_IN, {**RIGHT, "more": "x" * 16 * 1024}, status=413)
    assert "at most 16384 bytes" in refused.heading


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"user": "admin", "password": "' + OPERATOR.encode() + b'"}', "application/json", 400),
        (b'{"user": "admin", "password": "' + OPERATOR.encode() + b'"}', "application/x-www-form-urlencoded", 400),
        (b"[]", "application/json", 400),
        (b"null", "application/json", 400),
        (b"{", "application/json", 400),
        (b"user=admin&password=%zz", "application/x-www-form-urlencoded", 400),
        (b"user=admin&password=%ff", "application/x-www-form-urlencoded", 400),
        (b"&".join([b"a=b"] * 1001), "application/x-www-form-urlencoded", 413),
        (b"user=admin", "text/plain", 415),
        (b"<user/>", "application/xml", 415),
        (b"--x", "multipart/form-data", 400),
        (b"--x\r\n", "multipart/form-data; boundary=x", 400),
        (b"", "application/x-www-form-urlencoded", 401),
    ],
)
def test_what_is_no_form_is_refused(site: Site, body: bytes, kind: str, status: int) -> None:
    response = Browser(site).open(SIGN_IN, "POST", data=body, content_type=kind, headers=SAME_ORIGIN)
    assert "set-cookie" not in page(response, status).headers


def test_of_a_field_that_comes_twice_the_last_counts(site: Site) -> None:
    body = f"user=x&user=admin&password=y&password={OPERATOR}".encode()
    response = Browser(site).open(
        SIGN_IN, "POST", data=body, content_type="application/x-www-form-urlencoded", headers=SAME_ORIGIN
    )
    assert response.status_code == 303


def test_a_form_that_is_broken_on_its_way_is_refused(gunicorn: Gunicorn) -> None:
    head = (
        f"POST {SIGN_IN} HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n"
    )
    sent = f"user=admin&password={OPERATOR}"
    chunks = f"{len(sent):x}\r\n{sent}\r\n"
    for framing, status in (
        (f"Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n", 303),
        (f"Transfer-Encoding: chunked\r\n\r\n{chunks}zz\r\nmore\r\n0\r\n\r\n", 400),
        (f"Transfer-Encoding: chunked\r\n\r\n5000\r\n{'x' * 0x5000}\r\n0\r\n\r\n", 413),
        (f"Content-Length: 1000000000\r\n\r\n{sent}", 413),
    ):
        answer = gunicorn.send((head + framing).encode())
        assert answer.status == status, answer
        assert ("set-cookie" in answer.headers) == (status == 303)
        if status != 303:
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            check_headers(answer.headers)


def test_a_huge_cookie_does_no_harm(gunicorn: Gunicorn) -> None:
    cookies = {"Cookie": f"{COOKIE}={'x' * 8000}"}
    assert gunicorn.call(SYSTEM, "GET", headers=cookies).status == 303
    too_large = {"Cookie": f"{COOKIE}={'x' * 9000}"}
    assert gunicorn.call(SYSTEM, "GET", headers=too_large).status == 431


# X7: off unless an operator is named


def test_without_operators_there_is_no_console(make_site: MakeSite, keys: Sessions) -> None:
    site = make_site(CONFIG.replace(f"operators:\n  admin: {OPERATOR}\n", ""))
    for path in (SYSTEM, SIGN_IN, link(keys)):
        off = page(site.call(path, "GET"), 404)
        assert off.heading == "The console is off: config.yaml names no operator with a password"
    for path in (SIGN_IN, SIGN_OUT):
        assert page(site.call(path, data=RIGHT, headers=SAME_ORIGIN), 404)


def test_an_operator_without_a_password_is_none(make_site: MakeSite) -> None:
    site = make_site(CONFIG.replace(OPERATOR, "${TRIGGER_ADMIN_PASSWORD:-}"))
    page(site.call(SIGN_IN, "GET"), 404)
    with_password = make_site(CONFIG.replace(OPERATOR, "${TRIGGER_ADMIN_PASSWORD:-}"), TRIGGER_ADMIN_PASSWORD=OPERATOR)
    assert is_in(sign_in(with_password))


# What is not there


@pytest.mark.parametrize("path", ["/console/nothing", "/console/system/", "/console/System", "/console/sign-in/x"])
def test_what_is_not_there_is_said_on_a_page(signed_in: Browser, path: str) -> None:
    assert page(signed_in.open(path), 404).heading == "There is no such page"


def test_the_console_is_found_without_its_slash(signed_in: Browser) -> None:
    assert signed_in.open("/console").location == "/console/"


def test_a_host_that_is_not_served_is_refused_on_a_page(make_site: MakeSite) -> None:
    site = make_site(CONFIG.replace("server:\n", "server:\n  hosts: [trigger.example.org]\n"))
    refused = page(site.call(SIGN_IN, "GET", headers={"Host": "evil.example"}), 400)
    assert refused.heading == "This host is not served here"


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_who_is_signed_in_may_read_the_description_of_the_apis(signed_in: Browser, path: str) -> None:
    assert signed_in.open(path).status_code == 200
    signed_in.post("/console/sign-out")
    assert signed_in.open(path).status_code == 401
