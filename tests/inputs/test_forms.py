"""Form fields and query parameters."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trigger.errors import BodyTooLarge, InvalidParams, UnsupportedMediaType
from trigger.inputs import Form, as_query, parse_body, parse_query

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"


def part(name: str, value: bytes, extra: str = "") -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + value + b"\r\n"


@pytest.mark.parametrize(
    ("query", "values"),
    [
        (b"", {}),
        (b"a=1", {"a": "1"}),
        (b"a", {"a": ""}),
        (b"a=", {"a": ""}),
        (b"a=1&&b=2&", {"a": "1", "b": "2"}),
        (b"a=b=c", {"a": "b=c"}),
        (b"a=1;b=2", {"a": "1;b=2"}),
        (b"a=1+2%2B3%20%26", {"a": "1 2+3 &"}),
        (b"a=%C3%A4&b=\xc3\xa4", {"a": "ä", "b": "ä"}),
        (b"a=%00%0d%0a", {"a": "\x00\r\n"}),
        (b"t=2&t=1&x=y&t=2", {"t": ["2", "1", "2"], "x": "y"}),
        (b"%7B%7B7*7%7D%7D=__class__", {"{{7*7}}": "__class__"}),
        (b'{"a":1}', {'{"a":1}': ""}),
    ],
)
def test_a_query_is_strings_by_name_and_lists_in_the_order_sent(query: bytes, values: dict[str, object]) -> None:
    made = parse_query(query)
    assert made == values
    assert isinstance(made, Form)


@pytest.mark.parametrize("data", [b"a=%", b"a=%2", b"a=%zz", b"%u0041=1", b"a=100%&b=1"])
def test_a_broken_percent_escape_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidParams, match="The query is malformed: after % come two hexadecimal digits"):
        parse_query(data)
    with pytest.raises(InvalidParams, match="The form is malformed"):
        parse_body(data, FORM, "")


@pytest.mark.parametrize("data", [b"a=%FF", b"a=\xe4", b"%C3=1", b"a=%ED%A0%80", b"a=%C0%AF"])
def test_what_is_not_utf_8_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidParams, match="The query is malformed: it must be UTF-8"):
        parse_query(data)
    with pytest.raises(InvalidParams, match="The form is malformed: it must be UTF-8"):
        parse_body(data, FORM, "")


def test_c14_a_thousand_fields_are_accepted_and_no_more() -> None:
    thousand = b"&".join(b"f%d=1" % number for number in range(1_000))
    assert len(parse_query(thousand)) == 1_000
    assert len(parse_body(thousand, FORM, "")) == 1_000
    with pytest.raises(InvalidParams, match="more than 1,000"):
        parse_query(thousand + b"&x=1")
    with pytest.raises(BodyTooLarge, match="more than 1,000"):
        parse_body(thousand + b"&x=1", FORM, "")


def test_b19_multipart_fields_are_accepted() -> None:
    body = part("name", "Ada ä\r\n--bx".encode()) + part("n", b"5") + part("n", b"") + b"--b--\r\n"
    made = parse_body(body, MULTIPART, "")
    assert made == {"name": "Ada ä\r\n--bx", "n": ["5", ""]}
    assert isinstance(made, Form)


def test_b19_a_part_that_begins_as_json_is_text() -> None:
    assert parse_body(part("a", b'{"x":1}') + b"--b--", MULTIPART, "") == {"a": '{"x":1}'}


def test_b19_two_thousand_parts_are_too_many_and_a_thousand_are_not() -> None:
    assert len(parse_body(part("a", b"") * 1_000 + b"--b--", MULTIPART, "")["a"]) == 1_000
    with pytest.raises(BodyTooLarge, match="1,000 parts"):
        parse_body(part("a", b"") * 2_000 + b"--b--", MULTIPART, "")


def test_b19_a_field_of_600_kb_is_too_large() -> None:
    assert parse_body(part("a", b"x" * 500_000) + b"--b--", MULTIPART, "") == {"a": "x" * 500_000}
    with pytest.raises(BodyTooLarge, match="500,000 bytes"):
        parse_body(part("a", b"x" * 600_000) + b"--b--", MULTIPART, "")


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; b"]
)
def test_b19_a_missing_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidParams, match="boundary"):
        parse_body(part("a", b"1") + b"--b--", content_type, "")


@pytest.mark.parametrize("extra", ['; filename="x.txt"', '; filename=""', "; filename*=UTF-8''x"])
def test_b19_a_file_is_refused(extra: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="Files are not accepted"):
        parse_body(part("ok", b"1") + part("upload", b"data", extra) + b"--b--", MULTIPART, "")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"a=1", id="no part"),
        pytest.param(part("a", b"1"), id="no end"),
        pytest.param(b"--b\r\n\r\nx\r\n--b--", id="no headers"),
        pytest.param(b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--", id="no disposition"),
        pytest.param(b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--", id="no name"),
        pytest.param(part("", b"1") + b"--b--", id="empty name"),
        pytest.param(part("a", b"\xff") + b"--b--", id="value not UTF-8"),
        pytest.param(part("a", b"1", "; x=\xff").replace(b"\xc3\xbf", b"\xff") + b"--b--", id="header not UTF-8"),
    ],
)
def test_b19_malformed_multipart_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidParams, match="The form is malformed"):
        parse_body(body, MULTIPART, "")


def test_b19_a_boundary_that_is_not_ascii_is_refused() -> None:
    with pytest.raises(UnsupportedMediaType, match="Content-Type"):
        parse_body(part("a", b"1"), "multipart/form-data; boundary=\u00e4", "")


def test_b19_bytes_after_the_last_boundary_are_ignored() -> None:
    assert parse_body(part("a", b"1") + b"--b--\r\nepilogue", MULTIPART, "") == {"a": "1"}


@given(
    st.dictionaries(st.text(st.characters(codec="utf-8")), st.lists(st.text(st.characters(codec="utf-8")), min_size=1))
)
def test_what_a_browser_encodes_comes_back(values: dict[str, list[str]]) -> None:
    expected = {name: found[0] if len(found) == 1 else found for name, found in values.items()}
    assert parse_query(urlencode(values, doseq=True).encode()) == expected


@pytest.mark.parametrize(
    ("value", "query"),
    [
        ({}, ""),
        ({"a": "x y&z=1/é"}, "a=x%20y%26z%3D1%2F%C3%A9"),
        ({"n": 5, "f": 0.5, "t": True, "e": ""}, "n=5&f=0.5&t=true&e="),
        ({"tags": ["a", 1, None], "none": None, "empty": []}, "tags=a&tags=1"),
    ],
)
def test_an_object_is_written_as_a_query(value: Any, query: str) -> None:
    assert as_query(value) == query


@pytest.mark.parametrize("value", [None, 5, "a=1", [1]])
def test_only_an_object_can_be_a_query(value: Any) -> None:
    with pytest.raises(InvalidParams, match="must be an object"):
        as_query(value)


def test_what_no_query_can_hold_is_named() -> None:
    with pytest.raises(InvalidParams) as caught:
        as_query({"good": 1, "o": {"a": 1}, "l": [1, [2]]})
    assert caught.value.details
    assert set(caught.value.details["fields"]) == {"o", "l"}


@given(st.dictionaries(st.text(), st.text() | st.lists(st.text(), min_size=2)))
def test_what_was_written_as_a_query_is_read_as_it_was(value: dict[str, Any]) -> None:
    assert parse_query(as_query(value).encode()) == value
