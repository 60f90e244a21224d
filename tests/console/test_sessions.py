"""A session: its cookie, its end, what is forged, and what holds while Redis is away."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from itsdangerous import URLSafeTimedSerializer
from redis import Redis

from tests.console.site import RIGHT, SAME_ORIGIN, SIGN_IN, SIGN_OUT, SYSTEM, Browser, is_in, page, set_cookie, sign_in
from tests.console.tokens import NONSENSE, link, tampered
from tests.support import OwnRedis
from tests.web.conftest import MakeSite
from tests.web.site import CONFIG, OPERATOR, Site
from trigger.config.secret import Secret, hash_secret
from trigger.web import sessions
from trigger.web.sessions import Sessions

OTHER = "another-0perator-of-the-tests"
TWO_OPERATORS = CONFIG.replace(f"admin: {OPERATOR}", f"admin: {OPERATOR}\n  night: {OTHER}")
BEHIND_NGINX = CONFIG.replace("server:\n", "server:\n  proxies: 1\n")

# The cookie


def test_the_cookie_is_for_this_site_only_and_no_script_reads_it(site: Site) -> None:
    value, attributes = set_cookie(Browser(site).send(SIGN_IN, RIGHT))
    assert value
    assert attributes == {
        "path": "/",
        "max-age": str(sessions.LIFETIME),
        "httponly": True,
        "samesite": "Strict",
    }


@pytest.mark.parametrize(
    ("config", "headers", "secure"),
    [
        (BEHIND_NGINX, {"X-Forwarded-Proto": "https"}, True),
        (BEHIND_NGINX, {"X-Forwarded-Proto": "http"}, False),
        (BEHIND_NGINX, {}, False),
        (CONFIG, {"X-Forwarded-Proto": "https"}, False),  # from no proxy of ours: believed, it would lock everybody out
    ],
    ids=["TLS", "plain", "silent", "nobody's word"],
)
def test_behind_tls_it_travels_on_tls_only(
    make_site: MakeSite, config: str, headers: dict[str, str], secure: bool
) -> None:
    site = make_site(config)
    response = site.call(SIGN_IN, data=RIGHT, headers={**SAME_ORIGIN, **headers})
    assert set_cookie(response)[1].get("secure", False) is secure
    out = site.call(SIGN_OUT, headers={**SAME_ORIGIN, **headers})
    assert set_cookie(out)[1].get("secure", False) is secure


def test_signing_in_begins_a_session_of_its_own(site: Site) -> None:
    planted = Browser(site, cookie="planted-by-somebody-else")
    planted.post(SIGN_IN, RIGHT)
    assert planted.cookie != "planted-by-somebody-else"
    victim = sign_in(site)
    before = victim.cookie
    victim.post(SIGN_IN, RIGHT)
    assert victim.cookie != before


# The end of a session


def test_signing_out_ends_the_session_wherever_its_cookie_is(signed_in: Browser) -> None:
    copied = Browser(signed_in.site, signed_in.cookie)
    other = sign_in(signed_in.site)
    assert is_in(copied)
    response = signed_in.send(SIGN_OUT)
    assert (response.status_code, response.location) == (303, SIGN_IN)
    value, attributes = set_cookie(response)
    assert (value, attributes["max-age"]) == ("", "0")
    assert not is_in(signed_in)
    assert not is_in(copied)
    assert is_in(other)


def test_signing_out_twice_or_unsigned_is_no_mistake(signed_in: Browser) -> None:
    assert signed_in.post(SIGN_OUT) == SIGN_IN
    assert signed_in.post(SIGN_OUT) == SIGN_IN
    assert Browser(signed_in.site).post(SIGN_OUT) == SIGN_IN


def test_a_session_ends_after_its_time(signed_in: Browser, later: Callable[[float], None]) -> None:
    later(sessions.LIFETIME - 5)
    assert is_in(signed_in)
    later(sessions.LIFETIME + 5)
    assert not is_in(signed_in)


def test_the_clock_of_another_machine_may_be_a_little_behind(
    signed_in: Browser, later: Callable[[float], None]
) -> None:
    later(-sessions.SKEW + 5)
    assert is_in(signed_in)
    later(-sessions.SKEW - 5)
    assert not is_in(signed_in)


def test_a_session_ends_with_the_password_or_the_operator(make_site: MakeSite) -> None:
    site = make_site(TWO_OPERATORS)
    admin, night = sign_in(site), sign_in(site, "night", OTHER)
    site.edit(f"admin: {OPERATOR}", "admin: a-password-that-is-new")
    assert not is_in(admin)
    assert is_in(night)
    site.edit(f"\n  night: {OTHER}", "")
    assert not is_in(night)
    assert is_in(sign_in(site, "admin", "a-password-that-is-new"))


def test_a_password_that_changes_back_brings_the_session_back(make_site: MakeSite) -> None:
    """Nothing is stored of a session: this is what that means."""
    site = make_site()
    browser = sign_in(site)
    site.edit(f"admin: {OPERATOR}", "admin: a-password-that-is-new")
    site.edit("admin: a-password-that-is-new", f"admin: {OPERATOR}")
    assert is_in(browser)


def test_operators_with_the_same_password_are_two(make_site: MakeSite) -> None:
    site = make_site(TWO_OPERATORS.replace(OTHER, OPERATOR))
    night = sign_in(site, "night", OPERATOR)
    assert night.get(SYSTEM).root.one("form", of="who").one("span").text == "night"
    site.edit(f"\n  night: {OPERATOR}", "")
    assert not is_in(night)


def test_all_processes_of_a_service_know_a_session(make_site: MakeSite, redis: Redis) -> None:
    one, other = make_site(), make_site()
    browser = sign_in(one)
    assert is_in(Browser(other, browser.cookie))
    Browser(other, browser.cookie).post(SIGN_OUT)
    assert not is_in(browser)


# Forged cookies and keys


@pytest.mark.parametrize("cookie", NONSENSE, ids=lambda cookie: repr(cookie[:12]))
def test_a_cookie_that_is_nonsense_is_nobodys(site: Site, keys: Sessions, cookie: str) -> None:
    keys.link_key("admin", Secret(OPERATOR))  # there is a key to check it with
    assert not is_in(Browser(site, cookie.encode().decode("latin-1")))


def test_a_cookie_that_was_changed_is_nobodys(signed_in: Browser) -> None:
    for forged in tampered(signed_in.cookie):
        assert not is_in(Browser(signed_in.site, forged)), forged
    assert is_in(signed_in)


def test_a_link_is_no_cookie_and_a_cookie_no_link(site: Site, keys: Sessions) -> None:
    assert not is_in(Browser(site, keys.link_key("admin", Secret(OPERATOR))))
    page(Browser(site).open(f"{SIGN_IN}?key={keys.begin('admin', Secret(OPERATOR))}"), 401)


def test_who_knows_the_config_alone_can_forge_nothing(make_site: MakeSite) -> None:
    """A hash in the config may be read by others: signing takes the key that only Redis has."""
    hashed = hash_secret(OPERATOR)
    site = make_site(CONFIG.replace(f"admin: {OPERATOR}", f'admin: "{hashed}"'))
    browser = sign_in(site)
    assert is_in(browser)
    for key in (hashed.encode(), hashlib.sha256(hashed.encode()).digest(), b""):
        signer = URLSafeTimedSerializer(key, salt="console session", signer_kwargs={"digest_method": hashlib.sha256})
        assert not is_in(Browser(site, signer.dumps(["admin", "x"])))


def test_nothing_of_a_token_is_unpacked_before_its_signature_is_right(
    site: Site, keys: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = keys.begin("admin", Secret(OPERATOR))
    unpacked: list[object] = []
    monkeypatch.setattr(URLSafeTimedSerializer, "load_payload", lambda *arguments, **_: unpacked.append(arguments))
    for forged in (*tampered(token), *NONSENSE):
        assert keys.find(forged, {"admin": Secret(OPERATOR)}) is None
    assert not unpacked


def test_a_session_of_one_operator_is_not_anothers(make_site: MakeSite, keys: Sessions) -> None:
    site = make_site(TWO_OPERATORS)
    sign_in(site)
    assert not is_in(Browser(site, keys.begin("admin", Secret(OTHER))))
    assert not is_in(Browser(site, keys.begin("nobody", Secret(OTHER))))
    assert is_in(Browser(site, keys.begin("night", Secret(OTHER))))


# Redis away


@pytest.fixture
def away(make_site: MakeSite, tmp_path: Path) -> Iterator[tuple[Site, Sessions, OwnRedis]]:
    with OwnRedis(tmp_path / "redis") as server:
        yield make_site(redis_url=server.url), Sessions(Redis.from_url(server.url)), server


def test_with_redis_away_who_is_signed_in_sees_what_is_wrong(away: tuple[Site, Sessions, OwnRedis]) -> None:
    site, keys, server = away
    browser, out = sign_in(site), sign_in(site)
    assert out.post(SIGN_OUT) == SIGN_IN
    url = link(keys)
    server.kill()

    assert browser.get(SYSTEM).heading == "System"
    assert not is_in(Browser(site, "forged.by.somebody"))
    assert "noted in Redis" in browser.refused(SIGN_OUT, status=503).heading
    assert "a password can" in page(Browser(site).open(url), 503).heading
    assert is_in(sign_in(site))

    server.start()
    assert is_in(browser)
    assert browser.post(SIGN_OUT) == SIGN_IN
    assert not is_in(browser)
    assert Browser(site).open(url).status_code == 303


def test_a_process_that_has_never_seen_redis_says_so(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site(redis_url=f"unix://{tmp_path}/nowhere.sock")
    assert Browser(site).get(SIGN_IN).heading == "Sign in"
    assert Browser(site).refused(SIGN_IN, RIGHT, status=503).heading == "Nobody can sign in until Redis can be reached"
    assert not is_in(Browser(site, "x.y.z"))


def test_a_process_knows_the_key_before_anybody_has_used_it(
    make_site: MakeSite, away: tuple[Site, Sessions, OwnRedis]
) -> None:
    first, _, server = away
    browser = sign_in(first)
    fresh = make_site(redis_url=server.url)
    server.kill()
    assert is_in(Browser(fresh, browser.cookie))
