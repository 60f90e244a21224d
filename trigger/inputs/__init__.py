"""A caller's input: read from the request, parsed strictly, checked and converted as the config declares it.

read_body → parse_body (a POST's body) ─┐
            parse_query (the URL) ──────┴→ Shape.apply → the workflow's input; mask → what a record may show
"""

from trigger.inputs.body import parse_body, read_body
from trigger.inputs.forms import Form, as_query, parse_query
from trigger.inputs.masking import mask, secret_values, unmask
from trigger.inputs.shape import Shape, secrets_of_debug
from trigger.inputs.strict_json import parse_json

__all__ = [
    "Form",
    "Shape",
    "as_query",
    "mask",
    "parse_body",
    "parse_json",
    "parse_query",
    "read_body",
    "secret_values",
    "secrets_of_debug",
    "unmask",
]
