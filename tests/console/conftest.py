"""The real app with an operator, and a browser in which that operator has signed in."""

from __future__ import annotations

import pytest

from tests.console.site import Browser, sign_in
from tests.web.conftest import gunicorn, log, make_site, module_site, site
from tests.web.site import Site

__all__ = ["gunicorn", "log", "make_site", "module_site", "site"]


@pytest.fixture
def signed_in(site: Site) -> Browser:
    """A browser of the operator "admin", on the app under tests.web.site.CONFIG with an empty Redis."""
    return sign_in(site)
