"""What a page of another site makes a browser send starts nothing: an image, a form, a link."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.web.site import HASHED, PASSWORD, TOKEN, Refusal, Site, accepted, basic, nothing_stored, refusal

FORBIDDEN = Refusal(403, "requestError.badRequest", "Another site's page may not do this")

IMAGE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1"}
FORM = {"Origin": "https://evil.example", "Content-Type": "application/x-www-form-urlencoded"}
SIBLING = {"Sec-Fetch-Site": "same-site", "Origin": "https://other.localhost"}
SANDBOX = {"Origin": "null"}

# APIs that a browser calls without the page's knowing a secret, with what the browser adds by itself.
OPEN = [("open/any", {}), ("named/one", basic("ada", PASSWORD)), ("named/hashed", basic("ada", HASHED))]


@pytest.mark.parametrize("headers", [IMAGE, LINK, FORM, SIBLING, SANDBOX])
@pytest.mark.parametrize("verb", ["GET", "POST"])
@pytest.mark.parametrize(("api", "added"), OPEN)
def test_another_sites_page_starts_nothing(
    site: Site, redis: Redis, api: str, added: dict[str, str], verb: str, headers: dict[str, str]
) -> None:
    data = b"sku=A1" if verb == "POST" else b""
    assert refusal(site.call(api, verb, headers={**headers, **added}, data=data)) == FORBIDDEN
    assert nothing_stored(redis)


@pytest.mark.parametrize(
    "headers",
    [
        {},  # curl, a webhook
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},  # typed into the address bar
        {"Origin": "http://localhost"},
    ],
)
@pytest.mark.parametrize("verb", ["GET", "POST"])
@pytest.mark.parametrize(("api", "added"), OPEN)
def test_programs_and_pages_of_ours_start_executions(
    site: Site, redis: Redis, api: str, added: dict[str, str], verb: str, headers: dict[str, str]
) -> None:
    accepted(site.call(api, verb, headers={**headers, **added}))


@pytest.mark.parametrize(
    ("api", "headers"),
    [
        ("keyed/one", {"token": TOKEN}),
        ("keyed/one", {"Authorization": f"Bearer {TOKEN}"}),
        ("keyed/one", {"token": TOKEN, **basic("ada", PASSWORD)}),
        ("named/hashed", {"user": "ada", "password": HASHED}),
    ],
)
def test_what_only_a_program_can_send_is_proof_enough(
    site: Site, redis: Redis, api: str, headers: dict[str, str]
) -> None:
    accepted(site.call(api, headers={**IMAGE, **headers}))


def test_wrong_credentials_are_answered_first(site: Site, redis: Redis) -> None:
    assert refusal(site.call("named/one", "GET", headers=IMAGE)).status == 401
    assert refusal(site.call("named/one", "GET", headers={**IMAGE, **basic("ada", "wrong")})).status == 401


def test_the_input_is_not_looked_at_before(site: Site, redis: Redis) -> None:
    assert refusal(site.call("open/order", headers=FORM, data=b"{")) == FORBIDDEN
