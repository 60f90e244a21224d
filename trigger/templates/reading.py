"""Templates as they are read when the config is loaded: what is wrong with them, and what they use."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateSyntaxError, nodes

from trigger.errors import TemplateError
from trigger.templates.sandbox import COUNTED, ENVIRONMENT, SEARCH, regular

# The names that a template may begin with; `error` only in steps that run after a failure.
ROOTS = ("input", "headers", "caller", "request", "steps", "env", "execution", "error")
MAX_DEPTH = 100  # of an expression, and of blocks inside one another

_BRACE = re.compile(r"\{+")
_STATEMENTS: tuple[type[nodes.Node], ...] = (nodes.Template, nodes.Output, nodes.If, nodes.For, nodes.Assign)


@dataclass(frozen=True, slots=True)
class Uses:
    """The names that templates use: steps, variables of the environment, the roots of names, and all paths from them.

    A path is ("input", "sku") for `input.sku` and `input['sku']`; ("steps",) alone is a step that only running tells.
    """

    steps: frozenset[str] = frozenset()
    env: frozenset[str] = frozenset()
    roots: frozenset[str] = frozenset()
    paths: frozenset[tuple[str, ...]] = frozenset()

    @property
    def whole(self) -> frozenset[str]:
        """The roots that are used as they are, without a name in them."""
        return frozenset(path[0] for path in self.paths if len(path) == 1)


def is_template(text: str) -> bool:
    """Whether a text holds a template; any other is just its characters."""
    return "{{" in text or "{%" in text


def is_expression(text: str) -> bool:
    """Whether a text is one expression and nothing else, such as "{{ input.count > 0 }}"; False when it is broken."""
    if not is_template(text):
        return False
    try:
        return sole_expression(_parsed(text)) is not None
    except TemplateError:
        return False


def is_open(text: str) -> bool:
    """Whether a text holds a template that uses anything; False for one that only spells characters, or is broken."""
    try:
        return is_template(text) and bool(_paths(text))
    except TemplateError:
        return False


def literal(text: str) -> str:
    """A template whose result is `text` itself, whatever it holds; it may stand between pieces of other templates."""
    return _BRACE.sub(lambda braces: '{{ "' + braces[0] + '" }}', text)


def check(value: Any) -> list[str]:
    """Return what is wrong with the templates in a value, see templates_in."""
    found = []
    for text in templates_in(value):
        try:
            _parsed(text)
        except TemplateError as error:
            found.append(str(error))
    return found


def parts(text: str) -> list[str | None] | None:
    """The texts that a template spells, with None for each expression between them; None when it has statements.

    Raises TemplateError where `check` finds something.
    """
    found = outputs(_parsed(text))
    if found is None:
        return None
    return [node.data if isinstance(node, nodes.TemplateData) else None for node in found]


def names(value: Any) -> Uses:
    """Return the names that the templates in a value use. Raises TemplateError where `check` finds something."""
    paths = frozenset(path for text in templates_in(value) for path in _paths(text))
    return Uses(
        steps=frozenset(path[1] for path in paths if path[0] == "steps" and len(path) > 1),
        env=frozenset(path[1] for path in paths if path[0] == "env" and len(path) > 1),
        roots=frozenset(path[0] for path in paths),
        paths=paths,
    )


def parse(text: str) -> nodes.Template:
    """The tree of a template. Raises TemplateError for its syntax and for what templates here do without."""
    try:
        tree = ENVIRONMENT.parse(text)
        _examine(tree)
    except TemplateSyntaxError as error:
        line = f" in line {error.lineno}" if "\n" in text.rstrip("\n") else ""
        raise TemplateError(f"is not a valid template: {error.message}{line}") from None
    except (RecursionError, MemoryError):
        raise TemplateError("is not a valid template: it is nested too deeply") from None
    for concat in tree.find_all(nodes.Concat):  # the operator ~, which would take Python's words for null and true
        concat.nodes = [nodes.Filter(node, "string", [], [], None, None) for node in concat.nodes]
    for loop in tree.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, COUNTED, [], [], None, None)
    return tree


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> nodes.Template:
    """As `parse`, for those that only look at the tree: compiling may change it."""
    return parse(text)


def is_chosen(node: nodes.Node, fixed: frozenset[str]) -> bool:
    """Whether a caller may have a say in what an expression gives, by the input or by what a step made of it.

    Not in what the config spells out, be it one of several texts; nor in the variables of env that are `fixed`.
    """
    path = _path(node)
    if path is not None:
        return not (path[0] == "env" and len(path) > 1 and path[1] in fixed)
    children = (node.expr1, node.expr2) if isinstance(node, nodes.CondExpr) else node.iter_child_nodes()
    return any(is_chosen(child, fixed) for child in children if child is not None)


def outputs(tree: nodes.Template) -> list[nodes.Expr] | None:
    """The texts and expressions a template is made of, in their order; None when it has statements."""
    found: list[nodes.Expr] = []
    for node in tree.body:
        if not isinstance(node, nodes.Output):
            return None
        found += node.nodes
    return found


def sole_expression(tree: nodes.Template) -> nodes.Expr | None:
    """The expression that is all of a template. A line end after it does not count: YAML's block texts have one."""
    found = outputs(tree) or []
    if len(found) == 2 and isinstance(found[1], nodes.TemplateData) and found[1].data == "\n":
        found.pop()
    return found[0] if len(found) == 1 and not isinstance(found[0], nodes.TemplateData) else None


def templates_in(value: Any) -> Iterator[str]:
    """The templates in a value: a text, or a mapping or list of them. Keys are no templates."""
    if isinstance(value, str):
        if is_template(value):
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from templates_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from templates_in(item)


def _examine(tree: nodes.Template) -> None:
    """Raise TemplateError for what Jinja2 would take, or would refuse only when it runs."""
    open_nodes: list[tuple[nodes.Node, int]] = [(tree, 1)]
    while open_nodes:
        node, depth = open_nodes.pop()
        if depth > MAX_DEPTH:
            raise TemplateError("is not a valid template: it is nested too deeply")
        if isinstance(node, nodes.Stmt) and not isinstance(node, _STATEMENTS):
            raise TemplateError("is not a valid template: of statements there are if, for and set to an expression")
        if isinstance(node, nodes.For) and node.recursive:
            raise TemplateError("is not a valid template: a for loop can't be recursive")
        if isinstance(node, nodes.Filter) and node.name not in ENVIRONMENT.filters:
            raise TemplateError(f"is not a valid template: there is no filter {node.name!r}")
        if isinstance(node, nodes.Filter) and node.name == SEARCH:
            _examine_search(node)
        if isinstance(node, nodes.Test) and node.name not in ENVIRONMENT.tests:
            raise TemplateError(f"is not a valid template: there is no test {node.name!r}")
        if isinstance(node, nodes.Const) and isinstance(node.value, float) and not math.isfinite(node.value):
            raise TemplateError("is not a valid template: a number in it is too large")
        if isinstance(node, nodes.NSRef) or (
            isinstance(node, nodes.Name) and node.ctx != "load" and node.name in ROOTS
        ):
            raise TemplateError(f"is not a valid template: {node.name!r} can't be set")
        open_nodes += [(child, depth + 1) for child in node.iter_child_nodes()]


def _examine_search(node: nodes.Filter) -> None:
    """Raise TemplateError unless a search has one pattern, written in the config: what is sent must never be one."""
    given = node.args[0] if len(node.args) == 1 and not (node.kwargs or node.dyn_args or node.dyn_kwargs) else None
    if not isinstance(given, nodes.Const) or not isinstance(given.value, str):
        raise TemplateError(f"is not a valid template: {SEARCH} takes one pattern, written out between quotes")
    try:
        regular(given.value)
    except ValueError as error:
        raise TemplateError(f"is not a valid template: {error}") from None


def _paths(text: str) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    own = {"loop"}  # names that the template itself gives
    open_nodes: list[nodes.Node] = [_parsed(text)]
    while open_nodes:
        node = open_nodes.pop()
        path = _path(node)
        if path is not None:
            found.add(path)
            continue
        if isinstance(node, nodes.Name):
            own.add(node.name)
        open_nodes += node.iter_child_nodes()
    return {path for path in found if path[0] not in own and path[0] not in ENVIRONMENT.globals}


def _path(node: nodes.Node) -> tuple[str, ...] | None:
    """The path that an expression is, as far as it is one."""
    parts: list[str] = []
    while True:
        if isinstance(node, nodes.Getattr):
            parts.append(node.attr)
            node = node.node
        elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            parts.append(node.arg.value)
            node = node.node
        elif isinstance(node, nodes.Name) and node.ctx == "load":
            return (node.name, *reversed(parts))
        else:
            return None
