"""What an API accepts: conversion, defaults, and every mistake at once."""

from __future__ import annotations

import datetime as dt
import json
import math
import random
import re
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from trigger.config.declarations import pattern
from trigger.errors import InvalidParams
from trigger.fields.model import Field, FieldType, Input, Unknown
from trigger.inputs import Form, Shape, parse_body, parse_json, parse_query

NO_QUERY = Form()


def shape(*declared: Field, unknown: Unknown = "reject") -> Shape:
    return Shape(Input(declared, unknown))


def accepted(field: Field, value: Any) -> Any:
    return shape(field).apply({field.name: value}, NO_QUERY)[field.name]


def mistakes(what: Shape, body: Any, query: Form = NO_QUERY) -> dict[str, list[str]]:
    with pytest.raises(InvalidParams) as caught:
        what.apply(body, query)
    assert caught.value.details is not None
    found = caught.value.details["fields"]
    json.dumps(found)
    assert isinstance(found, dict)
    return found


def refused(field: Field, value: Any) -> str:
    found = mistakes(shape(field), {field.name: value})
    assert list(found) == [field.name]
    return " / ".join(found[field.name])


# What is merged, and what must be an object


@pytest.mark.parametrize("value", [None, [], "x", 1, True, {"a": [1]}, {}])
@pytest.mark.parametrize("declared", [None, Input(())])
def test_c4_without_declared_fields_any_json_is_the_input(declared: Input | None, value: Any) -> None:
    assert Shape(declared).apply(value, NO_QUERY) == value


@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"1", b"true", b'[{"n": 1}]'])
@pytest.mark.parametrize("query", [b"", b"n=1"])
def test_c4_with_declared_fields_the_input_must_be_an_object(body: bytes, query: bytes) -> None:
    found = mistakes(shape(Field("n", "integer")), parse_json(body), parse_query(query))
    assert found == {"": ["must be an object"]}


def test_c4_an_empty_body_is_an_empty_object_whose_fields_are_missing() -> None:
    body = parse_body(b"", "", "")
    assert Shape(None).apply(body, NO_QUERY) == {}
    assert mistakes(shape(Field("n", "integer", required=True)), body) == {"n": ["is required"]}


def test_query_parameters_are_merged_under_the_body() -> None:
    query = parse_query(b"n=1&m=2")
    assert Shape(None).apply({"n": 5}, query) == {"n": 5, "m": "2"}
    declared = shape(Field("n", "integer"), Field("m", "integer"))
    assert declared.apply({"n": 5}, query) == {"n": 5, "m": 2}
    assert declared.apply(parse_body(b"n=7", "application/x-www-form-urlencoded", ""), query) == {"n": 7, "m": 2}
    assert declared.apply({}, query) == {"n": 1, "m": 2}


@pytest.mark.parametrize("body", [[1], "x", None, 5])
def test_query_parameters_with_a_body_that_is_no_object_are_refused(body: Any) -> None:
    with pytest.raises(InvalidParams, match="Query parameters need a JSON object"):
        Shape(None).apply(body, parse_query(b"a=1"))


# Conversion


@pytest.mark.parametrize(
    ("kind", "value", "made"),
    [
        ("string", "", ""),
        ("string", "5", "5"),
        ("string", "\x00\u202e😀", "\x00\u202e😀"),
        ("integer", 5, 5),
        ("integer", "5", 5),
        ("integer", "-05", -5),
        ("integer", "9223372036854775807", 9223372036854775807),
        ("integer", "-9223372036854775808", -9223372036854775808),
        ("number", "-9223372036854775808", -9223372036854775808),
        ("number", 5, 5),
        ("number", "5", 5),
        ("number", 1.5, 1.5),
        ("number", "1.50", 1.5),
        ("number", "-1e3", -1000.0),
        ("number", "9007199254740993", 9007199254740993),
        ("boolean", True, True),
        ("boolean", "true", True),
        ("boolean", "1", True),
        ("boolean", "false", False),
        ("boolean", "0", False),
        ("date", "2024-02-29", "2024-02-29"),
        ("datetime", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00+00:00"),
        ("datetime", "2026-01-31t12:00:00.5+02:00", "2026-01-31T12:00:00.500000+02:00"),
        ("datetime", "2026-01-31 12:00:00.123456789-00:30", "2026-01-31T12:00:00.123456-00:30"),
        ("datetime", "0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00+23:59"),
        ("email", "ada@example.org", "ada@example.org"),
        ("url", "https://example.org/a?b=c#d", "https://example.org/a?b=c#d"),
        ("url", "http://localhost:8080", "http://localhost:8080"),
        ("url", "http://intranet/hook", "http://intranet/hook"),
        ("uuid", "123E4567-E89B-12D3-A456-426614174000", "123e4567-e89b-12d3-a456-426614174000"),
        ("uuid", "123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-426614174000"),
        ("object", {"a": [None]}, {"a": [None]}),
        ("list", [1, "a", None], [1, "a", None]),
        ("any", {"a": 1.5}, {"a": 1.5}),
        ("any", None, None),
    ],
)
def test_a_value_of_its_type_is_converted(kind: FieldType, value: Any, made: Any) -> None:
    result = accepted(Field("f", kind), value)
    assert (type(result), result) == (type(made), made)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("string", [1, 1.5, True, [], {}], "must be a string"),
        (
            "integer",
            [True, False, 1.5, 1.0, "1.0", "1.5", "", " 5", "+5", "5 ", "1_000", "\u0665", "0x1", "9" * 5000, [], {}],
            "must be a whole number",
        ),
        (
            "integer",
            ["9223372036854775808", "-9223372036854775809"],
            "must be between -9223372036854775808 and 9223372036854775807",
        ),
        (
            "number",
            [
                True,
                "",
                "NaN",
                "Infinity",
                "-inf",
                "1e400",
                "1_0",
                " 1",
                ".5",
                "5.",
                "0x1",
                [],
                {},
                "1" * 5000,
                math.inf,
            ],
            "must be a number",
        ),
        ("boolean", ["yes", "", "True", "TRUE", "on", 1, 0, 1.0, [], {}], "must be true or false"),
        (
            "date",
            [20260131, "", "31.01.2026", "20260131", "2026-W05-1", "2026-1-31", "2026-01-31T00:00:00Z", "٢٠٢٦-01-31"],
            "must be a date such as 2026-01-31",
        ),
        ("date", ["2026-02-30", "0000-01-01", "2026-13-01", "2025-02-29"], "must be a date that the calendar has"),
        (
            "datetime",
            [
                1767225600,
                "",
                "2026-01-31",
                "20260131T120000Z",
                "2026-01-31T12:00Z",
                "2026-01-31T24:00:00Z",
                "2026-01-31T12:00:00+99:99",
                "2026-01-31T12:00:00+0200",
                "2026-01-31T12:00:60Z",
                "2026-01-31T12:00:00+01:99",
            ],
            "must be a date and time such as 2026-01-31T12:00:00Z",
        ),
        ("datetime", ["2026-02-30T12:00:00Z", "0000-01-01T00:00:00Z"], "must be a date that the calendar has"),
        ("datetime", ["2026-01-31T12:00:00"], "must end with its offset from UTC, such as Z or +02:00"),
        ("email", ["", "ada", "ada@", "@x", "a b@example.org", "ada@example.org\n"], "must be an e-mail address"),
        ("email", ["a" * 250 + "@b.org"], "must be at most 254 characters long"),
        (
            "url",
            [
                "",
                "example.org",
                "ftp://example.org",
                "javascript:alert(1)",
                "file:///etc/passwd",
                "http://",
                "//example.org",
                "http://a b/",
                "javascript://example.org",
            ],
            "must be an http or https URL",
        ),
        ("url", ["http://example.org/" + "a" * 2048], "must be at most 2,048 characters long"),
        (
            "uuid",
            [
                "",
                "123e4567",
                "{123e4567-e89b-12d3-a456-426614174000}",
                "1234567812345678_123456781234567",
                "urn:uuid:123e4567-e89b-12d3-a456-426614174000",
                "123e4567-e89b12d3-a456-426614174000",
            ],
            "must be a UUID",
        ),
        ("object", [[], "{}", 1], "must be an object"),
        ("list", [{}, "a", 1], "must be a list"),
    ],
)
def test_c12_c18_a_value_of_another_type_is_refused(kind: FieldType, values: list[Any], message: str) -> None:
    for value in values:
        assert message in refused(Field("f", kind), value), value


# Forms and queries


def test_a_form_a_query_and_json_give_the_same_input() -> None:
    declared = shape(
        Field("n", "integer"), Field("x", "number"), Field("on", "boolean"), Field("t", "list", of=Field("", "integer"))
    )
    made = {"n": 5, "x": 1.5, "on": True, "t": [1, 2]}
    assert declared.apply({"n": "5", "x": "1.5", "on": "true", "t": ["1", "2"]}, NO_QUERY) == made
    assert declared.apply(made, NO_QUERY) == made
    text = b"n=5&x=1.5&on=1&t=1&t=2"
    assert declared.apply(parse_body(text, "application/x-www-form-urlencoded", ""), NO_QUERY) == made
    assert declared.apply({}, parse_query(text)) == made


def test_one_form_value_for_a_list_is_a_list_of_one_but_a_json_string_is_not() -> None:
    declared = shape(Field("t", "list", of=Field("", "string")))
    assert declared.apply(Form(t="a"), NO_QUERY) == {"t": ["a"]}
    assert declared.apply({}, Form(t="a")) == {"t": ["a"]}
    assert mistakes(declared, {"t": "a"}) == {"t": ["must be a list"]}


@pytest.mark.parametrize("kind", ["integer", "number", "boolean", "date", "datetime", "email", "url", "uuid", "list"])
def test_an_empty_form_value_is_missing_unless_its_field_is_text(kind: FieldType) -> None:
    empty = Form(f="", s="", a="")
    others = (Field("s", "string"), Field("a", "any"))
    assert shape(Field("f", kind), *others).apply(empty, NO_QUERY) == {"s": "", "a": ""}
    assert shape(Field("f", kind), *others).apply({}, empty) == {"s": "", "a": ""}
    assert mistakes(shape(Field("f", kind, required=True), *others), empty) == {"f": ["is required"]}
    assert mistakes(shape(Field("f", kind), *others), {"f": ""}).keys() == {"f"}


def test_an_empty_form_value_does_not_hide_the_querys() -> None:
    assert shape(Field("n", "integer")).apply(Form(n=""), Form(n="5")) == {"n": 5}


def test_a_form_value_given_twice_is_no_single_value() -> None:
    assert mistakes(shape(Field("n", "integer")), Form(n=["1", "2"])) == {"n": ["must be a whole number"]}


def test_a_form_becomes_a_plain_object() -> None:
    assert type(Shape(None).apply(Form(a="1"), NO_QUERY)) is dict


# Required, null, defaults


def test_c12_a_required_string_must_not_be_empty_unless_its_length_says_so() -> None:
    assert refused(Field("f", "string", required=True), "") == "must not be empty"
    assert accepted(Field("f", "string", required=True, min_length=0), "") == ""
    assert accepted(Field("f", "string", required=True, enum=("", "a")), "") == ""


@pytest.mark.parametrize(
    "kind",
    ["string", "integer", "number", "boolean", "date", "datetime", "email", "url", "uuid", "object", "list"],
)
def test_null_is_refused_unless_the_field_is_nullable(kind: FieldType) -> None:
    assert refused(Field("f", kind), None) == "must not be null"
    assert accepted(Field("f", kind, nullable=True), None) is None


def test_missing_fields_are_left_out_or_filled_with_their_default() -> None:
    declared = shape(
        Field("a", "string"),
        Field("b", "integer", default="5"),
        Field("c", "datetime", default="2026-01-31T12:00:00Z"),
        Field("d", "string", required=True, default=""),
        Field("e", "integer", default=None),
        Field("f", "object", fields=(Field("g", "integer", default=1),), default={}),
    )
    filled = {"b": 5, "c": "2026-01-31T12:00:00+00:00", "d": "", "e": None, "f": {"g": 1}}
    assert declared.apply({}, NO_QUERY) == filled
    assert declared.apply(Form(b=""), NO_QUERY) == filled


def test_a_default_is_not_changed_by_what_a_workflow_does_to_its_input() -> None:
    declared = shape(Field("t", "list", default=[[1]]))
    declared.apply({}, NO_QUERY)["t"][0].append(2)
    assert declared.apply({}, NO_QUERY) == {"t": [[1]]}


# Bounds


@pytest.mark.parametrize(
    ("field", "good", "bad", "message"),
    [
        (Field("f", "integer", min=1, max=5), [1, "5"], [0, "6", -(2**62)], "must be between 1 and 5"),
        (Field("f", "integer", min=0), [0], [-1], "must be at least 0"),
        (Field("f", "number", max=0.5), [0.5, -1, "0"], [0.51, 1, "1e9"], "must be at most 0.5"),
        (Field("f", "string", min_length=2), ["ab"], ["", "a"], "must be at least 2 characters long"),
        (Field("f", "string", min_length=1), ["a"], [""], "must not be empty"),
        (Field("f", "string", max_length=2), ["", "😀ä"], ["abc"], "must be at most 2 characters long"),
        (Field("f", "string", max_length=1), ["a"], ["ab"], "must be at most 1 character long"),
        (Field("f", "email", max_length=9), ["a@bc.de"], ["abc@def.org"], "must be at most 9 characters long"),
        (Field("f", "list", min_length=1, max_length=2), [[1], [1, 2]], [[]], "must have at least 1 item"),
        (Field("f", "list", max_length=2), [[]], [[1, 2, 3]], "must have at most 2 items"),
        (
            Field("f", "string", pattern="[a-z]+"),
            ["abc"],
            ["", "abc1", "1abc", "abc\n"],
            "must match the pattern [a-z]+",
        ),
        (Field("f", "string", pattern="a{2}"), ["aa"], ["a"], "must match the pattern a{2}"),
        (
            Field("f", "string", enum=("a", "B")),
            ["a", "B"],
            ["A", "b", "\u0430", "\uff41", "", "a "],
            "must be one of a, B",
        ),
        (Field("f", "integer", enum=(1, 2)), [1, "2"], [3, "03"], "must be one of 1, 2"),
        (Field("f", "any", enum=(1, "x")), [1, "x"], [True, "1", [1]], "must be one of 1, x"),
    ],
)
def test_bounds_hold_and_say_what_would_be_right(field: Field, good: list[Any], bad: list[Any], message: str) -> None:
    for value in good:
        accepted(field, value)
    for value in bad:
        assert refused(field, value) == message


@pytest.mark.parametrize("convert", [str, dt.date.fromisoformat])
def test_dates_have_bounds(convert: Any) -> None:
    field = Field("f", "date", min=convert("2026-01-01"), max=convert("2026-12-31"))
    assert accepted(field, "2026-12-31") == "2026-12-31"
    assert refused(field, "2027-01-01") == "must be between 2026-01-01 and 2026-12-31"


def test_datetimes_are_compared_as_moments() -> None:
    bound: Any = "2026-01-01T00:00:00Z"
    field = Field("f", "datetime", min=bound)
    assert accepted(field, "2026-01-01T01:00:00+01:00") == "2026-01-01T01:00:00+01:00"
    assert refused(field, "2026-01-01T00:59:59+01:00") == "must be at least 2026-01-01T00:00:00+00:00"
    assert refused(field, "0001-01-01T00:00:00+23:59") == "must be at least 2026-01-01T00:00:00+00:00"


PIECES = (
    *"ab{}[]()|*+?^$.-\\,&~:=!<>#1e ",
    *("{e}", "{1}", "{1,2}", "{,2}", "{2,}", "{e<=1}", "{1}+", "[^", "[]", "[:alpha:]", "--", "&&", "||", "~~"),
    *("\\d", "\\w", "\\b", "\\{", "\\}", "\\Z", "\\1", "(?:", "(?=", "(?P<n>", "(?i:", "(?#"),
)


def test_a_pattern_that_the_config_takes_matches_as_python_says() -> None:
    """found.md 27: the package that gives up after a while reads more into some than Python does."""
    chosen = random.Random(27)
    texts = ["", "a", "b", "ab", "aab", "{", "a{", "{e}", "1", "e", "a1", "-", " ", "\\", "[", "&"]
    taken = 0
    for _ in range(5_000):
        written = "".join(chosen.choices(PIECES, k=chosen.randint(1, 5)))
        try:
            pattern(written)
        except ValueError:
            continue
        taken += 1
        what = shape(Field("f", "string", pattern=written))
        for text in texts:
            try:
                is_taken = bool(what.apply({"f": text}, NO_QUERY))
            except InvalidParams:
                is_taken = False
            assert is_taken == bool(re.fullmatch(written, text)), written
    assert taken > 500


def test_c16_a_pattern_that_takes_too_long_is_given_up() -> None:
    field = Field("f", "string", pattern="(a|aa)+")
    assert refused(field, "a" * 100 + "c") == "took too long to be matched against the pattern"


def test_c16_a_text_that_is_too_long_never_reaches_the_pattern() -> None:
    # This pattern would try 2^29 ways, or 2^1000, to match these texts: the test would hang.
    slow = "(a+)+b"
    assert refused(Field("f", "string", pattern=slow, max_length=20), "a" * 30) == "must be at most 20 characters long"
    assert refused(Field("f", "string", pattern=slow), "a" * 1_001) == "must be at most 1,000 characters long"


def test_c14_a_list_has_at_most_10_000_items_unless_it_declares_more() -> None:
    many = [1] * 10_001
    assert refused(Field("f", "list", of=Field("", "integer")), many) == "must have at most 10,000 items"
    assert accepted(Field("f", "list", max_length=20_000, of=Field("", "integer")), many) == many


# Names, nesting, every mistake at once


@pytest.mark.parametrize(
    "name", ["uid", "queue", "timeout", "func", "result_ttl", "callback", "__proto__", "__class__"]
)
def test_c11_c15_c17_an_undeclared_name_is_refused(name: str) -> None:
    declared = shape(Field("sku", "string"), Field("price", "integer"))
    assert mistakes(declared, {name: 1}) == {name: ["unknown field; known are price, sku"]}
    assert mistakes(declared, {}, Form({name: "1"})).keys() == {name}


def test_c11_a_misspelt_name_is_answered_with_the_nearest() -> None:
    declared = shape(Field("customer", "object", fields=(Field("surname", "string"),)))
    assert mistakes(declared, {"custmer": 1}) == {"custmer": ["unknown field; did you mean customer?"]}
    found = mistakes(declared, {"customer": {"Surname": "x"}})
    assert found == {"customer.Surname": ["unknown field; did you mean surname?"]}


def test_unknown_names_are_dropped_or_kept_as_declared_at_each_level() -> None:
    inner = Field("o", "object", fields=(Field("a", "integer"),), unknown="keep")
    body = {"o": {"a": "1", "__class__": {"x": 1}}, "f0": 1}
    assert shape(inner, unknown="drop").apply(body, NO_QUERY) == {"o": {"a": 1, "__class__": {"x": 1}}}
    dropped = Field("o", "object", fields=(Field("a", "integer"),), unknown="drop")
    assert shape(dropped, unknown="keep").apply(body, NO_QUERY) == {"o": {"a": 1}, "f0": 1}


@pytest.mark.parametrize("name", ["a.b", "Meta", "fields", "load", "__class__", "opts", "_schema", "ä", "", "*"])
def test_c15_any_name_can_be_declared(name: str) -> None:
    declared = shape(Field(name, "integer"))
    assert declared.apply({name: "1"}, NO_QUERY) == {name: 1}
    assert mistakes(declared, {name: "x"}) == {name: ["must be a whole number"]}


@pytest.mark.parametrize(
    "text", ["__proto__", "{{7*7}}", "${jndi:ldap://x}", "%s%n", "{0.__class__}", "'; DROP TABLE x"]
)
def test_c15_texts_that_mean_something_elsewhere_are_data(text: str) -> None:
    assert accepted(Field("f", "string"), text) == text
    assert mistakes(shape(Field("f", "string", pattern="a")), {"f": text}) == {"f": ["must match the pattern a"]}
    assert mistakes(shape(Field("f", "email")), {"f": text}) == {"f": ["must be an e-mail address"]}


def test_c19_names_that_only_look_alike_are_unknown() -> None:
    assert mistakes(shape(Field("fi", "integer")), {"ﬁ": 1, "FI": 1}).keys() == {"ﬁ", "FI"}


def test_all_mistakes_are_reported_at_once_by_dotted_path() -> None:
    item = Field("", "object", fields=(Field("sku", "string", required=True), Field("qty", "integer", min=1)))
    declared = shape(
        Field("name", "string", required=True),
        Field("mail", "email"),
        Field("items", "list", of=item),
        Field("grid", "list", of=Field("", "list", of=Field("", "integer"))),
    )
    body = {
        "mail": "nobody",
        "items": [{"sku": "a", "qty": "0"}, {"qty": 1.5}, 5, {"sku": "b", "qyt": 1}],
        "grid": [[1], [2, "x"]],
        "zzz": 1,
    }
    assert mistakes(declared, body) == {
        "name": ["is required"],
        "mail": ["must be an e-mail address"],
        "items.0.qty": ["must be at least 1"],
        "items.1.sku": ["is required"],
        "items.1.qty": ["must be a whole number"],
        "items.2": ["must be an object"],
        "items.3.qyt": ["unknown field; did you mean qty?"],
        "grid.1.1": ["must be a whole number"],
        "zzz": ["unknown field; known are grid, items, mail, name"],
    }


def test_c14_a_flood_of_mistakes_gets_a_short_answer() -> None:
    declared = shape(Field("a", "integer"), Field("l", "list", max_length=10**6, of=Field("", "integer")))
    found = mistakes(declared, {f"k{number}": 1 for number in range(100_000)})
    assert len(found) == 21
    assert found["…"] == ["and 99,980 more unknown fields"]
    assert len(mistakes(declared, {"l": ["x"] * 500_000})) == 20
    assert len(json.dumps(mistakes(declared, {"k" * 1_000_000: 1}))) < 200
    wide = shape(*(Field(f"field{number}", "integer") for number in range(1_000)))
    assert mistakes(wide, {"other": 1}) == {"other": ["unknown field"]}
    grid = shape(Field("g", "list", of=Field("", "list", of=Field("", "integer"))))
    assert len(mistakes(grid, {"g": [["x"] * 50] * 50})) == 100


# Secrets


def test_the_paths_of_secret_fields_are_known() -> None:
    declared = shape(
        Field("name", "string"),
        Field("password", "string", secret=True),
        Field("card", "object", fields=(Field("number", "string", secret=True), Field("holder", "string"))),
        Field("keys", "list", of=Field("", "object", fields=(Field("key", "string", secret=True),))),
        Field("pins", "list", of=Field("", "string", secret=True)),
        Field("grid", "list", of=Field("", "list", of=Field("", "integer", secret=True))),
        Field("all", "object", secret=True, fields=(Field("inner", "string", secret=True),)),
    )
    assert declared.secrets == (
        ("password",),
        ("card", "number"),
        ("keys", "*", "key"),
        ("pins", "*"),
        ("grid", "*", "*"),
        ("all",),
    )
    assert Shape(None).secrets == ()


@pytest.mark.parametrize("kind", ["integer", "number", "boolean", "date", "datetime", "email", "url", "uuid", "list"])
def test_a_refusal_never_repeats_a_value(kind: FieldType) -> None:
    with pytest.raises(InvalidParams) as caught:
        shape(Field("f", kind, secret=True)).apply({"f": "hunter2 hunter2"}, NO_QUERY)
    assert "hunter2" not in str(caught.value) + str(caught.value.details) + str(caught.value.__cause__)
    assert caught.value.__suppress_context__


def test_the_choices_of_a_secret_field_are_not_told() -> None:
    assert refused(Field("f", "string", secret=True, enum=("hunter2",)), "x") == "must be one of the declared values"


# Declarations that contradict themselves


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (Field("f", "integer", default="x"), "f: default: must be a whole number"),
        (Field("f", "integer", default=9, max=5), "f: default: must be at most 5"),
        (Field("f", "date", enum=("2026-02-30",)), "f: enum: must be a date that the calendar has"),
        (Field("f", "string", pattern="("), "f: "),
        (Field("f", "string", min=1), "f: min and max are for numbers, dates and times"),
        (Field("f", "date", min=5), "f: min and max must be a date such as 2026-01-31"),
        (Field("f", "object", fields=(Field("g", "integer", default=[]),)), "f: g: default: must be a whole number"),
        (Field("f", "list", of=Field("", "integer"), default=[1, "x"]), "f: default: 1: must be a whole number"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_named(field: Field, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        shape(field)


# Anything at all

KINDS: list[FieldType] = [
    "string", "integer", "number", "boolean", "date", "datetime", "email", "url", "uuid", "object", "list", "any"
]  # fmt: skip
EVERY_KIND = (
    *(Field(kind, kind) for kind in KINDS),
    Field("range", "datetime", min="2026-01-01T00:00:00Z"),  # type: ignore[arg-type]
    Field("choice", "any", enum=(1, "a", None)),
    Field("items", "list", of=Field("", "object", fields=(Field("list", "integer", required=True),))),
    Field("pattern", "string", pattern=r"\w*"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.sampled_from(["2026-02-30", "2026-01-31T12:00:00+23:59", "0001-01-01T00:00:00+23:59", "a@b.org", "1e999"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from([f.name for f in EVERY_KIND]), inner),
)  # fmt: skip
BODIES = JSON | st.fixed_dictionaries({}, optional={field.name: JSON for field in EVERY_KIND})
SHAPES = {unknown: Shape(Input(EVERY_KIND, unknown)) for unknown in ("reject", "drop", "keep")}


@given(BODIES, st.dictionaries(st.text(), st.text() | st.lists(st.text())).map(Form), st.sampled_from(list(SHAPES)))
def test_any_json_is_accepted_or_refused_and_what_is_accepted_stays_so(body: Any, query: Form, unknown: Any) -> None:
    declared = SHAPES[unknown]
    try:
        made = declared.apply(body, query)
    except InvalidParams as refusal:
        event("refused")
        json.dumps(refusal.details)
    else:
        event("accepted")
        json.dumps(made)
        assert repr(declared.apply(made, NO_QUERY)) == repr(made)
