"""What an editor says of a config: YAML 1.2, in which `on` is a text, against our JSON Schema."""

from __future__ import annotations

import re

import jsonschema  # type: ignore[import-untyped]
import yaml

from trigger.config import json_schema


class _Loader(yaml.SafeLoader):
    pass


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"true|false"), list("tf"))

SCHEMA = json_schema()
_VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def errors(text: str) -> list[str]:
    """Everything that is wrong with a config for an editor."""
    return [error.message for error in _VALIDATOR.iter_errors(yaml.load(text, _Loader))]
