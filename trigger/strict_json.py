"""JSON as RFC 8259 has it, and a little less: what two parsers could read differently is refused.

The standard library's decoder does the work. Its hooks refuse what it would let pass: NaN and infinities, integers
that others can't hold, duplicate keys (RFC 8259, section 4: "names within an object SHOULD be unique").
"""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import Any, NoReturn

MAX_DEPTH = 32
# Those of 64 bits, as most languages and databases have them.
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1

# An unterminated string matches too, up to the end of the text: otherwise each quote in it would be tried again,
# which takes quadratic time.
_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"?'
_STRING_BYTES = re.compile(_STRING.encode(), re.DOTALL)
# Of numbers only those that could be refused: with an exponent, or long.
_NUMBER = r"-?(?:NaN|Infinity)|[-0-9.]+[eE][-+]?[0-9]+|[-0-9.]{19,}"
_TOKEN = re.compile(rf"(?P<string>{_STRING})(?P<key>\s*:)?|{_NUMBER}|[][{{}}]", re.DOTALL)
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")

# bytes.translate: an opening bracket becomes +1, a closing one -1 (as signed bytes), and all else is dropped.
_STEPS = bytes(1 if char in b"[{" else 255 for char in range(256))
_NOT_BRACKETS = bytes(char for char in range(256) if char not in b"[]{}")


class StrictJsonError(ValueError):
    """A text is no JSON, or not as strict. The message never repeats it: it may hold secrets."""


class _Refused(Exception):  # carries a message to `read`
    """Something the decoder would let pass; the message says what."""


def read(body: bytes, what: str) -> Any:
    """The value of a JSON text (RFC 8259) in UTF-8, at most MAX_DEPTH levels deep; `what` it is, for the messages.

    Raises StrictJsonError, with line and column (in characters, from 1) where they are known.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        before = body[: error.start].decode()
        raise _invalid(what, before, len(before), "not UTF-8, the one encoding accepted") from None
    if text.startswith("\ufeff"):
        raise _invalid(what, text, 0, "a byte order mark; send the JSON without it")
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and depth(body) > MAX_DEPTH:
        raise StrictJsonError(f"{what} is nested too deep: {MAX_DEPTH} levels of objects and arrays are accepted")
    try:
        value = _DECODER.decode(text)
        # Only an escape can make a lone surrogate, which no UTF-8 text can hold: encoding the value finds it.
        if _SURROGATE_ESCAPE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise _invalid(what, text, error.pos, error.msg.removesuffix(" at").lower()) from None
    except (_Refused, UnicodeEncodeError):
        raise _invalid(what, text, *_first_refused(text)) from None
    return value


def _invalid(body: str, text: str, position: int, what: str) -> StrictJsonError:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return StrictJsonError(f"{body} is not valid JSON: line {line}, column {column}: {what}")


def depth(body: bytes) -> int:
    """How deep the brackets outside of strings nest; brackets that don't match count as they come."""
    brackets = _STRING_BYTES.sub(b"", body).translate(_STEPS, _NOT_BRACKETS)
    return max(accumulate(memoryview(brackets).cast("b")), default=0)


def _first_refused(text: str) -> tuple[int, str]:
    """Where the first thing is that _DECODER's hooks or the check for surrogates refuse, and what it is.

    The decoder doesn't tell its hooks where it is, so a refused text is read again, token by token. It is well-formed
    at least up to what was refused.
    """
    keys: list[set[str]] = []  # of each object that is open; an array's stays empty
    for token in _TOKEN.finditer(text):
        word = token[0]
        if word in "[{":
            keys.append(set())
        elif word in "]}":
            keys.pop()
        elif token["string"]:
            string: str = json.loads(token["string"])
            if any("\ud800" <= char <= "\udfff" for char in string):
                return token.start(), "half of a surrogate pair, which is no character"
            if token["key"]:
                if string in keys[-1]:
                    return token.start(), "a key that its object has already"
                keys[-1].add(string)
        else:
            try:
                _DECODER.decode(word)
            except _Refused as refused:
                return token.start(), str(refused)
    raise AssertionError("a text was refused in which there is nothing to refuse")


def _integer(digits: str) -> int:
    # 20 characters hold every accepted integer; counting them first keeps int() from working on a million digits.
    if len(digits) > 20 or not MIN_INTEGER <= (number := int(digits)) <= MAX_INTEGER:
        raise _Refused(f"an integer that is not from {MIN_INTEGER} to {MAX_INTEGER}")
    return number


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise _Refused("a number too large for a double")
    return number


def _constant(_name: str) -> NoReturn:
    raise _Refused("NaN and Infinity are no JSON numbers")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _Refused("a key that its object has already")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)
