"""What a page shows of large values fits, whatever is in them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from trigger.console.room import TOO_DEEP, Room

TEXTS = st.text(alphabet=st.one_of(st.sampled_from("<>&\"'aü€𝄞\n"), st.characters()), max_size=200)
SIZES = st.integers(min_value=0, max_value=600)


def size(text: str) -> int:
    return len(escape(text).encode("utf-8", "replace"))


@given(TEXTS, SIZES, SIZES)
def test_a_beginning_and_an_end_are_as_long_as_fits(text: str, left: int, most: int) -> None:
    fits = min(left, most)
    beginning, end = Room(left, 0).beginning(text, most), Room(left, 0).end(text, most)
    assert text.startswith(beginning.text)
    assert text.endswith(end.text)
    for piece, longer in (
        (beginning, text[: len(beginning.text) + 1]),
        (end, text[max(0, len(text) - len(end.text) - 1) :]),
    ):
        assert size(piece.text) <= fits
        assert piece.is_cut == (piece.text != text)
        assert not piece.is_cut or size(longer) > fits


@given(st.lists(TEXTS, max_size=8), SIZES)
def test_all_that_is_shown_together_fits(texts: list[str], whole: int) -> None:
    room = Room(whole, 10)
    pieces = [room.beginning(text, 100) for text in texts]
    assert sum(size(piece.text) + 10 for piece in pieces if piece.text) <= whole


def test_a_value_is_shown_as_json() -> None:
    value: Any = {"a": [1, None, "ü"]}
    piece = Room(1_000).json(value, 500)
    assert json.loads(piece.text) == value
    assert not piece.is_cut
    assert Room(1_000).json("x" * 10_000, 100).text == '"' + "x" * 95  # a quote takes five
    for _ in range(400):
        value = [value]
    assert Room(10_000_000).json(value, 10_000_000).text in (TOO_DEEP, json.dumps(value, indent=2, ensure_ascii=False))
