"""The Lua scripts, a file each in the folder lua: what is done to executions in Redis, each of them atomic.

The comment at the top of a file says what it does, and has lines that are read here:

    -- ARGV: queue, uid, …      its arguments by name, which are locals in it, in several lines where that is
                                easier to read; with "…" others follow, in ARGV from `first_more` on
    -- KEYS: job                likewise
    -- USES: clock, ending      files whose functions it calls, which may use others

Words in capitals are constants of Python: the names of keys, and what `load` is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from trigger.store import counting, keys
from trigger.store.status import FINAL_OF_RQ

FOLDER = Path(__file__).with_name("lua")

_HEADER = re.compile(r"^-- (ARGV|KEYS|USES): *(.*)\n", re.MULTILINE)
_CONSTANT = re.compile(r"\b[A-Z][A-Z_]+\b")
_NO_CODE = re.compile(r"--.*|'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"")
_REST = "…"

_CONSTANTS: Mapping[str, Any] = {
    **{name: value for name, value in vars(keys).items() if name.isupper()},
    **{name: value for name, value in vars(counting).items() if name.isupper()},
    "FINAL": dict.fromkeys(sorted(FINAL_OF_RQ), True),
}


@dataclass(frozen=True, slots=True)
class Lua:
    """A script as it is given to Redis, with the names of its keys and arguments in their order."""

    text: str
    keys: tuple[str, ...]
    arguments: tuple[str, ...]

    def on(self, redis: Redis) -> Callable[..., Any]:
        """The script on a Redis: a function of its keys and arguments by name, and of what follows them; `client` is a
        pipeline, for several at once."""
        script = redis.register_script(self.text)

        def call(
            *, more_keys: Iterable[str] = (), more: Iterable[Any] = (), client: Redis | None = None, **named: Any
        ) -> Any:
            if named.keys() != {*self.keys, *self.arguments}:
                raise TypeError(f"the script takes {(*self.keys, *self.arguments)}, not {tuple(named)}")
            return script(
                keys=[*(named[name] for name in self.keys), *more_keys],
                args=[*(named[name] for name in self.arguments), *more],
                client=client,
            )

        return call


def load(name: str, **constants: Any) -> Lua:
    """The script of that name, with more constants than those that all scripts have.

    Raises ValueError for a word in capitals that stands for nothing.
    """
    used: dict[str, str] = {}
    headers = _collect(name, used)
    body = "\n".join(used.values())
    named, arguments = _names(headers.get("KEYS")), _names(headers.get("ARGV"))
    words = {word for word in _CONSTANT.findall(_NO_CODE.sub("", body)) if word not in ("KEYS", "ARGV")}
    known = {**_CONSTANTS, **constants}
    if unknown := words - known.keys():
        raise ValueError(f"{name}.lua: {', '.join(sorted(unknown))} stands for nothing")
    lines = [f"local {word} = {_lua(known[word])}" for word in sorted(words)]
    for table, names in (("KEYS", named), ("ARGV", arguments)):
        if names:
            lines.append(f"local {', '.join(names)} = unpack({table}, 1, {len(names)})")
    if _REST in headers.get("ARGV", ""):
        lines.append(f"local first_more = {len(arguments) + 1}")
    return Lua("\n".join([*lines, body]), named, arguments)


def _collect(name: str, used: dict[str, str]) -> dict[str, str]:
    """Puts a file behind those that it uses; its headers."""
    text = (FOLDER / f"{name}.lua").read_text()
    headers: dict[str, str] = {}
    for word, line in _HEADER.findall(text):
        headers[word] = f"{headers[word]}, {line}" if word in headers else line
    for other in _names(headers.get("USES")):
        if other not in used:
            _collect(other, used)
    used[name] = text
    return headers


def _names(header: str | None) -> tuple[str, ...]:
    names = [name.strip() for name in (header or "").split(",")]
    return tuple(name for name in names if name and name != _REST)


def _lua(value: Any) -> str:
    """A value of Python in Lua."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            return f"'{value}'"
        case Mapping():
            return f"{{{', '.join(f'{name} = {_lua(inner)}' for name, inner in value.items())}}}"
        case _:
            return f"{{{', '.join(map(_lua, value))}}}"
