"""The JSON Schema of an entry of `workflows`, for editors."""

from __future__ import annotations

from trigger.config.names import QUEUE, STEP, VARIABLE
from trigger.config.requests import BODIES, MAX_REDIRECTS, METHODS, STATUSES
from trigger.config.schema_parts import (
    DURATION,
    REFERENCE,
    SIZE,
    TEXT,
    Schema,
    boolean,
    integer,
    items,
    mapping,
    names,
    pattern,
    python,
)
from trigger.config.steps import KINDS
from trigger.config.workflows import MAX_PARALLEL, OF_STEPS

_PAIRS: Schema = {"type": "object", "additionalProperties": {"oneOf": [TEXT, items(TEXT, 0)]}}
_EXPRESSION: Schema = {
    "type": "string",
    "pattern": r"^\{\{[\s\S]*\}\}\s*$",
    "description": "One expression: the step is skipped unless it is true",
    "examples": ["{{ input.count > 0 }}"],
}


def definitions() -> dict[str, Schema]:
    """The definitions of a workflow and of what it is made of."""
    return {
        "workflow": {"oneOf": [python(), _workflow()]},
        "step": _step(last=False),
        "last_step": _step(last=True),
        "environment": names(VARIABLE, TEXT),
        "http": _http(),
    }


def _workflow() -> Schema:
    schema = mapping(
        {
            "python": python(),
            "steps": items({"$ref": "#/$defs/step"}),
            "on_failure": items({"$ref": "#/$defs/last_step"}),
            "parallel": integer(1, MAX_PARALLEL, default=4),
            "env": {"$ref": "#/$defs/environment"},
            "description": TEXT,
            "timeout": {**DURATION, "default": "10m"},
            "queue": pattern(QUEUE),
            "retry": mapping(_tries(), required=["attempts"]),
        },
        required=[],
    )
    schema["oneOf"] = [{"required": ["python"]}, {"required": ["steps"]}]
    schema["dependentRequired"] = {key: ["steps"] for key in OF_STEPS}
    return schema


def _step(*, last: bool) -> Schema:
    again = {
        **_tries(),
        "jitter": {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string"}], "default": 0},
        "on": items({"type": ["string", "integer"]}),
    }
    properties: Schema = {
        "name": pattern(STEP),
        "python": python(),
        "with": {"type": "object", "description": "The callable's arguments; without it, its argument is the input"},
        "run": {**items(TEXT), "description": "A program and its arguments, without a shell"},
        "cwd": {"type": "string", "minLength": 1, "description": "The folder to run in, relative to the config's"},
        "http": {"$ref": "#/$defs/http"},
        "when": _EXPRESSION,
        "needs": items(pattern(STEP), 0),
        "timeout": DURATION,
        "retry": mapping(again, required=["attempts"]),
        "continue_on_error": {**boolean(), "default": False},
        "env": {"$ref": "#/$defs/environment"},
    }
    if last:
        del properties["needs"]
    schema = mapping(properties, required=["name"])
    schema["oneOf"] = [{"required": [kind]} for kind in KINDS]
    schema["dependentRequired"] = {"with": ["python"], "cwd": ["run"]}
    return schema


def _http() -> Schema:
    schema = mapping(
        {
            "method": {"anyOf": [{"enum": list(METHODS)}, REFERENCE], "default": "GET"},
            "url": {"type": "string", "pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://|^\{\{|\$\{"},
            "headers": {"type": "object", "additionalProperties": TEXT},
            "query": _PAIRS,
            "json": {"description": "The body, as JSON"},
            "form": _PAIRS,
            "body": TEXT,
            "expect": {
                **items(integer(*STATUSES), 2),
                "maxItems": 2,
                "default": [200, 299],
                "description": "The lowest and the highest status that is a success",
            },
            "redirects": integer(0, MAX_REDIRECTS, default=0),
            "max_size": {**SIZE, "default": "1 MiB"},
        },
        required=["url"],
    )
    schema["not"] = {"anyOf": [{"required": [one, other]} for one in BODIES for other in BODIES if one < other]}
    return schema


def _tries() -> Schema:
    pauses = {"oneOf": [{"const": "exponential"}, DURATION, items(DURATION)]}
    return {"attempts": integer(2, 100), "backoff": pauses}
