"""The arguments of a run step: what a caller sends can't become an option of the program, nor a path upwards."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trigger.errors import ArgumentError, TemplateError
from trigger.templates import Piece, pieces

# What Linux takes (MAX_ARG_STRLEN), in bytes, without the NUL at the end.
MAX_ARGUMENT = 128 * 1024 - 1


def arguments(argv: Sequence[str], context: Mapping[str, Any], fixed: frozenset[str]) -> list[str]:
    """The program and its arguments, rendered.

    `context` and `fixed` are as for `templates.pieces`. Raises TemplateError for an argument that begins with a dash of
    a caller's choice, where no "--" stands before it; and for a path with a ".." of his.
    """
    found = list(argv[:1])
    has_ended = False  # no options are read any more
    for text in argv[1:]:
        parts = pieces(text, context, fixed)
        first = next((part for part in parts if part.text), parts[0])
        if first.is_chosen and first.text.startswith("-") and not has_ended:
            raise TemplateError(
                f"{first.source}: its value begins with a dash, so the program may take it for an option: "
                "put -- before it, where the program knows that, or give it by env"
            )
        _check_path(parts)
        found.append(_joined(parts))
        has_ended = has_ended or text == "--"
    return found


def check_sizes(argv: Sequence[str], variables: Mapping[str, str]) -> None:
    """Raises ArgumentError for an argument or a variable that no program can be given."""
    named = [(f"argument {index}", text) for index, text in enumerate(argv)]
    named += [(f"the variable {name}", f"{name}={text}") for name, text in variables.items()]
    for name, text in named:
        try:
            size = len(os.fsencode(text))
        except UnicodeEncodeError:
            raise ArgumentError(f"{name} holds half of a surrogate pair, which is no text") from None
        if "\0" in text:
            raise ArgumentError(f"{name} holds the character U+0000, which no program can be given")
        if size > MAX_ARGUMENT:
            raise ArgumentError(
                f"{name} has {size} bytes, and the system takes at most {MAX_ARGUMENT} (128 KiB): "
                "let the program read the input, which is on its stdin"
            )


def _check_path(parts: Sequence[Piece]) -> None:
    """Refuses what climbs out of the folder that the config spells out."""
    if not any("/" in part.text for part in parts if not part.is_chosen):
        return  # it is no path, or one that is all of the caller's choice
    if _climbs(parts) > _climbs(Piece("x") if part.is_chosen else part for part in parts):
        sources = " ".join(part.source for part in parts if part.is_chosen)
        raise TemplateError(f"{sources}: a path must not climb: the argument has a '..' that is not the config's")


def _climbs(parts: Iterable[Piece]) -> int:
    return _joined(parts).split("/").count("..")


def _joined(parts: Iterable[Piece]) -> str:
    return "".join(part.text for part in parts)
