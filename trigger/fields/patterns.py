"""Patterns of the config, which are Python's, as the regular expressions of JSON Schema (ECMA-262, 22.2)."""

from __future__ import annotations

import re

# What both languages read alike: classes without ranges of classes in them, groups without names and flags, greedy and
# lazy quantifiers. With the flag "u", which validators set, ECMA-262 lets nothing else be escaped.
_CLASS_ESCAPE = r"\\(?:[dwsnrtfv^$\\.*+?()\[\]{}|/-]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})"
_ESCAPE = r"\\(?:[dwsnrtfv^$\\.*+?()\[\]{}|/]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})"
_CLASS = rf"\[(?:\^(?![^\]]*\\[dws])|(?!\^))(?:{_CLASS_ESCAPE}|[^\\\[\]&|~-]|-(?!-))+\]"
_QUANTIFIER = r"(?:[*+?]|\{[0-9]+(?:,[0-9]*)?\})\??(?![*+?{])"
_GROUP = r"\((?:\?(?:[:=!]|<[=!])|(?!\?))"
_PORTABLE = re.compile(rf"(?:{_ESCAPE}|{_CLASS}|{_QUANTIFIER}|{_GROUP}|[^\\\[\](){{}}*+?]|\))*")


def portable(pattern: str) -> str | None:
    """An expression that allows what matches `pattern` as a whole; None where the languages may differ."""
    if not _PORTABLE.fullmatch(pattern):
        return None
    if "|" in pattern or pattern.endswith(r"\$"):
        return f"^(?:{pattern})$"
    return f"^{pattern.removeprefix('^').removesuffix('$')}$"
