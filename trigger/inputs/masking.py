"""Secret parts of an input: hidden in what is kept and shown, found in what is written about."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from trigger.config.secret import written_forms
from trigger.errors import InvalidParams
from trigger.fields.model import MISSING

MASK = "***"

# Shorter ones would turn up in any text by chance, and masking them there would tell where they are.
MIN_SECRET_LENGTH = 4


def mask(value: Any, paths: Sequence[Sequence[str]]) -> Any:
    """`value` with MASK in place of what is at `paths` (as Shape.secrets gives them), except null, which hides nothing.

    `value` is left as it was: objects and arrays on the way to a secret are copied, others are shared. Where a path
    leads into something that is neither, as in an input that was refused, all of that is masked.
    """
    for path in paths:
        value = _mask_path(value, path)
    return value


def unmask(edited: Any, original: Any, paths: Sequence[Sequence[str]]) -> Any:
    """`edited` with the secrets of `original` where it still has what stands for them: what `mask` made of it.

    Raises InvalidParams where it can't be told which secret is meant.
    """
    if _same(edited, mask(original, paths)):
        return original  # also with secrets in lists, of which one can't be told from another
    mistakes: dict[str, list[str]] = {}
    for path in paths:
        edited = _unmask(edited, original, path, "", mistakes)
    if mistakes:
        raise InvalidParams("The input is invalid", details={"fields": mistakes})
    return edited


def hidden(text: str, secrets: Iterable[str]) -> str:
    """`text` with MASK in place of each secret. One that holds another goes first: nothing is left of it."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def secret_values(value: Any, paths: Sequence[Sequence[str]]) -> set[str]:
    """The texts in which the secrets at `paths` may turn up in a message: as they are, and as quoted by repr or JSON.

    Only those of MIN_SECRET_LENGTH characters or more; booleans are no secrets that a text could give away.
    """
    texts: set[str] = set()
    for path in paths:
        for secret in _at_path(value, path):
            for leaf in _leaves(secret):
                texts.update(written_forms(str(leaf)))
    return {text for text in texts if len(text) >= MIN_SECRET_LENGTH}


class Hide:
    """Replaces secrets in a JSON value by MASK, wherever they turn up; the value itself is left as it was."""

    def __init__(self, secrets: Collection[str]) -> None:
        self._secrets = secrets

    def __call__(self, value: Any) -> Any:
        if not self._secrets:
            return value
        try:
            return self._hidden(value)
        except RecursionError:
            return MASK  # too deep to be looked through

    def _hidden(self, value: Any) -> Any:
        if isinstance(value, str):
            return hidden(value, self._secrets)
        if isinstance(value, Mapping):
            return {self._hidden(key): self._hidden(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._hidden(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and str(value) in self._secrets:
            return MASK
        return value


def _mask_path(value: Any, path: Sequence[str]) -> Any:
    if value is None:
        return None
    if path and isinstance(value, dict) and path[0] != "*":
        key, *rest = path
        return {**value, key: _mask_path(value[key], rest)} if key in value else value
    if path and isinstance(value, list) and path[0] == "*":
        return [_mask_path(item, path[1:]) for item in value]
    return MASK


def _unmask(edited: Any, original: Any, path: Sequence[str], name: str, mistakes: dict[str, list[str]]) -> Any:
    if edited == MASK:
        if original is not MISSING:
            return original
        mistakes[name] = ["stands for a secret that is not known: give its value"]
    elif path and isinstance(edited, dict) and path[0] in edited:
        key, *rest = path
        before = original[key] if isinstance(original, dict) and key in original else MISSING
        return {**edited, key: _unmask(edited[key], before, rest, f"{name}.{key}" if name else key, mistakes)}
    elif path and isinstance(edited, list) and path[0] == "*":
        # Which item has become which can't be told: items may have been put in, taken out or put elsewhere.
        return [_unmask(item, MISSING, path[1:], f"{name}.{i}", mistakes) for i, item in enumerate(edited)]
    return edited


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same; true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _at_path(value: Any, path: Sequence[str]) -> Iterator[Any]:
    if path and isinstance(value, dict) and path[0] != "*":
        if path[0] in value:
            yield from _at_path(value[path[0]], path[1:])
    elif path and isinstance(value, list) and path[0] == "*":
        for item in value:
            yield from _at_path(item, path[1:])
    else:
        yield value


def _leaves(value: Any) -> Iterator[str | float]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield value
