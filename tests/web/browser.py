"""What a real browser has to say about a page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page


@dataclass
class Visit:
    """A page in a window of its own, the errors and warnings on its console, and what it has asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@contextmanager
def visit(browser: Browser, url: str, **options: Any) -> Iterator[Visit]:
    """Opens `url`; `options` are those of Playwright's Browser.new_context, such as viewport and color_scheme."""
    context = browser.new_context(**options)
    visited = Visit(context.new_page())
    visited.page.on("console", lambda message: _note(visited, message))
    visited.page.on("pageerror", lambda error: visited.said.append(str(error)))
    visited.page.on("request", lambda request: visited.asked.append(request.url))
    visited.page.goto(url)
    yield visited
    context.close()


def _note(visited: Visit, message: ConsoleMessage) -> None:
    if message.type in ("error", "warning"):  # and not what Chromium would do better
        visited.said.append(message.text)


def phone() -> dict[str, Any]:
    """A window as small as that of a phone."""
    return {"viewport": {"width": 390, "height": 844}}


def desk() -> dict[str, Any]:
    return {"viewport": {"width": 1280, "height": 800}}


def is_too_wide(page: Page) -> bool:
    """Whether one has to scroll sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))
