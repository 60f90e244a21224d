"""JSON as RFC 8259 has it: what is accepted, and what is refused with line and column."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from trigger.errors import InvalidParams, RequestError
from trigger.inputs import parse_json
from trigger.strict_json import MAX_INTEGER, MIN_INTEGER

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(MIN_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)


def refusal(body: bytes | str) -> str:
    with pytest.raises(InvalidParams) as caught:
        parse_json(body if isinstance(body, bytes) else body.encode())
    return caught.value.message


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ("", "line 1, column 1: expecting value"),
        ("{", "line 1, column 2: "),
        ("{'a': 1}", "line 1, column 2: expecting property name enclosed in double quotes"),
        ('{"a": 1,}', "line 1, column "),
        ('{"a": 1} x', "line 1, column 10: extra data"),
        ("[1, 2,]", "line 1, column "),
        ('{"a": 1 /* why */}', "line 1, column 9: "),
        ('{\n  "a": 1,\n  "b": tru\n}', "line 3, column 8: expecting value"),
        ("// why\n{}", "line 1, column 1: "),
        ("01", "line 1, column 2: extra data"),
        ("+1", "line 1, column 1: "),
        (".5", "line 1, column 1: "),
        ("1.", "line 1, column 2: "),
        ("0x10", "line 1, column 2: "),
        ("True", "line 1, column 1: "),
        ("a=1&b=2", "line 1, column 1: "),
        (r'"\x"', "line 1, column 2: invalid \\escape"),
        ('"open', "line 1, column 1: unterminated string starting"),
        ("\x0b1", "line 1, column 1: "),
        ("\u00a01", "line 1, column 1: "),
    ],
)
def test_c5_malformed_json_is_refused_with_line_and_column(body: str, where: str) -> None:
    assert refusal(body).startswith(f"The body is not valid JSON: {where}")


def test_c5_a_refusal_never_repeats_the_body() -> None:
    secret = "hunter2hunter2"
    for body in (f"{{'{secret}'}}", f'{{"{secret}":1,"{secret}":2}}', f"[{secret}]", f'"{secret}', f'"\\{secret}"'):
        assert "hunter" not in refusal(body)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ('{"a": "ä"}'.encode("latin-1"), "line 1, column 8: not UTF-8"),
        (b'{\n"\xc3\xa4": "\xff"}', "line 2, column 7: not UTF-8"),
        (b'"\xed\xa0\x80"', "line 1, column 2: not UTF-8"),
        (b'"\xc0\xaf"', "line 1, column 2: not UTF-8"),
        (b"\xef\xbb\xbf{}", "line 1, column 1: a byte order mark"),
        ("{}".encode("utf-16"), "line 1, column 1: not UTF-8"),
        ("{}".encode("utf-16-le"), "line 1, column 2: "),
        ("{}".encode("utf-32-be"), "line 1, column 1: "),
        (b'"a\x00b"', "line 1, column 3: invalid control character"),
        (b'"a\nb"', "line 1, column 3: invalid control character"),
        (b"\x00", "line 1, column 1: "),
        (b"{}\x00", "line 1, column 3: extra data"),
    ],
)
def test_c3_c6_what_is_not_utf_8_text_is_refused(body: bytes, where: str) -> None:
    assert refusal(body).startswith(f"The body is not valid JSON: {where}")


@pytest.mark.parametrize("depth", [33, 1_000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_c7_deep_nesting_is_refused(depth: int, opening: str, closing: str) -> None:
    assert "nested too deep: 32 levels" in refusal(opening * depth + "1" + closing * depth)
    assert "nested too deep: 32 levels" in refusal(opening * depth)


def test_c7_32_levels_are_accepted_and_brackets_in_strings_are_no_levels() -> None:
    assert parse_json(b"[" * 32 + b"]" * 32) is not None
    assert parse_json(b'["' + b"[{" * 100 + b'\\"' + b"[" * 100 + b'"]') == ["[{" * 100 + '"' + "[" * 100]
    assert len(parse_json(b"[" + b",".join([b'{"a":[1]}'] * 100) + b"]")) == 100


@pytest.mark.parametrize(
    "number", ["9223372036854775808", "-9223372036854775809", "9" * 20, "9" * 4_000, "-" + "9" * 5_000]
)
def test_c8_integers_beyond_64_bits_are_refused(number: str) -> None:
    assert "line 2, column 6: an integer that is not from -9223372036854775808 to 9223372036854775807" in refusal(
        f'["12345678901234567890",\n 1e5,{number}]'
    )


def test_c8_the_largest_integers_and_minus_zero_are_accepted() -> None:
    assert parse_json(f"[{MAX_INTEGER}, {MIN_INTEGER}, -0]".encode()) == [MAX_INTEGER, MIN_INTEGER, 0]
    assert math.copysign(1, parse_json(b"-0.0")) == -1


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e999", "1" * 400 + ".0", "1E+99999999"])
def test_c8_c9_numbers_that_overflow_are_refused(number: str) -> None:
    assert "line 1, column 7: a number too large" in refusal(f'{{"a": {number}}}')


def test_numbers_too_small_for_a_double_are_zero() -> None:
    assert parse_json(b"1e-400") == 0.0


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_c9_nan_and_infinity_are_refused(constant: str) -> None:
    assert "line 1, column 9: NaN and Infinity" in refusal(f'["NaN", {constant}]')


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ('{"a": 1, "a": 2}', "line 1, column 10"),
        ('{"a": 1, "\\u0061": 2}', "line 1, column 10"),
        ('{"x": {"a": 1},\n "y": [{"b": "b"}, {"a": {}, "b": [], "a" : 0}]}', "line 2, column 39"),
        ('{"":1,"":1}', "line 1, column 7"),
    ],
)
def test_c10_a_key_that_comes_twice_is_refused(body: str, where: str) -> None:
    assert refusal(body).endswith(f"{where}: a key that its object has already")


def test_c10_the_same_key_in_two_objects_and_as_a_value_is_no_duplicate() -> None:
    body = b'{"a": "a", "b": {"a": "b"}, "c": [{"a": 1}, {"a": 2}]}'
    assert parse_json(body) == json.loads(body)


@pytest.mark.parametrize(
    "escapes", [r"\ud800", r"\udfff", r"\uD800x", r"\ud800\ud800", r"\udc00\ud800", r"\\\ud83d", r"a\ud83d\u0041"]
)
def test_c13_lone_surrogates_are_refused_in_values_and_keys(escapes: str) -> None:
    assert "line 1, column 7: half of a surrogate pair" in refusal(f'{{"a": "{escapes}"}}')
    assert "line 1, column 2: half of a surrogate pair" in refusal(f'{{"{escapes}": 1}}')


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (r'"\u0000\u001f\u007f"', "\x00\x1f\x7f"),
        (r'"\ud83d\ude00"', "😀"),
        (r'"\\ud800"', r"\ud800"),
        ('"😀\u202e\ufffe"', "😀\u202e\ufffe"),
    ],
)
def test_c13_other_characters_are_kept_as_they_are(body: str, value: str) -> None:
    assert parse_json(body.encode()) == value


def test_c15_names_that_mean_something_elsewhere_are_data() -> None:
    value = {"__proto__": {"a": 1}, "constructor": 1, "__class__": "x", "$where": "1", "{{7*7}}": "${jndi:x} %s%n"}
    assert parse_json(json.dumps(value).encode()) == value


def test_c19_keys_that_only_look_alike_are_different() -> None:
    assert parse_json('{"ﬁ": 1, "fi": 2, "FI": 3}'.encode()) == {"ﬁ": 1, "fi": 2, "FI": 3}


@given(JSON_VALUES, st.sampled_from([None, 2]), st.booleans())
def test_valid_documents_are_read_as_the_standard_library_reads_them(
    value: Any, indent: int | None, ascii: bool
) -> None:
    body = json.dumps(value, indent=indent, ensure_ascii=ascii).encode()
    assert repr(parse_json(body)) == repr(json.loads(body))


@given(st.binary())
@example(b'"\xed\xb0\x80"')
def test_arbitrary_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        value = parse_json(body)
    except RequestError as refused:
        event(refused.message.rpartition(": ")[2])
    else:
        assert value == json.loads(body)


@given(st.text(st.sampled_from(' \n[]{}",:\\u0d8c1e-+.NaInfty'), max_size=40))
def test_text_of_jsons_characters_is_read_or_refused(body: str) -> None:
    try:
        value = parse_json(body.encode())
    except InvalidParams as refused:
        message = refused.message
    else:
        assert value == json.loads(body)
        message = "The body is not valid JSON: line 1, column 1: said of no valid one"
    assert re.fullmatch(r"The body is (not valid JSON: line \d+, column \d+: .+|nested too deep: .+)", message)


@given(st.recursive(st.just("1"), lambda inner: st.lists(inner, min_size=1).map(lambda items: f"[{','.join(items)}]")))
def test_the_depth_that_counts_is_the_values_own(body: str) -> None:
    for depth in (1, 31, 40):
        wrapped = "[" * depth + body + "]" * depth
        levels = max(wrapped[:end].count("[") - wrapped[:end].count("]") for end in range(len(wrapped)))
        if levels > 32:
            assert "too deep" in refusal(wrapped)
        else:
            assert parse_json(wrapped.encode()) == json.loads(wrapped)
