"""The schema of a field allows what a call may send for it, and nothing that is refused."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from trigger.errors import InvalidParams
from trigger.fields.describing import in_json, in_text
from trigger.fields.model import Field, FieldType, Input
from trigger.fields.patterns import portable
from trigger.inputs import Form, Shape
from trigger.strict_json import MAX_INTEGER, MIN_INTEGER


def is_taken(field: Field, body: Any) -> bool:
    try:
        Shape(Input((field,))).apply(body, Form())
    except InvalidParams:
        return False
    return True


def is_allowed(schema: dict[str, Any], value: Any) -> bool:
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return bool(validator.is_valid(value))


VALUES: list[Any] = [
    None, "", "a", "A1", "AB12", "red", "5", "05", "-5", "+5", " 5", "5.5", "5e1", "1e400", "9" * 19, "-" + "9" * 19,
    "true", "True", "1", "0", 0, 1, 5, -5, 100, 101, MAX_INTEGER, MAX_INTEGER + 1, MIN_INTEGER,
    MIN_INTEGER - 1, 0.5, 5.5, 1e300, True, False, [],
    {}, [1], ["a"], ["1", "2"], [[]], [None], {"a": 1}, {"city": "Bonn"}, {"city": "Bonn", "zip": "5"}, {"zip": 1},
    "2026-01-31", "2026-02-30", "2026-1-31", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00", "2026-01-31T12:00:00+02:00",
    "2026-01-31T24:00:00Z", "ada@example.org", "ada", "http://example.org/a?b#c", "https://localhost:8080", "http://a.b",
    "http://1.2.3.4", "ftp://example.org", "http://", "123e4567-e89b-12d3-a456-426614174000", "1" * 32, "1" * 31,
    "x" * 81,
]  # fmt: skip

FIELDS = [
    *(Field("f", kind) for kind in get_args(FieldType)),
    *(Field("f", kind, nullable=True) for kind in ("string", "integer", "boolean", "uuid", "object", "list")),
    Field("f", "string", required=True),
    Field("f", "string", required=True, min_length=0),
    Field("f", "string", min_length=2, max_length=4),
    Field("f", "string", pattern="[A-Z]+[0-9]+"),
    Field("f", "string", enum=("red", "5"), nullable=True),
    Field("f", "integer", min=1, max=100),
    Field("f", "integer", max=-1),
    Field("f", "integer", enum=(1, 5)),
    Field("f", "number", min=0.5, max=5.5),
    Field("f", "number", enum=(5, 5.5)),
    Field("f", "date", enum=("2026-01-31",)),
    Field("f", "any", enum=("a", 5, True)),
    Field("f", "email", max_length=10),
    Field("f", "list", of=Field("", "integer"), min_length=1),
    Field("f", "list", of=Field("", "string", nullable=True), max_length=1),
    Field("f", "object", fields=(Field("city", "string", required=True),)),
    Field("f", "object", fields=(Field("city", "string"), Field("zip", "integer")), unknown="drop"),
]  # fmt: skip


@pytest.mark.parametrize("field", FIELDS, ids=repr)
def test_json_that_the_schema_allows_is_taken_and_other_is_not(field: Field) -> None:
    schema = in_json(field)
    for value in VALUES:
        allowed, taken = is_allowed(schema, value), is_taken(field, {"f": value})
        if has_text(value) and has_number(field):
            assert taken or not allowed, (schema, value)  # the text of a number is taken and not told
        elif (field.type, value) not in (
            ("number", MAX_INTEGER + 1),
            ("number", MIN_INTEGER - 1),
        ):  # which JSON Schema can't tell from 2.0**63
            assert allowed == taken, (schema, value)


def has_text(value: Any) -> bool:
    """Whether a value is a text, or has one in it."""
    inside = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return isinstance(value, str) or any(map(has_text, inside))


def has_number(field: Field) -> bool:
    """Whether a field is a number, or has one in it."""
    inside = (*field.fields, *((field.of,) if field.of else ()))
    return field.type in ("integer", "number") or any(map(has_number, inside))


@pytest.mark.parametrize("field", FIELDS, ids=repr)
def test_a_form_and_a_query_that_the_schema_allows_are_taken(field: Field) -> None:
    schema = in_text(field)
    if schema is None:
        assert field.type == "object"
        return
    for value in VALUES:
        sent = as_text(value)
        if sent is not None and value not in (MAX_INTEGER + 1, MIN_INTEGER - 1) and is_allowed(schema, value):
            assert is_taken(field, Form(f=sent)), (schema, value)


def as_text(value: Any) -> str | list[str] | None:
    """What stands for a value in a form, where that is not the same as for another one of these."""
    if isinstance(value, list) and value and all(isinstance(item, str | int) for item in value):
        return [str(item) for item in value]
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else None


@pytest.mark.parametrize(
    "field",
    [
        Field("f", "list", of=Field("", "object")),
        Field("f", "list", of=Field("", "list")),
        Field("f", "any", enum=(5, True)),
    ],
)
def test_what_text_cannot_say_has_no_schema_for_it(field: Field) -> None:
    assert in_text(field) is None


def test_a_required_list_is_not_sent_as_an_empty_one() -> None:
    field = Field("f", "list", required=True, of=Field("", "string"))
    assert in_text(field) == {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
    assert not is_taken(field, Form(f=""))


def test_the_schema_has_what_is_said_for_people() -> None:
    schema = in_json(Field("f", "integer", description="How many", default=3))
    assert (schema["description"], schema["default"]) == ("How many", 3)
    assert in_json(Field("f", "string", default=None, nullable=True))["default"] is None


def test_a_secret_field_shows_neither_its_default_nor_its_choices() -> None:
    schema = in_json(Field("f", "string", secret=True, enum=("north", "south"), default="north", description="Where"))
    assert schema == {
        "type": "string",
        "writeOnly": True,
        "description": "Where\n\nOne of a few values, which are not shown.",
    }


def test_a_pattern_that_only_python_has_is_said_in_words() -> None:
    schema = in_json(Field("f", "string", pattern="(?i)ab*"))
    assert "pattern" not in schema
    assert "(?i)ab*" in schema["description"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("[A-Z]{2}[0-9]+", "^[A-Z]{2}[0-9]+$"),
        ("^[A-Z]{2}[0-9]+$", "^[A-Z]{2}[0-9]+$"),
        (r"a|b", "^(?:a|b)$"),
        (r"[\w.-]+@[\w-]+", r"^[\w.-]+@[\w-]+$"),
        (r"\d{1,3}(?:\.\d+)?", r"^\d{1,3}(?:\.\d+)?$"),
        (r"5\$", r"^(?:5\$)$"),
        ("é+?", "^é+?$"),
        *((python, None) for python in ("(?P<n>x)", "(?i)x", "a++", r"(a)\1", r"\Ax\Z", "a{,3}", "x{2", "]")),
        *((python, None) for python in ("[[:alpha:]]", "[a--b]", r"\@", r"[^\d]", r"\W", r"\bx")),
    ],
)
def test_a_pattern_is_given_where_both_languages_read_it_alike(pattern: str, expected: str | None) -> None:
    assert portable(pattern) == expected
