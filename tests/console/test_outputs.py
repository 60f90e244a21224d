"""Input and output on an execution's page: JSON that folds, and what is said of an output that was too large."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from tests.console.site import Element, read
from tests.console.test_execution import Shop, shop, shop_site
from tests.store.conftest import SUCCEEDED
from trigger.console.folding import AROUND, MAX_FOLDS, SHORT, folded
from trigger.console.shown import as_json
from trigger.store import outcome

__all__ = ["shop", "shop_site"]

ORDERS = {"empty": {}, "orders": [{"id": n, "lines": [{"sku": f"A{n}", "tags": ["<b>", "{", "["]}]} for n in range(4)]}

TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=60,
)


def raw(element: Element) -> str:
    """What it says, as a browser copies it."""
    return "".join(child if isinstance(child, str) else raw(child) for child in element.children)


def test_a_long_output_folds_and_is_copied_as_it_is(shop: Shop) -> None:
    uid = shop.call("plain", ORDERS)
    shop.bench.run(outcome.succeeded(ORDERS))
    page = shop.page(uid)
    for of in ("input", "output"):
        shown = page.main.one(id=f"{of}-text")
        assert raw(shown) == as_json(ORDERS) + "\n"
        folds = shown.all("details")
        assert len(folds) == 1 + 1 + 4 * 4  # all, the orders; and of each itself, its lines, the line, its tags
        assert folds[1].all("summary")[0].text == '"orders": ['
        assert page.main.one("button", data_copy=f"{of}-text")


def test_a_short_one_is_shown_as_it_is(shop: Shop) -> None:
    uid = shop.call("plain", {"name": "Ada"})
    shop.bench.run(SUCCEEDED)
    assert not shop.page(uid).main.one(id="output-text").all("details")


@given(TREES, st.integers(0, 600))
def test_what_is_shown_is_the_text_however_it_was_cut(value: Any, length: int) -> None:
    text = as_json(value)[:length]
    shown = folded(text)
    if shown is None:
        assert text.count("\n") < SHORT
        return
    assert raw(read(str(shown))) == text + "\n"
    assert len(shown) <= len(escape(text)) + 1 + MAX_FOLDS * AROUND


def test_of_very_many_the_first_fold() -> None:
    text = as_json([[{"a": [n]}] for n in range(500)])
    shown = folded(text)
    assert shown is not None
    assert raw(read(str(shown))) == text + "\n"
    assert shown.count("<details") == MAX_FOLDS


def test_the_output_is_downloaded(shop: Shop) -> None:
    uid = shop.call("plain")
    shop.bench.run(outcome.succeeded(ORDERS))
    link = shop.page(uid).main.one("a", text="Download")["href"]
    answer = shop.browser.open(link)
    assert json.loads(answer.data) == ORDERS
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{uid}-output.json"'
    waiting = shop.call("plain")
    assert not shop.page(waiting).main.all("a", text="Download")


def test_an_output_that_was_too_large_is_said_to_be_and_its_beginning_can_be_read(shop: Shop) -> None:
    uid = shop.call("plain")
    shop.bench.run(outcome.succeeded({"rows": ['says "no"', "ü<b>", "\\u00e4\x00𝄞"] * 100_000}))
    page = shop.page(uid)
    (notice,) = [notice for notice in page.main.all(of="notice") if "warn" in notice["class"]]
    assert re.match(r"The output has [0-9.]+ MiB\. That is too large to be kept", notice.text)
    beginning = raw(page.main.one(id="output-text"))
    assert beginning.startswith('{"rows": ["says \\"no\\"", "ü<b>"')  # as JSON, and not as JSON in JSON
    assert '"\\\\u00e4\\u0000𝄞"' in beginning  # what is no character, or can't be seen, stays
    answer = shop.browser.open(page.main.one("a", text="Download")["href"])
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{uid}-output.txt"'
    assert answer.data.decode().startswith('{"rows": ["says')


def test_what_a_workflow_put_out_itself_is_no_mark(shop: Shop) -> None:
    uid = shop.call("plain")
    shop.bench.run(outcome.succeeded({"truncated": True, "bytes": 5_000_000, "beginning": "{"}))
    page = shop.page(uid)
    assert page.notices() == []
    assert json.loads(raw(page.main.one(id="output-text")))["beginning"] == "{"
