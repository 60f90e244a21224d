"""Templates in the texts of a workflow's steps: `{{ input.sku }}`, by sandboxed Jinja2 (https://jinja.palletsprojects.com).

`check` and `names` are for the time when the config is loaded, `render` and `as_text` for when a step runs.
"""

from trigger.errors import TemplateError
from trigger.templates.reading import (
    ROOTS,
    Uses,
    check,
    is_expression,
    is_open,
    is_template,
    literal,
    names,
    parts,
)
from trigger.templates.rendering import Piece, pieces, prepare, render
from trigger.templates.sandbox import MAX_TEXT, as_text

__all__ = [
    "MAX_TEXT",
    "ROOTS",
    "Piece",
    "Uses",
    "TemplateError",
    "as_text",
    "check",
    "is_expression",
    "is_open",
    "is_template",
    "literal",
    "names",
    "parts",
    "pieces",
    "prepare",
    "render",
]
