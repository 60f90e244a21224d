"""The sandbox of expressions: they read JSON data and shape it, within bounds, whatever the data is.

Jinja2's sandbox keeps expressions from reaching into Python. It does not keep `'x' * input.n` from filling the memory,
so what can make much of little is bounded here, or left out.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

from jinja2 import StrictUndefined, Undefined, filters, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from trigger import strict_json

MAX_TEXT = 1024 * 1024  # characters, about; of a text that is made, or of a value as JSON
MAX_ITEMS = 100_000  # of a list that is multiplied, as Jinja2's own for range()
MAX_BITS = 4096  # of a whole number that is made
MAX_TURNS = 100_000  # of all loops of a template together
MAX_SEARCH = 0.05  # seconds that a regular expression may search one text

SEARCH = "regex_search"  # the filter whose argument must be a text of the config: see reading.py

# Names that no template can write.
TURNS = " turns"  # in the context of a template with statements: how many turns its loops may still take, in a list
COUNTED = " counted"  # the filter that every loop's values go through

# The filters and methods of texts that make little of much, or as much.
_FILTERS = (
    "abs capitalize count d default dictsort first float groupby items last length list lower max min reject "
    "rejectattr reverse select selectattr sort title trim unique upper"
)
# Tests that ask about data.
_TESTS = (
    "!= < <= == > >= boolean defined divisibleby eq equalto even false float ge greaterthan gt in integer iterable le "
    "lessthan lower lt mapping ne none number odd sequence string true undefined upper"
)
_TEXT_METHODS = (
    "capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit isidentifier islower "
    "isnumeric isprintable isspace istitle isupper lower lstrip partition removeprefix removesuffix rfind rindex "
    "rpartition rsplit rstrip split splitlines startswith strip swapcase title upper"
)
_METHODS = frozenset(_TEXT_METHODS.split())
# A width or precision that is given by a value, or has more than three digits.
_WIDE = re.compile(r"%(?:\([^)]*\))?[-#0 +]*(?:\*|\d{4,}|\d*\.(?:\*|\d{4,}))")


class _Undefined(StrictUndefined):
    """A name that is not there; using it is an error that says so in one short sentence."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint:
            return self._undefined_hint
        name = self._undefined_name
        hint = ""
        if isinstance(self._undefined_obj, Mapping) and name in {"items", "keys", "values", "get"}:
            hint = "; an object has its keys only: there are the filters items, list and default"
        return f"{name if isinstance(name, int) else repr(str(name)[:64])} is undefined{hint}"


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja2 with the data's view of data: an object's attributes are its keys, a text's are harmless methods."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=_Undefined, finalize=as_text, keep_trailing_newline=True, cache_size=0)
        self.filters = {name: self.filters[name] for name in _FILTERS.split()} | _OWN_FILTERS | {COUNTED: _counted}
        self.tests = {name: self.tests[name] for name in _TESTS.split()}
        self.globals = {name: self.globals[name] for name in ("range", "dict")}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """As Environment.getattr."""
        if isinstance(obj, Mapping):
            return self._member(obj, attribute)
        if isinstance(obj, str):
            if attribute in _OWN_METHODS:
                return functools.partial(_OWN_METHODS[attribute], obj)
            if attribute not in _METHODS:
                return self.undefined(obj=obj, name=attribute)
        if isinstance(obj, bool | int | float | type | None):
            return self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """As Environment.getitem."""
        if isinstance(obj, Mapping):
            return self._member(obj, argument)
        if isinstance(argument, str):
            return self.getattr(obj, argument)
        return super().getitem(obj, argument)

    def _member(self, obj: Mapping[Any, Any], key: Any) -> Any:
        try:
            return obj[key]
        except (LookupError, TypeError):
            return self.undefined(obj=obj, name=key)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """As SandboxedEnvironment.call_binop, with the size of the result bounded before it is made."""
        _BOUNDS[operator](left, right)
        return super().call_binop(context, operator, left, right)


def as_text(value: Any) -> str:
    """A value inside a text: a text as it is, null as nothing, all else as JSON. Raises OverflowError beyond 1 MiB."""
    if isinstance(value, str):
        return str(value)
    value = as_data(value)
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def as_data(value: Any) -> Any:
    """A copy of `value` as JSON data: what can be iterated becomes a list.

    Raises UndefinedError for what is undefined, TypeError for what is no JSON, OverflowError beyond 1 MiB of it.
    """
    return _Copy().of(value)


class _Copy:
    """One walk over a value, that stops where it becomes too large."""

    def __init__(self) -> None:
        self.left = MAX_TEXT

    def of(self, value: Any) -> Any:
        self.left -= len(value) if isinstance(value, str) else 1
        if self.left < 0:
            raise _too_large()
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            if value.bit_length() > MAX_BITS:
                raise OverflowError("the result is too large a number")
            return value
        if isinstance(value, str):
            return str(value)
        if isinstance(value, float):
            if not math.isfinite(value):
                raise TypeError("the result is not a finite number")
            return value
        if isinstance(value, Undefined):
            return str(value)  # which raises
        if isinstance(value, Mapping):
            return {self.key(key): self.of(item) for key, item in value.items()}
        if isinstance(value, list | tuple | range | Iterator):
            return [self.of(item) for item in value]
        raise TypeError(f"the result is a {type(value).__name__}, which is no JSON data")

    def key(self, key: Any) -> str:
        if not isinstance(key, str):
            raise TypeError("the result is an object with a key that is no text")
        self.left -= len(key)
        return str(key)


def _too_large() -> OverflowError:
    return OverflowError("the result is larger than 1 MiB")


def _bound_sum(left: Any, right: Any) -> None:
    for kind, most in ((str, MAX_TEXT), (list, MAX_ITEMS)):
        if isinstance(left, kind) and isinstance(right, kind) and len(left) + len(right) > most:
            raise _too_large()


def _bound_product(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > MAX_BITS:
            raise OverflowError("the result is too large a number")
        return
    many, times = (right, left) if isinstance(left, int) else (left, right)
    most = MAX_TEXT if isinstance(many, str) else MAX_ITEMS
    if isinstance(many, str | list | tuple) and isinstance(times, int) and len(many) * times > most:
        raise _too_large()


def _bound_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and right > 0 and left.bit_length() * right > MAX_BITS:
        raise OverflowError("the result is too large a number")


def _bound_format(left: Any, right: Any) -> None:
    if isinstance(left, str) and _WIDE.search(left):
        raise OverflowError("a width or precision has more than three digits")


def _replace(text: Any, old: Any, new: Any, count: int = -1) -> str:
    """str.replace, bounded."""
    whole, old, new = as_text(text), as_text(old), as_text(new)
    found = whole.count(old)
    if len(whole) + (found if count < 0 else min(found, count)) * max(0, len(new) - len(old)) > MAX_TEXT:
        raise _too_large()
    return whole.replace(old, new, count)


def _join(value: Any, separator: str = "", attribute: str | int | None = None) -> str:
    """The texts of a list with a separator between them, bounded."""
    items = value if attribute is None else map(filters.make_attrgetter(ENVIRONMENT, attribute), value)
    separator, texts, left = as_text(separator), [], MAX_TEXT
    for item in items:
        texts.append(as_text(item))
        left -= len(texts[-1]) + len(separator)
        if left < 0:
            raise _too_large()
    return separator.join(texts)


def _join_method(separator: str, value: Any) -> str:
    return _join(value, separator)


def _format(text: Any, *values: Any, **named: Any) -> str:
    """printf-style formatting, bounded."""
    _bound_format(text, values)
    return filters.do_format(as_text(text), *values, **named)


def _round(value: float, precision: int = 0, method: Any = "common") -> float:
    """Jinja2's own, which computes 10 ** precision."""
    if not -20 <= precision <= 20:
        raise ValueError("round takes a precision from -20 to 20")
    return filters.do_round(value, precision, method)


def _int(value: Any, default: Any = 0, base: int = 10) -> Any:
    """Jinja2's own, of texts that are no longer than a number may be."""
    if isinstance(value, str) and len(value) > MAX_BITS:
        raise OverflowError("the text is too long for a number")
    return filters.do_int(value, default, base)


def _urlencode(value: Any) -> str:
    """A text or a number, quoted: Jinja2's own makes several parameters of an object."""
    if isinstance(value, Mapping | list | tuple):
        raise TypeError("urlencode takes a text or a number")
    return filters.do_urlencode(as_text(value))


def _sum(value: Iterable[Any], attribute: str | int | None = None, start: Any = 0) -> Any:
    """The sum of numbers: lists added up would be copied again and again."""
    for item in value if attribute is None else map(filters.make_attrgetter(ENVIRONMENT, attribute), value):
        if not isinstance(item, int | float) or not isinstance(start, int | float):
            raise TypeError("sum adds numbers")
        start += item
    return start


@pass_context
def _map(context: Context, value: Iterable[Any], *args: Any, **options: Any) -> Iterator[Any]:
    """Jinja2's own; what its filter makes of all items together is bounded."""
    if args and args[0] == SEARCH:
        raise TypeError(f"map can't use {SEARCH}, whose pattern must stand beside it")
    left = MAX_TEXT
    for item in filters.sync_do_map(context, value, *args, **options):
        if args and isinstance(item, str | list | tuple | dict):
            left -= len(item)
        if left < 0:
            raise _too_large()
        yield item


def _truncate(text: Any, length: int = 255, killwords: bool = False, end: str = "...", leeway: int = 0) -> str:
    """Jinja2's own, which wants room for the end."""
    if length < len(end):
        raise ValueError(f"truncate takes a length of at least that of its end, {len(end)}")
    return filters.do_truncate(ENVIRONMENT, as_text(text), length, killwords, end, leeway)


@pass_context
def _counted(context: Context, values: Iterable[Any]) -> Iterator[Any]:
    """The values of a loop, as long as the template has turns left."""
    turns = context.parent[TURNS]
    for value in values:
        turns[0] -= 1
        if turns[0] < 0:
            raise OverflowError(f"its loops take more than {MAX_TURNS:,} turns")
        yield value


def _to_json(value: Any) -> str:
    """JSON, without the escapes for HTML of Jinja2's own."""
    return json.dumps(as_data(value), ensure_ascii=False)


def _from_json(value: Any) -> Any:
    """The value of a text of JSON, read as strictly as a request's body."""
    return strict_json.read(_plain(value, "from_json").encode(errors="surrogatepass"), "The JSON text")


def _b64decode(value: Any) -> str:
    """The text in UTF-8 that base64 stands for: of either alphabet of RFC 4648, with or without its padding."""
    text = "".join(_plain(value, "b64decode").split()).translate(_STANDARD).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode()
    except UnicodeDecodeError:
        raise ValueError("what is in the base64 is not text in UTF-8") from None
    except (binascii.Error, ValueError):
        raise ValueError("the text is not base64") from None


_STANDARD = str.maketrans("-_", "+/")


def _regex_search(value: Any, pattern: str) -> str | None:
    """What a regular expression finds first in a text: its first group if it has one, else all that matched; null where
    there is nothing."""
    try:
        found = regular(pattern).search(as_text(value), timeout=MAX_SEARCH)
    except TimeoutError:
        raise OverflowError(f"the search takes longer than {MAX_SEARCH:g} s") from None
    return None if found is None else cast(str | None, found[1 if found.re.groups else 0])


@functools.lru_cache(maxsize=256)
def regular(pattern: str) -> Any:
    """A regular expression that can be given up on: the `regex` package's, as `re` knows no time limit. Raises
    ValueError. It is imported here because most configs use none."""
    import regex

    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"the pattern is not a regular expression: {error}") from None


def _at_path(value: Any, path: Any) -> Any:
    """What stands in data at a path such as "commits.0.id"; null where any part of it is not there."""
    for part in _plain(path, "path").split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list | tuple) and _INDEX.fullmatch(part) and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


_INDEX = re.compile(r"[0-9]{1,9}")


def _plain(value: Any, name: str) -> str:
    if isinstance(value, Undefined):
        return str(value)  # which raises
    if not isinstance(value, str):
        raise TypeError(f"{name} takes a text")
    if len(value) > MAX_TEXT:
        raise _too_large()
    return value


_BOUNDS: Mapping[str, Callable[[Any, Any], None]] = {
    "+": _bound_sum,
    "*": _bound_product,
    "**": _bound_power,
    "%": _bound_format,
}
_OWN_METHODS: Mapping[str, Callable[..., str]] = {"replace": _replace, "join": _join_method}
_OWN_FILTERS: dict[str, Callable[..., Any]] = {
    "b64decode": _b64decode,
    "format": _format,
    "from_json": _from_json,
    "int": _int,
    "join": _join,
    "map": _map,
    "path": _at_path,
    SEARCH: _regex_search,
    "replace": _replace,
    "round": _round,
    "string": as_text,
    "sum": _sum,
    "tojson": _to_json,
    "truncate": _truncate,
    "urlencode": _urlencode,
}
ENVIRONMENT = Sandbox()
