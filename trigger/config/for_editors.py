"""The JSON Schema of config.yaml, for editors that complete and check while one types.

It says what a file may look like; what keys mean together (a workflow that exists, min below max) only `check` finds.
"""

from __future__ import annotations

from typing import Any

from trigger.config.forms import Form, Named, mapping
from trigger.config.parts import Strict, Value
from trigger.config.schemas import CONFIG


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12, https://json-schema.org/draft/2020-12) of config.yaml."""
    definitions: dict[str, Any] = {}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Trigger's config.yaml",
        **_written(CONFIG, definitions),
        "$defs": definitions,
    }


def _written(form: Form, definitions: dict[str, Any]) -> Any:
    """Return a form as plain JSON; what is named in it joins `definitions`."""
    if isinstance(form, Named):
        if form.name not in definitions:
            definitions[form.name] = {}  # now already: it may hold itself
            definitions[form.name] = _written(form.form, definitions)
        return {"$ref": f"#/$defs/{form.name}"}
    if isinstance(form, Strict):
        required = [key for key, field in form.fields.items() if field.required]
        return _written({**mapping(form.fields, required), **form.rules}, definitions)
    if isinstance(form, Value):
        schema = {**_written(form.form, definitions), **form.metadata}
        if form.allow_none and "type" in schema:
            schema["type"] = [schema["type"], "null"]
        return schema
    if isinstance(form, dict):
        return {key: _written(value, definitions) for key, value in form.items()}
    if isinstance(form, list | tuple):
        return [_written(value, definitions) for value in form]
    return _written(form(), definitions) if callable(form) else form
