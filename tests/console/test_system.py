"""GET /console/system: what the one who is woken at night looks at first."""

from __future__ import annotations

from tests.console.site import Browser


def test_it_says_whether_calls_are_taken(signed_in: Browser) -> None:
    page = signed_in.get("/console/system")
    assert page.heading == "System"
    assert page.notices() == ["Calls are taken."]
