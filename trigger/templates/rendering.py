"""Templates as they are rendered when a step runs."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import nodes
from jinja2.environment import Template

from trigger.errors import TemplateError
from trigger.templates.limits import MAX_SECONDS, limited
from trigger.templates.reading import is_chosen, is_template, outputs, parse, sole_expression, templates_in
from trigger.templates.sandbox import ENVIRONMENT, MAX_TEXT, MAX_TURNS, TURNS, as_data, as_text

MAX_SHOWN = 200  # characters of an expression in a message, and of what is wrong with it
_Context = Mapping[str, Any]


def render(value: Any, context: _Context, *, seconds: float = MAX_SECONDS) -> Any:
    """`value` with the templates in its texts rendered: those in the values of mappings and lists too.

    A text that is one expression becomes what the expression gives, as JSON data; in any other text null is nothing,
    and what is not text is JSON. `context` maps `input`, `steps`, … to JSON data; the texts in it are data and are
    never looked at as templates. Raises TemplateError, which names the expression, for an undefined name, for
    whatever else fails in it, for a result larger than 1 MiB, and for what takes more than so many `seconds` to
    compute.
    """
    with limited(seconds):
        return _rendered(value, context)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a rendered text: `source` is its expression, or "" where the template spells it.

    `is_chosen`: a caller may have a say in it. `is_quoted`: the last thing its expression does is `urlencode`.
    """

    text: str
    source: str = ""
    is_chosen: bool = False
    is_quoted: bool = False


def pieces(text: str, context: _Context, fixed: frozenset[str] = frozenset()) -> list[Piece]:
    """The parts that make up a rendered text, one for each expression; a text with statements is a single part.

    `fixed` are the variables of env that the config spells out. Raises as `render`.
    """
    if not is_template(text):
        return [Piece(text)]
    compiled = _compiled(text)
    parts = compiled.pieces if isinstance(compiled, _Pieces) else [compiled]
    with limited():
        found = [part if isinstance(part, Piece) else part.piece(context, fixed) for part in parts]
    _joined(text, (piece.text for piece in found))
    return found


def prepare(value: Any) -> None:
    """Compiles the templates in `value`, so that processes forked from this one need not."""
    for text in templates_in(value):
        _compiled(text)


def _rendered(value: Any, context: _Context) -> Any:
    if isinstance(value, str):
        return _compiled(value)(context) if is_template(value) else value
    if isinstance(value, Mapping):
        return {key: _rendered(item, context) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rendered(item, context) for item in value]
    return value


@functools.lru_cache(maxsize=4096)
def _compiled(text: str) -> _Expression | _Pieces | _Program:
    tree = parse(text)
    found = outputs(tree)
    if found is None:
        return _Program(text, tree)
    sources = _sources(text)
    sole = sole_expression(tree)
    if sole is not None:
        return _Expression(next(sources), sole)
    return _Pieces(
        text,
        [
            Piece(node.data) if isinstance(node, nodes.TemplateData) else _Expression(next(sources), node)
            for node in found
        ],
    )


class _Expression:
    """One `{{ … }}`; gives the value, of its own type."""

    def __init__(self, source: str, node: nodes.Expr) -> None:
        self.source = source
        self._node = node
        self._is_quoted = isinstance(node, nodes.Filter) and node.name == "urlencode"
        result = nodes.Assign(nodes.Name("result", "store"), node, lineno=1)
        with _named(source):
            self._template = _compile(nodes.Template([result], lineno=1))

    def __call__(self, context: _Context) -> Any:
        with _named(self.source):
            running = self._template.new_context(dict(context))
            for _ in self._template.root_render_func(running):
                pass
            return as_data(running.vars["result"])

    def text(self, context: _Context) -> str:
        with _named(self.source):
            return as_text(self(context))

    def piece(self, context: _Context, fixed: frozenset[str]) -> Piece:
        return Piece(self.text(context), self.source, is_chosen(self._node, fixed), self._is_quoted)


class _Pieces:
    """Texts and expressions in turn; gives a text."""

    def __init__(self, text: str, pieces: list[Piece | _Expression]) -> None:
        self._text = text
        self.pieces = pieces

    def __call__(self, context: _Context) -> str:
        return _joined(
            self._text, (piece.text if isinstance(piece, Piece) else piece.text(context) for piece in self.pieces)
        )


class _Program:
    """A text with statements; gives a text."""

    def __init__(self, text: str, tree: nodes.Template) -> None:
        self._text = text
        self._outputs = list(tree.find_all(nodes.Output))
        with _named(text):
            self._template = _compile(tree)

    def __call__(self, context: _Context) -> str:
        with _named(self._text):
            running = self._template.new_context({**context, TURNS: [MAX_TURNS]})
            return _joined(self._text, self._template.root_render_func(running))

    def piece(self, context: _Context, fixed: frozenset[str]) -> Piece:
        return Piece(self(context), self._text, any(is_chosen(node, fixed) for node in self._outputs))


@contextlib.contextmanager
def _named(source: str) -> Iterator[None]:
    """Turns what fails in the block into a TemplateError that names the expression: the boundary to what is written in
    templates, of which Jinja2, its filters and Python's operators may raise anything.
    """
    try:
        yield
    except TemplateError:
        raise  # of a variable of env, which has named it
    except Exception as error:  # noqa: BLE001
        message = getattr(error, "message", None) or str(error) or type(error).__name__
        raise TemplateError(f"{_shown(source)}: {_shown(str(message))}") from None


def _compile(tree: nodes.Template) -> Template:
    tree.set_environment(ENVIRONMENT)
    return ENVIRONMENT.from_string(tree)


def _joined(text: str, pieces: Iterator[str]) -> str:
    found, left = [], MAX_TEXT
    for piece in pieces:
        found.append(piece)
        left -= len(piece)
        if left < 0:
            raise TemplateError(f"{_shown(text)}: the result is larger than 1 MiB")
    return "".join(found)


def _sources(text: str) -> Iterator[str]:
    """Each expression of a template as it is written, braces included."""
    source = ""
    for _, kind, written in ENVIRONMENT.lex(text):
        if kind == "variable_begin":
            source = written
        elif source:
            source += written
            if kind == "variable_end":
                yield source.strip()
                source = ""


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
