"""What the tests of the console share: a browser that keeps its cookie, and pages that are read and looked through."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from werkzeug.test import TestResponse

from tests.web.site import OPERATOR, Site

COOKIE = "trigger_session"

SYSTEM = "/console/system"
SIGN_IN, SIGN_OUT = "/console/sign-in", "/console/sign-out"
RIGHT = {"user": "admin", "password": OPERATOR}
MAX_PAGE = 100_000  # bytes

# What a browser says about a form or a fetch of a page of ours.
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}

_EMPTY = {
    "meta",
    "link",
    "img",
    "br",
    "hr",
    "input",
    "source",
    "wbr",
}  # elements without an end (HTML, "void elements")
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}


@dataclass(eq=False)
class Element:
    """An element of a page, with its attributes and what is in it."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    def __getitem__(self, attribute: str) -> str:
        return self.attributes[attribute]

    def get(self, attribute: str) -> str | None:
        return self.attributes.get(attribute)

    @property
    def text(self) -> str:
        """What it says, in one line."""
        return " ".join("".join(self._texts()).split())

    @property
    def raw(self) -> str:
        """What it says, with its blanks."""
        return "".join(self._texts())

    def _texts(self) -> Iterator[str]:
        for child in self.children:
            if isinstance(child, str):
                yield child
            else:
                yield from child._texts()
        yield (
            " " if self.tag in ("td", "th", "dt", "dd", "li", "p", "h1", "h2", "h3", "option", "summary", "br") else ""
        )

    def all(self, tag: str = "", /, *, of: str = "", text: str | None = None, **attributes: str) -> list[Element]:
        """The elements inside, in order: of this tag, of this class, with this text and these attributes.

        A "_" in an attribute's name stands for "-"; the attribute `class` is asked for with `of`.
        """
        wanted = {name.strip("_").replace("_", "-"): value for name, value in attributes.items()}
        found = []
        for child in self.children:
            if isinstance(child, str):
                continue
            if (
                (not tag or child.tag == tag)
                and (not of or of in (child.get("class") or "").split())
                and (text is None or child.text == text)
                and all(child.get(name) == value for name, value in wanted.items())
            ):
                found.append(child)
            found += child.all(tag, of=of, text=text, **attributes)
        return found

    def one(self, tag: str = "", /, *, of: str = "", text: str | None = None, **attributes: str) -> Element:
        """The only such element."""
        found = self.all(tag, of=of, text=text, **attributes)
        assert len(found) == 1, f"{len(found)} of {tag} {of} {text} {attributes} in: {self.text[:2000]}"
        return found[0]

    def facts(self) -> dict[str, str]:
        """What the lists of terms inside say: each term's text, by the term."""
        names = [element.text for element in self.all("dt")]
        return dict(zip(names, (element.text for element in self.all("dd")), strict=True))

    def rows(self) -> list[dict[str, str]]:
        """The rows of the only table inside, each cell's text by the head of its column."""
        table = self.one("table")
        heads = [cell.text for cell in table.one("thead").all("th")]
        body = table.one("tbody").all("tr")
        return [dict(zip(heads, _cells(row), strict=True)) for row in body]

    def form(self) -> dict[str, str]:
        """What this form would send: its fields as they stand."""
        sent = {}
        for control in self.all():
            name = control.get("name")
            if not name or "disabled" in control.attributes:
                continue
            if control.tag == "input" and (control.get("type") or "text") in ("checkbox", "radio"):
                if "checked" in control.attributes:
                    sent[name] = control.get("value") or "on"
            elif control.tag == "input":
                sent[name] = control.get("value") or ""
            elif control.tag == "textarea":
                sent[name] = control.raw.removeprefix("\n")
            elif control.tag == "select":
                options = control.all("option")
                chosen = next((option for option in options if "selected" in option.attributes), options[0])
                sent[name] = chosen.attributes.get("value", chosen.text)
        return sent


def _cells(row: Element) -> list[str]:
    return [cell.text for cell in row.children if isinstance(cell, Element) and cell.tag in ("td", "th")]


class _Reader(HTMLParser):
    """Builds the tree, and refuses what is not closed or not open: a browser would guess."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        if tag not in _EMPTY:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _EMPTY:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].tag == tag, f"</{tag}> ends <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)

    def close(self) -> None:
        super().close()
        assert self._open == [self.root], f"<{self._open[-1].tag}> is not closed"


def read(html: str) -> Element:
    """The tree of a page."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.root


@dataclass(eq=False)
class Page:
    """A page as it was answered, after the checks that every page must stand."""

    status: int
    headers: dict[str, str]  # names in lower case
    html: str
    root: Element

    @property
    def main(self) -> Element:
        return self.root.one("main")

    @property
    def heading(self) -> str:
        return self.root.one("h1").text

    @property
    def text(self) -> str:
        """What it says, without the head with its sections."""
        return self.main.text

    def notices(self) -> list[str]:
        return [notice.text for notice in self.main.all(of="notice")]


def page(response: TestResponse, status: int = 200) -> Page:
    """A page of the console, which must have this status and be as safe and as small as every page is."""
    assert response.status_code == status, (response.status_code, response.location, response.data[:2000])
    headers = {name.lower(): value for name, value in response.headers}
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert len(response.data) < MAX_PAGE, len(response.data)
    assert int(headers["content-length"]) == len(response.data)
    check_headers(headers)
    html = response.data.decode()
    root = read(html)
    check_inert(root)
    check_order(root)
    return Page(response.status_code, headers, html, root)


def check_headers(headers: dict[str, str]) -> None:
    """What keeps an answer of the console inert, out of frames and out of caches."""
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy == _POLICY
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert not [name for name in headers if name.startswith("access-control-")]


def check_inert(root: Element) -> None:
    """Nothing in a page runs or loads but files of ours."""
    for element in root.all():
        for name, value in element.attributes.items():
            assert not name.startswith("on"), f"<{element.tag}> has a handler: {name}"
            assert name not in ("style", "srcdoc"), f"<{element.tag}> has {name}"
            if name in ("href", "src", "action", "formaction", "xlink:href", "data", "poster"):
                assert re.match(r"/(?!/)|#|\?|https?://", value), f"<{element.tag} {name}={value!r}>"
        if element.tag == "script":
            assert element["src"].startswith("/console/static/")
            assert not element.children
        assert element.tag not in ("style", "iframe", "object", "embed", "base", "foreignobject")
        if element.tag == "link":
            assert element["href"].startswith("/console/static/")


def check_order(root: Element) -> None:
    """One heading, ids that are there once, fields that have a label, images that have a word for them."""
    assert len(root.all("h1")) == 1
    ids = [element["id"] for element in root.all() if "id" in element.attributes]
    assert sorted(ids) == sorted(set(ids))
    labelled = {label["for"] for label in root.all("label") if "for" in label.attributes}
    inside = {id(control) for label in root.all("label") for control in label.all()}
    for control in [*root.all("input"), *root.all("select"), *root.all("textarea")]:
        named = id(control) in inside or control.get("id") in labelled or control.get("aria-label")
        assert named or control.get("type") == "hidden", f"a field without a label: {control.attributes}"
    for image in root.all("img"):
        assert "alt" in image.attributes
    for cell in root.all("th"):
        assert cell.get("scope") in ("col", "row")


@dataclass
class Browser:
    """Keeps the cookie that it is given, as a browser does, and says where a request comes from."""

    site: Site
    cookie: str = ""

    def open(
        self, path: str, method: str = "GET", *, headers: dict[str, str] | None = None, **options: Any
    ) -> TestResponse:
        """One request, and its answer as it came; a redirect is not followed."""
        sent = {"Cookie": f"{COOKIE}={self.cookie}"} if self.cookie else {}
        response = self.site.call(path, method, headers={**sent, **(headers or {})}, **options)
        for cookie in response.headers.getlist("Set-Cookie"):
            name, _, rest = cookie.partition("=")
            assert name == COOKIE
            self.cookie = rest.partition(";")[0]
        return response

    def get(self, path: str, status: int = 200) -> Page:
        """The page at a path, of this status; redirects are followed."""
        response = self.open(path)
        for _ in range(5):
            if response.status_code != 303:
                break
            response = self.open(response.location)
        return page(response, status)

    def post(self, path: str, form: dict[str, str] | None = None) -> str:
        """Sends a form from a page of ours, which is taken. Answers the path it leads to."""
        response = self.send(path, form)
        assert response.status_code == 303, (response.status_code, response.data[:2000])
        assert urlsplit(response.location).netloc == ""
        return str(response.location)

    def refused(self, path: str, form: dict[str, str] | None = None, *, status: int) -> Page:
        """Sends a form from a page of ours, which is refused. Answers the page that says so."""
        return page(self.send(path, form), status)

    def send(self, path: str, form: dict[str, str] | None = None) -> TestResponse:
        """Sends a form from a page of ours."""
        return self.open(path, "POST", data=form or {}, headers=SAME_ORIGIN)


def sign_in(site: Site, user: str = "admin", password: str = OPERATOR) -> Browser:
    """A browser in which this operator has signed in."""
    browser = Browser(site)
    assert browser.post("/console/sign-in", {"user": user, "password": password}) == "/console/"
    assert browser.cookie
    return browser


def is_in(browser: Browser) -> bool:
    """Whether the browser is shown a page of the console, and not sent to where one signs in."""
    response = browser.open(SYSTEM)
    if response.status_code == 200:
        return page(response).heading == "System"
    assert response.status_code == 303
    assert urlsplit(response.location).path == SIGN_IN
    return False


def set_cookie(response: TestResponse) -> tuple[str, dict[str, str | bool]]:
    """The value of the cookie that an answer sets, and its attributes."""
    (header,) = response.headers.getlist("Set-Cookie")
    cookie = SimpleCookie(header)[COOKIE]
    return cookie.value, {name: value for name, value in cookie.items() if value}
