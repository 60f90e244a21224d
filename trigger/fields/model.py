"""The declared input of an API, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Unknown = Literal["reject", "drop", "keep"]
FieldType = Literal[
    "string", "integer", "number", "boolean", "date", "datetime", "email", "url", "uuid", "object", "list", "any"
]


class _Missing:
    """The type of MISSING; a class of its own so that a default of null can be told from no default."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()


@dataclass(frozen=True, slots=True)
class Field:
    """One declared field of an API's input. Bounds that were not declared are None."""

    name: str
    type: FieldType
    required: bool = False
    default: Any = MISSING
    enum: tuple[Any, ...] | None = None
    min: float | int | None = None
    max: float | int | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    nullable: bool = False
    description: str = ""
    secret: bool = False
    fields: tuple[Field, ...] = ()  # of an object
    unknown: Unknown = "reject"  # of an object
    of: Field | None = None  # of a list: what each item is (its name is empty)


@dataclass(frozen=True, slots=True)
class Input:
    """The input that an API accepts: its declared fields, and what is done with others."""

    fields: tuple[Field, ...]
    unknown: Unknown = "reject"
