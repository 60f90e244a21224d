"""XML as a mapping, for senders that speak nothing else."""

from __future__ import annotations

from typing import Any, NoReturn
from xml.parsers import expat

from trigger.errors import InvalidParams
from trigger.strict_json import MAX_DEPTH

MAX_PARTS = 10_000  # elements and attributes: more hold up everybody else


class _Refused(Exception):  # carries a message through the parser
    pass


class _Element:
    __slots__ = ("children", "name", "text")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.children: dict[str, Any] = {f"@{key}": value for key, value in attributes.items()}
        self.text: list[str] = []

    def add(self, name: str, value: Any) -> None:
        """Add a child; of several with one name there is a list."""
        before = self.children.get(name)
        if name not in self.children:
            self.children[name] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            self.children[name] = [before, value]

    def value(self) -> Any:
        """The mapping, the text where there is only that, or None where there is nothing."""
        text = "".join(self.text).strip()
        if not self.children:
            return text or None
        return {**self.children, "#text": text} if text else self.children


class _Builder:
    """Takes the parser's events, and builds the mapping. Nothing in it calls itself, however deep the text nests."""

    def __init__(self, encoding: str | None) -> None:
        self._open = [_Element("", {})]
        self._left = MAX_PARTS
        self.parser = parser = expat.ParserCreate(encoding)
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._doctype

    def built(self, body: bytes) -> Any:
        self.parser.Parse(body, True)
        return self._open[0].children

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) > MAX_DEPTH:
            raise _Refused(f"nested too deep: {MAX_DEPTH} levels of elements are accepted")
        self._left -= 1 + len(attributes)
        if self._left < 0:
            raise _Refused(f"more than {MAX_PARTS:,} elements and attributes")
        self._open.append(_Element(name, attributes))

    def _end(self, _name: str) -> None:
        done = self._open.pop()
        self._open[-1].add(done.name, done.value())

    def _text(self, text: str) -> None:
        self._open[-1].text.append(text)

    def _doctype(self, *_: object) -> NoReturn:
        raise _Refused("a DTD, and with it entities, are not accepted")


def parse_xml(body: bytes, encoding: str | None = None) -> Any:
    """Return what an XML text says: a mapping from the root's name to its content.

    An element is a mapping of its attributes (`@name`), its children by their names as they are written, prefixes and
    all, a list where a name comes more than once, and its own text (`#text`); or the text alone; or None.

    Args:
        encoding: what the Content-Type says, None where only the text itself does.

    Raises InvalidParams for what is not well-formed, has a DTD, or nests more than MAX_DEPTH levels. Its message never
    repeats the body.
    """
    builder = _Builder(encoding)
    try:
        return builder.built(body)
    except _Refused as refused:
        reason = f"{refused}"
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code) or "not well-formed"
    except (ValueError, LookupError):  # an encoding that Python does not have, or that has several bytes
        reason = "in an encoding that is not known here"
    at = builder.parser
    where = f"line {at.CurrentLineNumber}, column {at.CurrentColumnNumber + 1}"
    raise InvalidParams(f"The body is not valid XML: {where}: {reason}")
