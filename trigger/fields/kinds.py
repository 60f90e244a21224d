"""The table of the kinds of fields, by the type that a declaration names. All about a kind is in its class."""

from __future__ import annotations

from collections.abc import Mapping

from trigger.fields.base import Kind
from trigger.fields.model import FieldType
from trigger.fields.nested import Items, Object
from trigger.fields.plain import Anything, Boolean, Integer, Number
from trigger.fields.texts import Date, DateTime, Email, String, Url, Uuid

KINDS: Mapping[FieldType, type[Kind]] = {
    "string": String,
    "integer": Integer,
    "number": Number,
    "boolean": Boolean,
    "date": Date,
    "datetime": DateTime,
    "email": Email,
    "url": Url,
    "uuid": Uuid,
    "object": Object,
    "list": Items,
    "any": Anything,
}
