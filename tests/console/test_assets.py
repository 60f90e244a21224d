"""Styles and scripts: only those that are listed."""

from __future__ import annotations

import gzip
import hashlib

import pytest

from tests.console.site import SIGN_IN, SYSTEM, Browser, Page, page
from tests.web.site import Site, accepted
from trigger.console import page as page_module

# Files


def assets(site: Site) -> list[str]:
    root = Browser(site).get(SIGN_IN).root
    files = [element["href"] for element in root.all("link")] + [element["src"] for element in root.all("script")]
    assert len(files) == 3
    return files


def test_files_are_kept_by_browsers_under_a_name_of_their_content(site: Site) -> None:
    kinds = {}
    for path in assets(site):
        response = site.call(path, "GET")
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert int(response.headers["Content-Length"]) == len(response.data) > 0
        assert hashlib.sha256(response.data).hexdigest()[:12] in path
        kinds[path.rpartition(".")[2]] = response.headers["Content-Type"]
        assert site.call(path, "HEAD").data == b""
    assert kinds == {
        "css": "text/css; charset=utf-8",
        "js": "text/javascript; charset=utf-8",
        "svg": "image/svg+xml; charset=utf-8",
    }


@pytest.mark.parametrize("encodings", ["gzip", "br, gzip;q=0.8"])
def test_files_and_pages_are_compressed_for_browsers_that_accept_that(signed_in: Browser, encodings: str) -> None:
    for path in (*assets(signed_in.site), SYSTEM):
        plain, packed = signed_in.open(path), signed_in.open(path, headers={"Accept-Encoding": encodings})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
        assert int(packed.headers["Content-Length"]) == len(packed.data) < len(plain.data)
        if path != SYSTEM:  # whose figures go on
            assert gzip.decompress(packed.data) == plain.data
        assert b"Config in force" in gzip.decompress(packed.data) or path != SYSTEM
        assert "Content-Encoding" not in signed_in.open(path, headers={"Accept-Encoding": "gzip;q=0"}).headers


def test_what_is_large_is_sent_as_it_is(signed_in: Browser) -> None:
    uid = accepted(signed_in.site.call("open/any", json={"text": "x" * 3_000}))
    path = f"/console/executions/{uid}/record.json"
    for most, packed in ((10_000, True), (1_000, False)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(page_module, "MAX_COMPRESSED", most)
            answer = signed_in.open(path, headers={"Accept-Encoding": "gzip"})
            assert ("Content-Encoding" in answer.headers) is packed


@pytest.mark.parametrize(
    "name",
    [
        "console.css",
        "console.000000000000.css",
        "",
        ".",
        "..",
        "../gate.py",
        "..%2fgate.py",
        "%2e%2e/gate.py",
        "..%5cgate.py",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "....//gate.py",
        "console.css%00",
        "x" * 3000,
    ],
)
def test_other_files_are_not_there(site: Site, name: str) -> None:
    shown: Page = page(site.call(f"/console/static/{name}", "GET"), 404)
    assert shown.heading in ("There is no such file", "There is no such page")
